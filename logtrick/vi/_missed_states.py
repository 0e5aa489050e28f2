"""States of discrete variables that a fit has missed: uphill walks from where it is not."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from logtrick._core.module import replace
from logtrick.vi._engines._density import generator
from logtrick.vi._families._blocks import Blocks
from logtrick.vi._guide import Guide
from logtrick.vi._modes import MissedMode

_ROWS = 512  # of one call of the compiled density
_WALKS, _NEIGHBORS = 16, 32
_MOST_STEPS = 100
_POOL = 1024  # uniform draws that new entries are taken from
_HEAVY = 3.0  # a state is missed by q where its weight is above e³ times the mean weight
_NATS = 3.0  # missed states matter whose mass is no more than this below that of q


class _States:
    """Rows of floats for draws of a discrete guide, and the functions of both."""

    def __init__(self, log_density: Callable[[Any], Any], q: Guide, key: jax.Array) -> None:
        self.q = q
        example = jax.eval_shape(q.sample, key)
        self.leaves, self.tree = jax.tree.flatten(example)
        self._log_p = jax.jit(jax.vmap(log_density))
        self._log_q = jax.jit(jax.vmap(q.log_prob))

    def rows(self, draws: Any) -> np.ndarray:
        """The draws as rows of floats, shape (n, d)."""
        leaves = [np.asarray(x, np.float64) for x in jax.tree.leaves(draws)]
        return np.concatenate([x.reshape(len(x), -1) for x in leaves], 1)

    def draws(self, rows: np.ndarray) -> Any:
        """The inverse of `rows`."""
        ends = np.cumsum([int(np.prod(leaf.shape)) for leaf in self.leaves])
        parts = np.split(rows, ends[:-1], axis=1)
        leaves = [
            part.reshape(len(rows), *leaf.shape).astype(leaf.dtype)
            for part, leaf in zip(parts, self.leaves)
        ]
        return jax.tree.unflatten(self.tree, leaves)

    def log_p(self, rows: np.ndarray) -> np.ndarray:
        """log p of each row; −inf where it is not finite."""
        found = _in_blocks(lambda block: self._log_p(self.draws(block)), rows)
        return np.where(np.isfinite(found), found, -np.inf)

    def log_q(self, rows: np.ndarray) -> np.ndarray:
        """log q of each row."""
        return _in_blocks(lambda block: self._log_q(self.draws(block)), rows)


def _in_blocks(f: Callable[[np.ndarray], Any], rows: np.ndarray) -> np.ndarray:
    missing = -len(rows) % _ROWS
    padded = np.concatenate([rows, np.broadcast_to(rows[:1], (missing, rows.shape[1]))])
    blocks = [np.asarray(f(padded[i : i + _ROWS])) for i in range(0, len(padded), _ROWS)]
    return np.concatenate(blocks).astype(np.float64)[: len(rows)]


def missed_states(
    key: jax.Array, log_density: Callable[[Any], Any], q: Guide, elbo: float, bound: float
) -> list[MissedMode]:
    """Search for states that have mass under p and hardly any under q.

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
    Returns:
      One `MissedMode` at the heaviest missed state, or nothing.
    """
    states, rng = _States(log_density, q, key), generator(key)
    first, second = jax.random.split(key)
    # Entries are changed to what uniform draws have there: right for bits and categories alike.
    pool = states.rows(tempered(q, 0.0).sample(first, _POOL))
    near = states.rows(tempered(q, 1 / 3).sample(second, _WALKS // 2))
    walks = np.concatenate([pool[: _WALKS - len(near)], near])
    values = states.log_p(walks)
    seen, seen_values = [walks], [values]
    for _ in range(min(_MOST_STEPS, 4 * walks.shape[1])):
        around = np.repeat(walks, _NEIGHBORS, axis=0)
        entry = rng.integers(0, walks.shape[1], len(around))
        around[np.arange(len(around)), entry] = pool[rng.integers(0, _POOL, len(around)), entry]
        found = states.log_p(around)
        seen.append(around)
        seen_values.append(found)
        best = found.reshape(_WALKS, _NEIGHBORS).argmax(1) + _NEIGHBORS * np.arange(_WALKS)
        better = found[best] > values
        if not better.any():
            break
        walks = np.where(better[:, None], around[best], walks)
        values = np.where(better, found[best], values)
    return _missed(states, np.concatenate(seen), np.concatenate(seen_values), elbo, bound)


def tempered(q: Guide, factor: float) -> Guide:
    """q with the logits of its discrete blocks multiplied by a factor; impossible states stay impossible."""
    if isinstance(q, Blocks):
        return replace(q, parts={name: tempered(part, factor) for name, part in q.parts.items()})
    if not q.discrete:
        return q
    return jax.tree.map(lambda x: jnp.where(jnp.isfinite(x), factor * x, x), q)


def _missed(
    states: _States, seen: np.ndarray, values: np.ndarray, elbo: float, bound: float
) -> list[MissedMode]:
    rows, first = np.unique(seen, axis=0, return_index=True)
    log_p = values[first]
    candidates = log_p > bound - 20
    rows, log_p = rows[candidates], log_p[candidates]
    if not len(rows):
        return []
    heavy = log_p - states.log_q(rows) > bound + _HEAVY
    if not heavy.any():
        return []
    rows, log_p = rows[heavy], log_p[heavy]
    largest = float(log_p.max())
    mass = largest + float(np.log(np.exp(log_p - largest).sum()))
    if mass < bound - _NATS:
        return []
    return [MissedMode(rows[int(np.argmax(log_p))], np.zeros(rows.shape[1]), mass, mass - elbo)]
