"""Exact moments of an estimator: its noise injected, every cell of the uniforms weighted by its volume.

An estimator is a function of uniforms; between the thresholds of its draws it is smooth. Gauss-Legendre nodes in every
cell between thresholds integrate it: two nodes are exact where it is constant or linear in the noise (DisARM, ARM),
more where it is smooth (relaxations). Through the engine, so that what is integrated is what users get.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

import logtrick as lt
from logtrick.programs import run_block, start, structure_of


def cells(breaks, nodes=2):
    """Nodes and weights on [0, 1] between `breaks`, and 0 and 1."""
    edges = np.unique(np.concatenate([[0.0], np.atleast_1d(breaks), [1.0]]))
    x, w = np.polynomial.legendre.leggauss(nodes)
    points = [0.5 * ((b - a) * x + a + b) for a, b in itertools.pairwise(edges)]
    return np.concatenate(points), np.concatenate(
        [0.5 * (b - a) * w for a, b in itertools.pairwise(edges)]
    )


def product(*axes):
    """The product of one-dimensional rules: (points, axes), (points,)."""
    points = np.array(list(itertools.product(*(x for x, _ in axes)))).reshape(-1, len(axes))
    weights = np.array([np.prod(w) for w in itertools.product(*(w for _, w in axes))])
    return points, weights


def gradients(estimator, dist_of, cost, params, noise, has_aux=False):
    """Value and gradient in `params` for each noise; `noise` has two leading axes, of cases and of runs in a case."""

    def value(params, noise):
        def program():
            x = yield lt.sample(dist_of(params), estimator)
            yield lt.cost(cost(params, x))

        count = jax.tree.leaves(noise)[0].shape[0]
        begin = start(program, ())
        block, _ = run_block(begin, structure_of(begin, count), [noise], count, has_aux)
        value = jnp.mean(block.totals)
        return (value, block) if has_aux else value

    run = jax.jit(jax.vmap(jax.value_and_grad(value, has_aux=has_aux), (None, 0)))
    return jax.tree.map(np.asarray, run(params, jax.tree.map(jnp.asarray, noise)))


def moments(estimator, dist_of, cost, params, noise, weights):
    """Exact mean of the value, mean of the gradient, variance of the gradient."""
    values, grads = gradients(estimator, dist_of, cost, params, noise)
    weights = np.asarray(weights)
    mean = np.tensordot(weights, grads, 1)
    return weights @ values, mean, np.tensordot(weights, (grads - mean) ** 2, 1)


def exact(dist_of, cost, params):
    """Value and gradient by enumeration."""

    def value(params):
        dist = dist_of(params)
        points = dist.enumerate()
        f = jax.vmap(lambda x: cost(params, x))(points)
        return jnp.exp(jax.vmap(dist.log_prob)(points)) @ f

    value, grad = jax.value_and_grad(value)(params)
    return np.asarray(value), np.asarray(grad)


def coupled_bits_cost(params, x):
    """Not a sum over coordinates, dependent on the parameters, without symmetry."""
    x = jnp.atleast_1d(x)
    places = jnp.arange(1.0, x.size + 1)
    return (
        (x @ places - 0.7) ** 2
        + 0.8 * jnp.prod(x)
        + 0.3 * jnp.sin(jnp.sum(x * jnp.atleast_1d(params)))
    )


LOGITS = {1: np.array([0.7]), 2: np.array([-0.4, 1.3]), 3: np.array([0.9, -1.7, 0.2])}
bernoulli = lambda params: lt.Bernoulli(params)
