"""Exact expectations of what programs return: every cell of the noise, weighted by its probability."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

import logtrick as lt
from logtrick.programs._engine import run_block
from logtrick.programs._outline import outline, start

ORDERS = {0: lambda f: f, 1: jax.grad, 2: jax.hessian, 3: lambda f: jax.jacfwd(jax.hessian(f))}


def estimate(program, noises, runs):
    """What the program's expectation is when its sites get `noises`, each with a leading axis of runs."""
    begin = start(program, ())
    block, _ = run_block(begin, outline(begin, runs), noises, runs, False)
    return jnp.mean(block.totals)


def all_runs(cells, probabilities, runs):
    """Every tuple of `runs` cells and its probability."""
    index = np.array(list(itertools.product(range(len(cells)), repeat=runs)))
    return np.asarray(cells)[index], np.prod(np.asarray(probabilities)[index], axis=1)


def expected(function, noises, weights):
    """The weighted sum of function(noise) over the leading axis of `noises`."""
    values = jax.jit(jax.vmap(function))(noises)
    return jnp.tensordot(jnp.asarray(weights), values, 1)


def variance(function, noises, weights):
    values = jax.jit(jax.vmap(function))(noises)
    mean = jnp.tensordot(jnp.asarray(weights), values, 1)
    return jnp.tensordot(jnp.asarray(weights), (values - mean[None]) ** 2, 1)


__all__ = ["ORDERS", "all_runs", "estimate", "expected", "lt", "variance"]
