"""Foreign distributions that are families of ours: those whose draws other libraries move away from an edge.

A Beta, Gamma or Dirichlet at small concentrations draws numbers that round to an end of the support. Other libraries put
the nearest number inside in their place, which has another score. Ours are of the same law, and carry the coordinates in
which they were made, for which the score is finite and right. The numbers from one key are NumPyro's and Distrax's own,
NumPyro's Beta aside; not TensorFlow Probability's.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from logtrick.adapters._foreign import class_name
from logtrick.distributions import Beta, Dirichlet, Distribution, Gamma, Mixture

_LIBRARIES = ("numpyro", "distrax", "tensorflow_probability")
# By the class of another library: ours, and the names of its parameters there.
_BETA = (Beta, (("concentration1", "concentration0"), ("alpha", "beta")))
_GAMMA = (Gamma, (("concentration", "rate"),))
_OWN = {
    "Beta": _BETA,
    "BetaProportion": _BETA,
    "Gamma": _GAMMA,
    "Chi2": _GAMMA,
    "Dirichlet": (Dirichlet, (("concentration",),)),
}
# The names of the weights and of the components of a mixture of one family.
_MIXTURES = (
    ("mixing_distribution", "component_distribution"),
    ("mixture_distribution", "components_distribution"),
)


def own_family(
    dist: Any, shape: tuple[int, ...], inside: Callable[[Any], Any]
) -> Distribution | None:
    """The distribution of ours that a foreign one is; None for all that need none.

    Args:
      dist: the foreign distribution.
      shape: of one draw, batch dimensions included.
      inside: takes off wrappers that only broadcast, or declare dimensions to be of the event.
    """
    dist = inside(dist)
    name = class_name(dist, *_LIBRARIES)
    if name == "MixtureSameFamily":
        return _mixture(dist, shape, inside)
    if name not in _OWN:
        return None
    family, parameters = _OWN[name]
    for each in parameters:
        values = [getattr(dist, parameter, None) for parameter in each]
        if all(value is not None for value in values):
            return family(*(jnp.broadcast_to(jnp.asarray(value), shape) for value in values))
    if name == "Chi2" and getattr(dist, "df", None) is not None:
        half = jnp.broadcast_to(jnp.asarray(dist.df) / 2, shape)
        return Gamma(half, jnp.full_like(half, 0.5))
    return None


def _mixture(
    dist: Any, shape: tuple[int, ...], inside: Callable[[Any], Any]
) -> Distribution | None:
    """A mixture of one of these families, with one set of weights."""
    for of_weights, of_components in _MIXTURES:
        weights = getattr(dist, of_weights, None)
        components = getattr(dist, of_components, None)
        if weights is None or components is None or tuple(weights.batch_shape):
            continue
        if hasattr(weights, "logits_parameter"):  # TFP's, whose logits may be None
            logits = weights.logits_parameter()
        else:
            logits = weights.logits
        part = own_family(components, (logits.shape[-1], *shape), inside)
        if part is not None:
            return Mixture(logits, part)
    return None
