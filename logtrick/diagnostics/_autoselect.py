"""`lt.autoselect`: the estimator with the smallest variance × work, found by sequential halving."""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from logtrick._core import checks
from logtrick._core.calls import described, in_words
from logtrick._core.keys import as_key
from logtrick._core.module import Module, static
from logtrick.diagnostics._compare import check_objectives, compare_estimators
from logtrick.diagnostics._comparison import Comparison
from logtrick.diagnostics._measurement import Measurement

_WINNER = 0xF1A1  # folded into the key of the last measurement, so that no draw selected the winner


class Selection(Module):
    """The outcome of `lt.autoselect`.

    Attributes:
      name: the objective that was selected.
      measurement: its `Measurement` on fresh draws, which selection did not make look better than it is.
      rounds: the `Comparison` of each round; after each, the better half goes on.
      left_out: by name, why an objective was not considered.
      interrupted: whether Ctrl-C ended the selection; `name` is then the best of those measured by then.
    """

    name: str = static()
    measurement: Measurement
    rounds: tuple[Comparison, ...]
    left_out: dict[str, str] = static()
    interrupted: bool = static(default=False)

    def __repr__(self) -> str:
        on = "interrupted; so far" if self.interrupted else "on fresh draws"
        lines = [f"selected: {self.name}; {on}:", repr(Comparison((self.measurement,), 0))]
        for i, comparison in enumerate(self.rounds, 1):
            lines.append(f"round {i}: {', '.join(m.name for m in comparison.measurements)}")
        lines += [f"left out: {name}: {reason}" for name, reason in self.left_out.items()]
        return "\n".join(lines)


def variance_x_evaluations(m: Measurement) -> float | None:
    """The default work-normalized variance of `lt.autoselect`.

    Args:
      m: what was measured of one estimator.
    Returns:
      The variance times the evaluations of f; 0 where the gradient does not vary; None where either is not known. Under
      heavy tails the measured variance is too small more often than not: the upper end of its interval is taken.
    Example:
      >>> import jax, logtrick as lt
      >>> value = lambda mu, key: lt.expect(key, lambda x: x, lt.Normal(mu, 1.0), num_samples=2, estimator=lt.Pathwise())
      >>> race = lt.compare_estimators(jax.random.key(0), {"pathwise": value}, 0.5, num_replicates=100)
      >>> lt.diagnostics.variance_x_evaluations(race["pathwise"])
      0.0
    """
    if m.constant:  # what is left of the variance is rounding
        return 0.0
    if m.statistics is None or m.evaluations is None:
        return None
    variance = m.statistics.total_variance
    if m.statistics.heavy_tails:
        variance = m.statistics.total_interval[1]
    return variance * m.evaluations


@in_words("lt.autoselect")
def autoselect(
    key: Any,
    objectives: Mapping[str, Callable[..., Any]],
    params: Any,
    *,
    num_replicates: int = 4000,
    rank: Callable[[Measurement], float | None] = variance_x_evaluations,
    reference: Any = None,
    data: Any = None,
    num_timings: int = 0,
    progress: bool = False,
) -> Selection:
    """Select the gradient estimator with the smallest work-normalized variance, by sequential halving.

    The budget is split evenly over ⌈log₂ k⌉ rounds; each round measures those that are left, on draws of its own, and
    keeps the better half. The winner is measured once more on fresh draws: a minimum over noisy numbers is too small.
    Objectives that are refused, declared biased, seen to be biased, or whose gradients do not vary and are not the exact
    one (they depend on outcomes too rare to be seen) are left out, with the reason. After Ctrl-C the best so far is
    returned, if any was measured.

    Args:
      key: a typed key.
      objectives: by name, `objective(params, key) -> value` (or `(value, aux)`).
      params: where the gradients are taken.
      num_replicates: the budget, gradients of all objectives and rounds together; measuring the winner takes a quarter as
        many again.
      rank: a function of a `Measurement` that returns the number which is to be small, or None to leave the objective out;
        `lambda m: m.variance_x_seconds` with `num_timings` for time.
      reference: as in `lt.compare_estimators`.
      data: the objectives' third argument; None for none.
      num_timings: as in `lt.compare_estimators`.
      progress: say on standard error what is being measured.
    Returns:
      A `Selection`.
    Raises:
      TypeError: a rank that is no number.
      ValueError: no objective is left.
    References:
      Karnin, Koren & Somekh (2013), "Almost Optimal Exploration in Multi-Armed Bandits".
    Example:
      >>> import jax, logtrick as lt
      >>> def objective(estimator, n):
      ...     return lambda logit, key: lt.expect(
      ...         key, lambda x: (x - 0.45) ** 2, lt.Bernoulli(logit), estimator=estimator, num_samples=n)
      >>> found = lt.autoselect(jax.random.key(0), {
      ...     "no baseline": objective(lt.ScoreFunction(lt.NoBaseline()), 1), "DisARM": objective(lt.DisARM(), 1),
      ...     "leave-one-out": objective(lt.ScoreFunction(), 2)}, 0.3)
      >>> found.name
      'DisARM'
    """
    where = "lt.autoselect"
    num_replicates = checks.positive_int(where, "num_replicates", num_replicates, 2)
    key = as_key(key)
    check_objectives(where, objectives)
    checks.function(where, "rank", rank, "rank(measurement)")
    left: dict[str, Callable[..., Any]] = dict(objectives)
    left_out: dict[str, str] = {}
    rounds: list[Comparison] = []
    compare = functools.partial(
        compare_estimators,
        params=params,
        reference=reference,
        data=data,
        num_timings=num_timings,
        progress=progress,
    )
    num_rounds = max(1, math.ceil(math.log2(len(left))))
    for i in range(num_rounds):
        each = max(2, num_replicates // (num_rounds * len(left)))
        found = compare(jax.random.fold_in(key, i), left, num_replicates=each)
        kept = _better_half(found, rank, left_out)
        if kept or not found.interrupted:
            rounds.append(found)
        else:  # interrupted before anything that counts was measured: the ranks are those of the round before
            kept = [name for name in left if name not in left_out]
        if found.interrupted:
            return _so_far(kept, rounds, left_out)
        if not kept:
            raise ValueError(
                f"{where}(objectives=…) needs an objective that is not refused and not biased; got "
                f"{left_out}."
            )
        left = {name: left[name] for name in kept}  # in the order of their ranks
        if len(left) == 1:
            break
    ((name, winner),) = left.items()
    fresh = jax.random.fold_in(key, _WINNER)
    again = compare(fresh, {name: winner}, num_replicates=max(2, num_replicates // 4))
    if again.interrupted:
        return _so_far([name], rounds, left_out)
    return Selection(name, again[name], tuple(rounds), left_out)


def _so_far(kept: list[str], rounds: list[Comparison], left_out: dict[str, str]) -> Selection:
    """The first of `kept`, as the last of the rounds measured it; the interruption itself where there is none."""
    if not kept or not rounds:
        raise KeyboardInterrupt
    name = kept[0]
    return Selection(name, rounds[-1][name], tuple(rounds), left_out, interrupted=True)


def _better_half(
    comparison: Comparison,
    rank: Callable[[Measurement], float | None],
    left_out: dict[str, str],
) -> list[str]:
    """The names of the better half of those that count, the best first; why the others do not goes into `left_out`."""
    scores: dict[str, float] = {}
    for m in comparison.measurements:
        score, reason = _judged(m, rank)
        if reason is None:
            scores[m.name] = score
        else:
            left_out[m.name] = reason
    ordered = sorted(scores, key=scores.__getitem__)
    return ordered[: math.ceil(len(ordered) / 2)]


def _judged(
    m: Measurement, rank: Callable[[Measurement], float | None]
) -> tuple[float, str | None]:
    """What is to be small, and why the objective is left out, None where it counts."""
    if m.error is not None:
        return math.inf, f"refused: {m.error}"
    if m.biased:
        return math.inf, f"declared biased: {', '.join(m.biased)}"
    if m.verdict in ("biased", "not finite", "zero gradient"):
        return math.inf, m.verdict
    if m.constant and m.statistics is not None and m.statistics.unseen:
        return math.inf, "does not vary, and is not the exact gradient: too rare to be seen"
    score = rank(m)
    if score is None:
        return math.inf, "its rank is not known: rank returned None"
    if not isinstance(score, int | float | np.generic | np.ndarray | jax.Array) or np.ndim(score):
        raise TypeError(
            f"lt.autoselect(rank=…) needs a function that returns a number, or None; it returned {described(score)} for "
            f"{m.name!r}."
        )
    if math.isnan(score):
        return math.inf, "its rank is nan"
    return float(score), None
