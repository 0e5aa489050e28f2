"""Where stochastic fits start: at the best of several trials where there are discrete variables, within the density's edges."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from logtrick._core.module import replace
from logtrick.vi._families._blocks import Blocks
from logtrick.vi._guide import Guide
from logtrick.vi._target import Target
from logtrick.vi._train import Settings, train

_LANES, _SPREAD, _TRIED = 4, 1.0, 256
_SHARE, _FEWEST = 0.2, 100  # of the steps, for each trial; and no fewer than


def trial_steps(steps: int, limited: bool) -> tuple[int, int]:
    """How many of `steps` steps the fit takes, and how many each of the four trials.

    Args:
      steps: of the fit; where they are limited, of the fit and the trials together.
      limited: whether they are, by a budget. Too few steps are not divided.
    """
    if not limited:
        return steps, max(_FEWEST, int(_SHARE * steps))
    tried = max(_FEWEST, int(_SHARE * steps / (1 + _LANES * _SHARE)))
    rest = steps - _LANES * tried
    return (rest, tried) if rest >= _LANES * tried else (steps, 0)


def best_start(
    key: Any, log_density: Any, q: Guide, settings: Settings, steps: int
) -> tuple[Guide, int]:
    """The best of q and three guides that are moved at random, by the mean objective of the last quarter of a short training.

    Returns:
      The guide after its training, and how many steps were spent on all.
    """
    short = settings._replace(max_steps=steps, stop=None, progress=False)
    lanes = [q, *(_moved(jax.random.fold_in(key, i), q) for i in range(1, _LANES))]
    sign = 1 if settings.objective.maximize else -1
    found = [
        train(jax.random.fold_in(key, _LANES + i), log_density, lane, short)
        for i, lane in enumerate(lanes)
    ]
    scores = [sign * float(np.mean(np.asarray(t.values)[-(steps // 4) :])) for t in found]
    best = found[int(np.nanargmax(scores))].q if np.isfinite(scores).any() else q
    return best, steps * _LANES


def _moved(key: Any, q: Guide) -> Guide:
    """Logits moved by standard normals, a normal guide to a draw of itself; others as they are."""
    if isinstance(q, Blocks):
        parts = {
            name: _moved(jax.random.fold_in(key, i), part)
            for i, (name, part) in enumerate(q.parts.items())
        }
        return replace(q, parts=parts)
    normal = q.normal()
    if normal is not None:
        u, _ = q.flat_draws(key, 1)
        return q.at_normal(u[0], normal[1])
    if not q.discrete:
        return q
    leaves, tree = jax.tree.flatten(q)
    moved = [
        leaf + _SPREAD * jax.random.normal(jax.random.fold_in(key, i), jnp.shape(leaf), leaf.dtype)
        for i, leaf in enumerate(leaves)
    ]
    return tree.unflatten(moved)


def shrunk(key: Any, log_density: Any, q: Guide) -> Guide:
    """A normal guide whose draws have finite densities: its scale halved until nine in ten have, ten times at most."""
    target = Target(log_density, q)
    for _ in range(10):
        normal = q.normal()
        assert normal is not None
        values = np.asarray(target.batch(q.flat_draws(key, _TRIED)[0]))
        if np.mean(np.isfinite(values)) >= 0.9:
            return q
        q = q.at_normal(normal[0], 0.5 * np.asarray(normal[1]))
    return q
