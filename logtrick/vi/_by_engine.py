"""Fits by engines, which work on the flat vector."""

from typing import Any

from logtrick.vi._engines import Engine, Gaussian, Pipeline, QuadraticRegression
from logtrick.vi._guide import Guide
from logtrick.vi._result import Findings, Fit, History
from logtrick.vi._target import Target
from logtrick.vi._train import is_traced


def by_engine(
    key: Any, log_density: Any, q: Guide, engine: Engine, budget: int | None, progress: Any
) -> Fit:
    """A normal guide fitted by an engine."""
    if is_traced(key, q, log_density):
        raise ValueError(
            f"vi.fit: vi.{type(engine).__name__}() computes on the host, which is not there under jax.vmap and jax.jit. Use an "
            "optax optimizer."
        )
    target = Target(log_density, q)
    say = _print if progress is True else progress or None
    found = engine.run(key, target, Gaussian(*normal_of(q)), budget=budget, progress=say)
    report = Findings({"engine": repr(engine), "estimator": None, **found.report})
    history = History(found.trace["elbo"], found.trace["evaluations"])
    fitted = q.at_normal(*found.gaussian)
    return Fit(fitted, found.status, history, int(found.evaluations), report, log_density)


def default_engine(log_density: Any, q: Guide) -> Engine:
    """The pipeline, or a regression on values where the density has no derivative."""
    return Pipeline() if Target(log_density, q).differentiable else QuadraticRegression()


def normal_of(q: Guide) -> tuple[Any, Any]:
    """Mean and scale of a guide that has them."""
    normal = q.normal()
    assert normal is not None
    return normal


def _print(line: str, evaluations: int) -> None:
    print(f"{evaluations:>9,}  {line}")
