"""`lt.gradient_statistics`: mean, variance, standard error, signal-to-noise and bias of a gradient estimate."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from logtrick._core import checks
from logtrick._core.keys import as_key
from logtrick._core.module import Module, static
from logtrick.diagnostics._replicates import Moments, Replicator, moments, replicator
from logtrick.training._adaptive import partition

# A variance, and an error, count as zero to rounding within these multiples of the float's epsilon.
_SPREAD, _ERROR = 8, 64


class GradientStatistics(Module):
    """What many independent gradient estimates look like, float64 numpy arrays in pytrees like the parameters.

    Attributes:
      mean: their mean.
      variance: the variance of ONE estimate, per coordinate (one degree of freedom taken off).
      standard_error: of `mean`, √(variance / num_replicates).
      signal_to_noise: |mean| / √variance per coordinate; inf where only the variance is 0, 0 where both are.
      bias_z: (mean − reference) / standard_error per coordinate; None without a reference.
      exact: whether all variances and all errors are zero to rounding; False without a reference.
      value: the mean of the objective's value.
      num_replicates: how many estimates there were.
    """

    mean: Any
    variance: Any
    standard_error: Any
    signal_to_noise: Any
    bias_z: Any
    exact: bool = static()
    value: float = static()
    num_replicates: int = static()


def gradient_statistics(
    key: Any,
    objective: Callable[..., Any],
    params: Any,
    *,
    num_replicates: int,
    reference: Any = None,
    block_size: int | None = None,
) -> GradientStatistics:
    """Mean, variance, standard error, signal-to-noise and bias of an objective's gradient estimate.

    ḡ = (1/n) Σᵢ gᵢ, s² = Σᵢ (gᵢ − ḡ)² / (n − 1), z = (ḡ − g) / (s / √n), gᵢ = ∇ objective(params, keyᵢ), n =
    `num_replicates` independent keys. Moments are centred before they are squared, and in float64. Where the estimates
    do not vary, to rounding, z is the error in units of rounding if it is beyond that, else 0: never 0/0.

    Args:
      key: a typed key; replicate i depends on it and i alone.
      objective: `objective(params, key) -> value`, or `(value, aux)`, whose adaptive loss is left out.
      params: where the gradient is taken.
      num_replicates: n ≥ 2.
      reference: the exact gradient, a pytree like `params`.
      block_size: replicates evaluated at once; None bounds the memory of the largest array to 16 MB.
    Returns:
      A `GradientStatistics`. Statistics of estimators in `params`, which have no gradient, are None in it.
    Raises:
      TypeError: parameters that have no gradient.
      ValueError: one replicate, an objective that is no scalar, a reference unlike the parameters.
    References:
      Chan, Golub & LeVeque (1983), "Algorithms for Computing the Sample Variance".
    Example:
      >>> import jax, logtrick as lt
      >>> objective = lambda mu, key: lt.expect(key, lambda x: x**2, lt.Normal(mu, 1.0), num_samples=10)
      >>> stats = lt.gradient_statistics(jax.random.key(0), objective, 1.0, num_replicates=5000, reference=2.0)
      >>> round(float(stats.mean), 1), bool(abs(stats.bias_z) < 4)
      (2.0, True)
    """
    where = "lt.gradient_statistics"
    key, params, reference = prepared(where, key, params, num_replicates, reference)
    if block_size is not None:
        checks.positive_int(where, "block_size", block_size)
    return statistics(
        replicator(where, objective), key, params, num_replicates, reference, block_size
    )


def prepared(
    where: str, key: Any, params: Any, num_replicates: int, reference: Any
) -> tuple[Any, Any, Any]:
    """The arguments, checked: typed key, arrays without weak types, the reference's leaves."""
    key = as_key(key)
    checks.positive_int(where, "num_replicates", num_replicates, 2)
    checks.differentiable(where, partition(params)[0])
    params = jax.tree.map(lambda x: jnp.asarray(x, jnp.result_type(x)), params)
    if reference is not None:
        trained = partition(params)[0]
        want = jax.tree.map(jnp.shape, trained)
        if jax.tree.structure(reference) == jax.tree.structure(params):
            reference = partition(reference)[0]
        if (
            jax.tree.structure(reference) != jax.tree.structure(trained)
            or jax.tree.map(np.shape, reference) != want
        ):
            raise ValueError(
                f"{where}(reference=…) needs a pytree like params, of shapes {want}; got {jax.tree.map(np.shape, reference)}."
            )
        reference = [np.asarray(x, np.float64) for x in jax.tree.leaves(reference)]
    return key, params, reference


def statistics(
    work: Replicator,
    key: Any,
    params: Any,
    count: int,
    reference: list[np.ndarray] | None,
    block: int | None,
) -> GradientStatistics:
    """The statistics of arguments that were checked."""
    value, leaves = moments(work, key, params, count, block)
    trained = partition(params)[0]
    tree = jax.tree.structure(trained)
    epsilons = [float(jnp.finfo(x.dtype).eps) for x in jax.tree.leaves(trained)]
    judged = None
    if reference is not None:
        judged = [_judge(m, r, e, value.peak) for m, r, e in zip(leaves, reference, epsilons)]
    return GradientStatistics(
        mean=tree.unflatten([np.asarray(m.mean) for m in leaves]),
        variance=tree.unflatten([m.variance for m in leaves]),
        standard_error=tree.unflatten([np.sqrt(m.variance / count) for m in leaves]),
        signal_to_noise=tree.unflatten(
            [_ratio(np.abs(m.mean), np.sqrt(m.variance)) for m in leaves]
        ),
        bias_z=None if judged is None else tree.unflatten([z for z, _ in judged]),
        exact=judged is not None and all(exact for _, exact in judged),
        value=float(value.mean),
        num_replicates=count,
    )


def _ratio(above: Any, below: Any) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((above == 0) & (below == 0), 0.0, np.divide(above, below))


def _judge(
    moment: Moments, reference: np.ndarray, epsilon: float, value: float
) -> tuple[np.ndarray, bool]:
    """z per coordinate, and whether the leaf is exact. An exact sum is exact to the rounding of its terms, which are of
    the size of the value, however small the sum is."""
    error, deviation = np.asarray(moment.mean - reference), np.sqrt(moment.variance)
    floor = _SPREAD * epsilon * moment.peak
    rounding = _ERROR * epsilon * (value + moment.peak + np.max(np.abs(reference), initial=0.0))
    still, right = deviation <= floor, np.abs(error) <= rounding
    spread = np.where(
        still, max(rounding, np.finfo(float).tiny), np.sqrt(moment.variance / moment.count)
    )
    return np.where(still & right, 0.0, error / np.where(spread > 0, spread, 1.0)), bool(
        np.all(still & right)
    )
