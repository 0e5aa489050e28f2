"""One step of one sample for `lt.eligibility_trace`: its costs, and the weights by which they multiply the traces so far.

A trace is a sum of scores. Draws with the same baseline share one: a baseline that is affine in the
costs to come, b(c) = b(0) + A c, subtracts b(0) at its draw's own step and A c_t at every later
step.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from logtrick import noise as _noise
from logtrick._core import checks
from logtrick._core.compat import is_tracer
from logtrick._core.kernel import stop
from logtrick._core.mesh import varying
from logtrick._core.samples import Runs, depends_on_step, in_abstract_step
from logtrick.baselines import NoBaseline, ScalarBaseline
from logtrick.distributions import value_of
from logtrick.estimators import Costs, Points, draw as draw_points
from logtrick.programs import (
    Cost,
    Program,
    Reader,
    Sample,
    SiteInfo,
    begin_step,
    changed,
    check_in_loop,
    check_site,
    site_info,
    walk,
    wide,
)

Array = jax.Array
WHERE = "lt.eligibility_trace"


@dataclasses.dataclass(frozen=True)
class Step:
    """One sample's step.

    Attributes:
      carry: the next.
      paid: the sum of the costs; 0 in a sample that has ended.
      local: what this step differentiates: its costs, and its own scores multiplied by the costs
        less their baselines.
      scores: the log-prob of the draws, for each trace, shape (traces,).
      weights: the number by which each trace so far is multiplied, shape (traces,).
    """

    carry: Any
    paid: Array
    local: Array
    scores: Array
    weights: Array


jax.tree_util.register_dataclass(
    Step, data_fields=["carry", "paid", "local", "scores", "weights"], meta_fields=[]
)


class _Ledger:
    """What a step has drawn and paid so far.

    Attributes:
      local: what the step differentiates itself, as in `Step`.
      illegal: 0, or nan where traced parameters of a distribution are illegal; 0 in a sample that has ended.
      costs: those of the step, held constant; 0 in a sample that has ended.
      baselines: those met so far, one for each trace.
      scores: for each of them, the sum of the log-probs of its draws, of value 0.
    """

    def __init__(self, runs: Runs, alive: Array) -> None:
        self.runs, self.alive = runs, alive
        self.local: Any = 0.0
        self.illegal = jnp.asarray(0.0)
        self.costs: list[Array] = []
        self.baselines: list[ScalarBaseline] = []
        self.scores: list[Any] = []

    def drawn(self, points: Points) -> None:
        mark = points.nan_unless_valid()
        if mark is not None:
            self.illegal = self.illegal + jnp.where(self.alive, mark, 0.0)

    def cost(self, value: Any) -> None:
        c = wide(checks.scalar_cost("lt.cost", value))
        self.costs.append(jnp.where(self.alive, stop(c), 0.0))
        self.local = self.local + c
        for baseline, score in zip(self.baselines, self.scores):
            self.local = self.local + self._weight(baseline, self.costs[-1], score) * score

    def _weight(self, baseline: ScalarBaseline, cost: Array, score: Array) -> Array:
        """c − A c, where b(c) = b(0) + A c."""
        # a Python number takes the dtype of what is drawn
        cost = cost.astype(jnp.result_type(cost, score))
        with_cost = baseline.value(cost, self.runs)
        without = baseline.value(jnp.zeros_like(cost), self.runs)
        if with_cost is None or without is None:  # no baseline
            return cost
        return stop(cost - (with_cost - without))

    def scored(self, baseline: ScalarBaseline, log_prob: Array) -> None:
        alike = [i for i, known in enumerate(self.baselines) if _alike(known, baseline)]
        if alike:
            i = alike[0]
        else:
            i = len(self.baselines)
            self.baselines.append(baseline)
            self.scores.append(0.0)
        self.scores[i] = self.scores[i] + log_prob
        fixed = baseline.value(jnp.zeros_like(log_prob), self.runs)
        if fixed is not None:
            self.local = self.local - stop(fixed).astype(log_prob.dtype) * log_prob

    def closed(self, carry: Any) -> Step:
        """The step. The traces of earlier steps are multiplied by all of its costs, also by those before its first draw."""
        weights = []
        for baseline, score in zip(self.baselines, self.scores):
            each = [self._weight(baseline, cost, score) for cost in self.costs]
            weights.append(sum(each, jnp.asarray(0.0)))
        stacked = lambda column: jnp.stack(column) if column else jnp.zeros(0)
        local = jnp.asarray(self.local)
        paid = sum(self.costs, self.illegal)
        paid = paid.astype(jnp.result_type(paid, local))
        return Step(carry, paid, local, stacked(self.scores), stacked(weights))


class _StepReader(Reader):
    """Reads a step: draws by `draw(statement, index)`, and writes costs and scores into the ledger."""

    where = WHERE

    def __init__(self, ledger: _Ledger, runs: Runs, draw: Callable[[Sample, int], Points]) -> None:
        self.ledger, self.runs, self.draw, self.index = ledger, runs, draw, 0

    def cost(self, statement: Cost) -> None:
        self.ledger.cost(statement.value)

    def sample(self, statement: Sample) -> Any:
        points = self.draw(statement, self.index)
        self.index += 1
        self.ledger.drawn(points)
        scored = _score_of(statement.estimator, points, self.runs)
        if scored is not None:
            self.ledger.scored(*scored)
        return value_of(points.x)


def read_step(
    step: Program,
    carry: Any,
    params: Any,
    runs: Runs,
    alive: Array,
    draw: Callable[[Sample, int], Points],
) -> tuple[Step, int]:
    """One step, its draws by `draw(statement, index)`; and how many costs it has."""
    ledger = _Ledger(runs, alive)
    value = walk(begin_step(step, carry, params), _StepReader(ledger, runs, draw))
    return ledger.closed(value), len(ledger.costs)


def abstract_step(
    step: Program, carry: Any, params: Any, runs: Runs
) -> tuple[list[SiteInfo], Any, frozenset[Any], bool]:
    """The sites of a step, the shapes of the carry that it returns, and the mesh axes over which anything in it varies.

    All of this is found by an abstract step, and whether expectations are nested in it; the mesh
    axes are those of a user's `shard_map`.
    """
    sites: list[SiteInfo] = []
    axes: list[frozenset[Any]] = []

    def draw(statement: Sample, index: int) -> Points:
        sites.append(site_info(statement, index, runs.count))
        points = draw_points(statement.estimator, _noise.example(sites[-1].noise), statement.dist)
        check_in_loop(WHERE, statement, points)
        return points

    def once() -> Any:
        sites.clear()
        found, costs = read_step(step, carry, params, runs, jnp.asarray(True), draw)
        if not sites:
            raise ValueError(
                f"{WHERE}: the step yields no lt.sample: nothing is random. Use jax.lax.while_loop."
            )
        if not costs:
            raise ValueError(
                f"{WHERE}: the step yields no lt.cost: there is nothing to take the expectation of."
            )
        axes[:] = [varying(leaf) for leaf in jax.tree.leaves((found, carry, params))]
        return found.carry

    jaxpr, after = jax.make_jaxpr(lambda: in_abstract_step(once), return_shape=True)()
    return sites, after, frozenset().union(*axes), depends_on_step(jaxpr.jaxpr)


def draws_from(noises: list[Any], sites: list[SiteInfo]) -> Callable[[Sample, int], Points]:
    """How a sample draws, from the numbers for each of the sites that the abstract step found."""

    def draw(statement: Sample, index: int) -> Points:
        if index >= len(sites):
            raise changed("sites")
        check_site(statement, sites[index])
        # without the engine's watch for log-probs that are not finite: a sample that has ended goes on drawing
        estimator: Any = statement.estimator
        return estimator.draw(noises[index], statement.dist)

    return draw


def _score_of(estimator: Any, points: Points, runs: Runs) -> tuple[ScalarBaseline, Array] | None:
    """The baseline and the log-prob of a scored draw; None where the draw is not scored."""
    shown = Costs({(0,): jnp.asarray(0.0)}, name=type(estimator).__name__)
    closed = estimator.close(shown, points, runs)
    baseline = getattr(estimator, "baseline", None)
    plain, scored = closed.zero is None, closed.weight is not None
    affine = isinstance(baseline, ScalarBaseline) and baseline.affine and scored
    if estimator.adaptive or not (plain or affine):
        name = f"{type(estimator).__name__}({'' if baseline is None else type(baseline).__name__ + '()'})"
        raise ValueError(
            f"{WHERE}: {name} needs all the costs to come, and a trace meets them one by one. Use ScoreFunction() with "
            "LeaveOneOut(), ConstantBaseline(b) or NoBaseline(), or lt.expect_program with lt.scan."
        )
    if closed.weight is None:
        return None
    log_prob = jnp.log(closed.weight)  # 0, with the derivative of the log-prob
    if plain or not isinstance(baseline, ScalarBaseline):
        return NoBaseline(), log_prob
    return baseline, log_prob


def _alike(one: ScalarBaseline, other: ScalarBaseline) -> bool:
    """Whether two baselines are the same function of the costs, as far as one can tell."""
    if jax.tree.structure(one) != jax.tree.structure(other):
        return False
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other))
    return all(
        a is b or (not (is_tracer(a) or is_tracer(b)) and np.array_equal(a, b)) for a, b in pairs
    )
