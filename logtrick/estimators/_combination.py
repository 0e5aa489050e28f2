"""A convex combination of estimators."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from logtrick._core import checks
from logtrick._core.kernel import detached, stop
from logtrick._core.mesh import alike, local
from logtrick._core.module import replace, static
from logtrick._core.samples import Runs
from logtrick.baselines import live_leaves, with_leaves
from logtrick.distributions import Distribution, value_of
from logtrick.estimators._base import Estimator
from logtrick.estimators._costs import Array, Costs
from logtrick.estimators._derivatives import inexact
from logtrick.estimators._needs import DifferentiableCost, Need
from logtrick.estimators._points import Points


class Combination(Estimator):
    """A convex combination of estimators, each with its own draws: Σ wᵢ gᵢ, unbiased where every gᵢ is.

    The variance is Σ wᵢ² Var[gᵢ]: with weights in inverse proportion to the variances it is below
    the least of them. Learned weights minimize the squared norm of the per-sample gradient in the
    distribution's own parameters, by `aux.adaptive_loss` (`has_aux=True`), and are divided by their
    sum, so that the combination stays unbiased wherever an optimizer takes them. Cost: the
    evaluations of all estimators, in one vmapped call of the rest of the program. The value is the
    weighted mean of the estimators' values.

    Args:
      estimators: a tuple of estimators.
      weights: a tuple of as many numbers ≥ 0 that sum to 1.
      learn: the weights learn. If one of the estimators differentiates f, only first derivatives
        are right then.
    Raises:
      TypeError: `estimators` is no tuple of estimators.
      ValueError: weights that are negative, do not sum to 1, or are not as many.
      DerivativeOrderError: a second derivative, where a part or `learn` is right for first
        derivatives only.
    References:
      Grathwohl, Choi, Wu, Roeder & Duvenaud (2018), "Backpropagation through the Void: Optimizing Control Variates for
      Black-Box Gradient Estimation", for training on the squared norm; Geffner & Domke (2018), "Using Large
      Ensembles of Control Variates for Variational Inference", for combining.
    Example:
      >>> import jax, logtrick as lt
      >>> both = lt.Combination((lt.Pathwise(), lt.ScoreFunction()), (0.9, 0.1))
      >>> value = lambda mu: lt.expect(jax.random.key(0), lambda x: x**2, lt.Normal(mu, 1.0), estimator=both,
      ...                              num_samples=10_000)
      >>> round(jax.grad(value)(1.0).item(), 1), both.evaluations     # exact: 2
      (2.0, 2)
    """

    estimators: tuple[Any, ...]
    weights: tuple[Any, ...]
    learn: bool = static(default=False)
    reference: ClassVar[str] = (
        "Geffner & Domke (2018), Using Large Ensembles of Control Variates for Variational Inference."
    )

    def __post_init__(self) -> None:
        if not isinstance(self.estimators, tuple) or not all(
            isinstance(e, Estimator) for e in self.estimators
        ):
            raise TypeError(
                f"Combination(estimators=…) needs a tuple of estimators; got {self.estimators!r}."
            )
        if len(self.weights) != len(self.estimators) or not self.estimators:
            raise ValueError(
                f"Combination(weights=…) needs one weight an estimator; got {len(self.weights)} for "
                f"{len(self.estimators)}. Pass two tuples of one length."
            )
        for weight in self.weights:
            checks.numbers("Combination", "weights", weight)
        known = [checks.concrete(w) for w in self.weights]
        if all(w is not None for w in known):
            values = np.array(known, np.float64)
            if not (np.all(values >= 0) and abs(values.sum() - 1) < 1e-5):
                raise ValueError(
                    f"Combination(weights=…) needs numbers >= 0 that sum to 1; got {tuple(values.tolist())}. "
                    "Divide them by their sum."
                )

    @property
    def unbiased(self) -> bool:  # type: ignore[override]  # the estimators'
        return all(e.unbiased for e in self.estimators)

    @property
    def max_order(self) -> float:  # type: ignore[override]  # the estimators'
        order = min(e.max_order for e in self.estimators)
        return min(order, 1) if self.learn and DifferentiableCost in self.needs else order

    @property
    def needs(self) -> frozenset[type[Need]]:  # type: ignore[override]  # the estimators'
        return frozenset().union(*(e.needs for e in self.estimators))

    @property
    def mixed_orders(self) -> bool:  # type: ignore[override]  # the estimators'
        return all(e.mixed_orders or e.max_order > 1 for e in self.estimators)

    @property
    def derivatives_of_rest(self) -> int:  # type: ignore[override]  # the estimators'
        own = 1 if self.learn and DifferentiableCost in self.needs else 0
        return max(own, *(e.derivatives_of_rest for e in self.estimators))

    @property
    def evaluations(self) -> int | None:  # type: ignore[override]  # the estimators'
        """Evaluations of f per sample: those of all estimators; None where one is to be counted."""
        counts = [e.evaluations for e in self.estimators]
        return None if None in counts else sum(counts)

    @property
    def adaptive(self) -> bool:
        return self.learn or any(e.adaptive for e in self.estimators)

    def check(self, dist: Distribution, num_samples: int) -> None:
        for e in self.estimators:
            e.check(dist, num_samples)

    def noise(self, dist: Distribution) -> Any:
        return tuple(e.noise(dist) for e in self.estimators)

    def draw(self, noise: Any, dist: Distribution) -> Points:
        parts = self._draw_parts(noise, dist)
        centers = tuple(center for part in parts for center in part.centers)
        kept = (parts, noise if self.learn else None)
        return Points(_stacked(parts), dist, stacked=True, kept=kept, centers=centers)

    def _draw_parts(self, noise: Any, dist: Distribution) -> tuple[Points, ...]:
        return tuple(e.draw(n, dist) for e, n in zip(self.estimators, noise))

    def close(self, costs: Costs, points: Points, runs: Runs) -> Costs:
        parts, noise = points.kept
        weights = jnp.stack([jnp.asarray(w, float) for w in self.weights])
        weights = weights / jnp.sum(weights)
        closed = self._close_parts(costs, parts, runs)
        loss = None
        if self.learn:
            loss = self._adaptive_loss(weights, costs, points, noise, runs)
        return self._combined(stop(weights), costs, closed, loss)

    def _close_parts(self, costs: Costs, parts: tuple[Points, ...], runs: Runs) -> list[Costs]:
        """What each estimator makes of the costs at its own points."""
        closed = []
        first = first_center = 0
        for e, part in zip(self.estimators, parts):
            last, last_center = first + part.count, first_center + len(part.centers)
            own = costs.between(first, last) if part.stacked else costs.at(first)
            at = costs.derivatives
            if at is not None:
                at = at.part(first, last, not part.stacked)
            expansions = costs.expansions[first_center:last_center]
            own = dataclasses.replace(
                own, derivatives=at, expansions=expansions, name=type(e).__name__
            )
            closed.append(e.close(own, part, runs))
            first, first_center = last, last_center
        return closed

    def _adaptive_loss(
        self, weights: Array, costs: Costs, points: Points, noise: Any, runs: Runs
    ) -> Array:
        """The squared norm of the sample's gradient in the distribution's own leaves, a function of the weights."""
        dist, at = points.dist, costs.derivatives
        leaves = live_leaves(dist)

        # The estimators close once more, as a function of these leaves alone: the costs are held constant, or, where an
        # estimator differentiates them, replaced by their linearization, so that a derivative of the loss is no second
        # derivative of the rest of the program.
        def totals(leaves: list[Array]) -> Array:
            there = with_leaves(detached(dist), leaves)
            if not all(DifferentiableCost in e.needs for e in self.estimators):
                there = there.held_support()  # the score function has no derivative in the others
            parts = self._draw_parts(noise, there)
            if at is None:
                held = detached(costs)
            else:
                moved = at.push([v - stop(v) for v in inexact(_stacked(parts))])
                credited = {k: c + moved.credited[k] for k, c in at.held.credited.items()}
                held = dataclasses.replace(
                    at.held, credited=credited, derivatives=at, expansions=costs.expansions
                )
            return jnp.stack([part.total_and_zero for part in self._close_parts(held, parts, runs)])

        each, pullback = jax.vjp(totals, *local(totals, stop(leaves)))
        units, _ = alike(jnp.eye(len(self.estimators), dtype=each.dtype), each)
        (gradients,) = stop(jax.vmap(pullback)(units))
        squares = [jnp.sum(jnp.tensordot(weights.astype(g.dtype), g, 1) ** 2) for g in gradients]
        return sum(squares, jnp.zeros((), weights.dtype))

    def _combined(
        self, weights: Array, costs: Costs, parts: list[Costs], loss: Array | None
    ) -> Costs:
        credited: dict[Any, Array] = {}
        zero: Array | None = None
        for w, part in zip(weights, parts):
            for k, c in part.credited.items():
                term = w.astype(c.dtype) * c
                credited[k] = credited[k] + term if k in credited else term
            if part.zero is not None:
                term = w.astype(part.zero.dtype) * part.zero
                zero = term if zero is None else zero + term

        def mean(*a: Any) -> Any:
            return jnp.tensordot(weights.astype(jnp.result_type(a[0], weights)), jnp.stack(a), 1)

        losses = [p.adaptive_loss for p in parts if p.adaptive_loss is not None]
        if loss is not None:
            losses.append(loss)
        observed = tuple(part.observed for part in parts)
        return dataclasses.replace(
            costs,
            credited=credited,
            others=parts[0].others,
            reply=parts[0].reply,
            zero=zero,
            records=jax.tree.map(mean, *(part.records for part in parts)),
            later_losses=jax.tree.map(mean, *(part.later_losses for part in parts)),
            adaptive_loss=sum(losses[1:], losses[0]) if losses else None,
            observed=observed if any(o is not None for o in observed) else None,
        )

    def advance(self, statistics: Any) -> "Combination":
        advanced = (e if s is None else e.advance(s) for e, s in zip(self.estimators, statistics))
        return replace(self, estimators=tuple(advanced))


def _stacked(parts: tuple[Points, ...]) -> Any:
    """All points in one stack."""
    values = [(value_of(p.x), p.stacked) for p in parts]
    stacks = [x if many else jax.tree.map(lambda a: a[None], x) for x, many in values]
    return jax.tree.map(lambda *x: jnp.concatenate(x), *stacks)
