"""An expectation inside an element of a plate or a step of a loop has noise of its own there: distinct numbers are counted."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt
from logtrick import vi

N, K, T = 4, 5, 3
KEY = jax.random.key(3)
PLAIN = lt.ScoreFunction(lt.NoBaseline())


def noise(key=KEY):
    """An expectation of one sample: its value is the number that it has drawn."""
    return lt.expect(key, lambda y: y, lt.Normal(0.0, 1.0), estimator=PLAIN, num_samples=1)


jitted_noise = jax.jit(noise)


def costs_of(program, **how):
    how = {"num_samples": N, "has_aux": True} | how
    return jax.jit(lambda: lt.expect_program(KEY, program, **how)[1].costs)()


def distinct(values):
    return len(np.unique(np.asarray(values)))


def in_plate(inner=noise, length=K, **how):
    def element(_):
        x = yield lt.sample(lt.Bernoulli(0.0))
        yield lt.cost(inner() + 0 * x, name="here")
        return x

    return lt.plate(element, jnp.zeros(length), name="plate", **how)


def in_loop(inner=noise, **how):
    def step(carry, _):
        x = yield lt.sample(lt.Bernoulli(0.0))
        yield lt.cost(inner() + 0 * x, name="here")
        return carry, None

    return lt.scan(step, 0.0, length=T, name="loop", **how)


@pytest.mark.parametrize("inner", [noise, jitted_noise])
def test_elements_and_steps(inner):
    """Plates and loops, also under a jitted function that was traced elsewhere, outside or in another part, before."""
    inner()

    def program():
        yield lt.cost(inner(), name="before")
        yield in_plate(inner)
        yield in_loop(inner)

    costs = costs_of(program)
    assert distinct(costs["before"]) == N
    assert distinct(costs["plate.here"]) == N * K
    assert distinct(costs["loop.here"]) == N * T
    everything = np.concatenate([np.ravel(c) for c in costs.values()])
    assert distinct(everything) == N * (1 + K + T)


def test_nests():
    """A plate in a loop, a loop in a plate, a plate in a plate."""

    def step(carry, _):
        yield in_plate(length=2)
        return carry, None

    def element(_):
        yield in_loop()
        yield in_plate(length=2)

    def program():
        yield lt.scan(step, 0.0, length=T, name="a")
        yield lt.plate(element, length=K, name="b")

    costs = costs_of(program)
    assert distinct(costs["a.plate.here"]) == N * T * 2
    assert distinct(costs["b.loop.here"]) == N * K * T
    assert distinct(costs["b.plate.here"]) == N * K * 2


def test_chunks_and_subsamples():
    def program():
        yield in_plate(subsample=3)
        yield in_loop(remat=True)

    whole, chunked = costs_of(program), costs_of(program, chunk_size=2)
    assert distinct(whole["plate.here"]) == N * 3
    assert distinct(whole["loop.here"]) == N * T
    for name in whole:
        np.testing.assert_array_equal(whole[name], chunked[name])


def test_points_share():
    """The two points of one site see the same numbers, in every element; in a user's vmap the lanes' keys decide."""
    keys = jax.random.split(KEY, 2)

    def element(_):
        x = yield lt.sample(lt.Bernoulli(0.0), lt.Enumerate())
        yield lt.cost(noise() * (2 * x - 1), name="points")  # of mean 0, exactly
        yield lt.cost(jnp.prod(jax.vmap(noise)(keys)), name="lanes")
        yield lt.cost(jnp.diff(jax.vmap(noise)(jnp.stack([KEY, KEY])))[0], name="same")

    def program():
        yield lt.sample(lt.Bernoulli(0.0))  # without it there would be one sample
        yield lt.plate(element, length=K, name="plate")

    costs = costs_of(program)
    np.testing.assert_allclose(costs["plate.points"], 0.0, atol=1e-6)
    assert distinct(costs["plate.lanes"]) == N * K
    np.testing.assert_array_equal(costs["plate.same"], 0.0)


def test_the_variance_of_a_sum():
    """64 elements, each with a nested expectation of one draw under one key: 64 times the variance of one, not 4,096."""
    count = 64

    def program():
        def element(_):
            yield lt.cost(noise(), name="here")

        yield lt.plate(element, length=count)
        yield lt.cost(0.0 * (yield lt.sample(lt.Normal(0.0, 1.0))))

    value, aux = jax.jit(lambda: lt.expect_program(KEY, program, num_samples=4000, has_aux=True))()
    sums = np.asarray(aux.standard_error) * np.sqrt(4000)
    # a sample variance of 4,000 normal sums: relative standard deviation √(2/4000) = 2.2 %, so 5 of them
    assert abs(sums**2 / count - 1) < 5 * np.sqrt(2 / 4000)
    assert abs(value) < 5 * aux.standard_error


def test_eligibility_traces():
    """The carry collects the numbers of all steps; every sample has its own, and so has a trace that is nested."""

    def step(carry, t):
        x = yield lt.sample(lt.Bernoulli(t))
        yield lt.cost(0 * x)
        i, seen = carry
        return i + 1, seen.at[i].set(jitted_noise())

    def seen(key, _=None):
        start = (0, jnp.zeros(T))
        goes_on = lambda carry: carry[0] < T
        (_, aux), _ = lt.eligibility_trace(
            key, goes_on, step, start, 0.0, num_samples=N, has_aux=True
        )
        return aux.carry[1]

    assert distinct(jax.jit(seen)(KEY)) == N * T
    jitted_noise()  # not what was traced within the loop

    def program():
        def element(_):
            yield lt.cost(jnp.sum(seen(KEY)), name="here")

        yield lt.plate(element, length=2, name="plate")
        yield lt.sample(lt.Bernoulli(0.0))

    assert distinct(costs_of(program)["plate.here"]) == 2 * N


def test_given_draws_and_weights_of_a_bound():
    """Each of the draws that are given, and each of the k draws of an importance-weighted bound, has its own."""

    def given(x):
        f = lambda x: noise() + 0 * x
        how = {"num_chains": 2, "baseline": lt.NoBaseline(), "has_aux": True}
        return lt.expect_given(x, f, lt.Normal(0.0, 1.0), **how)[1].costs

    assert distinct(jax.jit(given)(jnp.arange(6.0).reshape(2, 3))) == 6

    class Spread(vi.Objective):
        num_draws = 8
        linear = False
        maximize = True

        def value(self, log_weights):
            return jnp.std(log_weights)

    q = vi.MeanFieldNormal(like=0.0)
    noisy = lambda z: q.log_prob(z) + noise()
    for estimator in (vi.VIMCO(), lt.Pathwise()):
        loss = functools.partial(vi.loss, KEY, noisy, objective=Spread(), estimator=estimator)
        assert abs(jax.jit(functools.partial(loss, num_samples=2))(q)) > 0.1


@pytest.mark.parametrize("objective", [vi.ELBO(), vi.IWELBO(3), vi.Renyi(0.5, 3), vi.LogVariance()])
def test_a_loss_of_variational_inference(objective):
    """Those of several draws had the same noise in all outer samples: a standard error of 0."""
    q = vi.MeanFieldNormal(like=0.0)
    loss = lambda: vi.loss(KEY, lambda z: z - 0.5 * z**2, q, objective=objective, num_samples=2)

    def program():
        yield lt.cost(loss(), name="before")
        yield in_plate(loss)
        yield in_loop(loss)

    costs = costs_of(program)
    each = {"before": N, "plate.here": N * K, "loop.here": N * T}
    assert {name: distinct(values) for name, values in costs.items()} == each
