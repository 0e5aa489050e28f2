"""Exact means and variances of `vi.loss` gradients: its noise injected, every tuple of draws weighted by its probability."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

import logtrick as lt
from logtrick import vi


def uniform_cells(breaks):
    """Midpoints and widths of the cells of [0, 1] between `breaks`, where a draw made of a uniform is constant."""
    edges = np.unique(np.concatenate([[0.0], np.ravel(breaks), [1.0]]))
    return (edges[:-1] + edges[1:]) / 2, np.diff(edges)


def hermite(nodes):
    """Gauss–Hermite nodes and weights for a standard normal."""
    x, w = np.polynomial.hermite_e.hermegauss(nodes)
    return x, w / w.sum()


def grid(axes, shape):
    """The product of one-dimensional rules, one for every entry of `shape`: (points, *shape), (points,)."""
    points = np.array(list(itertools.product(*(x for x, _ in axes))))
    weights = np.array([np.prod(w) for w in itertools.product(*(w for _, w in axes))])
    return points.reshape(-1, *shape), weights


def bernoulli_noise(q, draws):
    """All uniforms that matter for `draws` draws of a vector of bits, antithetic pairs included."""
    p = np.asarray(jax.nn.sigmoid(q.logits))
    axes = [uniform_cells([x, 1 - x]) for x in p]
    return grid(axes * draws, (draws, p.size))


def categorical_noise(q, draws):
    """All uniforms that matter for `draws` draws of a vector of categories."""
    edges = np.cumsum(np.asarray(jax.nn.softmax(q.logits, -1)), -1)[:, :-1]
    return grid([uniform_cells(e) for e in edges] * draws, (draws, len(edges)))


def normal_noise(width, draws, nodes):
    """Gauss–Hermite nodes for `draws` draws of `width` normals."""
    return grid([hermite(nodes)] * (width * draws), (draws, width))


def moments(q, log_density, noise, weights, num_samples, **options):
    """Exact mean and variance of the gradient of `vi.loss` in the leaves of q, each a pytree like q."""

    def loss(q):
        return vi.loss(jax.random.key(0), log_density, q, num_samples=num_samples, **options)

    def one(noise):
        with lt.noise.injected(noise):
            return jax.grad(loss)(q)

    grads = jax.jit(jax.vmap(one))(jnp.asarray(noise))
    mean = jax.tree.map(lambda g: jnp.tensordot(weights, g, 1), grads)
    square = lambda g, m: jnp.tensordot(weights, (g - m[None]) ** 2, 1)
    return mean, jax.tree.map(square, grads, mean)


def target(q, log_density, objective, k, points, log_probs):
    """The gradient of ∓E[φ] over all tuples of k points: by `jax.grad` of the sum itself, independent of any estimator.

    Args:
      points: every point of the base, stacked, or a function of the guide that gives them (quadrature).
      log_probs: `log_probs(q) -> (n,)`, of the points; for quadrature the constant log-weights of the nodes.
    """
    sign = -1 if objective.maximize else 1

    def loss(q):
        xs = points(q) if callable(points) else points
        log_w = jax.vmap(lambda x: log_density(q.constrain(x)) + q.log_det(x) - q.base.log_prob(x))(
            xs
        )
        index = np.array(list(itertools.product(range(len(log_w)), repeat=k)))
        weight = jnp.exp(jnp.sum(log_probs(q)[index], 1))
        return sign * weight @ jax.vmap(objective.value)(log_w[index])

    return jax.jit(jax.grad(loss))(q)


def assert_close(found, exact, rtol=1e-9, scale=None):
    """Leaf by leaf, relative to the largest entry of all."""
    leaves = jax.tree.leaves(exact)
    size = max(float(jnp.max(jnp.abs(x))) for x in leaves) if scale is None else scale
    for a, b in zip(jax.tree.leaves(found), leaves):
        np.testing.assert_allclose(a, b, rtol=0, atol=rtol * size)
