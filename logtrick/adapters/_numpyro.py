"""Distributions of NumPyro."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from logtrick import supports
from logtrick._core.calls import in_words
from logtrick.adapters._foreign import (
    Foreign,
    instance,
    load,
    moved,
    parts_of,
    whole_shape,
)
from logtrick.adapters._own_families import own_family
from logtrick.adapters._pushed import Library, Pushed, apart
from logtrick.distributions import Bernoulli, Binomial, Distribution
from logtrick.supports import Countable, Finite, Support

Array = jax.Array
_WHERE = "lt.adapters.from_numpyro"


class _NumPyro(Foreign):
    """A NumPyro distribution."""

    @property
    def support(self) -> Support:
        dist = self.foreign
        declared = support_of(dist.support)
        moves = any(hasattr(part, "transforms") and _movers(part) for part in _parts(dist))
        if declared.whole_space and moves:
            return supports.Unknown()  # NumPyro takes every affine map's image for the real line
        if _lists(dist):
            return declared if declared.finite else Finite()
        return Countable() if declared.finite else declared

    def _sample(self, key: Array) -> Array:
        return self.foreign.sample(key)

    def _foreign_log_prob(self, x: Any) -> Array:
        dist = self.foreign
        logits_log_prob = _logits_log_prob(_base(dist))
        return dist.log_prob(x) if logits_log_prob is None else logits_log_prob(x)

    def _values(self) -> Array:
        return jnp.asarray(_base(self.foreign).enumerate_support(expand=False))

    def _pushed(self) -> Pushed | None:
        nd = load(_WHERE, "numpyro", "numpyro.distributions")
        dist = self.foreign
        while isinstance(dist, nd.Independent):
            dist = dist.base_dist
        if not isinstance(dist, nd.TransformedDistribution):
            return None
        base = dist.base_dist
        whole_space = support_of(base.support).whole_space
        return Pushed(_LIBRARY, base.sample, base.log_prob, whole_space, tuple(dist.transforms))

    def _ends(self) -> tuple[Any, Any]:
        constraint = self.foreign.support
        while hasattr(constraint, "base_constraint"):
            constraint = constraint.base_constraint
        return getattr(constraint, "lower_bound", None), getattr(constraint, "upper_bound", None)

    def inside(self, x: Any) -> Array:
        inside = super().inside(x)
        c = load(_WHERE, "numpyro", "numpyro.distributions.constraints")
        constraint = self.foreign.support
        if not _is_discrete(constraint, c):
            return inside
        with jax.numpy_rank_promotion("allow"):
            return inside & jnp.all(constraint(x))

    def _counts_of_values(self) -> list[Array]:
        # Far out in a tail most distribution functions, which NumPyro inverts between the ends, are constant to rounding.
        nd = load(_WHERE, "numpyro", "numpyro.distributions")
        counts = [_count_of_values(part) for part in parts_of(self.foreign, nd.Distribution)]
        return [count for count in counts if count is not None]

    def _bounds(self) -> Any:
        return _moving(self.foreign)


@in_words("lt.adapters.from_numpyro")
def from_numpyro(
    dist: Any, event_ndims: int | None = None, *, fixed_support: bool = False
) -> Distribution:
    """A NumPyro distribution as one of logtrick's.

    What NumPyro declares decides what is legal: `has_rsample` allows `Pathwise`, `has_enumerate_support` allows
    `Enumerate` (every combination of coordinates, not NumPyro's lockstep over a batch), `support` tells discrete draws
    and, where it moves with parameters, refuses their derivative under the score function. Derivatives reach the
    distribution's own parameters. Draws are NumPyro's own, int32 where discrete, from one key a run. Estimators that
    read logits (`DisARM`, `ARM`, …) want `lt.Bernoulli(dist.logits)`.

    NumPyro's log-prob of Bernoulli and Binomial by logits has a wrong derivative at logits of exactly 0 (scores 0 and 1 for
    ∓½); these two go by logtrick's own formula. NumPyro rounds draws of Beta, Gamma and Dirichlet that are too close to an
    end of their support to a number inside, which has another score; these are logtrick's own families here. Of other
    draws on the unit interval or the positive half-line, those that are so rounded have the score nan. The costs of a draw
    that its own support or log-prob excludes are nan, as are those of a truncated distribution too far out in a tail.

    Args:
      dist: a `numpyro.distributions.Distribution`; build it inside the differentiated function.
      event_ndims: the number of dimensions of ONE draw, batch dimensions included, to sum the log-prob over the batch.
        Unless given, a batch shape is an error.
      fixed_support: True declares that the support stands still where NumPyro's does not say so (a flow onto Rⁿ).
    Returns:
      A distribution; draws have shape `batch_shape + event_shape`.
    Raises:
      ImportError: NumPyro is not installed.
      TypeError: `dist` is not one of its distributions.
      ValueError: batch dimensions without `event_ndims`; a masked distribution, whose log-prob is not that of its draws.
    Example:
      >>> import jax, jax.numpy as jnp, logtrick as lt, numpyro.distributions as nd
      >>> def value(logits):
      ...     coins = lt.adapters.from_numpyro(nd.Bernoulli(logits=logits).to_event(1))
      ...     return lt.expect(jax.random.key(0), lambda x: (x.sum() - 0.9) ** 2, coins, estimator=lt.Enumerate())
      >>> [round(g, 3) for g in jax.grad(value)(jnp.zeros(2)).tolist()]
      [0.05, 0.05]
    """
    nd = load(_WHERE, "numpyro", "numpyro.distributions")
    instance(_WHERE, dist, nd.Distribution)
    if any(isinstance(part, nd.distribution.MaskedDistribution) for part in _parts(dist)):
        raise ValueError(
            f"{_WHERE}(dist=…) needs a distribution whose log_prob is that of its draws; got a masked one. Multiply the "
            "cost by the mask instead."
        )
    shape = whole_shape(
        _WHERE,
        f".to_event({len(dist.batch_shape)})",
        dist.batch_shape,
        dist.event_shape,
        event_ndims,
    )
    own = own_family(dist, shape, _base)
    if own is not None:
        return own
    return _NumPyro(*apart(dist), shape, _is_reparameterized(dist), fixed_support)


def _parts(dist: Any) -> list[Any]:
    """`dist` and what it wraps, outermost first."""
    parts = [dist]
    while hasattr(parts[-1], "base_dist"):
        parts.append(parts[-1].base_dist)
    return parts


def _base(dist: Any) -> Any:
    """The distribution inside `.to_event` and `.expand`."""
    nd = load(_WHERE, "numpyro", "numpyro.distributions")
    while isinstance(dist, nd.Independent | nd.ExpandedDistribution):
        dist = dist.base_dist
    return dist


def _is_reparameterized(dist: Any) -> bool:
    # NumPyro compares two sets of names, which are equal where a class declares neither: that declares nothing.
    nd = load(_WHERE, "numpyro", "numpyro.distributions")
    inner = _parts(dist)[-1]
    own = type(inner).has_rsample is not nd.Distribution.has_rsample
    return (
        bool(dist.has_rsample)
        and bool(inner.has_rsample)
        and (own or bool(inner.reparametrized_params))
    )


def _logits_log_prob(base: Any) -> Callable[[Any], Array] | None:
    """log p(x) where NumPyro's own has a wrong derivative: at logits of exactly 0 its clip gives scores 0 and 1 for ∓½."""
    nd = load(_WHERE, "numpyro", "numpyro.distributions")
    family: Callable[[Array], Distribution]
    if type(base) is nd.discrete.BernoulliLogits:
        family = Bernoulli
    elif type(base) is nd.discrete.BinomialLogits:
        family = lambda logits: Binomial(base.total_count, logits)
    else:
        return None
    return lambda x: family(jnp.broadcast_to(base.logits, jnp.shape(x))).log_prob(x)


def _count_of_values(dist: Any) -> Array | None:
    """About how many values NumPyro's sampler of a truncated distribution can draw; None for all others.

    None also for those whose distribution function is accurate in the lower tail, on which NumPyro reflects the upper one.
    """
    nd = load(_WHERE, "numpyro", "numpyro.distributions")
    truncated = (
        nd.LeftTruncatedDistribution,
        nd.RightTruncatedDistribution,
        nd.TwoSidedTruncatedDistribution,
    )
    if not isinstance(dist, truncated) or type(dist.base_dist) in (nd.Normal, nd.Logistic):
        return None
    low, high = getattr(dist, "low", -jnp.inf), getattr(dist, "high", jnp.inf)
    mode = jnp.clip(dist.base_dist.loc, low, high)
    mass = jnp.exp(dist.base_dist.log_prob(mode) - dist.log_prob(mode))
    return mass / jnp.finfo(mass.dtype).eps


def _lists(dist: Any) -> bool:
    return bool(dist.has_enumerate_support) and _base(dist).event_shape == ()


def _moving(dist: Any) -> list[Any]:
    """What the support depends on, in `dist` and in every distribution that it holds.

    The constraint's bounds, a point mass's place, transforms not onto Rⁿ.
    """
    nd = load(_WHERE, "numpyro", "numpyro.distributions")
    bounds = []
    for part in parts_of(dist, nd.Distribution):
        bounds += jax.tree.leaves(part.support)
        if isinstance(part, nd.Delta):
            bounds.append(part.v)
        if isinstance(part, nd.TransformedDistribution):
            bounds += _movers(part)
    return bounds


def _movers(dist: Any) -> list[Any]:
    """The transforms of a transformed distribution that may move its support."""
    return moved(support_of(dist.base_dist.support).whole_space, dist.transforms, _is_onto)


def _is_onto(transform: Any) -> bool:
    t = load(_WHERE, "numpyro", "numpyro.distributions.transforms")
    onto = (t.AffineTransform, t.LowerCholeskyAffine, t.IdentityTransform, t.PermuteTransform)
    return isinstance(transform, onto)


_LIBRARY = Library(
    forward=lambda step, x: step(x),
    inverse=lambda step, y: step.inv(y),
    log_det=lambda step, x: step.log_abs_det_jacobian(x, step(x)),
    is_onto=_is_onto,
)


def support_of(constraint: Any) -> Support:
    """logtrick's support for a NumPyro constraint; `Unknown` where there is none."""
    c = load(_WHERE, "numpyro", "numpyro.distributions.constraints")
    while isinstance(constraint, c.independent):
        constraint = constraint.base_constraint
    kind = type(constraint)
    plain = [
        (c.real, supports.Real), (c.positive, supports.Positive), (c.nonnegative, supports.Positive),
        (c.softplus_positive, supports.Positive), (c.unit_interval, supports.UnitInterval), (c.simplex, supports.Simplex),
        (c.ordered_vector, supports.Ordered), (c.lower_cholesky, supports.CovarianceCholesky),
        (c.corr_cholesky, supports.CorrelationCholesky), (c.boolean, supports.Boolean),
        (c.nonnegative_integer, supports.NonNegativeInteger),
    ]  # fmt: skip
    for known, support in plain:
        if type(known) is kind:
            return support()
    if kind is c.interval:
        return supports.Interval(constraint.lower_bound, constraint.upper_bound)
    low, high = (getattr(constraint, name, None) for name in ("lower_bound", "upper_bound"))
    if kind is c.integer_interval and isinstance(low, int) and isinstance(high, int) and low == 0:
        return supports.IntegerBelow(high + 1)
    return Countable() if _is_discrete(constraint, c) else supports.Unknown()


def _is_discrete(constraint: Any, c: Any) -> bool:
    return not c.is_dependent(constraint) and bool(constraint.is_discrete)
