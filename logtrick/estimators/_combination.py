"""A convex combination of estimators."""

import dataclasses
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from logtrick._core import checks
from logtrick._core.compat import alike, local
from logtrick._core.kernel import detached, stop
from logtrick._core.module import replace, static
from logtrick._core.runs import Runs
from logtrick.baselines import live_leaves, with_leaves
from logtrick.distributions import Distribution
from logtrick.estimators._base import Estimator, Rest
from logtrick.estimators._costs import Array, Costs
from logtrick.estimators._linearized import Linearized, inexact, linearized
from logtrick.estimators._points import points_of, with_costs


class Combination(Estimator):
    """A convex combination of estimators, each with draws of its own: Σ wᵢ gᵢ, unbiased where every gᵢ is.

    The variance is Σ wᵢ² Var[gᵢ]: with weights in inverse proportion to the variances it is below the least of them, at
    the evaluations of all of them. Trained weights minimise the squared norm of the per-run gradient in the
    distribution's own parameters, by `aux.adaptive_loss` (`has_aux=True`), and are divided by their sum, so that the
    combination stays unbiased wherever an optimizer takes them. The value is the weighted mean of the estimators'.
    All draws are evaluated in one vmapped call of the rest of the program.

    Args:
      estimators: a tuple of estimators, none of which takes derivatives of f by itself (`DoubleCV` and `MuProp` do).
      weights: a tuple of as many numbers ≥ 0 that sum to 1.
      learn: the weights learn; over estimators that differentiate f, right for first derivatives only.
    Raises:
      TypeError: `estimators` is no tuple of estimators.
      ValueError: an estimator that differentiates f; weights that are negative, do not sum to 1, or are not as many.
      DerivativeOrderError: a second derivative, where a part or `learn` is right for first derivatives only.
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
    reference: ClassVar[str] = (
        "Geffner & Domke (2018), Using Large Ensembles of Control Variates for VI."
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
        return min(order, 1) if self.learn and "differentiable f" in self.needs else order

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]  # the estimators'
        return frozenset().union(*(e.needs for e in self.estimators))

    @property
    def evaluations(self) -> int | None:
        counts = [e.evaluations for e in self.estimators]
        return None if None in counts else sum(c or 0 for c in counts)

    def count_evaluations(self, dist: Distribution) -> int:
        return sum(e.count_evaluations(dist) for e in self.estimators)

    @property
    def deterministic(self) -> bool:  # type: ignore[override]  # the estimators'
        return all(e.deterministic for e in self.estimators)

    @property
    def block(self) -> int | None:
        blocks = [e.block for e in self.estimators]
        return None if None in blocks else math.lcm(*(b for b in blocks if b is not None))

    @property
    def adaptive(self) -> bool:
        return self.learn or any(e.adaptive for e in self.estimators)

    def check(self, dist: Distribution, num_runs: int) -> None:
        for e in self.estimators:
            e.check(dist, num_runs)

    def noise_spec(self, dist: Distribution) -> Any:
        return tuple(e.noise_spec(dist) for e in self.estimators)

    def example(self, noise: Any, dist: Distribution) -> Any:
        return self.estimators[0].example(noise[0], dist)

    def __call__(self, noise: Any, dist: Distribution, rest: Rest, runs: Runs) -> Costs:
        leaves, evaluate = live_leaves(dist), jax.vmap(rest)
        weights = jnp.stack([jnp.asarray(w, float) for w in self.weights])
        weights = weights / jnp.sum(weights)

        def totals(
            leaves: list[Array], dist: Distribution, evaluate: Any
        ) -> tuple[Array, tuple[list[Costs], Costs]]:
            parts, every = self._parts(noise, with_leaves(dist, leaves), evaluate, runs)
            return jnp.stack([part.total for part in parts]), (parts, every)

        if not self.learn:
            parts, _ = totals(leaves, dist, evaluate)[1]
            return self._combined(stop(weights), parts, None)
        # apart from the costs, so that a derivative of the whole is no second derivative of them
        at: list[Linearized] = []

        def once(points: Any) -> Costs:
            if "differentiable f" not in self.needs:
                return evaluate(points)
            at.append(linearized("Combination(learn=True)", evaluate, points))
            return at[0].costs

        def again(points: Any) -> Costs:
            if not at:
                return detached(every)
            moved = at[0].push([v - stop(v) for v in inexact(points)])
            mine = {k: c + moved.mine[k] for k, c in at[0].held.mine.items()}
            return dataclasses.replace(at[0].held, mine=mine)

        parts, every = totals(leaves, dist, once)[1]
        own = lambda v: totals(v, detached(dist), again)
        each, pullback, _ = jax.vjp(own, *local(own, stop(leaves)), has_aux=True)
        units, _ = alike(jnp.eye(len(parts), dtype=each.dtype), each)
        (gradients,) = stop(jax.vmap(pullback)(units))
        squares = [jnp.sum(jnp.tensordot(weights.astype(g.dtype), g, 1) ** 2) for g in gradients]
        return self._combined(stop(weights), parts, sum(squares, jnp.zeros((), weights.dtype)))

    def _parts(
        self, noise: Any, dist: Distribution, evaluate: Any, runs: Runs
    ) -> tuple[list[Costs], Costs]:
        """What each estimator makes of the costs at its own points, and the costs at all points."""
        drawn = [e.draw(n, dist) if e.one_point else None for e, n in zip(self.estimators, noise)]
        stacks = [
            points_of(e, n, dist, runs) if p is None else jax.tree.map(lambda x: x[None], p.x)
            for e, n, p in zip(self.estimators, noise, drawn)
        ]
        ends = np.cumsum([jax.tree.leaves(stack)[0].shape[0] for stack in stacks])
        every = evaluate(jax.tree.map(lambda *x: jnp.concatenate(x), *stacks))
        parts = []
        for e, n, p, start, end in zip(self.estimators, noise, drawn, [0, *ends], ends):
            own = jax.tree.map(lambda a: a[start:end], every)
            parts.append(
                with_costs(e, n, dist, own, runs)
                if p is None
                else e.close(own.point(0, 1), p, runs)
            )
        return parts, every

    def _combined(self, weights: Array, parts: list[Costs], loss: Array | None) -> Costs:
        mine: dict[Any, Array] = {}
        for w, part in zip(weights, parts):
            for k, c in part.mine.items():
                mine[k] = mine[k] + w.astype(c.dtype) * c if k in mine else w.astype(c.dtype) * c
        own = [part.aux.get("own", {}) for part in parts]
        losses = [o["adaptive"] for o in own if "adaptive" in o] + ([] if loss is None else [loss])
        statistics = tuple(o.get("statistics") for o in own)
        shared = [{k: v for k, v in part.aux.items() if k != "own"} for part in parts]
        aux = jax.tree.map(
            lambda *a: jnp.tensordot(
                weights.astype(jnp.result_type(a[0], weights)), jnp.stack(a), 1
            ),
            *shared,
        )
        average = Costs(mine, parts[0].others, aux, sum(part.evaluations for part in parts))
        return average.combine(
            adaptive=sum(losses[1:], losses[0]) if losses else None,
            statistics=statistics if any(s is not None for s in statistics) else None,
        )

    def advance(self, statistics: Any) -> "Combination":
        advanced = (e if s is None else e.advance(s) for e, s in zip(self.estimators, statistics))
        return replace(self, estimators=tuple(advanced))
