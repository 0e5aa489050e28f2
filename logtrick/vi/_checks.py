"""What `vi.fit` refuses, and what it says instead."""

from collections.abc import Mapping
from typing import Any

import optax

from logtrick._core import checks
from logtrick._core.calls import described
from logtrick.estimators import Estimator
from logtrick.vi._amortized import PerRow
from logtrick.vi._engines import Engine
from logtrick.vi._guide import Guide
from logtrick.vi._minibatch import Minibatch
from logtrick.vi._objectives._base import Objective, check_objective
from logtrick.vi._objectives._log_variance import LogVariance


def check_fit(objective: Any, optimizer: Any, log_density: Any, refine: Any, q: Guide) -> None:
    """Refuse arguments that do not go together, for guides that are not amortized."""
    check_objective("vi.fit", objective)
    if isinstance(log_density, PerRow):
        raise TypeError(
            f"vi.fit(log_density=vi.per_row(…)) needs a guide for every row; got {type(q).__name__}. Pass "
            "vi.Amortized(encode, params)."
        )
    checks.function("vi.fit", "log_density", log_density, "log_density(z)")
    _check_optimizer(optimizer)
    if isinstance(optimizer, Engine):
        check_engine(objective, optimizer, log_density, q)
    if refine not in (None, "flow"):
        raise ValueError(f'vi.fit(refine=…) needs None or "flow"; got {refine!r}.')
    if refine == "flow" and q.normal() is None:
        raise ValueError(
            f'vi.fit(refine="flow") needs a guide that a flow can start from; got {type(q).__name__}. Use vi.FullRankNormal.'
        )
    if isinstance(log_density, Minibatch):
        if not objective.linear and not isinstance(objective, LogVariance):
            raise ValueError(
                f"vi.fit: {type(objective).__name__} on minibatches is biased, since it is no expectation of a sum over rows. "
                "Use vi.ELBO() or vi.LogVariance(), or all data."
            )
        log_density.check(q.constrain(q._center()))


def check_engine(objective: Objective, engine: Engine, log_density: Any, q: Guide) -> None:
    """Refuse what engines cannot fit."""
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


def check_amortized(objective: Any, optimizer: Any, density: Any, init: Any, refine: Any) -> PerRow:
    """The log density of rows; refuse arguments that do not go together with amortized guides."""
    check_objective("vi.fit", objective)
    if not isinstance(density, PerRow):
        raise TypeError(
            f"vi.fit: an amortized guide needs a log density of rows; got {type(density).__name__}. Pass "
            "vi.per_row(log_joint, data)."
        )
    _check_optimizer(optimizer)
    if isinstance(optimizer, Engine):
        raise ValueError(
            f"vi.fit(optimizer=vi.{type(optimizer).__name__}()) needs a normal guide; got Amortized, which has one for every "
            "row. Use an optax optimizer."
        )
    for name, value in (("init", init), ("refine", refine)):
        if value is not None:
            raise ValueError(
                f"vi.fit({name}=…) needs a guide that is not amortized; got Amortized. Start from its params="
                " instead, and put more into its encoder."
            )
    return density


def check_no_learning(estimator: Any) -> None:
    """Refuse estimators that learn: they have no place among the parameters of an amortized fit."""
    used = estimator.values() if isinstance(estimator, Mapping) else (estimator,)
    for one in used:
        if isinstance(one, Estimator) and one.adaptive:
            raise ValueError(
                f"vi.fit(estimator=…) of an amortized guide needs an estimator that does not learn; got {type(one).__name__}. "
                "Use lt.ScoreFunction(), or train by lt.minimize on vi.loss."
            )


def _check_optimizer(optimizer: Any) -> None:
    if isinstance(optimizer, type) and issubclass(optimizer, Engine):
        raise TypeError(
            f"vi.fit(optimizer=…) needs an instance; got the class. Write vi.{optimizer.__name__}()."
        )
    if not isinstance(optimizer, Engine | optax.GradientTransformation | None):
        advice = "Pass optax.adam(1e-2) or vi.Pipeline(), say."
        if callable(optimizer):
            advice = f"Call it, optax.{getattr(optimizer, '__name__', 'adam')}(1e-2), say."
        raise TypeError(
            f"vi.fit(optimizer=…) needs an optax optimizer or an engine; got {described(optimizer)}. {advice}"
        )
