"""The exact mean and variance of an estimator: every tuple of draws through the real engine, weighted by probability."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from logtrick._core import checks
from logtrick._core.calls import in_words
from logtrick.distributions import Distribution
from logtrick.estimators import Estimator, ScoreFunction
from logtrick.expectations import expect
from logtrick.noise import NoNoise, Uniform, injected
from logtrick.programs import host_errors_surface
from logtrick.testing._atoms import weighted_atoms
from logtrick.testing._given_draws import GivenDraws
from logtrick.testing._nodes import (
    cell_rule,
    digits,
    is_normal,
    leaves_of,
    normal_rule,
    size_of,
    spread,
    unsupported,
)

_TUPLES, _BATCH = 2**18, 2**12


class EstimatorMoments(NamedTuple):
    """The exact moments of one call of an estimator, float64.

    Attributes:
      mean: of the gradient, a pytree like the parameters: the gradient itself where the estimator is unbiased.
      variance: of the gradient, per coordinate.
      value: the mean of the value.
    """

    mean: Any
    variance: Any
    value: float


@host_errors_surface([])
@in_words("lt.testing.exact_estimator_variance")
def exact_estimator_variance(
    f: Callable[[Any, Any], Any],
    family: Callable[[Any], Distribution],
    params: Any,
    *,
    estimator: Estimator = ScoreFunction(),  # noqa: B008  # frozen
    num_samples: int = 2,
    breaks: Any = None,
    order: int | None = None,
) -> EstimatorMoments:
    """The exact mean and variance of one `lt.expect` call's gradient, over all that it can draw.

    E[g] = Σ_{x₁…xₙ} Π p(xᵢ) g(x₁…xₙ) and Var[g] likewise, centered. The draws go through `lt.expect` itself: for finite
    supports every tuple of num_samples draws; for standard-normal noise Gauss–Hermite nodes (exact for polynomials); for an
    estimator with uniform noise of its own Gauss–Legendre nodes in the cells between `breaks`.

    Args:
      f: `f(x, params) -> scalar`.
      family: `family(params)` is the distribution.
      params: θ, where the gradient is taken.
      estimator: of the gradient.
      num_samples: n, draws a call; points ** n tuples, at most 2¹⁸.
      breaks: for an estimator with uniform noise of its own: one sequence for every coordinate of a sample's noise, where in
        (0, 1) its gradient jumps. An unneeded break does no harm, a missing one makes the result wrong.
      order: nodes a dimension (a cell, with `breaks`: 4 unless said otherwise).
    Returns:
      `EstimatorMoments(mean, variance, value)`.
    Raises:
      ValueError: too many tuples; probabilities that do not sum to 1; noise that can be neither enumerated nor integrated;
        `breaks` missing or of another length than the noise; an expectation inside of f that draws.
    Example:
      >>> import logtrick as lt
      >>> f = lambda x, t: (x - 0.45) ** 2
      >>> for baseline in lt.NoBaseline(), lt.LeaveOneOut():                         # both have mean 0.025
      ...     m = lt.testing.exact_estimator_variance(f, lt.Bernoulli, 0.0, estimator=lt.ScoreFunction(baseline))
      ...     print(f"{float(m.mean):.4f} {float(m.variance):.5f}")
      0.0250 0.00797
      0.0250 0.00063
    """
    where = "exact_estimator_variance"
    n = checks.positive_int(where, "num_samples", num_samples)
    checks.differentiable(where, params)
    params = jax.tree.map(lambda x: jnp.asarray(x, jnp.result_type(x)), params)
    dist = family(params)
    given = False
    if all(isinstance(leaf, NoNoise) for leaf in leaves_of(estimator.noise(dist))):
        n, noise, logs = 1, None, np.zeros(1)
    elif not _draws_from(estimator, dist):
        noise, logs = _own_noise(where, estimator.noise(dist), breaks, order or 4)
    elif dist.support.finite:
        given = True
        noise, log_p, _ = weighted_atoms(where, dist)
        logs = np.asarray(log_p, np.float64)
    elif is_normal(dist):
        nodes, logs = normal_rule(size_of(dist.noise_spec), order, int(_TUPLES ** (1 / n) + 1e-9))
        noise = spread(dist.noise_spec, nodes)
    else:
        raise unsupported(where, dist)
    count = len(logs) ** n
    if count > _TUPLES:
        raise ValueError(
            f"{where}: {len(logs)} points of one draw make {count} tuples of {n}; at most {_TUPLES}. Use fewer samples."
        )
    tuples = digits(len(logs), n)

    def value(params: Any, rows: Any) -> Any:
        with injected(rows):
            made = family(params)
            made = GivenDraws(made) if given else made
            return expect(
                jax.random.key(0),
                lambda x: f(x, params),
                made,
                estimator=estimator,
                num_samples=num_samples,
            )

    def one(index: Any) -> Any:
        return jax.value_and_grad(value)(params, jax.tree.map(lambda a: a[index], noise))

    run = jax.jit(lambda indices: jax.lax.map(one, indices, batch_size=min(_BATCH, count)))
    values, grads = run(jnp.asarray(tuples, jnp.int32))
    return _moments(np.asarray(values, np.float64), grads, np.exp(logs[tuples].sum(1)))


def _moments(values: np.ndarray, grads: Any, weights: np.ndarray) -> EstimatorMoments:
    legal = weights > 0
    weights = weights[legal] / weights.sum()
    average = lambda g: np.tensordot(weights, np.asarray(g, np.float64)[legal], 1)
    mean = jax.tree.map(average, grads)
    centered = jax.tree.map(lambda g, m: (np.asarray(g, np.float64) - m) ** 2, grads, mean)
    return EstimatorMoments(mean, jax.tree.map(average, centered), float(average(values)))


def _draws_from(estimator: Estimator, dist: Distribution) -> bool:
    """Whether the estimator draws from the distribution: its noise is the distribution's.

    Asked of given draws where the support is finite: an estimator of bits may have as many uniforms of its own as the bits have.
    """
    asked = GivenDraws(dist) if dist.support.finite else dist
    return jax.tree.structure(estimator.noise(asked)) == jax.tree.structure(asked.noise_spec)


def _own_noise(where: str, spec: Any, breaks: Any, order: int) -> tuple[Any, np.ndarray]:
    if not all(isinstance(leaf, Uniform) for leaf in leaves_of(spec)):
        raise ValueError(
            f"{where} needs an estimator whose own noise is uniform; got {spec}. Use assert_unbiased on draws."
        )
    size = size_of(spec)
    if breaks is None or len(breaks) != size:
        got = "None" if breaks is None else f"{len(breaks)}"
        raise ValueError(
            f"{where}(breaks=…) needs a sequence for each of the {size} coordinates of a sample's uniform noise; got {got}. "
            "Give the points where the estimator jumps, [] where it does not."
        )
    flat, logs = cell_rule(list(breaks), order)
    return spread(spec, flat), logs
