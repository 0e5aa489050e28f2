"""`vi.fit`: which engine fits which guide."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax

from logtrick._core import checks
from logtrick._core.compat import is_tracer
from logtrick._core.keys import as_key
from logtrick._core.module import Module, replace, static
from logtrick.vi._auto import resolve
from logtrick.vi._engines import Engine, Gaussian
from logtrick.vi._engines._pipeline import Pipeline
from logtrick.vi._estimators._base import WeightEstimator
from logtrick.vi._families._blocks import Blocks
from logtrick.vi._families._coupling_flow import CouplingFlow, flow_over
from logtrick.vi._families._framed import Framed
from logtrick.vi._families._normal import FullRankNormal, full_rank
from logtrick.vi._families._wrapped import as_guide
from logtrick.vi._guide import Guide
from logtrick.vi._loss import estimator_name, grouping
from logtrick.vi._minibatch import Minibatch
from logtrick.vi._objectives._base import Objective
from logtrick.vi._objectives._elbo import ELBO
from logtrick.vi._race import race
from logtrick.vi._starts import best_start
from logtrick.vi._stochastic import Plan, default_steps, train
from logtrick.vi._stop import StopRule, normal_decrement
from logtrick.vi._target import Target

ENGINE, TRAIN, RACE, REFINE, START = 1, 2, 3, 4, 5  # purposes of the key
_SAMPLES = 16


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
      report: what was chosen and why, by name: "engine", "estimator", "reason", the engine's own findings (modes).
      log_density: what was fitted.

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
    fixed draws), which needs no tuning; other continuous families start from such a fit, in its whitened coordinates, and
    go on by Adam; discrete guides, blocks and minibatches by Adam from several starts. Any of `optimizer` (of optax),
    `num_samples`, `max_steps`, or an objective or estimator of one's own asks for the stochastic engine.

    Args:
      key: a typed key.
      log_density: `log_density(z) -> scalar` of one pytree of variables in the constrained space, need not be normalized;
        or a `vi.minibatch`. A function that calls the host (`lt.black_box`) is fitted without its derivative.
      q0: the guide to start from, or an `lt.Distribution`.
      objective: `vi.ELBO()`, `vi.IWELBO(k)`, `vi.Renyi(alpha)`, `vi.InclusiveKL()`, `vi.LogVariance()`, or a user's.
      estimator: "auto", an estimator, or for `Blocks` a dict of them by block.
      optimizer: an optax optimizer, or an engine: `vi.Pipeline()`, `vi.NaturalGradient()`, `vi.BatchAndMatch()`, …
      num_samples: values of the objective a step, of the stochastic engine.
      max_steps: steps at most, of the stochastic engine; 3,000 unless said otherwise.
      budget: evaluations of the log density at most.
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
      & Broderick (2024), "Black Box Variational Inference with a Deterministic Objective".
    Example:
      >>> import jax, jax.numpy as jnp, optax
      >>> from logtrick import vi
      >>> q0 = vi.MeanFieldNormal(like={"mu": 0.0, "tau": 1.0}, support={"tau": vi.positive})
      >>> log_density = lambda z: -0.5 * (z["mu"] - 3.0) ** 2 + jnp.log(z["tau"]) - 2.0 * z["tau"]    # Gamma(2, 2)
      >>> fit = vi.fit(jax.random.key(0), log_density, q0)
      >>> round(fit.q.mean()["mu"].item(), 2), 0.9 < fit.q.mean()["tau"].item() < 1.1
      (3.0, True)
    """
    key, q = as_key(key), as_guide("vi.fit", q0)
    _check(objective, optimizer, log_density, refine, q)
    if init is not None:
        q = _started(key, log_density, q, init, budget)
    kept = dict.fromkeys(q.parts) if isinstance(q, Blocks) else None
    asked = resolve("vi.fit", objective, q, estimator, lambda x: log_density(q.constrain(x)))
    if isinstance(q, Blocks):
        q = replace(q, estimators=kept)  # in the plan from here on
    defaults = optimizer is None and num_samples is None and max_steps is None
    plain = objective.linear and isinstance(estimator, str)
    batches, traced = isinstance(log_density, Minibatch), _traced(key, q)
    engine = optimizer if isinstance(optimizer, Engine) else None
    whole = not batches and not traced and q.normal() is not None
    if engine is None and defaults and plain and whole and not isinstance(q, Framed):
        engine = _default_engine(log_density, q)
    if engine is not None:
        result = _by_engine(key, log_density, q, engine, budget, progress)
    else:
        settings = (objective, asked, optimizer, num_samples, max_steps, budget, stop, progress)
        if defaults and plain and whole and init is None:
            q = _framed_start(key, log_density, q)
        result = _stochastic(key, log_density, q, *settings, auto=isinstance(estimator, str))
    if refine is not None:
        return _refined(key, log_density, result, progress)
    return result


def _check(objective: Any, optimizer: Any, log_density: Any, refine: Any, q: Guide) -> None:
    if not isinstance(objective, Objective):
        raise TypeError(
            f"vi.fit(objective=…) needs an objective; got {objective!r}. Pass vi.ELBO(), say."
        )
    if not callable(log_density):
        raise TypeError(
            f"vi.fit(log_density=…) needs a function of one draw; got {type(log_density).__name__}."
        )
    if isinstance(optimizer, type) and issubclass(optimizer, Engine):
        raise TypeError(
            f"vi.fit(optimizer=…) needs an instance; got the class. Write vi.{optimizer.__name__}()."
        )
    if not isinstance(optimizer, Engine | optax.GradientTransformation | None):
        raise TypeError(
            f"vi.fit(optimizer=…) needs an optax optimizer or an engine; got {type(optimizer).__name__}. Pass "
            "optax.adam(1e-2) or vi.Pipeline(), say."
        )
    if isinstance(optimizer, Engine):
        _check_engine(objective, optimizer, log_density, q)
    if refine not in (None, "flow"):
        raise ValueError(f'vi.fit(refine=…) needs None or "flow"; got {refine!r}.')
    if refine == "flow" and q.normal() is None:
        raise ValueError(
            f'vi.fit(refine="flow") needs a guide that a flow can start from; got {type(q).__name__}. Use vi.FullRankNormal.'
        )
    if isinstance(log_density, Minibatch):
        grows = (
            objective.num_draws is None
            and not objective.maximize
            and type(objective).__name__ == "LogVariance"
        )
        if not objective.linear and not grows:
            raise ValueError(
                f"vi.fit: {type(objective).__name__} on minibatches is biased, since it is no expectation of a sum over rows. "
                "Use vi.ELBO() or vi.LogVariance(), or all data."
            )
        log_density.check(q.constrain(q._center()))


def _check_engine(objective: Objective, engine: Engine, log_density: Any, q: Guide) -> None:
    name = type(engine).__name__
    if not objective.linear:
        raise ValueError(
            f"vi.fit(optimizer=vi.{name}()) fits the ELBO's normal; got objective {type(objective).__name__}. Use an optax "
            "optimizer for other objectives."
        )
    if isinstance(log_density, Minibatch):
        raise ValueError(
            f"vi.fit(optimizer=vi.{name}()) on minibatches is biased: its steps are not linear in the gradient. Use an optax "
            "optimizer, or all data."
        )
    if q.normal() is None:
        raise ValueError(
            f"vi.fit(optimizer=vi.{name}()) needs a normal guide; got {type(q).__name__}. Use an optax optimizer."
        )


def _traced(key: Any, q: Guide) -> bool:
    return any(is_tracer(x) for x in jax.tree.leaves((key, q)))


def _default_engine(log_density: Any, q: Guide) -> Engine | None:
    """The pipeline, where the density has a derivative."""
    return Pipeline() if Target(log_density, q).differentiable else None


def gaussian_of(q: Guide) -> Gaussian:
    """The guide as the engines see it."""
    normal = q.normal()
    assert normal is not None
    return Gaussian(*(np.asarray(x, np.float64) for x in normal))


def _by_engine(
    key: Any, log_density: Any, q: Guide, engine: Engine, budget: int | None, progress: Any
) -> Fit:
    target = Target(log_density, q)
    say = (
        (lambda line, evaluations: print(f"{evaluations:>9,}  {line}"))
        if progress is True
        else progress or None
    )
    run_key = jax.random.fold_in(key, ENGINE)
    result = engine.run(run_key, target, gaussian_of(q), budget=budget, progress=say)
    fitted = q.at_normal(*result.gaussian)
    report = {"engine": repr(engine), "estimator": None, **result.report}
    history = History(result.trace["elbo"], result.trace["evaluations"])
    return Fit(
        fitted, result.status, history, int(result.evaluations), _Report(report), log_density
    )


def _started(key: Any, log_density: Any, q: Guide, init: Any, budget: int | None) -> Guide:
    """The guide at another start."""
    if isinstance(init, Fit):
        init = init.q
    if isinstance(init, Engine):
        init = _by_engine(jax.random.fold_in(key, START), log_density, q, init, budget, None).q
    init = as_guide("vi.fit(init=…)", init)
    if type(init) is type(q) and jax.tree.structure(init) == jax.tree.structure(q):
        return init
    normal = init.normal()
    if normal is None or init.dim != q.dim:
        raise ValueError(
            f"vi.fit(init=…) needs the family of q0, or one with a normal on as many numbers; got {type(init).__name__} for "
            f"{type(q).__name__}."
        )
    return q.at_normal(*normal)


def _framed_start(key: Any, log_density: Any, q: Guide) -> Guide:
    """A framed guide in the frame of a normal fit, where the density has a derivative."""
    engine = _default_engine(log_density, q)
    if engine is None:
        return q
    found = _by_engine(jax.random.fold_in(key, START), log_density, _square(q), engine, None, None)
    normal = found.q.normal()
    assert normal is not None
    return q.at_normal(*normal)


def _square(q: Guide) -> FullRankNormal:
    """A full-rank normal over the variables of q, which its frame is taken from."""
    normal = q.normal()
    assert normal is not None
    return full_rank(q.layout).at_normal(*normal)


def _stochastic(
    key: Any,
    log_density: Any,
    q: Guide,
    objective: Objective,
    estimator: Any,
    optimizer: Any,
    num_samples: int | None,
    max_steps: int | None,
    budget: int | None,
    stop: Any,
    progress: Any,
    *,
    auto: bool,
) -> Fit:
    count = (32 if q.discrete else _SAMPLES) if num_samples is None else num_samples
    checks.positive_int("vi.fit", "num_samples", count)
    groups, size = grouping("vi.fit", objective, count)
    steps = default_steps(max_steps, budget, groups * size)
    checks.positive_int("vi.fit", "max_steps", steps)
    reason = "given"
    if auto:
        estimator, reason = race(
            jax.random.fold_in(key, RACE),
            log_density,
            q,
            objective,
            estimator,
            count,
            _traced(key, q),
        )
    chosen = default_optimizer(q, steps) if optimizer is None else optimizer
    rule = _rule(key, log_density, q, objective, stop)
    plan = Plan(objective, estimator, chosen, count, steps, rule, progress)
    if optimizer is None and q.discrete and not _traced(key, q):
        q = best_start(jax.random.fold_in(key, START), log_density, q, plan)
    trained = train(jax.random.fold_in(key, TRAIN), log_density, q, plan)
    report = {
        "engine": "stochastic",
        "estimator": estimator_name(estimator),
        "reason": reason,
        "skipped": trained.skipped,
    }
    each = groups * size * _per_sample(estimator, q)
    taken = np.shape(trained.values)[0]
    history = History(trained.values, each * np.arange(1, taken + 1))
    return Fit(trained.q, trained.status, history, each * taken, _Report(report), log_density)


def _per_sample(estimator: Any, q: Guide) -> int:
    """Evaluations of the log density for each draw."""
    if isinstance(estimator, dict):
        count = 1
        for name, part in estimator.items():
            count *= _per_sample(part, q.parts[name])  # type: ignore[attr-defined]  # blocks
        return count
    return 1 if isinstance(estimator, WeightEstimator) else estimator.count_evaluations(q.base)


def default_optimizer(q: Guide, steps: int) -> optax.GradientTransformation:
    """Adam with a cosine decay; gentler for flows, bolder for logits."""
    if isinstance(q, CouplingFlow):
        schedule = optax.cosine_decay_schedule(1e-2, steps)
        return optax.chain(optax.clip_by_global_norm(10.0), optax.adam(schedule))
    rate = 0.1 if q.discrete else 0.02 if isinstance(q, Framed) else 0.05
    return optax.adam(optax.cosine_decay_schedule(rate, steps))


def _rule(key: Any, log_density: Any, q: Guide, objective: Objective, stop: Any) -> StopRule | None:
    if stop is None or isinstance(stop, StopRule):
        return stop
    if stop != "auto":
        raise TypeError(f'vi.fit(stop=…) needs "auto", None or a vi.StopRule; got {stop!r}.')
    if not objective.linear or isinstance(log_density, Minibatch) or _traced(key, q):
        return None
    if q.normal() is None or isinstance(q, Framed):
        return StopRule(None)
    target = Target(log_density, q)
    if not target.differentiable:
        return StopRule(None)
    return StopRule(normal_decrement(target, jax.random.key_data(key), lambda q: q.normal()))


def _refined(key: Any, log_density: Any, fitted: Fit, progress: Any) -> Fit:
    """A coupling flow around a normal fit."""
    normal = fitted.q.normal()
    assert normal is not None
    flow = flow_over(fitted.q.layout).at_normal(*normal)
    objective = ELBO()
    settings = (
        objective,
        resolve("vi.fit", objective, flow, "auto", lambda x: log_density(flow.constrain(x))),
    )
    result = _stochastic(
        jax.random.fold_in(key, REFINE),
        log_density,
        flow,
        *settings,
        None,
        32,
        None,
        None,
        None,
        progress,
        auto=False,
    )
    report = {**fitted.report, "refined": dict(result.report)}
    return replace(
        result, report=_Report(report), evaluations=fitted.evaluations + result.evaluations
    )


class _Report(dict[str, Any]):
    """A dict that is part of a pytree's structure: equal to itself alone."""

    def __hash__(self) -> int:  # type: ignore[override]  # by identity
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other
