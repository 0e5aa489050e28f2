"""The base class of engines, and what they return."""

import abc
from typing import Any, ClassVar, NamedTuple

import numpy as np

from logtrick._core.module import Module
from logtrick.vi._engines._density import Density, generator
from logtrick.vi._engines._gaussian import Gaussian


class EngineResult(NamedTuple):
    """What an engine found.

    Attributes:
      gaussian: the fitted `Gaussian`, of the kind of q0 (full rank or mean field).
      status: `converged`, `not converged`, `budget spent` or `failed` (no point with a finite density was found).
      evaluations: how often the log density was evaluated, a value and its gradient counted once.
      trace: arrays of one length each, a row per iteration: `evaluations` (so far) and `elbo`.
      report: what else the engine has to say, by name.
    """

    gaussian: Gaussian
    status: str
    evaluations: int
    trace: dict[str, np.ndarray]
    report: dict[str, Any]


class Engine(Module, abstract=True):
    """A way to fit a Gaussian to a log density on flat vectors, to be handed to `vi.fit` in the optimizer's place.

    A further engine is a subclass that defines `solve`. It calls `density(points)` for values and gradients in float64
    NumPy arrays. The density raises `BudgetSpent` where the budget is used up, which should end the work.

    Attributes:
      needs_gradients: whether densities that call a host function are refused.
      mean_field: whether a mean-field q0 is accepted.
    """

    needs_gradients: ClassVar[bool] = True
    mean_field: ClassVar[bool] = True

    def run(
        self,
        key: Any,
        target: Any,
        q0: Gaussian,
        *,
        budget: int | None = None,
        progress: Any = None,
    ) -> EngineResult:
        """Fit a Gaussian.

        Args:
          key: a typed key.
          target: the log density: `dim`, `differentiable`, `batch(points)`, `value_and_grad(points)`, `log_density`.
          q0: where to start; its kind (full rank or mean field) is that of the result.
          budget: how many evaluations of the log density may be used; None for no limit. Engines stop at the first
            iteration that ends past it.
          progress: called with a line of text and the evaluations so far after each stage; None for silence.
        Returns:
          An `EngineResult`.
        Raises:
          ValueError: an engine that needs gradients, or a full-rank q, and does not get them; shapes that do not fit.
        """
        name = f"vi.{type(self).__name__}"
        if self.needs_gradients and not target.differentiable:
            raise ValueError(
                f"{name}() needs a log density with gradients; got one that calls a host function. "
                "Use vi.QuadraticRegression()."
            )
        if q0.mean_field and not self.mean_field:
            raise ValueError(
                f"{name}() needs a full-rank q; got a mean-field one. "
                "Pass vi.FullRankNormal, or use vi.NaturalGradient()."
            )
        if q0.mean.shape != (target.dim,):
            raise ValueError(
                f"{name}.run(q0=…) needs a mean of shape ({target.dim},); got {q0.mean.shape}. "
                "Pass a Gaussian of the target's dimension."
            )
        # Densities overflow far from their mode. Such values count as −inf; NumPy need not warn of them.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            return self.solve(Density(target, budget, progress), generator(key), q0.host())

    @abc.abstractmethod
    def solve(self, density: Density, rng: np.random.Generator, q0: Gaussian) -> EngineResult:
        """Fit a Gaussian: what a subclass defines.

        Args:
          density: values and gradients in float64 NumPy arrays; counts its evaluations.
          rng: the generator of the noise.
          q0: where to start, in float64 NumPy arrays.
        Returns:
          An `EngineResult`.
        """


def traced(rows: list[tuple[int, float]]) -> dict[str, np.ndarray]:
    """The trace of (evaluations, ELBO) pairs as arrays."""
    array = np.array(rows, float).reshape(-1, 2)
    return {"evaluations": array[:, 0].astype(int), "elbo": array[:, 1]}
