"""Draws made elsewhere: mixed derivatives, and the standard error of few draws. More in tests/programs/test_given.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt
from tests.programs.exact import all_runs

LOGITS = np.array([0.2, -0.4, 0.7])  # float64 where it is there
NORMAL = lt.Normal(0.0, 1.0)


def mixed(f, i, j):
    """∂/∂ argument i of the gradient with respect to argument j, that with respect to the latter summed."""
    return jax.grad(lambda *args: jnp.sum(jax.grad(f, j)(*args)), i)


def test_a_mixed_derivative_without_normalization(x64):
    """In a parameter of f and then in the logits, over all tuples of three draws; it was 0. The other order is refused."""
    cost = lambda x, b: jnp.sin(b * x) + b**2
    draws, weights = all_runs(np.arange(3), jax.nn.softmax(LOGITS), 3)
    exact = lambda logits, b: jax.nn.softmax(logits) @ cost(jnp.arange(3.0), b)

    def value(x, logits, b):
        return lt.expect_given(x, lambda x: cost(x, b), lambda x: logits[x], normalized=False)

    one = lambda x: mixed(lambda logits, b: value(x, logits, b), 0, 1)(LOGITS, 1.3)
    found = jnp.tensordot(weights, jax.jit(jax.vmap(one))(draws), 1)
    np.testing.assert_allclose(found, mixed(exact, 0, 1)(LOGITS, 1.3), rtol=0, atol=1e-10)
    with pytest.raises(lt.DerivativeOrderError, match="is right for first derivatives only"):
        mixed(lambda logits, b: value(draws[0], logits, b), 1, 0)(LOGITS, 1.3)


@pytest.mark.parametrize("normalized", [True, False])
def test_chains_of_one_draw_are_independent_draws(normalized):
    """Their autocorrelation time was 1 / log(101), and the standard error half of what it is."""
    x = jax.random.normal(jax.random.key(0), (100,))
    how = {"normalized": normalized, "has_aux": True}
    value, alone = lt.expect_given(x, jnp.exp, NORMAL, **how)
    same, chains = lt.expect_given(x[:, None], jnp.exp, NORMAL, num_chains=100, **how)
    assert (value, alone.autocorrelation_time) == (same, 1)
    np.testing.assert_allclose(alone.standard_error, np.std(np.exp(x), ddof=1) / 10, rtol=1e-5)
    for field in ("standard_error", "effective_sample_size", "autocorrelation_time"):
        assert getattr(chains, field) == getattr(alone, field), field


@pytest.mark.parametrize("how", [{}, {"num_chains": 1}])
def test_a_single_draw_has_no_standard_error(how):
    x = jnp.ones((1, 1) if how else (1,))
    how = {"baseline": lt.NoBaseline(), "has_aux": True, **how}
    _, aux = lt.expect_given(x, lambda x: x, NORMAL, **how)
    assert np.isnan(aux.standard_error) and aux.effective_sample_size == 1


def test_an_empty_tuple_of_costs_is_refused():
    with pytest.raises(ValueError, match="f must return a scalar or a tuple of scalars"):
        lt.expect_given(jnp.zeros(3), lambda x: (), NORMAL)


def test_what_the_host_raises():
    """As by `lt.expect`."""

    def simulator(x):
        raise KeyError("no such state")

    with pytest.raises(
        lt.BlackBoxError, match=r"lt.black_box\(simulator\): the host function raised"
    ):
        lt.expect_given(jnp.zeros(3), lt.black_box(simulator), NORMAL)
