"""The result of a fit."""

from typing import Any

import numpy as np

from logtrick._core.compat import is_tracer
from logtrick._core.module import Module, static
from logtrick.vi._guide import Guide


class History(Module):
    """The objective along a fit, arrays of one length.

    Attributes:
      value: its estimate, in its own sign: the ELBO for `ELBO()`.
      evaluations: of the log density, until then.
    """

    value: Any
    evaluations: Any


class Fit(Module):
    """What `vi.fit` found.

    Attributes:
      q: the fitted guide, of the family that the fit began with.
      status: "converged", or why the fit ended: "max_steps", "budget spent", "not converged", "interrupted", "failed"; "traced"
        under a transformation. It speaks of the optimization only: `vi.diagnose` says what the fit is worth.
      history: a `History`.
      evaluations: of the log density.
      report: what was chosen and why, by name: "engine", "estimator", "reason", "stop" (what the stop rule saw), the engine's own
        findings (modes).
      log_density: what was fitted.
      model: the parameters of an amortized fit's model (`vi.per_row(model=…)`), as trained; None where there are none.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from logtrick import vi
      >>> log_density = lambda z: -0.5 * jnp.sum((z - jnp.array([1.0, -2.0])) ** 2)
      >>> fit = vi.fit(jax.random.key(0), log_density, vi.FullRankNormal(like=jnp.zeros(2)))
      >>> fit.status, fit.q.mean().round(3).tolist()
      ('converged', [1.0, -2.0])
    """

    def __repr__(self) -> str:
        lines = [f"Fit: {self.status} after {self.evaluations:,} evaluations of the log density"]
        values = self.history.value
        if not is_tracer(values) and np.ndim(values) == 1 and len(values):
            lines.append(_progress(np.asarray(values, np.float64)))
        told = ((name, self.report.get(name)) for name in ("engine", "estimator", "stop"))
        lines += [f"  {name} {found}" for name, found in told if found is not None]
        return "\n".join([*lines, f"  q {self.q!r}"])

    q: Guide
    status: str = static()
    history: History
    evaluations: int = static()
    report: Any = static()
    log_density: Any = static()
    model: Any = None


def _progress(values: np.ndarray) -> str:
    """The objective at the beginning and at the end, as means."""
    window = min(50, max(1, len(values) // 4))
    first, last = values[:window].mean(), values[-window:].mean()
    return f"  objective {first:.6g} → {last:.6g} ({len(values):,} values, means of {window})"


class Findings(dict[str, Any]):
    """A dict that is part of a pytree's structure: equal to itself alone."""

    def __hash__(self) -> int:  # type: ignore[override]  # by identity
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other
