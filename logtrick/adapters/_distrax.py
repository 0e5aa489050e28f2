"""Distributions of Distrax."""

from typing import Any

import jax

from logtrick import supports
from logtrick._core.calls import in_words
from logtrick.adapters._foreign import (
    Foreign,
    class_name,
    finite_support,
    instance,
    load,
    moved,
    names,
    parts_of,
    whole_shape,
)
from logtrick.adapters._own_families import own_family
from logtrick.adapters._pushed import Library, Pushed, apart
from logtrick.distributions import Distribution
from logtrick.supports import Countable, Support

Array = jax.Array
_WHERE = "lt.adapters.from_distrax"
# Distrax declares nothing, so these lists do, by exact class: a subclass may do otherwise.
_REAL = names(
    "Normal LogStddevNormal MultivariateNormalDiag MultivariateNormalDiagPlusLowRank MultivariateNormalFullCovariance "
    "MultivariateNormalFromBijector MultivariateNormalTri Laplace Logistic Gumbel"
)
_REPARAMETERIZED = _REAL | names("Uniform Gamma Beta Dirichlet VonMises Deterministic")
_SUPPORTS: dict[str, type[Support]] = {
    **dict.fromkeys(_REAL, supports.Real),
    **dict.fromkeys(names("Multinomial Quantized"), Countable),
    "Gamma": supports.Positive,
    "Beta": supports.UnitInterval,
    "Dirichlet": supports.Simplex,
}
_CATEGORICAL = names("Categorical Softmax Greedy EpsilonGreedy")
_BOUNDS = {
    **dict.fromkeys(names("Uniform CategoricalUniform"), ("low", "high")),
    **dict.fromkeys(names("Clipped ClippedNormal ClippedLogistic"), ("minimum", "maximum")),
    "Deterministic": ("loc",),
}
_ONTO = names(
    "ScalarAffine Shift DiagLinear TriangularLinear UnconstrainedAffine LowerUpperTriangularAffine "
    "DiagPlusLowRankLinear Linear"
)


class _Distrax(Foreign):
    """A Distrax distribution."""

    @property
    def support(self) -> Support:
        base = _base(self.foreign)
        name = _class(base)
        if name == "Bernoulli":
            return finite_support(2, binary=True)
        if name in _CATEGORICAL or name == "OneHotCategorical":
            return finite_support(base.num_categories, one_hot=name == "OneHotCategorical")
        return _SUPPORTS.get(name, supports.Unknown)()

    def _sample(self, key: Array) -> Array:
        return self.foreign.sample(seed=key)

    def _foreign_log_prob(self, x: Any) -> Array:
        return self.foreign.log_prob(x)

    def _pushed(self) -> Pushed | None:
        dist = _base(self.foreign)
        if _class(dist) != "Transformed" or dist.distribution.batch_shape != dist.batch_shape:
            return None
        base = dist.distribution
        sample = lambda key: base.sample(seed=key)
        whole_space = _class(_base(base)) in _REAL
        return Pushed(_LIBRARY, sample, base.log_prob, whole_space, tuple(_steps(dist.bijector)))

    def _ends(self) -> tuple[Any, Any]:
        base = _base(self.foreign)
        bounds = _BOUNDS.get(_class(base), ())
        return tuple(getattr(base, name) for name in bounds) if len(bounds) == 2 else (None, None)

    def _bounds(self) -> Any:
        return _moving(self.foreign)


@in_words("lt.adapters.from_distrax")
def from_distrax(
    dist: Any,
    event_ndims: int | None = None,
    *,
    reparameterized: bool | None = None,
    fixed_support: bool = False,
) -> Distribution:
    """A Distrax distribution as one of logtrick's.

    Distrax declares neither reparameterization nor support, so the adapter's own list of its classes does; a class that is
    not listed (a subclass too: the straight-through wrapper's) counts as not reparameterized unless `reparameterized` says
    so. `Enumerate` is legal for Bernoulli and the categorical classes. Derivatives reach the distribution's own parameters.
    Beta, Gamma and Dirichlet are logtrick's own families, whose draws have a score also where they round to an end of the
    support. Other log-probs are Distrax's own, outside the support too (its Bernoulli gives 7 the log-prob +1.2 at some
    logits): only draws and listed values are ever scored here.

    Args:
      dist: a `distrax.Distribution`; build it inside the differentiated function.
      event_ndims: the number of dimensions of ONE draw, batch dimensions included, to sum the log-prob over the batch.
        Unless given, a batch shape is an error.
      reparameterized: whether a derivative through its draws is the pathwise derivative; None for what the list says.
      fixed_support: True declares that the support stands still where the list does not (a spline flow onto Rⁿ).
    Returns:
      A distribution; draws have shape `batch_shape + event_shape`.
    Raises:
      ImportError: Distrax is not installed.
      TypeError: `dist` is not one of its distributions.
      ValueError: batch dimensions without `event_ndims`.
    Example:
      >>> import distrax, jax, jax.numpy as jnp, logtrick as lt
      >>> def value(logits):
      ...     coins = lt.adapters.from_distrax(distrax.Bernoulli(logits=logits), event_ndims=1)
      ...     return lt.expect(jax.random.key(0), lambda x: (x.sum() - 0.9) ** 2, coins, estimator=lt.Enumerate())
      >>> [round(g, 3) for g in jax.grad(value)(jnp.zeros(2)).tolist()]
      [0.05, 0.05]
    """
    distrax = load(_WHERE, "distrax", "distrax")
    instance(_WHERE, dist, distrax.Distribution)
    if isinstance(dist, distrax.Joint):
        raise TypeError(
            f"{_WHERE}(dist=…) needs a distribution over one array; got Joint. Use lt.Joint of the adapted parts."
        )
    shape = whole_shape(
        _WHERE, "distrax.Independent", dist.batch_shape, dist.event_shape, event_ndims
    )
    own = own_family(dist, shape, _base)
    if own is not None:
        return own
    pathwise = _is_reparameterized(dist) if reparameterized is None else bool(reparameterized)
    return _Distrax(*apart(dist), shape, pathwise, fixed_support)


def _base(dist: Any) -> Any:
    """The distribution inside `Independent`."""
    while _class(dist) == "Independent":
        dist = dist.distribution
    return dist


def _class(thing: Any) -> str:
    return class_name(thing, "distrax")


def _is_reparameterized(dist: Any) -> bool:
    while _class(dist) in ("Independent", "Transformed"):
        dist = dist.distribution
    return _class(dist) in _REPARAMETERIZED


def _moving(dist: Any) -> list[Any]:
    """What the support depends on, by class, in `dist` and in every distribution that it holds."""
    distrax = load(_WHERE, "distrax", "distrax")
    bounds: list[Any] = []
    for part in parts_of(dist, distrax.Distribution):
        bounds += [getattr(part, name) for name in _BOUNDS.get(_class(part), ())]
        if _class(part) == "Transformed":
            whole_space = _class(_base(part.distribution)) in _REAL
            bounds += moved(whole_space, _steps(part.bijector), _is_onto)
    return bounds


def _steps(bijector: Any) -> list[Any]:
    """The bijectors of a chain in the order of their application."""
    if _class(bijector) == "Chain":
        return [step for part in reversed(bijector.bijectors) for step in _steps(part)]
    return _steps(bijector.bijector) if _class(bijector) == "Block" else [bijector]


def _is_onto(bijector: Any) -> bool:
    return _class(bijector) in _ONTO


_LIBRARY = Library(
    forward=lambda step, x: step.forward(x),
    inverse=lambda step, y: step.inverse(y),
    log_det=lambda step, x: step.forward_log_det_jacobian(x),
    is_onto=_is_onto,
)
