"""What an engine is, and what it returns."""

from typing import Any, NamedTuple

import numpy as np

from logtrick._core.module import Module
from logtrick.vi._engines._gaussian import Gaussian


class EngineResult(NamedTuple):
    """What an engine found.

    Attributes:
      gaussian: the fitted `Gaussian`, of the kind of q0 (full rank or mean field).
      status: `converged`, `not converged`, `budget spent` or `failed` (no point with a finite density was found).
      evaluations: how often the log density was evaluated, gradients included in the count once.
      trace: arrays of one length each, a row per iteration: `evaluations` (so far) and `elbo`, and what else the
        engine records.
      report: what else the engine has to say, by name.
    """

    gaussian: Gaussian
    status: str
    evaluations: int
    trace: dict[str, np.ndarray]
    report: dict[str, Any]


class Engine(Module, abstract=True):
    """A way to fit a Gaussian to a log density on flat vectors, to be handed to `vi.fit` in the optimizer's place.

    A further engine is a subclass with one method, `run`.
    """

    def run(
        self, key: Any, target: Any, q0: Gaussian, *, budget: int | None = None, progress: Any = None
    ) -> EngineResult:
        """Fit a Gaussian.

        Args:
          key: a typed key.
          target: the log density; `dim`, `differentiable`, `batch(points)` and `value_and_grad(points)`.
          q0: where to start; its kind (full rank or mean field) is that of the result.
          budget: how many evaluations of the log density may be used; None for no limit. Engines stop at the first
            iteration that ends past it.
          progress: called with a line of text and the evaluations so far after each stage or iteration; None for silence.
        Returns:
          An `EngineResult`.
        """
        raise NotImplementedError


def traced(rows: list[tuple[int, float]]) -> dict[str, np.ndarray]:
    """The trace of (evaluations, ELBO) pairs as arrays."""
    array = np.array(rows, float).reshape(-1, 2)
    return {"evaluations": array[:, 0].astype(int), "elbo": array[:, 1]}
