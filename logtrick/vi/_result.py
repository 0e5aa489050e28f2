"""What a fit gives."""

from typing import Any

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

    q: Guide
    status: str = static()
    history: History
    evaluations: int = static()
    report: Any = static()
    log_density: Any = static()
    model: Any = None


class Findings(dict[str, Any]):
    """A dict that is part of a pytree's structure: equal to itself alone."""

    def __hash__(self) -> int:  # type: ignore[override]  # by identity
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other
