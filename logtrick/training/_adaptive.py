"""Estimators inside the parameters: which leaves are running statistics, and where their next values are put.

An optimizer must not see statistics (weight decay would move them), and an integer count has no gradient. So the parameters
are split into what is trained and what is not, and each estimator of `aux.estimators` is put back where it was found.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import keystr, tree_flatten_with_path

from logtrick.baselines import Baseline
from logtrick.estimators import Estimator
from logtrick.expectations import Aux

Array = jax.Array


def _is_part(x: Any) -> bool:
    return isinstance(x, Estimator | Baseline)


def _is_estimator(x: Any) -> bool:
    return isinstance(x, Estimator)


def trained_leaves(tree: Any) -> list[bool]:
    """For each leaf of `tree`, whether an optimizer moves it: all but the declared statistics of estimators."""
    flags: list[bool] = []
    for node in jax.tree.leaves(tree, is_leaf=_is_part):
        flags += _part_leaves(node) if _is_part(node) else [True]
    return flags


def _part_leaves(part: Any) -> list[bool]:
    flags: list[bool] = []
    for field in dataclasses.fields(part):
        if field.metadata.get("static"):
            continue
        value = getattr(part, field.name)
        if field.name in part.statistics:
            flags += [False] * len(jax.tree.leaves(value))
        else:
            flags += trained_leaves(value)
    return flags


def partition(params: Any) -> tuple[Any, list[Any]]:
    """Split `params` into what is trained and the running statistics of its estimators.

    Args:
      params: a pytree that may hold estimators with statistics.
    Returns:
      `(trained, statistics)`: `params` with None in place of the statistics, and the list of the statistics.
    Example:
      >>> import logtrick as lt
      >>> estimator = lt.ScoreFunction(lt.MovingAverage(0.9))
      >>> trained, statistics = lt.training.partition({"w": 1.0, "site": estimator})
      >>> trained["w"], len(statistics)
      (1.0, 2)
    """
    leaves, tree = jax.tree.flatten(params)
    flags = trained_leaves(params)
    trained = tree.unflatten([leaf if flag else None for leaf, flag in zip(leaves, flags)])
    return trained, [leaf for leaf, flag in zip(leaves, flags) if not flag]


def merge(params: Any, trained: Any, statistics: list[Any]) -> Any:
    """The inverse of `partition`.

    Args:
      params: what was partitioned; only its structure is used.
      trained: the trained leaves, as an optimizer has moved them.
      statistics: the statistics.
    Returns:
      A pytree like `params`.
    Example:
      >>> import logtrick as lt
      >>> params = {"w": 1.0}
      >>> lt.training.merge(params, *lt.training.partition(params))
      {'w': 1.0}
    """
    moved, kept = iter(jax.tree.leaves(trained)), iter(statistics)
    return jax.tree.structure(params).unflatten(
        [next(moved if flag else kept) for flag in trained_leaves(params)]
    )


def auxes(aux: Any) -> list[tuple[Any, Aux]]:
    """Every `Aux` in what the objective returned beside its value, with its path."""
    found = tree_flatten_with_path(aux, is_leaf=lambda x: isinstance(x, Aux))[0]
    return [(path, x) for path, x in found if isinstance(x, Aux)]


def adaptive_loss(where: str, aux: Any) -> Array | float:
    """The sum of all adaptive losses, shape ()."""
    # An adaptive loss without learned parts is ignored, whatever its shape: a batch of expectations need not average it.
    learning = lambda a: any(estimator.adaptive for estimator in a.estimators.values())
    losses = [a.adaptive_loss for _, a in auxes(aux) if learning(a)]
    for loss in losses:
        if jnp.shape(loss):
            raise ValueError(
                f"{where}: aux.adaptive_loss must be a scalar; got shape {jnp.shape(loss)}. Average aux over the axis of "
                "your vmap: jax.tree.map(lambda a: a.mean(0), aux)."
            )
    return sum(losses, 0.0)


def advanced_statistics(where: str, params: Any, aux: Any) -> list[Array]:
    """The new statistics of the estimators in `params`, taken from `aux.estimators`.

    The estimator of a site is the one under the site's name in `params`, or the only one that learns.
    """
    nodes = tree_flatten_with_path(params, is_leaf=_is_estimator)[0]
    homes = {
        i: path for i, (path, node) in enumerate(nodes) if _is_estimator(node) and node.adaptive
    }
    visitors = _visitors(aux)
    news: dict[int, Any] = {}
    for names, estimator in visitors:
        home = _home(
            where, names, homes, single=len(visitors) == 1, carries=bool(partition(estimator)[1])
        )
        if home is None:
            continue
        if home in news:
            raise ValueError(
                f"{where}: params{keystr(homes[home])} learns at two sites. Give each site its own estimator."
            )
        news[home] = estimator
    if homes.keys() - news.keys():
        path = keystr(homes[min(homes.keys() - news.keys())])
        raise ValueError(
            f"{where}: the estimator at params{path} learns, but the objective returned no aux of it, so it never would. "
            "Return (value, aux) from lt.expect(…, has_aux=True)."
        )
    out: list[Array] = []
    for i, (path, node) in enumerate(nodes):
        _, old = partition(node)
        if i not in news:
            out += old
            continue
        if jax.tree.structure(news[i]) != jax.tree.structure(node):
            raise ValueError(
                f"{where}: the estimator at params{keystr(path)} came back as {news[i]}; it was {node}."
            )
        out += [_fitting(where, keystr(path), o, n) for o, n in zip(old, partition(news[i])[1])]
    return out


def _visitors(aux: Any) -> list[tuple[set[str], Estimator]]:
    """The estimators in `aux` that learn, each with the names that it goes by."""
    out = []
    for path, a in auxes(aux):
        for name, estimator in a.estimators.items():
            if estimator.adaptive:
                own = {keystr(path[-1:], simple=True)} if path and len(a.estimators) == 1 else set()
                out.append(({str(name)} | own, estimator))
    return out


def _home(
    where: str, names: set[str], homes: dict[int, Any], single: bool, carries: bool
) -> int | None:
    """Where an estimator of `aux` is in `params`; None where it is not and need not be, having no statistics to be kept."""
    fitting = [i for i, path in homes.items() if path and keystr(path[-1:], simple=True) in names]
    if not fitting and single and len(homes) == 1:
        fitting = list(homes)
    if len(fitting) == 1:
        return fitting[0]
    if not fitting and not carries:
        return None
    site = " or ".join(sorted(names))
    if fitting:
        paths = ", ".join("params" + keystr(homes[i]) for i in fitting)
        raise ValueError(
            f"{where}: the estimator of site {site} could be any of {paths}. Name the sites apart."
        )
    raise ValueError(
        f"{where}: the estimator of site {site} learns, but params holds none under that key, so it never would. Put the "
        f"estimator itself into params, under {site!r}, and use it from there."
    )


def _fitting(where: str, path: str, old: Any, new: Any) -> Array:
    if jnp.shape(old) != jnp.shape(new):
        raise ValueError(
            f"{where}: a statistic of params{path} went from shape {jnp.shape(old)} to {jnp.shape(new)}. Average aux over "
            "the axis of your vmap: jax.tree.map(lambda a: a.mean(0), aux)."
        )
    return jax.lax.stop_gradient(jnp.asarray(new)).astype(jnp.result_type(old))
