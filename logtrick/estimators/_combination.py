"""A convex combination of estimators."""

import dataclasses
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from logtrick._core import checks
from logtrick._core.kernel import stop
from logtrick._core.module import replace, static
from logtrick._core.runs import Runs
from logtrick.baselines import live_leaves, with_leaves
from logtrick.distributions import Distribution
from logtrick.estimators._base import Estimator, OnePointEstimator, Rest
from logtrick.estimators._costs import Array, Costs


class Combination(Estimator):
    """A convex combination of estimators, each with draws of its own: Σ wᵢ gᵢ, unbiased where every gᵢ is.

    The variance is Σ wᵢ² Var[gᵢ]: with weights in inverse proportion to the variances it is below the least of them, at
    the evaluations of all of them. Trained weights minimise the squared norm of the per-run gradient in the
    distribution's own parameters, by `aux.adaptive_loss` (`has_aux=True`), and are divided by their sum, so that the
    combination stays unbiased wherever an optimizer takes them. The value is the weighted mean of the estimators'.
    All draws are evaluated in one vmapped call of the rest of the program.

    Args:
      estimators: a tuple of estimators that evaluate one point each (`ScoreFunction`, `Pathwise`, …).
      weights: a tuple of as many numbers ≥ 0 that sum to 1.
      learn: the weights learn.
    Raises:
      TypeError: `estimators` is no tuple of estimators.
      ValueError: an estimator of several points; weights that are negative, do not sum to 1, or are not as many.
    References:
      Grathwohl, Choi, Wu, Roeder & Duvenaud (2018) for training on the squared norm; Geffner & Domke (2018), "Using Large
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
    reference: ClassVar[str] = "Geffner & Domke (2018), Using Large Ensembles of Control Variates for VI."

    def __post_init__(self) -> None:
        if not isinstance(self.estimators, tuple) or not all(isinstance(e, Estimator) for e in self.estimators):
            raise TypeError(f"Combination(estimators=…) needs a tuple of estimators; got {self.estimators!r}.")
        if len(self.weights) != len(self.estimators) or not self.estimators:
            raise ValueError(
                f"Combination(weights=…) needs one weight an estimator; got {len(self.weights)} for "
                f"{len(self.estimators)}. Pass two tuples of one length."
            )
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
        return min(e.max_order for e in self.estimators)

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]  # the estimators'
        return frozenset().union(*(e.needs for e in self.estimators))

    @property
    def evaluations(self) -> int:
        return sum(e.evaluations or 0 for e in self.estimators)

    @property
    def block(self) -> int | None:
        blocks = [e.block for e in self.estimators]
        return None if None in blocks else math.lcm(*(b for b in blocks if b is not None))

    @property
    def adaptive(self) -> bool:
        return self.learn or any(e.adaptive for e in self.estimators)

    def check(self, dist: Distribution, num_runs: int) -> None:
        for e in self.estimators:
            if not isinstance(e, OnePointEstimator) or not e.one_point:
                raise ValueError(
                    f"Combination(estimators=…) needs estimators that evaluate one point each; {type(e).__name__} "
                    "evaluates several. Average two expectations instead."
                )
            e.check(dist, num_runs)

    def noise_spec(self, dist: Distribution) -> Any:
        return tuple(e.noise_spec(dist) for e in self.estimators)

    def example(self, noise: Any, dist: Distribution) -> Any:
        return self.estimators[0].example(noise[0], dist)

    def __call__(self, noise: Any, dist: Distribution, rest: Rest, runs: Runs) -> Costs:
        def evaluate(leaves: list[Array]) -> tuple[Array, tuple[Costs, list[Costs]]]:
            return self._parts(noise, with_leaves(dist, leaves), rest, runs)

        weights = jnp.stack([jnp.asarray(w, float) for w in self.weights])
        weights = weights / jnp.sum(weights)
        if self.learn:
            totals, pullback, (costs, parts) = jax.vjp(evaluate, live_leaves(dist), has_aux=True)
            gradients = stop(jax.vmap(pullback)(jnp.eye(totals.size, dtype=totals.dtype))[0])
            squares = [jnp.sum(jnp.tensordot(weights.astype(g.dtype), g, 1) ** 2) for g in gradients]
            loss = sum(squares, jnp.zeros((), weights.dtype))
        else:
            _, (costs, parts) = evaluate(live_leaves(dist))
            loss = None
        return self._combined(stop(weights), costs, parts, loss)

    def _parts(self, noise: Any, dist: Distribution, rest: Rest, runs: Runs) -> tuple[Array, tuple[Costs, list[Costs]]]:
        """The estimators' totals; the costs at all of their points; and each estimator's own costs."""
        points = [e.draw(n, dist) for e, n in zip(self.estimators, noise)]
        costs = jax.vmap(rest)(jax.tree.map(lambda *x: jnp.stack(x), *[p.x for p in points]))
        count = len(points)
        parts = [e.close(costs.point(i, count), p, runs) for i, (e, p) in enumerate(zip(self.estimators, points))]
        return jnp.stack([part.total for part in parts]), (costs, parts)

    def _combined(self, weights: Array, costs: Costs, parts: list[Costs], loss: Array | None) -> Costs:
        mine: dict[Any, Array] = {}
        for w, part in zip(weights, parts):
            for k, c in part.mine.items():
                mine[k] = mine[k] + w.astype(c.dtype) * c if k in mine else w.astype(c.dtype) * c
        own = [part.aux.get("own", {}) for part in parts]
        losses = [o["adaptive"] for o in own if "adaptive" in o] + ([] if loss is None else [loss])
        statistics = tuple(o.get("statistics") for o in own)
        average = dataclasses.replace(costs.combine(weights), mine=mine)
        return average.combine(
            adaptive=sum(losses[1:], losses[0]) if losses else None,
            statistics=statistics if any(s is not None for s in statistics) else None,
        )

    def advance(self, statistics: Any) -> "Combination":
        advanced = (e if s is None else e.advance(s) for e, s in zip(self.estimators, statistics))
        return replace(self, estimators=tuple(advanced))
