"""`estimator="auto"`: the choice by the legality table and by what the guide declares."""

from collections.abc import Callable, Mapping
from typing import Any

import jax

from logtrick.distributions import Bernoulli, Distribution
from logtrick.estimators import DisARM, Enumerate, Estimator, ScoreFunction
from logtrick.vi._estimators._base import WeightEstimator
from logtrick.vi._estimators._dreg import DReG
from logtrick.vi._estimators._held_draws import HeldDraws
from logtrick.vi._estimators._stl import STL
from logtrick.vi._estimators._vimco import VIMCO
from logtrick.vi._families._blocks import Blocks, estimators_of
from logtrick.vi._guide import Guide
from logtrick.vi._legality import LEGAL, cell, kind
from logtrick.vi._objectives._base import Objective
from logtrick.vi._target import calls_host

ENUMERATED = 16  # points up to which a sum over the support costs no more than a few draws


def resolve(
    where: str, objective: Objective, q: Guide, given: Any, density: Callable[[Any], Any]
) -> Any:
    """The estimator to use, checked against the table; for blocks under the ELBO a dict of them.

    `given` is "auto", an estimator, or a dict of estimators by block; `density` is log p of a draw of the base, and `where`
    says who asks, for messages.
    """
    by_site = isinstance(q, Blocks) and (objective.linear or objective.num_draws == 1)
    if isinstance(given, Mapping) or (by_site and not isinstance(given, WeightEstimator)):
        return _by_block(where, objective, q, given, density)
    if isinstance(given, str):
        if given != "auto":
            raise ValueError(
                f'{where}(estimator=…) needs "auto" or an estimator; got {given!r}. Pass vi.STL(), say.'
            )
        return automatic(objective, q, differentiable(q, density))
    _check(where, objective, given)
    return given


def _check(where: str, objective: Objective, estimator: Any) -> None:
    if isinstance(estimator, type) and issubclass(estimator, Estimator | WeightEstimator):
        raise TypeError(
            f"{where}(estimator=…) needs an instance; got the class. Write {estimator.__name__}()."
        )
    if not isinstance(estimator, Estimator | WeightEstimator):
        raise TypeError(
            f"{where}(estimator=…) needs an estimator; got {type(estimator).__name__}. "
            'Pass lt.ScoreFunction(), vi.STL(), or "auto".'
        )
    cell(objective, estimator, where)


def _by_block(where: str, objective: Objective, q: Guide, given: Any, density: Any) -> Any:
    if not isinstance(q, Blocks):
        raise TypeError(
            f"{where}(estimator=…) takes a dict of estimators for vi.Blocks only; got {type(q).__name__}. Pass one "
            "estimator."
        )
    if objective.num_draws != 1:
        raise ValueError(
            f"{where}(estimator=…): {type(objective).__name__} has one estimator for all blocks. Use vi.VIMCO()."
        )
    chosen = estimators_of(where, q, None if isinstance(given, str) else given)
    smooth = None
    for name, estimator in chosen.items():
        if estimator is None:
            smooth = differentiable(q, density) if smooth is None else smooth
            chosen[name] = automatic(objective, q.parts[name], smooth)
        else:
            _check(where, objective, estimator)
    return chosen


def automatic(objective: Objective, q: Guide, smooth: bool) -> Any:
    """The estimator by the table.

    `HeldDraws` for objectives that average over draws of the current q. Otherwise, where q is reparameterized and log p is
    smooth, `STL` for the ELBO and `DReG` for other objectives. Otherwise `VIMCO` for k-draw bounds; and for one draw the exact
    sum over a small support, `DisARM` for bits, and the score function with leave-one-out for everything else.
    """
    row = LEGAL[kind(objective)]
    if "HeldDraws" in row:
        return HeldDraws()
    if smooth and objective.linear and q.pathwise:
        return STL()
    if smooth and q.base.reparameterized:
        return DReG()
    if "VIMCO" in row:
        return VIMCO()
    if support_size(q.base) is not None:
        return Enumerate()
    return DisARM() if isinstance(q.base, Bernoulli) else ScoreFunction()


def support_size(dist: Distribution) -> int | None:
    """The number of points of a support of at most `ENUMERATED`; None for larger ones."""
    if not dist.support.finite or dist.event_shape is None:
        return None
    entries = sum(
        leaf.size for leaf in jax.tree.leaves(jax.eval_shape(dist.sample, jax.random.key(0)))
    )
    if entries > 4:  # at least 2⁵ points, unless all but one are impossible
        return None
    points = jax.tree.leaves(jax.eval_shape(dist.enumerate))[0].shape[0]
    return points if points <= ENUMERATED else None


def differentiable(q: Guide, density: Callable[[Any], Any]) -> bool:
    """Whether log p of a draw of the base can be differentiated: no host function is called in it."""
    return not calls_host(density, jax.eval_shape(q.base.sample, jax.random.key(0)))
