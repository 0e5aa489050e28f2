"""Distributions of TensorFlow Probability on JAX."""

from typing import Any

import jax
import jax.numpy as jnp

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
from logtrick.supports import Support

Array = jax.Array
_WHERE = "lt.adapters.from_tfp"
_MODULE = "tensorflow_probability.substrates.jax"
# TFP declares reparameterization, but no support: these lists do, by exact class.
_SUPPORTS: dict[str, type[Support] | None] = {
    **dict.fromkeys(
        names(
            "Normal Laplace Logistic Cauchy StudentT Gumbel MultivariateNormalDiag MultivariateNormalTriL "
            "MultivariateNormalFullCovariance MultivariateNormalDiagPlusLowRank"
        ),
        supports.Real,
    ),
    **dict.fromkeys(
        names("Gamma InverseGamma Exponential LogNormal HalfNormal Weibull Chi2 Chi"),
        supports.Positive,
    ),
    **dict.fromkeys(
        names("Beta LogitNormal Kumaraswamy RelaxedBernoulli ContinuousBernoulli"),
        supports.UnitInterval,
    ),
    **dict.fromkeys(names("Poisson NegativeBinomial Geometric"), supports.NonNegativeInteger),
    **dict.fromkeys(
        names(
            "Binomial BetaBinomial Multinomial DirichletMultinomial FiniteDiscrete Zipf Skellam PlackettLuce OrderedLogistic "
            "StoppingRatioLogistic ZeroInflatedNegativeBinomial PoissonLogNormalQuadratureCompound QuantizedDistribution"
        ),
    ),
    "Dirichlet": supports.Simplex,
}
_BINARY = ("Bernoulli", "ProbitBernoulli")
_BOUNDS = {
    **dict.fromkeys(names("Uniform PERT Triangular Bates TruncatedNormal TruncatedCauchy"), ("low", "high")),
    **dict.fromkeys(names("HalfCauchy HalfStudentT Deterministic VectorDeterministic"), ("loc",)),
    **dict.fromkeys(("GeneralizedPareto", "GeneralizedExtremeValue"), ("loc", "scale", "concentration")),
    "Pareto": ("scale",), "Empirical": ("samples",), "FiniteDiscrete": ("outcomes",),
}  # fmt: skip
_ONTO = names(
    "Shift Scale ScaleMatvecDiag ScaleMatvecTriL ScaleMatvecLU ScaleMatvecLinearOperator Identity Permute SinhArcsinh"
)
_INSIDE = ("Independent", "Sample", "BatchBroadcast", "BatchReshape")


class _TFP(Foreign):
    """A TensorFlow Probability distribution."""

    @property
    def support(self) -> Support:
        base = _base(self.foreign)
        name = _class(base)
        if name in _BINARY:
            return finite_support(2, binary=True)
        if name in ("Categorical", "OneHotCategorical"):
            return finite_support(_parameter(base).shape[-1], one_hot=name == "OneHotCategorical")
        support = _SUPPORTS.get(name)
        return supports.Unknown() if support is None else support()

    def _sample(self, key: Array) -> Array:
        return self.foreign.sample(seed=key)

    def _foreign_log_prob(self, x: Any) -> Array:
        return self.foreign.log_prob(x)

    def _pushed(self) -> Pushed | None:
        tfd = load(_WHERE, "tfp", _MODULE).distributions
        dist = self.foreign
        while _class(dist) == "Independent":
            dist = dist.distribution
        if not isinstance(dist, tfd.TransformedDistribution):
            return None
        base = dist.distribution
        if base.batch_shape != dist.batch_shape:
            return None
        sample = lambda key: base.sample(seed=key)
        whole_space = _is_real(base)
        return Pushed(_LIBRARY, sample, base.log_prob, whole_space, tuple(_steps(dist.bijector)))

    def _ends(self) -> tuple[Any, Any]:
        base = _base(self.foreign)
        if _BOUNDS.get(_class(base)) != ("low", "high"):
            return None, None
        return base.low, base.high

    def _counts_of_values(self) -> list[Array]:
        # Far out in a tail TFP draws from both ends of the interval, or always one number, and scores it as any other.
        tfd = load(_WHERE, "tfp", _MODULE).distributions
        counts = [_count_of_values(part) for part in parts_of(self.foreign, tfd.Distribution)]
        return [count for count in counts if count is not None]

    def _bounds(self) -> Any:
        return _moving(self.foreign)


@in_words("lt.adapters.from_tfp")
def from_tfp(
    dist: Any, event_ndims: int | None = None, *, fixed_support: bool = False
) -> Distribution:
    """A distribution of TensorFlow Probability's JAX substrate as one of logtrick's.

    Its `reparameterization_type` decides whether `Pathwise` is legal: FULLY_REPARAMETERIZED only. TFP declares no support:
    Bernoulli and the categorical classes, also inside `Independent` and `Sample`, can be enumerated; where a class's support
    is known to move with parameters (`Uniform`, `Pareto`, a transform that is not onto Rⁿ, …) the score function refuses
    their derivative. Derivatives reach the distribution's own parameters. Log-probs are TFP's own, outside the support too
    (its Categorical of three values gives 7 the log-prob 0): only draws and listed values are ever scored here. Beta, Gamma,
    Chi2 and Dirichlet, whose draws TFP moves away from the ends of their support, are logtrick's own families here.

    Args:
      dist: a `tfp.distributions.Distribution` over one array; build it inside the differentiated function.
      event_ndims: the number of dimensions of ONE draw, batch dimensions included, to sum the log-prob over the batch.
        Unless given, a batch shape is an error.
      fixed_support: True declares that the support stands still where the lists do not (a spline flow onto Rⁿ).
    Returns:
      A distribution; draws have shape `batch_shape + event_shape`.
    Raises:
      ImportError: TFP is not installed.
      TypeError: `dist` is not one of its distributions, or is a joint one.
      ValueError: batch dimensions without `event_ndims`; a masked distribution, whose log-prob is not that of its draws.
    Example:
      >>> import jax, jax.numpy as jnp, logtrick as lt
      >>> from tensorflow_probability.substrates.jax import distributions as tfd
      >>> def value(logits):
      ...     coins = lt.adapters.from_tfp(tfd.Independent(tfd.Bernoulli(logits=logits), 1))
      ...     return lt.expect(jax.random.key(0), lambda x: (x.sum() - 0.9) ** 2, coins, estimator=lt.Enumerate())
      >>> [round(g, 3) for g in jax.grad(value)(jnp.zeros(2)).tolist()]
      [0.05, 0.05]
    """
    tfd = load(_WHERE, "tfp", _MODULE).distributions
    instance(_WHERE, dist, tfd.Distribution)
    if isinstance(dist, tfd.JointDistribution):
        raise TypeError(
            f"{_WHERE}(dist=…) needs a distribution over one array; got {type(dist).__name__}. Use lt.expect_program, "
            "or lt.Joint of the adapted parts."
        )
    if any(isinstance(part, tfd.Masked) for part in _parts(dist)):
        raise ValueError(
            f"{_WHERE}(dist=…) needs a distribution whose log_prob is that of its draws; got a masked one. Multiply the "
            "cost by the mask instead."
        )
    shape = whole_shape(_WHERE, "tfd.Independent", dist.batch_shape, dist.event_shape, event_ndims)
    own = own_family(dist, shape, _inside)
    if own is not None:
        return own
    pathwise = dist.reparameterization_type == tfd.FULLY_REPARAMETERIZED
    return _TFP(*apart(dist), shape, pathwise, fixed_support)


def _parts(dist: Any) -> list[Any]:
    """`dist` and what it wraps, outermost first."""
    parts = [dist]
    while hasattr(parts[-1], "distribution"):
        parts.append(parts[-1].distribution)
    return parts


def _base(dist: Any) -> Any:
    """The distribution inside `Independent`, `Sample` and what only reshapes."""
    while _class(dist) in _INSIDE:
        dist = dist.distribution
    return dist


def _class(thing: Any) -> str:
    return class_name(thing, "tensorflow_probability")


def _is_real(dist: Any) -> bool:
    return _SUPPORTS.get(_class(_base(dist))) is supports.Real


def _inside(dist: Any) -> Any:
    """The distribution inside of wrappers that only broadcast it, or declare dimensions to be of the event."""
    while True:
        kind = _class(dist)
        repeated = kind == "Sample" and not tuple(dist.distribution.batch_shape)
        if kind not in ("Independent", "BatchBroadcast") and not repeated:
            return dist
        dist = dist.distribution


def _count_of_values(dist: Any) -> Array | None:
    """About how many values TFP's sampler of a truncated distribution can draw; None where it is no such distribution."""
    name = _class(dist)
    if name not in ("TruncatedNormal", "TruncatedCauchy"):
        return None
    mode = jnp.clip(dist.loc, dist.low, dist.high)
    if name == "TruncatedNormal":
        # it inverts the distribution function between its values at the ends
        whole = jax.scipy.stats.norm.logpdf(mode, dist.loc, dist.scale)
        return jnp.exp(whole - dist.log_prob(mode)) / jnp.finfo(mode.dtype).eps
    return (dist.high - dist.low) / jnp.spacing(jnp.abs(mode - dist.loc))


def _parameter(base: Any) -> Array:
    return base.logits if base.logits is not None else base.probs


def _moving(dist: Any) -> list[Any]:
    """What the support depends on, by class, in `dist` and in every distribution that it holds."""
    tfd = load(_WHERE, "tfp", _MODULE).distributions
    bounds: list[Any] = []
    for part in parts_of(dist, tfd.Distribution):
        name = _class(part)
        bounds += [getattr(part, field) for field in _BOUNDS.get(name, ())]
        if name == "QuantizedDistribution":
            bounds += [bound for bound in (part.low, part.high) if bound is not None]
        if name == "TransformedDistribution":
            bounds += moved(_is_real(part.distribution), _steps(part.bijector), _is_onto)
    return bounds


def _steps(bijector: Any) -> list[Any]:
    """The bijectors of a chain in the order of their application."""
    if _class(bijector) == "Chain":
        return [step for part in reversed(bijector.bijectors) for step in _steps(part)]
    return [bijector]


def _is_onto(bijector: Any) -> bool:
    return _class(bijector) in _ONTO


_LIBRARY = Library(
    forward=lambda step, x: step.forward(x),
    inverse=lambda step, y: step.inverse(y),
    log_det=lambda step, x: step.forward_log_det_jacobian(x, event_ndims=jnp.ndim(x)),
    is_onto=_is_onto,
)
