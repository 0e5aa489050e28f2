"""Log densities that are −inf at some draws of the guide: impossible states, supports that were not declared."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from logtrick._core.fingerprint import Compiled
from logtrick.vi._guide import Guide
from logtrick.vi._minibatch import Minibatch
from logtrick.vi._over_data import OverData, apart, evaluated

Array = jax.Array
_DRAWS = 256
_BELOW = 10.0  # nats from the 10 % quantile of the draws' finite log densities down to the floor


class Floored(OverData):
    """A log density with a finite number in the place of −inf, so that its expectation under a guide is finite.

    The ELBO is −inf wherever q gives any probability to what is impossible, and tells no direction. With a floor, every
    impossible draw costs a finite number of nats, and the fit moves away from there. The score function sees that step of
    the density; a pathwise derivative does not.
    """

    compared_by = ("log_density", "data")

    def __init__(self, log_density: Any, floor: float) -> None:
        self.log_density, data = apart(log_density)
        self.data = (jnp.asarray(floor), data)

    def __call__(self, z: Any) -> Array:
        return self.given(z, self.data)

    def given(self, z: Any, data: Any) -> Array:
        """The log density, or the floor."""
        floor, inner = data
        value = evaluated(self.log_density, z, inner)
        return jnp.where(value == -jnp.inf, floor.astype(value.dtype), value)


def floored(key: Any, log_density: Any, q: Guide) -> tuple[Any, int]:
    """The log density with a floor where it is −inf at some of 256 draws of q but not at all; and at how many."""
    if isinstance(log_density, Minibatch):
        return log_density, 0
    bare, data = apart(log_density)
    values = np.asarray(_COMPILED.find(bare)(q.sample(key, _DRAWS), data), np.float64)
    impossible = int((values == -np.inf).sum())
    finite = values[np.isfinite(values)]
    if not impossible or not len(finite):
        return log_density, impossible
    return Floored(log_density, float(np.quantile(finite, 0.1)) - _BELOW), impossible


def _evaluated(log_density: Any) -> Callable[[Any, Any], Array]:
    one = lambda z, data: evaluated(log_density, z, data)
    return jax.jit(jax.vmap(one, (0, None)))


_COMPILED = Compiled(_evaluated)  # of a batch of draws, kept for the next fit
