"""Every group of draws that a small policy can make, with its probability."""

import itertools

import jax
import jax.numpy as jnp


def groups(probabilities, size):
    """Indices (m, size) of all tuples of draws, and the probability of each tuple, held constant."""
    tuples = jnp.array(list(itertools.product(range(len(probabilities)), repeat=size)))
    return tuples, jax.lax.stop_gradient(jnp.prod(probabilities[tuples], axis=1))


def moments(loss, params, probabilities, size):
    """Exact mean and second moment of value and gradient of `loss(params, indices)` over all groups."""
    tuples, weights = groups(probabilities, size)
    value, grad = jax.jit(jax.vmap(jax.value_and_grad(loss), (None, 0)))(params, tuples)
    mean = jnp.tensordot(weights, grad, 1)
    variance = jnp.tensordot(weights, (grad - jnp.expand_dims(mean, 0)) ** 2, 1)
    return weights @ value, mean, variance
