"""Distributions and flows of FlowJAX."""

from typing import Any

import jax

from logtrick import supports
from logtrick._core import checks
from logtrick._core.calls import in_words
from logtrick.adapters._foreign import (
    Foreign,
    class_name,
    instance,
    load,
    moved,
    names,
    parts_of,
)
from logtrick.adapters._pushed import Library, Pushed, apart
from logtrick.distributions import Distribution
from logtrick.supports import Support

Array = jax.Array
_WHERE = "lt.adapters.from_flowjax"
# FlowJAX declares nothing, so these lists do, by exact class. What is transformed counts as its base does.
_REAL = names(
    "StandardNormal _StandardGumbel _StandardCauchy _StandardStudentT _StandardLaplace _StandardLogistic"
)
_REPARAMETERIZED = _REAL | {"_StandardUniform", "_StandardExponential", "_StandardGamma", "Beta"}
_SUPPORTS: dict[str, type[Support]] = {
    **dict.fromkeys(_REAL, supports.Real),
    **dict.fromkeys(("_StandardExponential", "_StandardGamma"), supports.Positive),
    **dict.fromkeys(("_StandardUniform", "Beta"), supports.UnitInterval),
}
_ONTO = names(
    "Affine Loc Scale TriangularAffine Identity Flip Permute Coupling MaskedAutoregressive BlockAutoregressiveNetwork "
    "RationalQuadraticSpline LeakyTanh Planar Householder DiscreteCosine AdditiveCondition NumericalInverse"
)
# Bijections around another one, and where they hold it.
_WRAPPERS = {
    "Invert": "bijection",
    "Scan": "bijection",
    "Vmap": "bijection",
    "NonTrainable": "tree",
}


class _FlowJAX(Foreign):
    """A FlowJAX distribution, with the condition that it is used under."""

    @property
    def support(self) -> Support:
        dist, _ = self.foreign
        base, steps = _taken_apart(dist)
        if steps and not _onto(dist):
            return supports.Unknown()
        return _SUPPORTS.get(_class(base), supports.Unknown)()

    def _sample(self, key: Array) -> Array:
        dist, condition = self.foreign
        return dist.sample(key, condition=condition)

    def _foreign_log_prob(self, x: Any) -> Array:
        dist, condition = self.foreign
        return dist.log_prob(x, condition)

    def _pushed(self) -> Pushed | None:
        dist, condition = self.foreign
        base, steps = _taken_apart(dist)
        if not steps or condition is not None:
            return None
        unwrap = load(_WHERE, "flowjax", "paramax").unwrap
        whole_space = _class(base) in _REAL
        return Pushed(_LIBRARY, base.sample, base.log_prob, whole_space, tuple(map(unwrap, steps)))

    def _bounds(self) -> Any:
        return _moving(self.foreign[0])


@in_words("lt.adapters.from_flowjax")
def from_flowjax(
    dist: Any,
    event_ndims: int | None = None,
    *,
    condition: Any = None,
    reparameterized: bool | None = None,
    fixed_support: bool = False,
) -> Distribution:
    """A FlowJAX distribution (a flow) as one of logtrick's.

    FlowJAX has no batch shape: every dimension of a draw is the event, and its log-prob is their sum. It declares no
    reparameterization, so the adapter's own list of its base distributions does; a base that is not listed, and
    `VmapMixture`, count as not reparameterized unless `reparameterized` says so. Derivatives reach the flow's own arrays,
    `NonTrainable` ones excepted (`Uniform`'s ends are: FlowJAX stops their gradient). To train a flow with `lt.minimize`,
    split it: `params, static = eqx.partition(flow, eqx.is_inexact_array)`, and `eqx.combine` them in the objective.

    Args:
      dist: a `flowjax.distributions.AbstractDistribution`; combine it inside the differentiated function.
      event_ndims: the number of dimensions of a draw, if you want it checked.
      condition: what a conditional distribution is conditioned on, of shape `dist.cond_shape`.
      reparameterized: whether a derivative through its draws is the pathwise derivative; None for what the list says.
      fixed_support: True declares that the support stands still where the list does not.
    Returns:
      A distribution; draws have shape `dist.shape`.
    Raises:
      ImportError: FlowJAX is not installed.
      TypeError: `dist` is not one of its distributions.
      ValueError: a condition is missing, not asked for, or of another shape; `event_ndims` is not the draw's.
    Example:
      >>> import jax, jax.numpy as jnp, logtrick as lt
      >>> from flowjax.distributions import Normal
      >>> value = lambda loc: lt.expect(jax.random.key(0), lambda x: x.sum() ** 2,
      ...                               lt.adapters.from_flowjax(Normal(loc)), estimator=lt.Pathwise(), num_samples=10_000)
      >>> [round(g, 1) for g in jax.grad(value)(jnp.ones(2)).tolist()]         # exact: 4
      [4.0, 4.0]
    """
    distributions = load(_WHERE, "flowjax", "flowjax.distributions")
    instance(_WHERE, dist, distributions.AbstractDistribution)
    shape = tuple(dist.shape)
    if event_ndims is not None:
        event_ndims = checks.positive_int(_WHERE, "event_ndims", event_ndims, 0)
        if event_ndims != len(shape):
            raise ValueError(
                f"{_WHERE}(event_ndims=…) needs all dimensions of a draw, shape {shape}; got {event_ndims}. Leave it out: "
                "FlowJAX has no batch shape; for a batch of expectations use jax.vmap."
            )
    wanted = dist.cond_shape
    given = None if condition is None else jax.numpy.shape(condition)
    if given != (None if wanted is None else tuple(wanted)):
        raise ValueError(
            f"{_WHERE}(condition=…) needs shape {wanted}; got {given}. Pass one condition, or jax.vmap over them."
        )
    pathwise = _is_reparameterized(dist) if reparameterized is None else bool(reparameterized)
    return _FlowJAX(*apart((dist, condition)), shape, pathwise, fixed_support)


def _class(thing: Any) -> str:
    return class_name(thing, "flowjax", "paramax")  # its wrappers are Paramax's


def _taken_apart(dist: Any) -> tuple[Any, list[Any]]:
    """The base distribution, and the bijections in the order of their application."""
    steps: list[Any] = []
    while hasattr(dist, "base_dist"):
        steps = [*_steps(dist.bijection), *steps]
        dist = dist.base_dist
    return dist, steps


def _steps(bijection: Any) -> list[Any]:
    if _class(bijection) == "Chain":
        return [step for part in bijection.bijections for step in _steps(part)]
    return [bijection]


def _is_reparameterized(dist: Any) -> bool:
    return _class(_taken_apart(dist)[0]) in _REPARAMETERIZED


def _is_onto(bijection: Any) -> bool:
    name = _class(bijection)
    if name in _WRAPPERS:
        return all(_is_onto(step) for step in _steps(getattr(bijection, _WRAPPERS[name])))
    return name in _ONTO


def _onto(dist: Any) -> bool:
    base, steps = _taken_apart(dist)
    return _class(base) in _REAL and all(_is_onto(step) for step in steps)


def _moving(dist: Any) -> list[Any]:
    """What the support depends on, by class, in `dist` and in every distribution that it holds."""
    distributions = load(_WHERE, "flowjax", "flowjax.distributions")
    found = parts_of(dist, distributions.AbstractDistribution)
    return [mover for part in found for mover in _movers(part)]


def _movers(dist: Any) -> list[Any]:
    base, steps = _taken_apart(dist)
    positive = _SUPPORTS.get(_class(base)) is supports.Positive
    if positive and all(_class(step) == "Scale" for step in steps):
        return []  # scaling leaves (0, ∞) where it is
    return moved(_class(base) in _REAL, steps, _is_onto)


_LIBRARY = Library(
    forward=lambda step, x: step.transform_and_log_det(x)[0],
    inverse=lambda step, y: step.inverse_and_log_det(y)[0],
    log_det=lambda step, x: step.transform_and_log_det(x)[1],
    is_onto=_is_onto,
)
