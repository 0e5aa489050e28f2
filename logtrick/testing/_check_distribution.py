"""`check_distribution`: whether a sampler and a log-prob are of one distribution, and what an estimator needs holds."""

from collections.abc import Callable
from statistics import NormalDist
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from logtrick._core import checks
from logtrick._core.calls import described, in_words
from logtrick._core.keys import as_key, fold_in
from logtrick._core.watch import costs_watched, wait_until_noted
from logtrick.distributions import Distribution, value_of
from logtrick.testing._atoms import atoms

Array = jax.Array
_WHERE = "lt.testing.check_distribution"
_STEP = 1e-2  # of the parameters, relative
_TRIALS = 6
_BINS = 48
_MOST_POINTS = 2**12
_WATCHED = 64  # draws of another library


class DistributionReport(NamedTuple):
    """What `check_distribution` examined.

    Attributes:
      checked: the properties that hold, in words.
      not_checked: those that could not be examined, with the reason.
    """

    checked: tuple[str, ...]
    not_checked: tuple[str, ...]


class _Findings:
    def __init__(self) -> None:
        self.checked: list[str] = []
        self.not_checked: list[str] = []
        self.wrong: list[str] = []

    def note(self, prop: str, fault: str | None) -> None:
        if fault is None:
            self.checked.append(prop)
        else:
            self.wrong.append(f"{prop}: {fault}")


@in_words("lt.testing.check_distribution")
def check_distribution(
    key: Any,
    family: Callable[[Any], Distribution],
    params: Any,
    *,
    num_samples: int = 10_000,
    false_alarm: float = 1e-6,
) -> DistributionReport:
    """Check that a family's sampler and log-prob belong together, and that its support stands still.

    A mismatched pair of functions is the most common silent error that is left once an estimator is right. Checked are:
    draws and log-probs are finite, of one shape, and in the declared support; the expected score is 0 in every coordinate;
    no draw's log-prob turns −inf under a small step of the parameters (a support that moves with them, for which the score
    function misses the boundary's term); probabilities sum to 1 and draws come in proportion to them, where the support is
    finite or a draw is one number; `enumerate` lists the points of a finite support.

    Error rates. A right distribution fails with probability `false_alarm` or less in each of the two statistical checks, as
    far as means of `num_samples` scores are normal (not for scores of infinite variance). A wrong one is seen from about
    6 standard errors on: with 10,000 samples an expected score of 0.06 of its standard deviation, or an interval whose
    probability is off by a fifth.

    Args:
      key: a typed key.
      family: `family(params)` is the distribution, as for `lt.distribution(…)` or `lambda p: lt.Normal(p["m"], 1.0)`.
      params: θ, a pytree of float arrays.
      num_samples: how many draws to look at, at least 1000.
      false_alarm: of each statistical check, over all coordinates or intervals together.
    Returns:
      What was checked, and what could not be.
    Raises:
      ValueError: some property does not hold; the message lists all that do not, with numbers.
    References:
      Šidák (1967), "Rectangular Confidence Regions for the Means of Multivariate Normal Distributions"; Wilson & Hilferty
      (1931), "The Distribution of Chi-Square".
    Example:
      >>> import jax, jax.numpy as jnp, logtrick as lt
      >>> log_prob = lambda rate, x: jnp.log(rate) - rate * x
      >>> right = lt.distribution(log_prob, lambda key, rate: jax.random.exponential(key) / rate)
      >>> len(lt.testing.check_distribution(jax.random.key(0), right, 2.0).checked)
      4
      >>> wrong = lt.distribution(log_prob, lambda key, rate: jax.random.exponential(key) * rate)
      >>> try:
      ...     lt.testing.check_distribution(jax.random.key(0), wrong, 2.0)
      ... except ValueError as error:
      ...     print("expected score" in str(error))
      True
    """
    n = checks.positive_int(_WHERE, "num_samples", num_samples, 1000)
    if not callable(family):
        raise TypeError(
            f"{_WHERE}(family=…) needs a function of the parameters that gives a distribution; got {described(family)}. Pass "
            "lambda p: lt.Normal(p, 1.0), say."
        )
    checks.differentiable(_WHERE, params)
    params = jax.tree.map(lambda p: jnp.asarray(p, jnp.result_type(p)), params)
    dist = family(params)
    found = _Findings()

    def one(key: Array) -> Any:
        draw = jax.lax.stop_gradient(dist.draw(dist.noise(key)))
        log_prob = lambda p: checks.scalar_log_prob(_WHERE, family(p).log_prob(draw))
        return draw, *jax.value_and_grad(log_prob)(params)

    draw_key, step_key = (fold_in(as_key(key), i) for i in range(2))
    keys = jax.random.split(draw_key, n)
    draws, log_p, score = jax.jit(jax.vmap(one))(keys)
    x = value_of(draws)
    if not _finite(found, dist, x, np.asarray(log_p), _excluded(dist, keys[:_WATCHED])):
        _end(found, dist)
    _score_is_zero(found, dist, score, _largest(dist, family, params, draws), false_alarm)
    _support_stands_still(found, dist, family, params, draws, step_key)
    _law(found, dist, x, false_alarm)
    return _end(found, dist)


def _end(found: _Findings, dist: Distribution) -> DistributionReport:
    if found.wrong:
        name = type(dist).__name__.lstrip("_")
        faults = "".join(f"\n- {fault}" for fault in found.wrong)
        raise ValueError(f"{_WHERE}: {name} is not what it says it is.{faults}")
    return DistributionReport(tuple(found.checked), tuple(found.not_checked))


def _excluded(dist: Distribution, keys: Array) -> str | None:
    """Which draw of another library its own support or log-prob excludes, in words; None for none."""
    if not dist.checks_draws:
        return None
    noted: dict[str, str] = {}
    with costs_watched(noted):
        jax.block_until_ready(jax.vmap(lambda key: value_of(dist.draw(dist.noise(key))))(keys))
        wait_until_noted()
    return noted.get("draw")


def _finite(
    found: _Findings, dist: Distribution, x: Any, log_p: np.ndarray, excluded: str | None
) -> bool:
    """Whether draws and their log-probs are finite, and in the support; `excluded` says of a foreign one that it is not."""
    prop = "draws and their log-probs are finite and in the support"
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(x)]
    bad_draws = sum(
        (~np.isfinite(leaf).reshape(len(log_p), -1)).any(1)
        for leaf in leaves
        if np.issubdtype(leaf.dtype, np.inexact)
    )
    bad = int(np.count_nonzero(bad_draws))
    if bad or excluded is not None:
        infinite = f"{bad} of {len(log_p)} draws are nan or infinite"
        found.note(prop, infinite if excluded is None else excluded)
        return False
    wrong = ~np.isfinite(log_p)
    if wrong.any():
        found.note(
            prop,
            f"{wrong.sum()} of {len(log_p)} draws have a log-prob of {log_p[wrong][0]}, that of "
            f"{_shown(jax.tree.map(lambda a: a[int(np.argmax(wrong))], x))} for one. The sampler draws where the log-prob "
            "says that nothing is",
        )
        return False
    if len(leaves) > 1:
        found.note("draws and their log-probs are finite", None)
        found.not_checked.append("draws are in the support: a draw has several parts")
        return True
    outside = ~np.asarray(jax.vmap(dist.support.contains)(x))
    fault = f"{np.sum(outside)} of {len(log_p)} draws are outside of {dist.support!r}"
    found.note(prop, fault if np.any(outside) else None)
    return True


def _largest(dist: Distribution, family: Any, params: Any, draws: Any) -> Any:
    """The largest score, in each coordinate, at outcomes beside those drawn: some may be too rare to have been drawn.

    Looked at are all points of a finite support, and else what is next to a few draws of whole numbers; 0 where all draws
    are of floats, whose scores differ from draw to draw.
    """
    x = value_of(draws)
    if dist.support.finite:
        points = atoms(_WHERE, dist)
        if len(jax.tree.leaves(points)[0]) > _MOST_POINTS:
            points = jax.tree.map(lambda a: a[:_MOST_POINTS], points)
    else:
        points = _neighbors(x)

    def size(x: Any) -> Any:
        log_p, slope = jax.value_and_grad(lambda p: family(p).log_prob(x))(params)
        return jax.tree.map(lambda s: jnp.where(jnp.isfinite(log_p), jnp.abs(s), 0.0), slope)

    sizes = jax.jit(jax.vmap(size))(points)
    return jax.tree.map(lambda s: jnp.max(jnp.where(jnp.isfinite(s), s, 0.0), axis=0), sizes)


def _neighbors(x: Any) -> Any:
    """The first draws, with 1 added to and subtracted from what is whole in all draws, and one-hot rows rolled."""

    def moved(a: Array) -> Array:
        few = a[:_WATCHED]
        if not np.all(np.asarray(a) == np.floor(np.asarray(a))):
            return jnp.concatenate([few] * 3)
        rolled = jnp.roll(few, 1, axis=-1) if a.ndim > 1 else few
        return jnp.concatenate([few + 1, few - 1, rolled]).astype(a.dtype)

    return jax.tree.map(moved, x)


def _score_is_zero(
    found: _Findings, dist: Distribution, score: Any, largest: Any, false_alarm: float
) -> None:
    prop = "the expected score is 0"
    if dist.moving_support:
        moved = ", ".join(dist.moving_support)
        found.not_checked.append(f"{prop}: the support is declared to move with {moved}")
        return
    paths = jax.tree_util.tree_flatten_with_path(score)[0]
    count = sum(np.asarray(leaf)[0].size for _, leaf in paths)
    limit = -NormalDist().inv_cdf(-np.expm1(np.log1p(-false_alarm) / count) / 2)
    worst, where, mean = 0.0, "", 0.0
    for (path, leaf), size in zip(paths, jax.tree.leaves(largest)):
        s = np.asarray(leaf, np.float64).reshape(len(leaf), -1)
        error = s.std(0, ddof=1) / len(s) ** 0.5 + 8 * jnp.finfo(leaf.dtype).eps * np.abs(s).max(0)
        # Bernstein's bound, for what is rare: of an outcome that no draw shows, the deviation shows nothing
        error = error + limit / 6 / len(s) * np.asarray(size, np.float64).ravel()
        z = np.where(error > 0, s.mean(0) / np.where(error > 0, error, 1.0), 0.0)
        z = np.where(np.isfinite(s).all(0), z, np.inf)
        k = int(np.argmax(np.abs(z)))
        if np.abs(z[k]) > worst:
            worst, mean = float(np.abs(z[k])), float(s.mean(0)[k])
            where = f"params{jax.tree_util.keystr(path)}" + (f"[{k}]" if s.shape[1] > 1 else "")
    fault = (
        f"it is {mean:.4g} in {where}, {worst:.1f} standard errors from 0 (up to {limit:.1f} passes). The sampler and the "
        "log-prob are of different distributions, or the log-prob is not normalized, or the support moves with it"
    )
    found.note(prop, fault if worst > limit else None)


def _support_stands_still(
    found: _Findings, dist: Distribution, family: Any, params: Any, draws: Any, key: Any
) -> None:
    prop = "the support stands still under a step of the parameters"
    if dist.moving_support:
        moved = ", ".join(dist.moving_support)
        found.not_checked.append(f"{prop}: it is declared to move with {moved}")
        return

    def lost(key: Array) -> Array:
        leaves, tree = jax.tree.flatten(params)
        keys = jax.random.split(key, len(leaves))
        signs = [jax.random.rademacher(k, p.shape, p.dtype) for k, p in zip(keys, leaves)]
        moved = [p + _STEP * (jnp.abs(p) + 0.1) * s for p, s in zip(leaves, signs)]
        there = family(tree.unflatten(moved))
        return jnp.sum(jax.vmap(there.log_prob)(draws) == -jnp.inf)

    most = int(np.max(jax.jit(jax.vmap(lost))(jax.random.split(key, _TRIALS))))
    fault = (
        f"the log-prob of {most} draws turns -inf under a step of 1 %. The score function misses the boundary's term: use "
        "lt.Uniform, or another family that declares its moving support, with Pathwise()"
    )
    found.note(prop, fault if most else None)


def _law(found: _Findings, dist: Distribution, x: Any, false_alarm: float) -> None:
    """Compare the draws with the probabilities that the log-prob gives."""
    prop = "draws come in the proportions that the log-prob says"
    log_prob = jax.jit(jax.vmap(dist.log_prob))
    if dist.support.finite:
        points = atoms(_WHERE, dist)
        if len(jax.tree.leaves(points)[0]) > _MOST_POINTS:
            found.not_checked.append(f"{prop}: more than {_MOST_POINTS} points")
            return
        _lists_all(found, dist, points)
        counts = _counted(x, points)
        found.note(prop, _proportions(counts, np.exp(np.asarray(log_prob(points))), false_alarm))
        return
    leaves = jax.tree.leaves(x)
    if len(leaves) != 1 or leaves[0].ndim != 1:
        found.not_checked.append(f"{prop}: a draw is more than one number")
        return
    values = np.asarray(leaves[0])
    if np.all(values == np.floor(values)) and len(np.unique(values)) < _MOST_POINTS:
        low, high = int(values.min()), int(values.max())
        if high - low >= _MOST_POINTS:
            found.not_checked.append(f"{prop}: they spread over more than {_MOST_POINTS} numbers")
            return
        grid = np.arange(low, high + 1)
        counts = (values[:, None] == grid[None]).sum(0)
        p = np.exp(np.asarray(log_prob(jnp.asarray(grid, leaves[0].dtype)), np.float64))
        found.note(prop, _proportions(counts, p, false_alarm))
        return
    found.note(prop, _intervals(np.sort(values), log_prob, false_alarm))


def _lists_all(found: _Findings, dist: Distribution, points: Any) -> None:
    """Whether `dist.enumerate()` lists the points of the support, each once."""
    if dist.enumeration is None:
        return
    rows = _rows(points)
    listed, times = np.unique(_rows(dist.enumerate()), axis=0, return_counts=True)
    wanted = np.unique(rows, axis=0)
    fault = None
    if np.any(times > 1) or not np.array_equal(listed, wanted):
        common = len({tuple(row) for row in listed} & {tuple(row) for row in wanted})
        fault = f"it lists {times.sum()} points, {common} of the {len(wanted)} of its support among them"
    found.note("it enumerates the points of its support", fault)


def _rows(tree: Any) -> np.ndarray:
    """Each of a stack of draws as one row of floats."""
    leaves = [np.asarray(leaf, np.float64).reshape(len(leaf), -1) for leaf in jax.tree.leaves(tree)]
    return np.concatenate(leaves, axis=1)


def _counted(x: Any, points: Any) -> np.ndarray:
    rows, places = np.unique(_rows(points), axis=0, return_inverse=True)
    found, counts = np.unique(_rows(x), axis=0, return_counts=True)
    at = {tuple(row): count for row, count in zip(found, counts)}
    return np.array([at.get(tuple(row), 0) for row in rows])[places.ravel()]


def _proportions(counts: np.ndarray, p: np.ndarray, false_alarm: float) -> str | None:
    """What is wrong with counts of points of probabilities p, by a chi-square test over points that are not rare."""
    n, total = counts.sum(), p.sum()
    if abs(total - 1) > 1e-3 + 30 / n:
        return f"the probabilities of the points that were drawn, or are listed, sum to {total:.5g}, not to 1"
    common = p * n >= 5
    if np.any((p == 0) & (counts > 0)):
        return f"{counts[p == 0].sum()} draws are impossible by the log-prob"
    observed = np.append(counts[common], counts[~common].sum())
    expected = np.append(p[common] * n, max(n - (p[common] * n).sum(), 1.0))
    statistic = float(np.sum((observed - expected) ** 2 / expected))
    limit = _chi_square_limit(len(observed) - 1, false_alarm)
    if statistic <= limit:
        return None
    k = int(np.argmax((observed - expected) ** 2 / expected))
    return (
        f"one point was drawn {observed[k]} times for {expected[k]:.1f} of {n} (chi-square {statistic:.0f}; up to "
        f"{limit:.0f} passes)"
    )


def _intervals(x: np.ndarray, log_prob: Any, false_alarm: float) -> str | None:
    """What is wrong with sorted draws: the mass that the density has between their quantiles.

    Between order statistics that are k apart the mass of n draws is Beta(k, n + 1 − k), whatever the law. It is integrated
    by Gauss–Legendre with two numbers of nodes; intervals on which these differ are left out, and those that are too short
    for their nodes to be told apart.
    """
    n = len(x)
    places = np.linspace(0, n - 1, _BINS + 1).astype(int)
    low, high, share = x[places[:-1]], x[places[1:]], np.diff(places) / (n + 1)
    masses = []
    for order in (24, 48):
        nodes, weights = np.polynomial.legendre.leggauss(order)
        half = (high - low).astype(np.float64)[:, None] / 2
        at = low[:, None] + half * (nodes + 1)
        density = np.exp(np.asarray(log_prob(jnp.asarray(at.ravel(), x.dtype)), np.float64))
        with np.errstate(over="ignore", invalid="ignore"):  # a density may be infinite at an end
            masses.append((density.reshape(at.shape) * weights * half).sum(1))
    coarse, mass = masses
    with np.errstate(invalid="ignore"):
        kept = np.abs(mass - coarse) <= 1e-3 * np.abs(mass) + 1e-9
    kept &= high - low >= 1024 * np.spacing(np.maximum(np.abs(low), np.abs(high)))
    z = (mass - share) / np.sqrt(share * (1 - share) / (n + 2))
    statistic, limit = float((z[kept] ** 2).sum()), _chi_square_limit(int(kept.sum()), false_alarm)
    if statistic <= limit:
        return None
    k = int(np.argmax(np.where(kept, np.abs(z), 0.0)))
    return (
        f"the log-prob gives [{low[k]:.4g}, {high[k]:.4g}] the probability {mass[k]:.4g}; {share[k]:.4g} of the draws are "
        f"there (chi-square {statistic:.0f}; up to {limit:.0f} passes)"
    )


def _chi_square_limit(degrees: int, false_alarm: float) -> float:
    """The quantile of chi-square beyond which `false_alarm` lies (Wilson & Hilferty), with 5 % to spare."""
    if degrees < 1:
        return float("inf")
    part = 2 / (9 * degrees)
    return 1.05 * degrees * (1 - part + NormalDist().inv_cdf(1 - false_alarm) * part**0.5) ** 3


def _shown(x: Any) -> str:
    return str(jax.tree.map(lambda a: np.asarray(a).tolist(), x))
