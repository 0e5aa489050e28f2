"""The verdict on a fit: one word, its reasons, and the numbers behind it."""

import math
from typing import Any

import numpy as np

from logtrick._core.module import Module, static
from logtrick.vi._modes import MissedMode, moments

GOOD, USABLE, DISTRUST = "good", "usable after reweighting", "do not trust"

# Chosen on 1,275 fits of public posteriors, each known to be good or bad.
_GAP = 0.5  # nats
_SHIFT = 0.25  # standard deviations of q
_SPREAD = 0.15  # of a standard deviation, relative; the change that the weights show is often less than the true one
_KHAT = 1.0
_RELIABLE_KHAT = 0.7  # with fewer effective draws than _ESS the gap is believed only below this
_ESS = 0.1  # of the number of draws
# Of 44 fits called usable, reweighting left the means .5 deviations off in those to a banana; they had few effective draws
# beside a large change of a standard deviation. A q that is so much too narrow has no draws where p goes on.
_NARROW_ESS, _NARROW = 0.25, 0.3
# Of the draws: with more weights that are no numbers there is nothing to reweight by.
_UNDEFINED = 0.01
_MANY = 0.8  # with more effective draws than this share, the tail of the weights carries next to nothing


class Report(Module):
    """What a fit is worth: prints as a short table.

    Attributes:
      verdict: `good`, `usable after reweighting` (by `vi.importance_sample`) or `do not trust`.
      reasons: why it is not better, in words; empty where it is `good`.
      elbo: the mean of log w, w = p/q, in nats: a lower bound of log Z.
      elbo_se: its standard error.
      iw_bound: log mean w, weights truncated at mean · √n: another estimate of log Z, at least the ELBO.
      iw_bound_se: its standard error.
      gap: `iw_bound` − `elbo`: about KL(q ‖ p), which no number of ELBO iterations shows.
      gap_se: its standard error.
      ess: the effective sample size of the weights, (Σw)²/Σw².
      khat: the shape of the tail of the weights (`psis`); −inf for an exact fit.
      khat_interval: about 95 % of it.
      decrement: about how many nats the ELBO would still rise by changing mean and covariance; nan where some variables are
        discrete or some draws have no finite density.
      mean_shift: the largest distance between a coordinate's mean under the weights and under q, in its standard deviations
        under q.
      shifted: the coordinate with the largest shift.
      spread_shift: the largest relative difference between a continuous variable's standard deviation under the weights and
        under q, in its support.
      respread: the variable of which that is.
      missed_modes: modes of p outside of q.
      searched: whether modes were searched for (beside discrete variables it needs a density with gradients).
      num_draws: n.
      num_impossible: how many draws have a log density of −inf.
      num_undefined: how many have one of nan or +inf.
      draws: of q, flat and unconstrained, shape (n, d).
      log_weights: log p − log q there, shape (n,).
    """

    verdict: str = static(default="")
    reasons: tuple[str, ...] = static(default=())
    # The defaults are what is known where no draw has a finite density: nothing.
    elbo: float = static(default=-math.inf)
    elbo_se: float = static(default=math.inf)
    iw_bound: float = static(default=-math.inf)
    iw_bound_se: float = static(default=math.inf)
    gap: float = static(default=math.inf)
    gap_se: float = static(default=math.inf)
    ess: float = static(default=0.0)
    khat: float = static(default=math.inf)
    khat_interval: tuple[float, float] = static(default=(math.inf, math.inf))
    decrement: float = static(default=math.nan)
    mean_shift: float = static(default=math.nan)
    shifted: str = static(default="")
    spread_shift: float = static(default=math.nan)
    respread: str = static(default="")
    missed_modes: tuple[MissedMode, ...] = ()
    searched: bool = static(default=True)
    num_draws: int = static(default=1)
    num_impossible: int = static(default=0)
    num_undefined: int = static(default=0)
    names: tuple[str, ...] = static(default=())
    draws: Any = None
    log_weights: Any = None

    def __repr__(self) -> str:
        low, high = self.khat_interval
        modes = str(len(self.missed_modes)) if self.searched else "not searched for"
        nats = "undefined" if math.isnan(self.decrement) else f"{self.decrement:.3f} nats"
        rows = [
            ("ELBO", f"{self.elbo:.3f} ± {self.elbo_se:.3f}"),
            ("importance-weighted bound", f"{self.iw_bound:.3f} ± {self.iw_bound_se:.3f}"),
            ("gap", f"{self.gap:.3f} ± {self.gap_se:.3f} nats"),
            ("effective sample size", f"{self.ess:.0f} of {self.num_draws}"),
            ("k-hat", f"{self.khat:.2f} ({low:.2f} to {high:.2f})"),
            ("decrement", nats),
            ("largest mean shift", f"{self.mean_shift:.3f} sd ({self.shifted})"),
            ("largest change of an sd", f"{100 * self.spread_shift:.0f} % ({self.respread})"),
            ("missed modes", modes),
            ("verdict", self.verdict),
        ]
        lines = [f"{name:<26} {value}" for name, value in rows]
        return "\n".join([*lines, *(f"  because {reason}" for reason in self.reasons)])

    def plot(self, history: Any = None) -> Any:
        """A figure: the ELBO of the fit with its stop, marginals, the worst pair of coordinates, the tail of the weights.

        Args:
          history: `fit.history`, or the ELBO of every iteration, an array; None leaves that panel out.
        Returns:
          A `matplotlib.figure.Figure`.
        Raises:
          ImportError: matplotlib is not installed (the `plot` extra).
        """
        from logtrick.vi._verdict_figure import figure

        return figure(self, history)


def truncated(log_weights: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights w / mean w, none above √n, and the log of the truncated weights' mean.

    One outlier among thousands of weights would decide the bound and the shifts alone (Ionides 2008).
    """
    largest = float(log_weights.max())
    weights = np.exp(log_weights - largest)
    weights = np.minimum(weights, weights.mean() * math.sqrt(len(weights)))
    mean = float(weights.mean())
    return weights / mean, largest + math.log(mean)


def decrement(draws: np.ndarray, log_weights: np.ndarray) -> float:
    """|b|²/2 + ‖H‖²_F/4 from two independent halves of the draws.

    In the coordinates e that whiten q, Stein's identity gives b = E[e log w] and H = E[(e eᵀ − I) log w] where q is Gaussian;
    of H the diagonal where there are too few draws for a covariance. The product of the halves has no upward bias from their
    noise.
    """
    gaussian = moments(draws)
    e = gaussian.whiten(draws)
    centered = log_weights - log_weights.mean()
    half = len(e) // 2
    shifts, tilts = [], []
    for rows in (slice(0, half), slice(half, 2 * half)):
        weighted = e[rows] * centered[rows, None]
        shifts.append(weighted.mean(0))
        if gaussian.mean_field:
            tilts.append((weighted * e[rows]).mean(0) - centered[rows].mean())
        else:
            tilts.append(weighted.T @ e[rows] / half - np.eye(e.shape[1]) * centered[rows].mean())
    value = 0.5 * float(shifts[0] @ shifts[1]) + 0.25 * float((tilts[0] * tilts[1]).sum())
    return max(0.0, value)


def mean_shifts(draws: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """|mean under the weights − mean under q| in standard deviations of q, shape (d,); 0 where q does not vary."""
    spread = draws.std(0)
    moved = np.abs((weights[:, None] * draws).mean(0) - draws.mean(0))
    return np.where(spread > 0, moved / np.where(spread > 0, spread, 1.0), 0.0)


def spread_shifts(draws: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """|sd under the weights / sd under q − 1|, shape (d,); 0 where q does not vary."""
    spread = draws.std(0)
    mean = (weights[:, None] * draws).mean(0)
    weighted = np.sqrt((weights[:, None] * (draws - mean) ** 2).mean(0))
    return np.where(spread > 0, np.abs(weighted / np.where(spread > 0, spread, 1.0) - 1), 0.0)


def judge(report: Report) -> tuple[str, tuple[str, ...]]:
    """The verdict on what a report says, and its reasons.

    `good` needs all of: every weight finite; gap + 2 standard errors < 0.5 nats; mean shift < 0.25; standard deviations
    changed by < 15 %; no missed mode; and k-hat < 1 unless four fifths of the draws are effective, < 0.7 unless a tenth are
    (the gap of a heavy-tailed p is underestimated otherwise; among nearly equal weights k-hat means nothing).
    Else `usable after reweighting` where no mode is missed, the effective sample size is at least a tenth of the draws (a quarter
    where the weights change a standard deviation by 30 %), and at most one draw in a hundred has a log density of nan or +∞.
    (At −∞ the weight is 0, as it should be.)
    """
    reasons = []
    effective, highest_gap = report.ess / report.num_draws, report.gap + 2 * report.gap_se
    if report.num_impossible:
        reasons.append(
            f"{report.num_impossible} draws of q have a log density of -inf: p ends at an edge that no support= declares, "
            "or rules states out"
        )
    if report.num_undefined:
        reasons.append(f"{report.num_undefined} draws of q have a log density of nan or +inf")
    if not highest_gap < _GAP:
        reasons.append(
            f"the gap plus two standard errors, {highest_gap:.2f} nats, is not below {_GAP}"
        )
    if not report.mean_shift < _SHIFT:
        reasons.append(
            f"the weights move the mean of {report.shifted} by {report.mean_shift:.2f} standard deviations (limit {_SHIFT})"
        )
    if not report.spread_shift < _SPREAD:
        reasons.append(
            f"the weights change the standard deviation of {report.respread} by {100 * report.spread_shift:.0f} % "
            f"(limit {100 * _SPREAD:.0f} %)"
        )
    if not report.khat < _KHAT and not effective >= _MANY:
        reasons.append(
            f"k-hat is {report.khat:.2f}, not below {_KHAT:g}: the weights have hardly a mean"
        )
    elif not report.khat < _RELIABLE_KHAT and not effective >= _ESS:
        reasons.append(
            f"k-hat is {report.khat:.2f} with few effective draws: the gap may be underestimated"
        )
    if report.missed_modes:
        reasons.append(
            f"p has {len(report.missed_modes)} mode(s) with a comparable mass outside of q"
        )
    if not reasons:
        return GOOD, ()
    least = _NARROW_ESS if report.spread_shift >= _NARROW else _ESS
    few_undefined = report.num_undefined <= _UNDEFINED * report.num_draws
    if effective >= least and not report.missed_modes and few_undefined:
        return USABLE, tuple(reasons)
    if not effective >= least:
        reasons.append(
            f"the effective sample size is {100 * effective:.1f} % of the draws, below {100 * least:.0f} %"
        )
    return DISTRUST, tuple(reasons)
