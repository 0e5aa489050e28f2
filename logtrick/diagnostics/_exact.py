"""The exact gradient of an objective: its expectations summed or integrated by quadrature, instead of sampled."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from logtrick._core.errors import BlackBoxError
from logtrick._core.memory import amount
from logtrick._core.module import static
from logtrick._core.samples import Runs
from logtrick.diagnostics._reference import Reference
from logtrick.diagnostics._replicates import Replicator
from logtrick.distributions import Distribution
from logtrick.estimators import Costs, Enumerate, Estimator, Points
from logtrick.noise import NoNoise, StandardNormal, is_noise
from logtrick.programs import with_estimators
from logtrick.training import partition

_MOST_POINTS = 2**12  # of one site
_MOST_EVALUATIONS = 2**16  # of f in one gradient
_MOST_BYTES = 2**27  # of the largest array
_AGREEMENT = 1e-4  # of two quadrature rules, relative to the largest coordinate
_ROUNDING = 4  # epsilons of the largest coordinate, within which a coordinate of the gradient is 0
# Nodes in each dimension, by the number of dimensions of a site: of the rule that is used, and of the one it is checked by.
_NODES = {1: (64, 48), 2: (64, 48), 3: (16, 12)}


class Ineligible(ValueError):
    """Why no exact gradient of an objective is attempted."""


class _Quadrature(Estimator):
    """Gauss–Hermite quadrature of a site whose noise is standard normal.

    E f ≈ Σ_k w_k [p_θ(x_k) / stop(p_θ(x_k))] f(x_k, θ), x_k = stop(T(z_k, θ)), in which f need not be differentiable in x.
    """

    order: int = static()

    def noise(self, dist: Distribution) -> NoNoise:
        return NoNoise()

    def draw(self, noise: Any, dist: Distribution) -> Points:
        leaves, tree = jax.tree.flatten(dist.noise_spec, is_leaf=is_noise)
        nodes, weights = _product_rule(self.order, _dimensions(dist))
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


def _dimensions(dist: Distribution) -> int:
    """How many numbers of noise a draw takes."""
    leaves = jax.tree.leaves(dist.noise_spec, is_leaf=is_noise)
    return sum(math.prod(leaf.shape) for leaf in leaves)


def _product_rule(order: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The product rule for `size` standard normals: nodes (count, size), and their weights."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(order)
    index = np.indices((order,) * size).reshape(size, -1).T
    return nodes[index], np.prod(weights[index] / math.sqrt(2 * math.pi), axis=1)


class _Replacement:
    """The estimator that stands at a site in the place of its own, by what the distribution declares.

    Attributes:
      rule: 0 for the quadrature rule that is used, 1 for the one it is checked by.
      integrates: whether any site is integrated by quadrature; known when the objective has been traced.
    """

    def __init__(self, rule: int) -> None:
        self.rule, self.integrates = rule, False

    def __call__(self, dist: Distribution, own: Estimator) -> Estimator:
        if partition(own)[1]:  # the objective may read them, and the replacement has none
            raise Ineligible(f"{type(own).__name__} has running statistics.")
        if dist.enumeration is not None:
            points = jax.tree.leaves(jax.eval_shape(dist.enumerate))[0].shape[0]
            if points > _MOST_POINTS:
                raise Ineligible(f"{type(dist).__name__} has a support of {points:,} points.")
            return Enumerate()
        leaves = jax.tree.leaves(dist.noise_spec, is_leaf=is_noise)
        if not all(isinstance(leaf, StandardNormal) for leaf in leaves):
            raise Ineligible(
                f"{type(dist).__name__} has neither a finite support nor normal noise."
            )
        size = _dimensions(dist)
        if size not in _NODES:
            raise Ineligible(
                f"{type(dist).__name__} has {size} dimensions; quadrature takes 1 to 3."
            )
        self.integrates = True
        return _Quadrature(_NODES[size][self.rule])


def exact_reference(
    work: Replicator, name: str, arguments: tuple[Any, Any, Any], most_host_evaluations: float
) -> Reference | None:
    """The exact gradient of an objective, from its own expectations; None where the attempt gives none.

    Finite supports are summed; sites of few normals are integrated by two quadrature rules, which must agree, and whose
    difference is the reference's error. The result must not depend on the key: then nothing in it is sampled.

    Args:
      work: the objective's.
      name: the objective's.
      arguments: parameters, key and data.
      most_host_evaluations: how often an `lt.black_box` may be evaluated.
    Raises:
      Ineligible: before anything is computed, from what the sites declare and from the trace.
    """
    found = _gradient(work, 0, arguments, most_host_evaluations)
    if found is None:
        return None
    value, leaves, integrated = found
    if not integrated:
        return Reference(leaves, None, f"the exact sum over all outcomes of {name}", value)
    check = _gradient(work, 1, arguments, most_host_evaluations)
    if check is None:
        return None
    errors = [np.abs(a - b) for a, b in zip(leaves, check[1])]
    if _largest(errors) > _AGREEMENT * _largest(leaves):
        return None
    return Reference(leaves, errors, f"the expectation of {name} by quadrature", value)


def _gradient(
    work: Replicator, rule: int, arguments: tuple[Any, Any, Any], most_host_evaluations: float
) -> tuple[float, list[np.ndarray], bool] | None:
    """The exact value, the leaves of the exact gradient, and whether quadrature is in them; None where it is not finite."""
    exact, replacement = _exact_of(work, rule)
    _check_eligible(exact, arguments, most_host_evaluations)
    try:
        value, gradient = exact.computed(*arguments)
    except BlackBoxError:  # the host refuses an outcome, which samples may never meet
        return None
    leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(gradient)]
    if not all(np.all(np.isfinite(leaf)) for leaf in leaves):
        return None
    # The sum over the points of a coordinate that is 0 is rounding: an estimator that gives 0 there is right.
    rounding = _ROUNDING * float(jnp.finfo(value.dtype).eps) * _largest(leaves)
    leaves = [np.where(np.abs(leaf) <= rounding, 0.0, leaf) for leaf in leaves]
    return float(value), leaves, replacement.integrates


def _largest(leaves: list[np.ndarray]) -> float:
    """The largest |coordinate|."""
    return max(float(np.max(np.abs(leaf), initial=0.0)) for leaf in leaves)


def _check_eligible(
    exact: Replicator, arguments: tuple[Any, Any, Any], most_host_evaluations: float
) -> None:
    """Raise `Ineligible` where the objective without sampling cannot be traced, or its trace shows that it is of no use."""
    try:
        probe = exact.probe(*arguments)
    except Ineligible:
        raise
    except (TypeError, ValueError) as error:
        # The library refuses by these two kinds (several points in a loop, say), and they are what an objective raises whose
        # own code does not fit the aux of several points. An objective that raises them is refused by the comparison, too.
        raise Ineligible(f"{type(error).__name__}: {error}") from error
    if probe.sampled:
        raise Ineligible("it depends on the key without sampling, too.")
    if probe.biased:
        raise Ineligible("a bias is declared.")
    evaluations = probe.evaluations or 0
    most = min(_MOST_EVALUATIONS, most_host_evaluations) if exact.boxes else _MOST_EVALUATIONS
    if evaluations > most or probe.bytes > _MOST_BYTES:
        array = amount(probe.bytes)
        raise Ineligible(f"it takes {evaluations:,} evaluations of f, its largest array {array}.")


def _exact_of(work: Replicator, rule: int) -> tuple[Replicator, _Replacement]:
    """The objective with its sites summed or integrated, kept beside the objective, so that it is compiled once."""
    if rule not in work.exact:
        replacement = _Replacement(rule)

        def exact(params: Any, key: Any, *data: Any) -> Any:
            return with_estimators(replacement, lambda: work.value(params, key, data))

        work.exact[rule] = (Replicator(f"{work.where}, exactly", exact), replacement)
    found: tuple[Replicator, _Replacement] = work.exact[rule]
    return found
