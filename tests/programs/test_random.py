"""Random programs, whose statements and estimators a seed chooses, against the sum over all outcomes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt
from tests.programs.random_programs import Author, exact, run

THETA = jnp.array([0.3, -0.5, 0.7, 0.1])
KEYS = 600
LIMIT = 6.0  # standard errors: 1e-9 for one number, 1e-6 for all numbers of a few hundred programs


def z_scores(seed: int) -> np.ndarray:
    """Of the value and of the gradient, how many standard errors their means are away from the exact ones."""
    statements = Author(seed).statements([])

    def program(theta, key):
        yield from run(statements, {}, theta, key)

    def estimate(theta, key):
        inner = jax.random.fold_in(key, 9)
        return lt.expect_program(key, program, theta, inner, num_samples=6)

    keys = jax.random.split(jax.random.key(seed), KEYS)
    values, slopes = jax.jit(jax.vmap(jax.value_and_grad(estimate), (None, 0)))(THETA, keys)
    right = jax.value_and_grad(lambda theta: exact(statements, {}, theta, lambda _: 0.0))(THETA)
    want = np.append(right[0], right[1]).astype(float)
    got = np.column_stack([values, slopes]).astype(float)
    error = got.std(0) / KEYS**0.5 + 2e-5 * (1 + np.abs(want))  # the second is float32's
    return np.abs(got.mean(0) - want) / error


FEW = (0, 1, 3)


@pytest.mark.parametrize("seed", FEW)
def test_a_few_random_programs(seed: int) -> None:
    assert z_scores(seed).max() < LIMIT


@pytest.mark.full
@pytest.mark.parametrize("seed", [seed for seed in range(200) if seed not in FEW])
def test_many_random_programs(seed: int) -> None:
    assert z_scores(seed).max() < LIMIT
