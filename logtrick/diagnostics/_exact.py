"""The exact gradient of an objective: its expectations summed or integrated by quadrature, instead of sampled."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from logtrick._core.module import static
from logtrick._core.samples import Runs
from logtrick.diagnostics._reference import Reference
from logtrick.diagnostics._replicates import Replicator
from logtrick.distributions import Distribution
from logtrick.estimators import Costs, Enumerate, Estimator, Points
from logtrick.noise import NoNoise, StandardNormal, is_noise
from logtrick.programs import estimators_replaced

_MOST_POINTS = 2**12  # of one site
_MOST_EVALUATIONS = 2**16  # of f in one gradient
_MOST_BYTES = 2**27  # of the largest array
_AGREEMENT = 1e-4  # of two quadrature rules, relative to the largest coordinate
_ORDERS = (
    64,
    48,
)  # nodes in each dimension, of the rule that is used and of the one it is checked by


class _Impossible(ValueError):
    """A site that is neither summed nor integrated."""


class _Quadrature(Estimator):
    """Gauss–Hermite quadrature of a site whose noise is standard normal.

    E f ≈ Σ_k w_k [p_θ(x_k) / stop(p_θ(x_k))] f(x_k, θ), x_k = stop(T(z_k, θ)), in which f need not be differentiable in x.
    """

    order: int = static()

    def noise(self, dist: Distribution) -> NoNoise:
        return NoNoise()

    def draw(self, noise: Any, dist: Distribution) -> Points:
        leaves, tree = jax.tree.flatten(dist.noise_spec, is_leaf=is_noise)
        nodes, weights = _rule(self.order, sum(math.prod(leaf.shape) for leaf in leaves))
        ends = np.cumsum([math.prod(leaf.shape) for leaf in leaves])
        columns = np.split(nodes, ends[:-1], axis=1)
        parts = [
            jnp.asarray(part.reshape(-1, *leaf.shape), leaf.dtype)
            for part, leaf in zip(columns, leaves)
        ]
        x = jax.lax.stop_gradient(jax.vmap(dist.draw)(tree.unflatten(parts)))
        log_p = jax.vmap(dist.log_prob)(x)
        ratio = jnp.exp(log_p - jax.lax.stop_gradient(log_p))
        return Points(x, dist, stacked=True, kept=jnp.asarray(weights, log_p.dtype) * ratio)

    def close(self, costs: Costs, points: Points, runs: Runs) -> Costs:
        return costs.averaged(points.kept)


def _rule(order: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The product rule for `size` standard normals: nodes (count, size), and their weights."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(order)
    index = np.indices((order,) * size).reshape(size, -1).T
    return nodes[index], np.prod(weights[index] / math.sqrt(2 * math.pi), axis=1)


def _fitting(order: int, size: int) -> int:
    """`order`, or as many nodes in each of `size` dimensions as the points of a site allow, in proportion."""
    most = int(_MOST_POINTS ** (1 / size) + 1e-9)
    return min(order, most * order // _ORDERS[0])


class _Replacement:
    """What stands at a site in the place of its estimator; notes whether any site is integrated by quadrature."""

    def __init__(self, order: int) -> None:
        self.order, self.integrates = order, False

    def __call__(self, dist: Distribution) -> Estimator:
        if dist.enumeration is not None:
            points = jax.tree.leaves(jax.eval_shape(dist.enumerate))[0].shape[0]
            if points > _MOST_POINTS:
                raise _Impossible(f"{points} points")
            return Enumerate()
        leaves = jax.tree.leaves(dist.noise_spec, is_leaf=is_noise)
        if not leaves or not all(isinstance(leaf, StandardNormal) for leaf in leaves):
            raise _Impossible("neither a finite support nor normal noise")
        order = _fitting(self.order, sum(math.prod(leaf.shape) for leaf in leaves))
        if order < 8:
            raise _Impossible("too many dimensions")
        self.integrates = True
        return _Quadrature(order)


def exact_reference(
    work: Replicator, name: str, arguments: tuple[Any, Any, Any]
) -> Reference | None:
    """The exact gradient of an objective, from its own expectations; None where there is none to be had.

    Finite supports are summed; sites of few normals are integrated by two quadrature rules, which must agree, and whose
    difference is the reference's error. The result must not depend on the key: then nothing in it is sampled.

    Args:
      work: the objective's.
      name: the objective's.
      arguments: parameters, key and data.
    """
    found = _gradient(work, _ORDERS[0], arguments)
    if found is None:
        return None
    value, leaves, integrated = found
    if not integrated:
        return Reference(leaves, None, f"the exact sum over all outcomes of {name}", value)
    check = _gradient(work, _ORDERS[1], arguments)
    if check is None:
        return None
    errors = [np.abs(a - b) for a, b in zip(leaves, check[1])]
    largest = max((float(np.max(np.abs(a), initial=0.0)) for a in leaves), default=0.0)
    if any(np.any(error > _AGREEMENT * largest) for error in errors):
        return None
    return Reference(leaves, errors, f"the expectation of {name} by quadrature", value)


def _gradient(
    work: Replicator, order: int, arguments: tuple[Any, Any, Any]
) -> tuple[float, list[np.ndarray], bool] | None:
    """The exact value, the leaves of the exact gradient, and whether quadrature is in them."""
    exact, replacement = _exact_of(work, order)
    params, key, data = arguments
    try:
        probe = exact.probe(params, key, data)
        small = probe.bytes <= _MOST_BYTES and (probe.evaluations or 0) <= _MOST_EVALUATIONS
        if probe.sampled or probe.biased or not small:
            return None
        value, gradient = exact.single(params, key, data)
    except Exception:  # whatever stands against it: there is a long run instead
        return None
    leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(gradient)]
    if not all(np.all(np.isfinite(leaf)) for leaf in leaves):
        return None
    return float(value), leaves, replacement.integrates


def _exact_of(work: Replicator, order: int) -> tuple[Replicator, _Replacement]:
    """The objective with its sites summed or integrated, kept beside the objective, so that it is compiled once."""
    if order not in work.exact:
        replacement = _Replacement(order)

        def exact(*args: Any, **options: Any) -> Any:
            with estimators_replaced(replacement):
                return work.objective(*args, **options)

        made = Replicator(f"{work.where}, exactly", exact, tuple(work.options.items()))
        work.exact[order] = (made, replacement)
    found: tuple[Replicator, _Replacement] = work.exact[order]
    return found
