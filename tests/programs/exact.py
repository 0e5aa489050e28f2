"""Exact expectations of what programs return: every cell of the noise, weighted by its probability."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from logtrick.programs import run_block, start, structure_of

ORDERS = {0: lambda f: f, 1: jax.grad, 2: jax.hessian, 3: lambda f: jax.jacfwd(jax.hessian(f))}


def estimate(program, noises, runs):
    """What the program's expectation is when its sites get `noises`, each with a leading axis of runs."""
    begin = start(program, ())
    block, _ = run_block(begin, structure_of(begin, runs), noises, runs, False)
    return jnp.mean(block.totals)


def all_runs(cells, probabilities, runs):
    """Every tuple of `runs` cells and its probability."""
    index = np.array(list(itertools.product(range(len(probabilities)), repeat=runs)))
    weights = np.prod(np.asarray(probabilities)[index], axis=1)
    return jax.tree.map(lambda c: jnp.asarray(np.asarray(c)[index]), cells), jnp.asarray(weights)


def up_to(order, function):
    """(value, gradient, Hessian, …) of a function of one vector, compiled as one."""
    return jax.jit(lambda x: tuple(ORDERS[o](function)(x) for o in range(order + 1)))


def expected(function, noises, weights):
    """The weighted mean, leaf by leaf, of function(noise) over the leading axis of `noises`."""
    values = jax.jit(jax.vmap(function, axis_size=len(weights)))(noises)
    return jax.tree.map(lambda v: jnp.tensordot(weights, v, 1), values)
