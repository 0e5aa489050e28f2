"""`lt.gradient_statistics`: mean, variance, standard error, signal-to-noise and bias of a gradient estimate."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from logtrick._core import checks
from logtrick._core.calls import in_words
from logtrick._core.keys import as_key
from logtrick._core.module import Module, static
from logtrick._core.objectives import check_swapped
from logtrick.diagnostics._moments import GradientMoments, heavy_share
from logtrick.diagnostics._reference import Reference, constant, given, judge, rounding_of
from logtrick.diagnostics._replicates import Replicator, moments, replicator
from logtrick.diagnostics._tables import html_table, number, text_table
from logtrick.training import partition


class GradientStatistics(Module):
    """What many independent gradient estimates look like, float64 numpy arrays in pytrees like the parameters.

    Attributes:
      mean: their mean.
      variance: the variance of ONE estimate, per coordinate (divided by n − 1).
      standard_error: of `mean`, √(variance / num_replicates).
      signal_to_noise: |mean| / √variance per coordinate; inf where only the variance is 0, 0 where both are.
      bias_z: (mean − reference) / standard_error per coordinate; None without a reference.
      tail_share: the largest share of one replicate in the sum of squared deviations, per coordinate.
      leaf_variance: the variance of one estimate summed over a leaf's coordinates, a number per leaf.
      leaf_interval: its interval, an array (low, high) per leaf.
      total_variance: the variance of one estimate, summed over all coordinates.
      total_interval: its interval (low, high): the range of the variances of eight groups of replicates.
      largest_share: the largest share of one replicate in the sum of squared deviations, all coordinates together. Where it
        is large, the variance is hardly known.
      exact: whether all variances and all errors are zero to the rounding of each coordinate; False without a reference.
      constant: whether no coordinate varies, to rounding; what there is of variance is rounding too.
      zero: whether every estimate is exactly 0 in every coordinate; most often a gradient that is cut off.
      unseen: how many coordinates vanished, or did not vary, in all replicates, but not in the reference, though they
        depend on the key: they are cut off, or depend on outcomes too rare to be seen in so many replicates.
      sampled: whether the gradient can depend on the key.
      value: the mean of the objective's value.
      value_error: its standard error.
      num_replicates: how many estimates there were.
    """

    mean: Any
    variance: Any
    standard_error: Any
    signal_to_noise: Any
    bias_z: Any
    tail_share: Any
    leaf_variance: Any
    leaf_interval: Any
    total_variance: float = static()
    total_interval: tuple[float, float] = static()
    largest_share: float = static()
    exact: bool = static()
    constant: bool = static()
    zero: bool = static()
    unseen: int = static()
    sampled: bool = static()
    value: float = static()
    value_error: float = static()
    num_replicates: int = static()

    @property
    def heavy_tails(self) -> bool:
        """Whether one replicate makes so much of the variance that it is hardly known."""
        return self.largest_share > self._heavy_share

    @property
    def _heavy_share(self) -> float:
        """The share of one replicate beyond which tails are heavy."""
        return heavy_share(self.num_replicates)

    @property
    def largest_z(self) -> float | None:
        """The largest |bias_z| of a coordinate; None without a reference."""
        if self.bias_z is None:
            return None
        found = [np.max(np.abs(z), initial=0.0) for z in jax.tree.leaves(self.bias_z)]
        return float(np.max(found))

    @property
    def largest_clear_z(self) -> float | None:
        """The largest |bias_z| of a coordinate without heavy tails; None without a reference.

        Under heavy tails neither the mean nor its standard error is known, and z is no normal number.
        """
        if self.bias_z is None:
            return None
        pairs = zip(jax.tree.leaves(self.bias_z), jax.tree.leaves(self.tail_share))
        clear = [np.abs(z)[share <= self._heavy_share] for z, share in pairs]
        return float(np.max([np.max(z, initial=0.0) for z in clear]))

    @property
    def total_signal_to_noise(self) -> float:
        """‖E g‖ / √(total variance), the square of the norm corrected for the noise of the mean; inf without noise."""
        squared = sum(float(np.sum(np.square(m))) for m in jax.tree.leaves(self.mean))
        signal = max(squared - self.total_variance / self.num_replicates, 0.0)
        if self.total_variance == 0:
            return math.inf if signal > 0 else 0.0
        return math.sqrt(signal / self.total_variance)

    def __repr__(self) -> str:
        return f"{self._headline()}\n{text_table(_HEAD, self._rows())}"

    def _repr_html_(self) -> str:
        return html_table(_HEAD, self._rows(), caption=self._headline())

    def _headline(self) -> str:
        low, high = self.total_interval
        parts = [
            f"{self.num_replicates:,} gradients: total variance {number(self.total_variance)} "
            f"({number(low)} to {number(high)})",
            f"signal-to-noise {number(self.total_signal_to_noise)}",
            f"value {number(self.value)}",
        ]
        if self.zero:
            parts.append("every gradient is exactly 0")
        elif self.exact:
            parts.append("exact")
        if self.heavy_tails:
            parts.append(
                f"heavy tails: one gradient makes {self.largest_share:.0%} of the variance"
            )
        return ", ".join(parts)

    def _rows(self) -> list[list[str]]:
        paths = jax.tree_util.tree_flatten_with_path(self.mean)[0]
        zs = [None] * len(paths) if self.bias_z is None else jax.tree.leaves(self.bias_z)
        variances = jax.tree.leaves(self.leaf_variance)
        rows = []
        for (path, mean), variance, z in zip(paths, variances, zs):
            norm = float(np.linalg.norm(mean))
            ratio = float(_ratio(norm, math.sqrt(variance)))
            worst = "–" if z is None else number(float(np.max(np.abs(z), initial=0.0)))
            name = jax.tree_util.keystr(path) or "params"
            shape = str(np.shape(mean))
            rows.append([name, shape, number(norm), number(variance), number(ratio), worst])
        return rows


_HEAD = ["leaf", "shape", "norm of the mean", "variance", "norm / √variance", "largest |bias z|"]


@in_words("lt.gradient_statistics", further=((int, "num_replicates"),))
def gradient_statistics(
    key: Any,
    objective: Callable[..., Any],
    params: Any,
    *,
    num_replicates: int,
    reference: Any = None,
    data: Any = None,
    block_size: int | None = None,
) -> GradientStatistics:
    """Mean, variance, standard error, signal-to-noise and bias of an objective's gradient estimate.

    ḡ = (1/n) Σᵢ gᵢ, s² = Σᵢ (gᵢ − ḡ)² / (n − 1), z = (ḡ − g) / (s / √n), gᵢ = ∇ objective(params, keyᵢ), n =
    `num_replicates` independent keys. Moments are centered before they are squared, and in float64. Where a coordinate
    does not vary, to rounding (64 epsilons of its own size; 2 of 16-bit floats), z is its error in units of that, 0 within it:
    never 0/0.

    The compiled objective is found again by its code and by the data behind it (closed-over values, defaults, globals,
    attributes), as for `lt.minimize`: one made inline again compiles nothing, and changed data are seen, NumPy arrays above
    16 MB that are changed in place excepted.

    Args:
      key: a typed key; replicate i depends on it and i alone.
      objective: `objective(params, key) -> value`, or `(value, aux)`, whose adaptive loss is left out; or a program, a
        generator function of `params`, which is run by `lt.expect_program`.
      params: where the gradient is taken.
      num_replicates: n ≥ 2.
      reference: the exact gradient, a pytree like `params`; or a function of `params` whose value is the exact
        expectation, which is differentiated.
      data: a pytree of arrays, passed to the objective as its third argument; None for none.
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
    check_swapped(where, key, params)
    key, params, num_replicates = prepared(where, key, params, num_replicates)
    if block_size is not None:
        block_size = checks.positive_int(where, "block_size", block_size)
    work = replicator(where, objective, data is not None, params)
    judged = given(where, reference, params)
    found = replicates(work, key, params, as_data(data), num_replicates, block_size)
    return statistics(found, params, judged)


def prepared(where: str, key: Any, params: Any, num_replicates: Any) -> tuple[Any, Any, int]:
    """The arguments, checked: a typed key, parameters as arrays without weak types, and a Python int."""
    key = as_key(key)
    num_replicates = checks.positive_int(where, "num_replicates", num_replicates, 2)
    checks.differentiable(where, partition(params)[0])
    params = jax.tree.map(lambda x: jnp.asarray(x, jnp.result_type(x)), params)
    return key, params, num_replicates


def as_data(data: Any) -> tuple[Any, ...]:
    """The objective's further arguments: none, or the data as arrays without weak types."""
    if data is None:
        return ()
    return (jax.tree.map(lambda x: jnp.asarray(x, jnp.result_type(x)), data),)


class Replicates:
    """The moments of one objective's values and gradients, and whether these are sampled."""

    def __init__(self, value: Any, gradient: GradientMoments, count: int, sampled: bool) -> None:
        self.value, self.gradient, self.count, self.sampled = value, gradient, count, sampled


def replicates(
    work: Replicator, key: Any, params: Any, data: tuple[Any, ...], count: int, block: int | None
) -> Replicates:
    """Run an objective `count` times."""
    sampled = work.probe(params, key, data).sampled
    return Replicates(*moments(work, key, params, data, count, block), count, sampled)


def roundings_of(params: Any) -> list[float]:
    """For each leaf that has a gradient, the relative error that counts as rounding."""
    return [rounding_of(x.dtype) for x in jax.tree.leaves(partition(params)[0])]


def statistics(found: Replicates, params: Any, reference: Reference | None) -> GradientStatistics:
    """What the moments say, beside a reference where there is one."""
    trained = partition(params)[0]
    tree = jax.tree.structure(trained)
    roundings = roundings_of(params)
    leaves = found.gradient.leaves
    indices = range(len(leaves))
    bias_z, exact, unseen = None, False, 0
    if reference is not None:
        size = float(found.value.peak)
        judged = [
            judge(leaves[i], reference, i, roundings[i], size, found.sampled) for i in indices
        ]
        bias_z = tree.unflatten([j.z for j in judged])
        exact = all(bool(np.all(j.exact)) for j in judged)
        unseen = sum(int(np.sum(j.unseen)) for j in judged)
    return GradientStatistics(
        mean=tree.unflatten([np.asarray(m.mean) for m in leaves]),
        variance=tree.unflatten([m.variance for m in leaves]),
        standard_error=tree.unflatten([np.sqrt(m.variance / found.count) for m in leaves]),
        signal_to_noise=tree.unflatten(
            [_ratio(np.abs(m.mean), np.sqrt(m.variance)) for m in leaves]
        ),
        bias_z=bias_z,
        tail_share=tree.unflatten([m.largest_share for m in leaves]),
        leaf_variance=tree.unflatten([found.gradient.variance(i) for i in indices]),
        leaf_interval=tree.unflatten([np.array(found.gradient.interval(i)) for i in indices]),
        total_variance=sum(found.gradient.variance(i) for i in indices),
        total_interval=found.gradient.total_interval(),
        largest_share=found.gradient.largest_share,
        exact=exact,
        constant=all(bool(np.all(constant(m, r))) for m, r in zip(leaves, roundings)),
        zero=all(bool(np.all(m.peak == 0)) for m in leaves),
        unseen=unseen,
        sampled=found.sampled,
        value=float(found.value.mean),
        value_error=math.sqrt(found.value.variance / found.count),
        num_replicates=found.count,
    )


def _ratio(above: Any, below: Any) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((above == 0) & (below == 0), 0.0, np.divide(above, below))
