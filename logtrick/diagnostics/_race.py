"""`lt.compare_estimators`: the race of estimators, their bias, variance and cost side by side."""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from logtrick._core import checks, keys
from logtrick._core.module import Module, static
from logtrick.diagnostics._plot import figure
from logtrick.diagnostics._replicates import Replicator, replicator
from logtrick.diagnostics._statistics import GradientStatistics, prepared, statistics


class Racer(Module):
    """One row of the race.

    Attributes:
      name: as the user named it.
      bias_z: the largest |z| of a coordinate of the mean gradient; None without a reference.
      exact: variance and error are zero to rounding.
      variance: of one gradient, summed over its coordinates; None where refused, like all that follow.
      evaluations: of f a gradient; None where the objective uses no `lt.expect`.
      seconds: a value and gradient, median; None where nothing was timed.
      biased: the names of its estimators that are declared biased.
      error: why it was refused; None where it ran.
      statistics: the `GradientStatistics`.
    """

    name: str = static()
    bias_z: float | None = static(default=None)
    exact: bool = static(default=False)
    variance: float | None = static(default=None)
    evaluations: int | None = static(default=None)
    seconds: float | None = static(default=None)
    biased: tuple[str, ...] = static(default=())
    error: str | None = static(default=None)
    statistics: GradientStatistics | None = None

    @property
    def variance_x_evaluations(self) -> float | None:
        """The evaluations that a given accuracy takes; None where either is not known."""
        return _product(self.variance, self.evaluations)

    @property
    def variance_x_seconds(self) -> float | None:
        """The time that a given accuracy takes; None where either is not known."""
        return _product(self.variance, self.seconds)


class Comparison(Module):
    """The outcome of a race: prints as a table.

    Attributes:
      racers: one `Racer` an objective, in the order they were given.
      num_replicates: gradients an objective.
    """

    racers: tuple[Racer, ...]
    num_replicates: int = static()

    def __getitem__(self, name: str) -> Racer:
        """The racer of that name."""
        for racer in self.racers:
            if racer.name == name:
                return racer
        raise KeyError(name)

    def __repr__(self) -> str:
        return _table([_HEAD, *map(_cells, self.racers)])

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """By name, what JSON can hold: the table's numbers (None for what is not known, or not finite) and the error."""
        return {
            r.name: {
                "bias_z": _finite(r.bias_z),
                "exact": r.exact,
                "variance": _finite(r.variance),
                "evaluations": r.evaluations,
                "declared_biased": list(r.biased),
                "seconds": r.seconds,
                "variance_x_evaluations": _finite(r.variance_x_evaluations),
                "variance_x_seconds": _finite(r.variance_x_seconds),
                "error": r.error,
            }
            for r in self.racers
        }

    def plot(self) -> Any:
        """A figure of variances and of variance × cost.

        Returns:
          A `matplotlib.figure.Figure`.
        Raises:
          ImportError: matplotlib is not installed (the `plot` extra).
        """
        return figure(self.racers)


def compare_estimators(
    key: Any,
    objectives: Mapping[str, Callable[..., Any]],
    params: Any,
    *,
    num_replicates: int = 1000,
    reference: Any = None,
    num_timings: int = 21,
    block_size: int | None = None,
) -> Comparison:
    """Race gradient estimators: bias, variance, evaluations of f, time, and variance × cost, side by side.

    The variance of a mean of n gradients is variance / n, so at a fixed budget the better estimator is the one with the
    smaller variance × cost. All see the same keys.

    Args:
      key: a typed key.
      objectives: by name, `objective(params, key) -> value` (or `(value, aux)`), each with its estimator.
      params: where the gradients are taken.
      num_replicates: gradients an objective, at least 2.
      reference: the exact gradient, a pytree like `params`; the biases are dashes without it.
      num_timings: single calls timed an objective, in turns, their median reported; 0 for none. Dispatch and host time
        are part of them.
      block_size: replicates evaluated at once; None bounds the memory.
    Returns:
      A `Comparison`. Estimators that are declared biased say so beside their bias. An objective that raises TypeError or
      ValueError when traced is a row "refused" with the error.
    Raises:
      TypeError: parameters that have no gradient; no mapping of functions.
      ValueError: no objectives, one replicate, a reference unlike the parameters.
    Example:
      >>> import jax, logtrick as lt
      >>> def objective(estimator):
      ...     f = lambda x: (x - 0.45) ** 2
      ...     return lambda logit, key: lt.expect(key, f, lt.Bernoulli(logit), estimator=estimator, num_samples=4)
      >>> race = lt.compare_estimators(
      ...     jax.random.key(0), {"leave-one-out": objective(lt.ScoreFunction()), "sum": objective(lt.Enumerate()),
      ...                         "pathwise": objective(lt.Pathwise())}, 0.0, reference=0.025, num_timings=0)
      >>> race["sum"].exact, race["sum"].evaluations, race["leave-one-out"].evaluations
      (True, 2, 4)
      >>> race["pathwise"].error[:43]
      'ValueError: Pathwise() needs a reparameteri'
    """
    where = "lt.compare_estimators"
    if not isinstance(objectives, Mapping):
        raise TypeError(
            f"{where}(objectives=…) needs a dict of functions by name; got {type(objectives).__name__}."
        )
    if not objectives:
        raise ValueError(f"{where}(objectives=…) needs at least one objective; got none.")
    key, params, reference = prepared(where, key, params, num_replicates, reference)
    if num_timings:
        checks.positive_int(where, "num_timings", num_timings)
    if block_size is not None:
        checks.positive_int(where, "block_size", block_size)
    works = {name: replicator(where, objective) for name, objective in objectives.items()}
    refused = {
        name: error for name, work in works.items() if (error := _refusal(work, key, params))
    }
    running = {name: work for name, work in works.items() if name not in refused}
    found = {
        n: statistics(work, key, params, num_replicates, reference, block_size)
        for n, work in running.items()
    }
    seconds = _times(running, key, params, num_timings)

    def racer(name: str) -> Racer:
        if name in refused:
            return Racer(name, error=refused[name])
        variance = float(sum(np.sum(v) for v in jax.tree.leaves(found[name].variance)))
        _, evaluations, biased = works[name].probe(params, key)
        return Racer(
            name,
            _largest_z(found[name]),
            found[name].exact,
            variance,
            evaluations,
            seconds.get(name),
            biased,
            None,
            found[name],
        )

    return Comparison(tuple(map(racer, works)), num_replicates)


def _refusal(work: Replicator, key: Any, params: Any) -> str | None:
    try:
        work.probe(params, key)
    except (TypeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def _largest_z(found: GradientStatistics) -> float | None:
    if found.bias_z is None:
        return None
    return float(np.max([np.max(np.abs(z), initial=0.0) for z in jax.tree.leaves(found.bias_z)]))


def _times(works: dict[str, Replicator], key: Any, params: Any, rounds: int) -> dict[str, float]:
    """Median seconds of a single compiled call, in turns, so that what slows the machine slows all alike."""
    base = jax.random.fold_in(key, keys.REPLICATE)
    several = [jax.random.fold_in(base, i) for i in range(rounds)]
    taken: dict[str, list[float]] = {name: [] for name in works} if rounds else {}
    for name in taken:
        jax.block_until_ready(works[name].single(params, base))
    for one in several:
        for name, times in taken.items():
            began = time.perf_counter()
            jax.block_until_ready(works[name].single(params, one))
            times.append(time.perf_counter() - began)
    return {name: float(np.median(times)) for name, times in taken.items()}


def _product(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a * b


def _finite(x: float | None) -> float | None:
    return None if x is None or not math.isfinite(x) else x


# --- the table

_HEAD = [
    "estimator",
    "bias z",
    "variance",
    "f evaluations",
    "seconds",
    "variance × evaluations",
    "variance × seconds",
]


def _cells(r: Racer) -> list[str]:
    if r.error is not None:
        return [r.name, f"refused: {r.error}"]
    variance, by_evaluations, by_seconds = (
        r.variance,
        r.variance_x_evaluations,
        r.variance_x_seconds,
    )
    if r.exact:  # what is left is rounding
        variance = 0.0
        by_evaluations = None if by_evaluations is None else 0.0
        by_seconds = None if by_seconds is None else 0.0
    z = "exact" if r.exact else "–" if r.bias_z is None else f"{r.bias_z:.2f}"
    evaluations = "–" if r.evaluations is None else f"{r.evaluations:,}"
    if r.biased:
        z += ", declared biased"
    return [
        r.name,
        z,
        *map(_number, (variance,)),
        evaluations,
        *map(_number, (r.seconds, by_evaluations, by_seconds)),
    ]


def _number(x: float | None) -> str:
    return "–" if x is None else f"{x:.3g}"


def _table(rows: list[list[str]]) -> str:
    """Aligned columns, names to the left, numbers to the right; a short row's last cell runs on."""
    full = [row for row in rows if len(row) == len(_HEAD)]
    widths = [max(len(row[i]) for row in full) for i in range(len(_HEAD))]
    widths[0] = max(len(row[0]) for row in rows)
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += (
            [c.rjust(w) for c, w in zip(row[1:], widths[1:])] if len(row) == len(_HEAD) else row[1:]
        )
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
