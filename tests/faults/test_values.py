"""Faults 22, 24, 29, 32 and 33 (listed in `tests/faults`), and arrays beyond the memory: refused before anything runs."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import logtrick as lt

KEY = jax.random.key(0)
SGD = optax.sgd(0.1)


def total(x):
    return 1.0 * jnp.sum(x)


@pytest.mark.parametrize("family", [lt.Categorical, lt.OneHotCategorical])
def test_24_the_offending_logit_is_named(family):
    with pytest.raises(ValueError, match="got nan"):
        family(jnp.array([0.0, jnp.nan, 1.0]))


@pytest.mark.parametrize("family", [lt.Categorical, lt.OneHotCategorical])
def test_29_probabilities_that_do_not_sum_to_one(family):
    with pytest.raises(ValueError, match="needs rows that sum to 1; got one of sum 1.5. Divide"):
        family(probs=jnp.array([[0.5, 0.5, 0.0], [0.5, 0.5, 0.5]]))
    family(probs=jnp.array([0.33, 0.33, 0.33]))  # to two decimals


def test_32_a_cost_in_16_bits_inside_of_an_objective():
    """The expectation accumulates in float32, so that its own dtype does not show it."""

    def objective(p, key):
        half = lambda x: jnp.sum(x.astype(jnp.float16))
        return lt.expect(key, half, lt.Normal(p, 1.0), num_samples=4)

    with pytest.warns(UserWarning, match="a cost of an expectation in it, is computed in float16"):
        lt.minimize(KEY, objective, jnp.zeros(2), SGD, num_steps=1)


def test_32_entries_in_16_bits():
    def objective(p, key):
        half = lambda x: x.astype(jnp.bfloat16)
        return lt.expect_tree(key, half, lt.Normal(p, 1.0), num_samples=4).sum()

    with pytest.warns(UserWarning, match="in it, is computed in bfloat16"):
        lt.minimize(KEY, objective, jnp.zeros(2), SGD, num_steps=1)


def test_33_one_line_about_double_precision(caplog):
    objective = lambda p, key, batch: jnp.mean((p - batch) ** 2)
    with caplog.at_level(logging.INFO, logger="logtrick"):
        lt.minimize(KEY, objective, 0.0, SGD, num_steps=1, data=np.arange(4.0))
    said = [r.getMessage() for r in caplog.records if r.name == "logtrick"]
    assert said == [
        "lt.minimize(data=…): float64 is computed as float32; jax.config.update('jax_enable_x64', True) keeps it."
    ]


class TestMemory:
    """Enumerations and sets that exceed the memory are refused while they are traced, the batches around them counted."""

    @pytest.fixture(autouse=True)
    def small_machine(self, monkeypatch):
        monkeypatch.setattr("logtrick._core.memory.machine_memory", lambda: 2**20)

    def value(self, logits, estimator, num_samples=2):
        return lt.expect(
            KEY, total, lt.Bernoulli(logits), estimator=estimator, num_samples=num_samples
        )

    def test_one_enumeration(self):
        assert self.value(jnp.zeros(10), lt.Enumerate()).item() == pytest.approx(5.0)
        with pytest.raises(
            ValueError, match=r"Enumerate\(\) of a support of 32,768 points, .*2 MB"
        ):
            self.value(jnp.zeros(15), lt.Enumerate())

    @pytest.mark.parametrize("transform", [lambda f: f, jax.jit, jax.grad])
    def test_a_batch_of_them(self, transform):
        """2^10 points × 10 numbers × 4 bytes are 40 KB, 64 of them 2.5 MB."""
        batch = lambda l: jnp.sum(jax.vmap(lambda row: self.value(row, lt.Enumerate()))(l))
        with pytest.raises(ValueError, match=r"65,536 of them: 2 MB in one array, and the machine"):
            transform(batch)(jnp.zeros((64, 10)))

    def test_the_gumbels_of_every_sample(self):
        with pytest.raises(ValueError, match=r"UnorderedSet\(\) of a support of 1,024 points"):
            self.value(jnp.zeros(10), lt.UnorderedSet(2), num_samples=256)

    def test_in_a_program(self):
        def program(logits):
            x = yield lt.sample(lt.Bernoulli(logits), lt.Enumerate())
            yield lt.cost(total(x))

        with pytest.raises(ValueError, match=r"Enumerate\(\) of a support of 32,768 points"):
            lt.expect_program(KEY, program, jnp.zeros(15))


def test_22_weights_beyond_the_range_of_floats_have_an_effective_sample_size():
    """It depends on their ratios alone; the mean of the weights themselves is inf, and says so."""
    draws = jnp.arange(1.0, 4.0)
    size = lambda shift: lt.expect_given(
        draws,
        total,
        lt.Normal(0.0, 1.0),
        log_weights=jnp.log(jnp.array([1.0, 1.0, 2.0])) + shift,
        has_aux=True,
    )[1].effective_sample_size.item()
    assert size(0.0) == pytest.approx(16 / 6, rel=1e-6)
    assert size(1000.0) == pytest.approx(16 / 6, rel=1e-4)
    assert size(-1000.0) == pytest.approx(16 / 6, rel=1e-4)


def test_two_numbers_of_an_objective():
    """The second would be lost, or be an auxiliary value that nobody asked for."""

    def objective(p, key):
        return (p - 1.0) ** 2, 9.0 * (p - 9.0) ** 2

    for call in (
        lambda: lt.minimize(KEY, objective, 0.0, SGD, num_steps=2),
        lambda: lt.gradient_statistics(KEY, objective, 0.0, num_replicates=4),
    ):
        with pytest.raises(ValueError, match="returned two numbers. Return their sum, or"):
            call()
    recorded = lambda p, key: ((p - 1.0) ** 2, {"far": 9.0 * (p - 9.0) ** 2})
    assert lt.minimize(KEY, recorded, 0.0, SGD, num_steps=2).history.metrics["far"].shape == (2,)


@pytest.mark.parametrize("beside", [1.0, np.nan])
def test_a_masked_draw_beside_a_parameter_that_is_nan(beside):
    """A nan among the parameters, of missing data say, accounts for a log-prob of nan and not for one of −inf."""
    family = lt.distribution(
        lambda p, x: jnp.where(x > 0, jnp.log(p["rate"]) - p["rate"] * x, -jnp.inf),
        lambda key, p: jnp.where(jax.random.bernoulli(key), 1.0, -1.0),
    )
    value = lambda rate: lt.expect(
        KEY, lambda x: x, family({"rate": rate, "data": jnp.array([beside])}), num_samples=8
    )
    assert np.isnan(jax.grad(value)(2.0))


@pytest.mark.parametrize("draws", [[0.5, 0.2], [0.5, -1.0, 0.2]])
def test_given_draws_that_a_plain_log_prob_masks(draws):
    """A draw that counts and that p cannot make is a mistake: nan, though `where` masks the derivative; else exact."""
    x = jnp.array(draws)

    def value(p):
        log_prob = lambda x: jnp.where(x > 0, -p * x + jnp.log(p), -jnp.inf)
        return lt.expect_given(x, lambda x: x, log_prob)

    slope = jax.grad(value)(2.0)
    if -1.0 in draws:
        assert jnp.isnan(slope)
    else:  # leave-one-out of two: half the difference of the values times half that of the scores
        np.testing.assert_allclose(slope, 0.5 * (0.5 - 0.2) * (-0.5 + 0.2), rtol=1e-6)
