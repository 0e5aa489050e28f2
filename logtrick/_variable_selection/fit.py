"""Fitting a guide by `vi.fit`, and what the fit is worth by `vi.diagnose` and, where there is one, the exact posterior."""

import dataclasses
import math
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import logtrick as lt
from logtrick import vi
from logtrick._variable_selection.guides import Guide
from logtrick._variable_selection.model import Model
from logtrick._variable_selection.progress import Progress

Array = jax.Array

# Numbers in the arrays of the draws that a fit is judged by, and the fewest and the most of these draws.
_NUMBERS, _FEWEST, _MOST = 2**26, 2**12, 2**16
_RANKS = {"do not trust": 0, "usable after reweighting": 1, "good": 2}
# ELBOs this close, in nats, are the same to the reader.
_SAME = 5e-4


@dataclasses.dataclass(frozen=True)
class Worth:
    """What a distribution over inclusion vectors is worth.

    Attributes:
      report: of `vi.diagnose`, which knows nothing of the exact posterior.
      elbo: by enumeration where the models are enumerated, else by Monte Carlo.
      standard_error: of `elbo`; 0 for the enumeration.
      inclusion: q(γ_j = 1), shape (p,).
    """

    report: vi.Report
    elbo: float
    standard_error: float
    inclusion: np.ndarray


@dataclasses.dataclass(frozen=True)
class Fitted:
    """A fitted guide.

    Attributes:
      guide: what was fitted.
      q: the fitted distribution.
      status: of `vi.fit`: "converged" by its stop rule, or "max_steps".
      reason: what the stop rule saw, in words.
      history: the ELBO's estimate at every step.
      worth: what q is worth.
      kept: why the fit that it started from was kept in its place, in words; else empty.
    """

    guide: Guide
    q: Any
    status: str
    reason: str
    history: np.ndarray
    worth: Worth
    kept: str = ""

    @property
    def convergence(self) -> str:
        """Whether the fit has converged, in words."""
        if self.kept:
            return f"not converged ({self.kept})"
        if self.status == "converged":
            return f"converged ({self.reason})"
        return f"not converged, more --steps or --draws would help ({self.reason})"


def assess(key: Array, model: Model, q: Any) -> Worth:
    """What a distribution is worth."""
    size = (model.num_predictors + 1) ** 2
    count = _FEWEST if model.enumerable else min(max(_FEWEST, _NUMBERS // size), _MOST)
    report = vi.diagnose(key, model.log_joint, q, count)
    if not model.enumerable:
        return Worth(report, report.elbo, report.elbo_se, report.draws.mean(axis=0))
    posterior = model.posterior
    log_q = jax.jit(jax.vmap(q.log_prob))(jnp.asarray(posterior.points, jnp.float32))
    log_q = np.asarray(log_q, np.float64)
    weights = np.exp(log_q)
    elbo = float(weights @ (posterior.log_joint - log_q))
    return Worth(report, elbo, 0.0, weights @ posterior.points)


def fit(
    key: Array, model: Model, guide: Guide, progress: Progress, poorer: Fitted | None = None
) -> Fitted:
    """Fit a guide by the score function with leave-one-out.

    Args:
      key: of all draws.
      model: the posterior to fit.
      guide: what is fitted.
      progress: where the steps are reported.
      poorer: a fit of a guide that this one contains: the start, and the least that is returned.
    """
    start = guide.start(model.num_predictors)
    if poorer is not None and guide.containing is not None:
        start = guide.containing(poorer.q)
    found = vi.fit(
        jax.random.fold_in(key, 0),
        model.log_joint,
        start,
        estimator=lt.ScoreFunction(lt.LeaveOneOut()),
        optimizer=guide.optimizer(guide.num_steps),
        num_samples=guide.num_samples,
        max_steps=guide.num_steps,
        stop=vi.StopRule(None, first=max(200, guide.first)),
        progress=progress,
    )
    if found.status == "interrupted":
        raise KeyboardInterrupt
    worth = assess(jax.random.fold_in(key, 1), model, found.q)
    fitted = Fitted(
        guide, found.q, found.status, found.report["stop"], np.asarray(found.history.value), worth
    )
    return fitted if poorer is None else _no_worse(fitted, poorer, start)


def _no_worse(found: Fitted, poorer: Fitted, start: Any) -> Fitted:
    """`found`, or the fit it started from where training made it worse.

    Worse is an ELBO that is lower by more than the standard errors; or, where the ELBOs cannot be told apart, a verdict that
    is worse: a guide that has lost a rare model hardly shows it in an ELBO by its own draws.
    """
    new, old = found.worth, poorer.worth
    below = old.elbo - new.elbo
    error = _SAME + 2 * math.hypot(new.standard_error, old.standard_error)
    if below > error:
        kept = f"training ended {below:.3f} nats below its start"
    elif below > -error and _RANKS[new.report.verdict] < _RANKS[old.report.verdict]:
        kept = f"training gained no nats that can be told from 0 and ended at the verdict {new.report.verdict!r}"
    else:
        return found
    return dataclasses.replace(found, q=start, status="max_steps", worth=old, kept=kept)


def reasons(model: Model, worth: Worth) -> list[str]:
    """Why the verdict on a fit is not better, with the predictors' names, and the models that the guide misses."""
    names = model.names
    named = [
        re.sub(r"\bz\[(\d+)\]", lambda found: names[int(found[1])], reason)
        for reason in worth.report.reasons
    ]
    missed = [model.described(mode.mean > 0.5) for mode in worth.report.missed_modes]
    if missed:  # by name, in the place of how many there are
        named = [reason for reason in named if not reason.startswith("p has")]
        named.append(
            f"it misses models about as probable as its own, {' and '.join(missed)} for one"
        )
    return named
