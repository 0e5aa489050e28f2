"""States of discrete variables that a fit has missed: uphill walks from where it is not."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from logtrick._core.module import replace
from logtrick.vi._engines._density import Density, generator
from logtrick.vi._families._blocks import Blocks
from logtrick.vi._guide import Guide
from logtrick.vi._modes import MissedMode
from logtrick.vi._target import Target

_WALKS, _NEIGHBORS = 16, 32
_MOST_STEPS = 100
_POOL = 1024  # uniform draws that new entries are taken from
_HEAVY = 3.0  # a state is missed by q where its weight is above e³ times the mean weight
_NATS = 3.0  # missed states matter whose mass is no more than this below that of q


def missed_states(
    key: jax.Array, log_density: Callable[[Any], Any], q: Guide, elbo: float, bound: float
) -> list[MissedMode]:
    """Search for states that have mass under p and hardly any under q; one `MissedMode` at the heaviest, or nothing.

    Walks start at draws of q with its logits shrunk to 0 and to a third: uniform ones, and some near q. Each step looks at 32
    neighbors that differ in one entry, and goes to the best. Of all states seen, those count whose weight p/q is above e³
    times the mean weight; their mass is a lower bound of what q misses. A q that has collapsed onto one of several modes looks
    perfect by its own draws.

    Args:
      key: a typed key.
      log_density: of one draw.
      q: a discrete guide, whose leaves are logits.
      elbo: of q.
      bound: about log Z, from q's draws.
    """
    density, rng = Density(Target(log_density, q)), generator(key)
    first, second = jax.random.split(key)
    # Entries are changed to what uniform draws have there: right for bits and categories alike.
    pool = rows_of(tempered(q, 0.0), first, _POOL)
    near = rows_of(tempered(q, 1 / 3), second, _WALKS // 2)
    walks = np.concatenate([pool[: _WALKS - len(near)], near])
    values = _log_p(density, walks)
    seen, seen_values = [walks], [values]
    for _ in range(min(_MOST_STEPS, 4 * walks.shape[1])):
        around = np.repeat(walks, _NEIGHBORS, axis=0)
        entry = rng.integers(0, walks.shape[1], len(around))
        around[np.arange(len(around)), entry] = pool[rng.integers(0, _POOL, len(around)), entry]
        found = _log_p(density, around)
        seen.append(around)
        seen_values.append(found)
        best = found.reshape(_WALKS, _NEIGHBORS).argmax(1) + _NEIGHBORS * np.arange(_WALKS)
        better = found[best] > values
        if not better.any():
            break
        walks = np.where(better[:, None], around[best], walks)
        values = np.where(better, found[best], values)
    return _missed(q, np.concatenate(seen), np.concatenate(seen_values), elbo, bound)


def rows_of(q: Guide, key: jax.Array, count: int) -> np.ndarray:
    """Draws as rows of floats."""
    return np.asarray(q.flat_draws(key, count)[0], np.float64)


def _log_p(density: Density, rows: np.ndarray) -> np.ndarray:
    """log p of each row; −inf where it is not finite."""
    found = density.log_density(rows)
    return np.where(np.isfinite(found), found, -np.inf)


def tempered(q: Guide, factor: float) -> Guide:
    """q with the logits of its discrete blocks multiplied by a factor; impossible states stay impossible."""
    if isinstance(q, Blocks):
        return replace(q, parts={name: tempered(part, factor) for name, part in q.parts.items()})
    if not q.discrete:
        return q
    return jax.tree.map(lambda x: jnp.where(jnp.isfinite(x), factor * x, x), q)


def _missed(
    q: Guide, seen: np.ndarray, values: np.ndarray, elbo: float, bound: float
) -> list[MissedMode]:
    rows, first = np.unique(seen, axis=0, return_index=True)
    log_p = values[first]
    candidates = log_p > bound - 20
    rows, log_p = rows[candidates], log_p[candidates]
    if not len(rows):
        return []
    log_q = jax.jit(jax.vmap(lambda u: q.log_prob(q.layout.constrain(u))))
    heavy = log_p - np.asarray(log_q(rows.astype(q.layout.dtype)), np.float64) > bound + _HEAVY
    if not heavy.any():
        return []
    rows, log_p = rows[heavy], log_p[heavy]
    largest = float(log_p.max())
    mass = largest + float(np.log(np.exp(log_p - largest).sum()))
    if mass < bound - _NATS:
        return []
    return [MissedMode(rows[int(np.argmax(log_p))], np.zeros(rows.shape[1]), mass, mass - elbo)]
