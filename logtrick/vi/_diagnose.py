"""`vi.diagnose`: draw from a fit, weigh the draws, judge."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from logtrick._core import checks
from logtrick._core.calls import in_words
from logtrick._core.keys import as_key
from logtrick._core.module import replace
from logtrick.programs import host_errors_surface
from logtrick.vi._engines._density import Density
from logtrick.vi._families._wrapped import as_guide
from logtrick.vi._flat import Layout
from logtrick.vi._guide import Guide
from logtrick.vi._missed_mixed import missed_mixed
from logtrick.vi._missed_states import missed_states
from logtrick.vi._modes import MissedMode, missed_by_values, missed_modes
from logtrick.vi._psis import psis
from logtrick.vi._target import Target
from logtrick.vi._verdict import (
    DISTRUST,
    Report,
    decrement,
    judge,
    mean_shifts,
    spread_shifts,
    truncated,
)

_DRAWS, _MODES = 1, 2  # purposes of the key
_LARGEST = 4096  # coordinates up to which modes are searched for, by Hessians


class Weighed(NamedTuple):
    """Draws of q and their log weights.

    Attributes:
      draws: flat, shape (n, d); unconstrained for continuous guides.
      log_weights: log p − log q, shape (n,); −inf where p is 0 or not finite.
      impossible: how many have a log density of −inf.
      undefined: how many have one of nan or +inf.
      resolution: differences between log weights that are rounding.
      target: the flat problem; None where some variables are discrete.
      guide: q.
      log_density: p, of the variables.
    """

    draws: np.ndarray
    log_weights: np.ndarray
    impossible: int
    undefined: int
    resolution: float
    target: Target | None
    guide: Guide
    log_density: Callable[[Any], Any]

    @property
    def bad(self) -> int:
        """How many are not finite."""
        return self.impossible + self.undefined

    @property
    def relative(self) -> np.ndarray:
        """The log weights less the largest of them."""
        return self.log_weights - self.log_weights.max()


@host_errors_surface([])
@in_words("vi.diagnose")
def diagnose(key: Any, log_density: Callable[[Any], Any], q: Any, num_draws: int = 4096) -> Report:
    """Say what a fit is worth, from draws of it and their importance weights w = p/q.

    The ELBO alone cannot: it is log Z less the gap, and neither is known. The importance-weighted bound less the ELBO
    estimates the gap. On 1,275 fits known to be good or bad it was the best single number; k-hat was hardly better than
    chance. The verdict is `good` where the gap plus two standard errors is below 0.5 nats, the weights move no mean by a
    quarter of a standard deviation and change no standard deviation by 15 %, the tail of the weights gives no reason to doubt
    these numbers (k-hat, ESS), no weight is infinite or nan and no mode was missed. Otherwise it is `usable after
    reweighting` where the effective sample size is a tenth of the draws (a quarter, where the weights change a standard
    deviation by 30 %) and no mode was missed, else `do not trust`.

    What no finite search can promise: a mode much narrower than its distance from all the points looked at (a standard
    deviation of 0.3 at 42 away from the rest, in ten dimensions) is not found, and a fit without it is called `good`. Where modes
    may be far apart, give q0 a `scale` that reaches them, or fit from several q0. Above 4,096 coordinates no modes are searched
    for, and the report says so.

    Cost: `num_draws` evaluations of the density, and a search for missed modes: 1,500 to 2,500 gradients;
    without gradients 512 values, and more where some of them are suspicious; for discrete variables up to 50,000 evaluations
    on walks of single changes, which alternate with L-BFGS where there are continuous variables too.

    Args:
      key: a typed key.
      log_density: `log_density(z) -> scalar`, as in `vi.fit`.
      q: a guide, or any `lt.Distribution` over the variables.
      num_draws: n ≥ 100.
    Returns:
      A `Report`.
    Raises:
      TypeError: `num_draws` is no int.
      ValueError: fewer than 100 draws; a log density that is no scalar.
    References:
      Yao, Vehtari, Simpson & Gelman (2018), "Yes, but Did It Work?"; Vehtari, Simpson, Gelman, Yao & Gabry (2024),
      "Pareto Smoothed Importance Sampling".
    Example:
      >>> import jax, jax.numpy as jnp
      >>> from logtrick import vi
      >>> q = vi.FullRankNormal(like=jnp.zeros(2))
      >>> report = vi.diagnose(jax.random.key(0), lambda z: -0.5 * jnp.sum(z**2), q)
      >>> report.verdict, report.khat, round(report.gap, 3)
      ('good', -inf, 0.0)
    """
    num_draws = checks.positive_int("vi.diagnose", "num_draws", num_draws)
    if num_draws < 100:
        raise ValueError(
            f"vi.diagnose(num_draws=…) needs at least 100 draws; got {num_draws}. Pass 4096, say."
        )
    key = as_key(key)
    guide = as_guide("vi.diagnose", q)
    weighed = weigh(jax.random.fold_in(key, _DRAWS), log_density, guide, num_draws)
    return report(jax.random.fold_in(key, _MODES), weighed)


def weigh(key: jax.Array, log_density: Callable[[Any], Any], q: Guide, num_draws: int) -> Weighed:
    """Draw from q and evaluate the weights; the draws are the flat vectors of `q.sample(key, num_draws)`."""
    flat, log_q = (np.asarray(a, np.float64) for a in q.flat_draws(key, num_draws))
    target = None
    if q.discrete:
        # There is no flat density where bits stand beside real numbers: the variables' own densities.
        both = log_densities("vi.diagnose", log_density, q, q.sample(key, num_draws))
        log_p, log_q = (np.asarray(a, np.float64) for a in both)
    else:
        target = Target(log_density, q)
        log_p = Density(target).log_density(flat)
    log_weights = log_p - log_q
    finite = np.isfinite(log_weights)
    impossible = log_p == -np.inf
    epsilon = float(np.finfo(jax.dtypes.canonicalize_dtype(float)).eps)
    size = float(np.abs(log_p[finite]).max(initial=1.0))
    return Weighed(
        flat,
        np.where(finite, log_weights, -np.inf),
        int(impossible.sum()),
        int((~finite & ~impossible).sum()),
        max(math.sqrt(epsilon), 64 * epsilon * size),
        target,
        q,
        log_density,
    )


def log_densities(
    where: str, log_density: Callable[[Any], Any], q: Guide, draws: Any
) -> tuple[jax.Array, jax.Array]:
    """log p and log q of draws of the variables, shapes (n,); `where` is who asks, for messages."""

    def one(z: Any) -> tuple[jax.Array, jax.Array]:
        return checks.scalar_log_prob(f"{where}: log_density", log_density(z)), q.log_prob(z)

    return jax.jit(jax.vmap(one))(draws)


def report(key: jax.Array, weighed: Weighed) -> Report:
    """Judge weighed draws."""
    log_weights, count = weighed.log_weights, len(weighed.log_weights)
    known = Report(
        num_draws=count,
        num_impossible=weighed.impossible,
        num_undefined=weighed.undefined,
        names=tuple(weighed.guide.layout.names),
        draws=weighed.draws,
        log_weights=log_weights,
    )
    if weighed.bad == count:
        nothing = ("no draw of q has a finite log density",)
        return replace(known, verdict=DISTRUST, reasons=nothing, searched=False)
    root = math.sqrt(count)
    weights, bound = truncated(log_weights)
    elbo = float(log_weights.mean())
    elbo_se = gap_se = math.inf
    tilt = math.nan
    if not weighed.bad:
        elbo_se = float(log_weights.std()) / root
        gap_se = float((weights - log_weights).std()) / root
        if weighed.target is not None:
            tilt = decrement(weighed.draws, log_weights)
    raw = np.exp(weighed.relative)
    tail = tail_of(weighed)[1]
    tail["ess"] = float(raw.sum() ** 2 / (raw**2).sum())  # smoothing hides an outlier
    level = bound if weighed.bad else elbo
    searched, missed = _search(key, weighed, level, bound)
    found = replace(
        known,
        elbo=elbo,
        elbo_se=elbo_se,
        iw_bound=bound,
        iw_bound_se=float(weights.std()) / root,
        gap=bound - elbo,
        gap_se=gap_se,
        decrement=tilt,
        missed_modes=tuple(missed),
        searched=searched,
        **tail,
        **_moved(weighed, weights),
    )
    verdict, reasons = judge(found)
    return replace(found, verdict=verdict, reasons=reasons)


def tail_of(weighed: Weighed) -> tuple[jax.Array, dict[str, Any]]:
    """The smoothed and normalized log weights, and their effective sample size, k-hat and its interval."""
    smoothed = psis(jnp.asarray(weighed.relative), weighed.resolution)
    low, high = smoothed.khat_interval
    return smoothed.log_weights, {
        "ess": float(smoothed.ess),
        "khat": float(smoothed.khat),
        "khat_interval": (float(low), float(high)),
    }


def _moved(weighed: Weighed, weights: np.ndarray) -> dict[str, Any]:
    """What the report says of the mean and of the standard deviation that the weights move the most."""
    shifts = mean_shifts(weighed.draws, weights)
    values, value_names = _continuous(weighed)
    spreads = spread_shifts(values, weights)
    worst, widest = int(np.argmax(shifts)), int(np.argmax(spreads))
    return {
        "mean_shift": float(shifts[worst]),
        "shifted": weighed.guide.layout.names[worst],
        "spread_shift": float(spreads[widest]),
        "respread": value_names[widest],
    }


def _continuous(weighed: Weighed) -> tuple[np.ndarray, list[str]]:
    """The continuous variables of the draws, in their supports where none is discrete, shape (n, k), and k names.

    The relative change of a rare bit's deviation says nothing.
    """
    layout = weighed.guide.layout
    if weighed.target is None:
        discrete = np.concatenate([np.full(v.size, v.discrete) for v in layout.variables])
        return np.where(discrete, 0.0, weighed.draws), layout.names
    values = jax.tree.leaves(_constrained(layout, weighed.draws))
    rows = [np.asarray(value, np.float64).reshape(len(weighed.draws), -1) for value in values]
    return np.concatenate(rows, 1), layout.value_names


@functools.partial(jax.jit, static_argnums=0)
def _constrained(layout: Layout, draws: Any) -> Any:
    return jax.vmap(layout.constrain)(jnp.asarray(draws, layout.dtype))


def _search(
    key: jax.Array, weighed: Weighed, elbo: float, bound: float
) -> tuple[bool, list[MissedMode]]:
    """Whether modes or states that q has missed could be searched for, and those that were found."""
    q, target = weighed.guide, weighed.target
    if target is None:
        if not all(variable.discrete for variable in q.layout.variables):
            return missed_mixed(key, weighed.log_density, q, elbo, bound)
        return True, missed_states(key, weighed.log_density, q, elbo, bound)
    if target.dim > _LARGEST:
        return False, []
    if not target.differentiable:
        return True, missed_by_values(key, target, weighed.draws, elbo)
    found = missed_modes(key, target, weighed.draws, elbo, bound, normal=q.flat_normal)
    return True, found
