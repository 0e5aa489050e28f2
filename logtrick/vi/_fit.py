"""`vi.fit`: which engine fits which guide."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from logtrick._core import checks
from logtrick._core.calls import in_words
from logtrick._core.keys import as_key
from logtrick._core.module import replace
from logtrick.programs import host_errors_surface
from logtrick.vi._amortized import Amortized
from logtrick.vi._auto import resolve
from logtrick.vi._by_engine import by_engine, default_engine, normal_of
from logtrick.vi._checks import check_amortized, check_fit
from logtrick.vi._engines import Engine
from logtrick.vi._families._blocks import Blocks
from logtrick.vi._families._coupling_flow import flow_over
from logtrick.vi._families._framed import Framed, FramedNormal, framed_normal
from logtrick.vi._families._normal import FullRankNormal, MeanFieldNormal, full_rank
from logtrick.vi._families._wrapped import as_guide
from logtrick.vi._guide import Guide
from logtrick.vi._minibatch import Minibatch
from logtrick.vi._objectives._base import Objective
from logtrick.vi._objectives._elbo import ELBO
from logtrick.vi._result import Findings, Fit
from logtrick.vi._stochastic import check_rule, fit_amortized, fit_stochastic
from logtrick.vi._train import Settings, is_traced

ENGINE, TRAIN, REFINE, START = 1, 2, 3, 4  # purposes of the key


@host_errors_surface([])
@in_words("vi.fit")
def fit(
    key: Any,
    log_density: Callable[[Any], Any],
    q0: Any,
    *,
    objective: Objective = ELBO(),  # noqa: B008  # frozen
    estimator: Any = "auto",
    optimizer: Any = None,
    num_samples: int | None = None,
    max_steps: int | None = None,
    budget: int | None = None,
    init: Any = None,
    stop: Any = "auto",
    refine: str | None = None,
    progress: Any = False,
) -> Fit:
    """Fit a guide to a log density.

    With nothing else set: a normal guide of a smooth density is fitted by `vi.Pipeline` (modes, Laplace, Newton's method on
    fixed draws), which needs no tuning, and of a density that calls the host by `vi.QuadraticRegression`. Other continuous
    families, and other objectives, start from such a fit and go on by Adam in its whitened coordinates. Blocks and minibatches
    are fitted by Adam, guides with discrete variables by Adam from the best of four starts. Any of `optimizer` (of optax),
    `num_samples`, `max_steps` or an estimator of one's own asks for the stochastic engine.

    Args:
      key: a typed key.
      log_density: `log_density(z) -> scalar` of one pytree of variables in the constrained space, which need not be normalized;
        or a `vi.minibatch`, or for amortized guides a `vi.per_row`. A function that calls the host (`lt.black_box`) is fitted
        without its derivative.
      q0: the guide to start from, an `lt.Distribution`, or a `vi.Amortized`.
      objective: `vi.ELBO()`, `vi.IWELBO(k)`, `vi.Renyi(alpha)`, `vi.InclusiveKL()`, `vi.LogVariance()`, or a user's.
      estimator: "auto", an estimator, or for `Blocks` a dict of them by block.
      optimizer: an optax optimizer, or an engine: `vi.Pipeline()`, `vi.NaturalGradient()`, `vi.BatchAndMatch()`, …
      num_samples: values of the objective a step, of the stochastic engine.
      max_steps: how many steps of the stochastic engine at most; 3,000 by default.
      budget: how many evaluations of the log density at most, by all stages together; each ends with the step that exceeds
        it. Evaluations by checks of the start, races of estimators and the stop rule are not counted.
      init: another start: a guide, a `Fit`, or an engine that is run first.
      stop: "auto" stops stochastic fits of the ELBO by the measured rule; None takes all steps; or a
        `vi.StopRule`.
      refine: "flow" continues the fit of a normal guide with a `CouplingFlow`; then `fit.q` is that flow.
      progress: whether progress is printed.
    Returns:
      A `Fit`.
    Raises:
      TypeError: no guide, no objective, no optimizer.
      ValueError: combinations that are illegal or biased, with the legal ones named.
    References:
      Kucukelbir, Tran, Ranganath, Gelman & Blei (2017), "Automatic Differentiation Variational Inference"; Giordano, Ingram
      & Broderick (2024), "Black Box Variational Inference with a Deterministic Objective: Faster, More Accurate, and Even More
      Black Box".
    Example:
      >>> import jax, jax.numpy as jnp, optax
      >>> from logtrick import vi
      >>> q0 = vi.MeanFieldNormal(like={"mu": 0.0, "tau": 1.0}, support={"tau": vi.positive})
      >>> log_density = lambda z: -0.5 * (z["mu"] - 3.0) ** 2 + jnp.log(z["tau"]) - 2.0 * z["tau"]    # Gamma(2, 2)
      >>> fit = vi.fit(jax.random.key(0), log_density, q0)
      >>> round(fit.q.mean()["mu"].item(), 2), 0.9 < fit.q.mean()["tau"].item() < 1.1
      (3.0, True)
    """
    key = as_key(key)
    check_rule(stop)
    if budget is not None:
        budget = checks.positive_int("vi.fit", "budget", budget)
    traced = is_traced(key, q0, log_density)
    settings = Settings(
        objective,
        estimator,
        optimizer,
        num_samples,
        max_steps,
        budget,
        stop,
        progress,
        traced=traced,
    )
    if isinstance(q0, Amortized):
        rows = check_amortized(objective, optimizer, log_density, init, refine)
        return fit_amortized(key, rows, q0, settings)
    q = as_guide("vi.fit", q0)
    check_fit(objective, optimizer, log_density, refine, q)
    spent = 0
    if init is not None:
        q, spent = _started(key, log_density, q, init, budget)
    result = _fitted(key, log_density, q, settings, spent, started=init is not None)
    if refine is not None:
        return _refined(key, log_density, result, settings)
    return result


def _fitted(
    key: Any, log_density: Any, q: Guide, settings: Settings, spent: int, started: bool
) -> Fit:
    """A guide fitted by the engine that the settings and the guide call for.

    `spent` evaluations were made before, and `started` says whether the caller gave another start than q0.
    """
    objective, estimator, optimizer = settings.objective, settings.estimator, settings.optimizer
    density = lambda x: checks.scalar_log_prob("vi.fit: log_density", log_density(q.constrain(x)))
    asked = resolve("vi.fit", objective, q, estimator, density)
    own = q
    if isinstance(q, Blocks):  # the estimators are in `asked` from here on
        q = replace(q, estimators=dict.fromkeys(q.parts))
    defaults = optimizer is None and settings.num_samples is None and settings.max_steps is None
    plain = defaults and objective.linear and isinstance(estimator, str)
    whole = not isinstance(log_density, Minibatch) and not settings.traced
    smooth = plain and whole and q.normal() is not None
    engine = optimizer if isinstance(optimizer, Engine) else None
    if smooth and not isinstance(q, Framed):
        engine = default_engine(log_density, q)
    if engine is not None:
        left = _left(settings.budget, spent)
        run_key = jax.random.fold_in(key, ENGINE)
        result = by_engine(run_key, log_density, q, engine, left, settings.progress)
    else:
        other = optimizer is None and not objective.linear and whole and q.normal() is not None
        if (smooth or other) and not started:
            q, spent = _framed_start(key, log_density, q, settings.budget)
        elif optimizer is None and not settings.traced:
            q = _in_own_frame(q)
        left = _left(settings.budget, spent)
        settings = settings._replace(estimator=asked, race=isinstance(estimator, str), budget=left)
        result = fit_stochastic(jax.random.fold_in(key, TRAIN), log_density, q, settings)
        result = replace(result, q=_as_given(own, result.q))
    return replace(result, evaluations=spent + result.evaluations)


def _left(budget: int | None, spent: int) -> int | None:
    """What is left of a budget, at least one evaluation."""
    return None if budget is None else max(1, budget - spent)


def _started(
    key: Any, log_density: Any, q: Guide, init: Any, budget: int | None
) -> tuple[Guide, int]:
    """The guide at another start, and the evaluations that it took."""
    spent = 0
    if isinstance(init, Engine):
        key = jax.random.fold_in(key, START)
        init = by_engine(key, log_density, q, init, budget, None)
        spent = init.evaluations
    if isinstance(init, Fit):
        init = init.q
    init = as_guide("vi.fit(init=…)", init)
    if type(init) is type(q) and jax.tree.structure(init) == jax.tree.structure(q):
        return init, spent
    normal = init.normal()
    if normal is None or init.dim != q.dim:
        raise ValueError(
            f"vi.fit(init=…) needs the family of q0, or one with a normal on as many numbers; got {type(init).__name__} for "
            f"{type(q).__name__}. Pass a guide of q0's family."
        )
    return q.at_normal(*normal), spent


def _framed_start(key: Any, log_density: Any, q: Guide, budget: int | None) -> tuple[Guide, int]:
    """The guide in the frame of a normal fit, and the evaluations that it took; normal guides become framed ones."""
    engine = default_engine(log_density, q)
    start = full_rank(q.layout).at_normal(*normal_of(q)) if isinstance(q, Framed) else q
    found = by_engine(jax.random.fold_in(key, START), log_density, start, engine, budget, None)
    normal = normal_of(found.q)
    if not isinstance(q, Framed):
        return framed_normal(q.layout, *normal), found.evaluations
    framed = q.at_normal(*normal).at_modes(found.report.get("modes", ()))
    return framed, found.evaluations


def _in_own_frame(q: Guide) -> Guide:
    """A normal guide whose scale was given, in the coordinates that it whitens: Adam's steps are then small for it.

    In the variables' own coordinates a first step of Adam moves a mean of deviation 1e-3 by fifty deviations.
    """
    if not isinstance(q, MeanFieldNormal | FullRankNormal):
        return q
    mean, scale = normal_of(q)
    scale = np.asarray(scale)
    unit = np.ones(q.dim) if scale.ndim == 1 else np.eye(q.dim)
    return q if np.array_equal(scale, unit) else framed_normal(q.layout, mean, scale)


def _as_given(own: Guide, fitted: Guide) -> Guide:
    """The fitted guide in the family, and for blocks with the estimators, that the caller gave."""
    if isinstance(fitted, FramedNormal):
        return own.at_normal(*fitted.normal())
    if isinstance(own, Blocks) and isinstance(fitted, Blocks):
        return replace(fitted, estimators=own.estimators)
    return fitted


def _refined(key: Any, log_density: Any, fitted: Fit, settings: Settings) -> Fit:
    """A coupling flow around a normal fit."""
    flow = flow_over(fitted.q.layout).at_normal(*normal_of(fitted.q))
    estimator = resolve("vi.fit", ELBO(), flow, "auto", lambda x: log_density(flow.constrain(x)))
    left = _left(settings.budget, fitted.evaluations)
    refining = Settings(
        ELBO(), estimator, budget=left, progress=settings.progress, traced=settings.traced
    )
    result = fit_stochastic(jax.random.fold_in(key, REFINE), log_density, flow, refining)
    report = Findings({**fitted.report, "refined": dict(result.report)})
    return replace(result, report=report, evaluations=fitted.evaluations + result.evaluations)
