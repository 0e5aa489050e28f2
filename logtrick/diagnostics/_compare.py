"""`lt.compare_estimators`: bias, variance and cost of gradient estimators, side by side."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from logtrick._core import checks, keys
from logtrick._core.calls import described, in_words
from logtrick._core.objectives import check_swapped
from logtrick.diagnostics._announce import Announcer
from logtrick.diagnostics._comparison import Comparison
from logtrick.diagnostics._estimate import too_large
from logtrick.diagnostics._exact import Ineligible, exact_reference
from logtrick.diagnostics._measurement import Measurement
from logtrick.diagnostics._reference import Reference, constant, given
from logtrick.diagnostics._replicates import Replicator, replicator
from logtrick.diagnostics._statistics import (
    Replicates,
    as_data,
    prepared,
    replicates,
    roundings_of,
    statistics,
)

_DISTRUST = 5.0  # the |z| of sampled gradients beyond which a quadrature is not believed
_FRESH = 0x5EED  # folded into the key of a long run, so that it shares no draws with what it judges


class _Contender:
    """One objective of the comparison, and what has been measured of it so far."""

    def __init__(self, name: str, work: Replicator, num_samples: int | None) -> None:
        self.name, self.work, self.num_samples = name, work, num_samples
        self.error: str | None = None
        self.found: Replicates | None = None
        self.times: list[float] = []

    def declares(self, *where: Any) -> bool:
        """Whether expectations of ours were traced in it, so that what their estimators declare is known."""
        return self.work.probe(*where).evaluations is not None

    def unbiased(self, *where: Any) -> bool:
        """Whether its estimators are known, and none of them is declared biased."""
        return self.declares(*where) and not self.work.probe(*where).biased

    def still(self, params: Any) -> bool:
        """Whether its gradients do not vary, and are not all 0."""
        assert self.found is not None
        leaves = self.found.gradient.leaves
        still = [np.all(constant(m, r)) for m, r in zip(leaves, roundings_of(params))]
        return all(still) and any(np.any(m.peak > 0) for m in leaves)

    def total_variance(self) -> float:
        assert self.found is not None
        gradient = self.found.gradient
        return sum(gradient.variance(i) for i in range(len(gradient.leaves)))


@in_words("lt.compare_estimators", further=((int, "num_replicates"),))
def compare_estimators(
    key: Any,
    objectives: Mapping[str, Callable[..., Any]],
    params: Any,
    *,
    num_replicates: int = 1000,
    reference: Any = None,
    reference_replicates: int | None = None,
    data: Any = None,
    num_samples: Sequence[int] | None = None,
    num_timings: int = 21,
    block_size: int | None = None,
    progress: bool = False,
) -> Comparison:
    """Compare gradient estimators: bias, variance, evaluations of f, time, and variance × cost, side by side.

    The variance of a mean of n gradients is variance / n, so at a fixed budget the better estimator is the one with the
    smaller variance × cost. All see the same keys. Ctrl-C returns what was measured so far.

    Biases are measured against `reference`. Without one, an objective among them that samples nothing (an enumeration) is
    the reference, or the exact gradient is found: the expectations of one of the objectives are computed with every site of
    finite support summed over its outcomes (up to 2¹² of a site, 2¹⁶ evaluations of f in all, and of an `lt.black_box` no
    more than a long run takes), and every site of up to three normals integrated by two quadrature rules that must agree.
    Else the reference is a long run, on keys of its own, of the unbiased objective with the smallest variance (above 0),
    whose standard error is part of z.

    A row says "biased" where |z| is beyond what chance gives in 1 of 10,000 rows, and "unclear" where one gradient makes so
    much of the variance that z says nothing. Coordinates that vanish in all gradients but not in the reference are counted
    below the table: outcomes too rare to be seen say nothing about bias, and no number of replicates excludes them.

    Args:
      key: a typed key.
      objectives: by name, `objective(params, key) -> value` (or `(value, aux)`), each with its estimator; or programs,
        generator functions of `params`, which are run by `lt.expect_program`.
      params: where the gradients are taken.
      num_replicates: gradients per objective, at least 2.
      reference: the exact gradient, a pytree like `params`; or a function of `params` whose value is the exact expectation
        (`lt.testing.exact_expectation`), which is differentiated.
      reference_replicates: gradients of the long run; None takes four times `num_replicates`. Below 2 there is neither a
        long run nor an exact gradient: only an objective that samples nothing is a reference.
      data: a pytree of arrays, passed to the objectives as their third argument; None for none.
      num_samples: numbers of samples to sweep; each objective is then called with the keyword `num_samples`.
      num_timings: single calls timed per objective, interleaved, their median reported; 0 for none. Dispatch and host time
        are part of them.
      block_size: replicates evaluated at once; None bounds the memory.
      progress: say on standard error which objective is being measured, and what it costs.
    Returns:
      A `Comparison`. Estimators that are declared biased say so beside their bias. An objective that raises TypeError or
      ValueError when traced, or whose largest array exceeds half of the machine's memory, is a row "refused" with the error.
      What would make a variance smaller is noted below the table, as by `lt.explain`: a draw of N factors whose cost is a
      sum over them.
    Raises:
      TypeError: parameters that have no gradient; no mapping of functions.
      ValueError: no objectives, one replicate, a reference unlike the parameters.
    Example:
      >>> import jax, logtrick as lt
      >>> def objective(estimator):
      ...     f = lambda x: (x - 0.45) ** 2
      ...     return lambda logit, key: lt.expect(key, f, lt.Bernoulli(logit), estimator=estimator, num_samples=4)
      >>> comparison = lt.compare_estimators(
      ...     jax.random.key(0), {"leave-one-out": objective(lt.ScoreFunction()), "sum": objective(lt.Enumerate()),
      ...                         "pathwise": objective(lt.Pathwise())}, 0.0, num_timings=0)
      >>> comparison.reference, comparison["sum"].evaluations, comparison["leave-one-out"].evaluations
      ('sum, which samples nothing', 2, 4)
      >>> comparison["pathwise"].error[:43]
      'ValueError: Pathwise() needs a reparameteri'
    """
    where = "lt.compare_estimators"
    check_swapped(where, key, params)
    check_objectives(where, objectives)
    key, params, num_replicates = prepared(where, key, params, num_replicates)
    num_timings = checks.positive_int(where, "num_timings", num_timings, 0)
    if block_size is not None:
        block_size = checks.positive_int(where, "block_size", block_size)
    if reference_replicates is None:
        reference_replicates = 4 * num_replicates
    reference_replicates = checks.positive_int(
        where, "reference_replicates", reference_replicates, 0
    )
    contenders = list(_contenders(where, objectives, params, data is not None, num_samples))
    judged = given(where, reference, params)
    arguments = (params, key, as_data(data))
    announcer = Announcer(where, len(contenders), progress)
    interrupted = False
    try:
        for contender in contenders:
            _measure(contender, arguments, num_replicates, block_size, announcer)
        if judged is None:
            judged = _own_reference(
                contenders, arguments, reference_replicates, block_size, announcer
            )
        _time(contenders, arguments, num_timings, announcer)
    except KeyboardInterrupt:
        interrupted = True
    measured = [c for c in contenders if c.found is not None or c.error is not None]
    rows = tuple(_row(c, arguments, judged) for c in measured)
    if judged is None:
        return Comparison(rows, num_replicates, interrupted=interrupted)
    return Comparison(rows, num_replicates, judged.origin, interrupted, judged.value)


def check_objectives(where: str, objectives: Any) -> None:
    if not isinstance(objectives, Mapping):
        raise TypeError(
            f"{where}(objectives=…) needs a dict of functions by name; got {described(objectives)}. Pass "
            '{"mine": objective}.'
        )
    if not objectives:
        raise ValueError(f"{where}(objectives=…) needs at least one objective; got none.")
    for name in objectives:
        if not isinstance(name, str):
            raise TypeError(
                f"{where}(objectives=…) needs names that are strings; got {described(name)}. Pass "
                '{"mine": objective}.'
            )


def _contenders(
    where: str,
    objectives: Mapping[str, Any],
    params: Any,
    has_data: bool,
    num_samples: Sequence[int] | None,
) -> Iterator[_Contender]:
    if num_samples is not None:
        num_samples = _counts(where, num_samples)
    for name, objective in objectives.items():
        if num_samples is None:
            yield _Contender(name, replicator(where, objective, has_data, params, name), None)
            continue
        for count in num_samples:
            work = replicator(where, objective, has_data, params, name, num_samples=count)
            yield _Contender(f"{name}, n = {count}", work, count)


def _counts(where: str, num_samples: Any) -> list[int]:
    """The numbers of samples to sweep."""
    if not isinstance(num_samples, Sequence | np.ndarray) or not len(num_samples):
        raise ValueError(
            f"{where}(num_samples=…) needs numbers of samples to sweep; got {described(num_samples)}. Pass (2, 4, 8), or "
            "close over one number in the objectives."
        )
    return [checks.positive_int(where, "num_samples", count) for count in num_samples]


def _measure(
    contender: _Contender,
    arguments: tuple[Any, Any, Any],
    count: int,
    block: int | None,
    announcer: Announcer,
) -> None:
    """The moments of one objective, or why there are none."""
    params, key, data = arguments
    try:
        probe = contender.work.probe(params, key, data)
    except (TypeError, ValueError) as error:
        contender.error = f"{type(error).__name__}: {error}"
        announcer.begin(contender.name, None, count, refused=True)
        return
    contender.error = too_large(probe)
    announcer.begin(contender.name, probe, count, refused=contender.error is not None)
    if contender.error is None:
        contender.found = replicates(contender.work, key, params, data, count, block)
        announcer.end(probe, contender.work.seconds_per_gradient)


def _own_reference(
    contenders: list[_Contender],
    arguments: tuple[Any, Any, Any],
    count: int,
    block: int | None,
    announcer: Announcer,
) -> Reference | None:
    """An exact gradient, of an objective that samples nothing or of an attempt of our own; else a long run."""
    measured = [c for c in contenders if c.found is not None]
    unbiased = [c for c in measured if c.unbiased(*arguments)]
    for contender in unbiased:
        if not contender.work.probe(*arguments).sampled and contender.still(arguments[0]):
            return _constant(contender)
    if count < 2:
        return None
    # All estimate the same, so one exact gradient is enough; a biased objective that declares it has one, too.
    declaring = [c for c in measured if c.declares(*arguments) and c not in unbiased]
    for contender in [*unbiased, *declaring]:
        announcer.say(f"the exact gradient, by sums or quadrature of {contender.name}")
        evaluations = contender.work.probe(*arguments).evaluations or 0
        try:
            exact = exact_reference(contender.work, contender.name, arguments, count * evaluations)
        except Ineligible as reason:
            announcer.say(f"no exact gradient: {reason}")
            continue
        if exact is not None and (exact.exact or _agrees(contender, exact, arguments[0])):
            return exact
        break  # what made this one useless is in the others, too
    return _long_run(unbiased, arguments, count, block, announcer) if unbiased else None


def _agrees(contender: _Contender, integrated: Reference, params: Any) -> bool:
    """Whether a quadrature is what the sampled gradients say: both of its rules may miss a narrow peak."""
    assert contender.found is not None
    clear = statistics(contender.found, params, integrated).largest_clear_z
    return clear is not None and clear <= _DISTRUST


def _constant(contender: _Contender) -> Reference:
    assert contender.found is not None
    means = [np.asarray(m.mean) for m in contender.found.gradient.leaves]
    value = float(contender.found.value.mean)
    return Reference(means, None, f"{contender.name}, which samples nothing", value)


def _long_run(
    unbiased: list[_Contender],
    arguments: tuple[Any, Any, Any],
    count: int,
    block: int | None,
    announcer: Announcer,
) -> Reference:
    """The mean gradient of the objective with the smallest variance, of those that vary, on keys of its own.

    Sampled gradients that do not vary may all lack an outcome that is too rare to be seen: they are not taken for exact. If
    no objective varies, the errors are as large as the gradient itself (see `judge`).
    """
    params, key, data = arguments
    varying = [c for c in unbiased if not c.still(params)]
    best = min(varying or unbiased, key=_Contender.total_variance)
    announcer.say(f"a long run of {best.name} for the reference")
    fresh = jax.random.fold_in(key, _FRESH)
    found = replicates(best.work, fresh, params, data, count, block)
    means = [np.asarray(m.mean) for m in found.gradient.leaves]
    errors = [np.sqrt(m.variance / m.count) for m in found.gradient.leaves]
    if not varying:
        errors = [np.maximum(error, np.abs(mean)) for error, mean in zip(errors, means)]
    origin = f"a long run of {best.name}: {count:,} gradients on other keys"
    return Reference(means, errors, origin, float(found.value.mean))


def _time(
    contenders: list[_Contender], arguments: tuple[Any, Any, Any], rounds: int, announcer: Announcer
) -> None:
    """Seconds of single compiled calls, interleaved, so that what slows the machine slows all alike."""
    params, key, data = arguments
    running = [c for c in contenders if c.found is not None]
    base = jax.random.fold_in(key, keys.REPLICATE)
    for i in range(rounds):
        if i == 0:
            announcer.say("timing")
        one = jax.random.fold_in(base, i)
        for contender in running:
            contender.times.append(contender.work.time_single(params, one, data))


def _row(
    contender: _Contender, arguments: tuple[Any, Any, Any], reference: Reference | None
) -> Measurement:
    if contender.found is None:
        return Measurement(contender.name, num_samples=contender.num_samples, error=contender.error)
    params = arguments[0]
    probe = contender.work.probe(*arguments)
    seconds = compile_seconds = None
    if contender.times:
        seconds, compile_seconds = float(np.median(contender.times)), contender.work.compile_seconds
    return Measurement(
        contender.name,
        evaluations=probe.evaluations,
        seconds=seconds,
        compile_seconds=compile_seconds,
        bytes=probe.bytes,
        biased=probe.biased,
        hints=probe.hints,
        num_samples=contender.num_samples,
        statistics=statistics(contender.found, params, reference),
    )
