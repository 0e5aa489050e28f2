"""Misuse of programs is an error that says what to do."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import logtrick as lt

KEY = jax.random.key(0)
COIN = lt.Bernoulli(0.3)


def run(program, *args, **how):
    return lt.expect_program(KEY, program, *args, **{"num_samples": 4, **how})


def coin_and(last):
    """A program that draws a coin and ends with `last(x)`."""

    def program():
        x = yield lt.sample(COIN)
        yield from last(x)

    return program


def test_not_a_generator_function():
    with pytest.raises(TypeError, match=r"one that returned float.*Write `x = yield"):
        run(lambda: 1.0)
    with pytest.raises(TypeError, match="a program is a generator function; got float"):
        run(1.0)


def test_cannot_be_called_twice():
    def program():
        x = yield lt.sample(COIN)
        yield lt.cost(x)

    running = program()
    with pytest.raises(
        TypeError, match="got a running generator. Pass the generator function itself"
    ):
        run(running)
    with pytest.raises(TypeError, match="returned a generator already begun"):
        run(lambda: running)


def test_sample_that_was_not_yielded():
    def used():
        x = lt.sample(COIN)
        yield lt.cost(x + 1.0)

    def in_jnp():
        yield lt.cost(jnp.sin(lt.sample(COIN)))

    def forgotten():
        x = yield lt.sample(COIN)
        lt.cost(x)
        yield lt.cost(x)

    def dropped():
        x = yield lt.sample(COIN)
        lt.sample(COIN)
        yield lt.cost(x)

    def in_loop():
        x = yield lt.sample(COIN)

        def body(c, _):
            lt.cost(c)
            return c, None

        lax.scan(body, x, length=2)
        yield lt.cost(x)

    def asked():
        x = lt.sample(COIN)
        yield lt.cost(x.sum())

    for program in (used, asked):
        with pytest.raises(TypeError, match=r"lt.sample\(…\) was not yielded"):
            run(program)
    with pytest.raises(TypeError, match="_statements.Sample"):  # what JAX says
        run(in_jnp)
    for program, what in ((forgotten, "cost"), (dropped, "sample"), (in_loop, "cost")):
        with pytest.raises(TypeError, match=rf"lt.{what}\(…\) was made and not yielded"):
            run(program)


def test_items_of_an_inner_program_are_its_own():
    def outer():
        x = yield lt.sample(COIN, lt.Enumerate())
        y = lt.expect(KEY, lambda y: x * y, lt.Bernoulli(x), estimator=lt.Enumerate())

        def inner():
            z = yield lt.sample(lt.Bernoulli(x), lt.Enumerate())
            yield lt.cost(z * x)

        yield lt.cost(y + lt.expect_program(KEY, inner, num_samples=1))

    p, q = jax.nn.sigmoid(0.3), jax.nn.sigmoid(1.0)
    assert run(outer) == pytest.approx(float(2 * p * q), abs=1e-6)


@pytest.mark.parametrize(
    "value, error, match",
    [
        (jnp.ones(3), ValueError, r"lt.cost needs a scalar for one draw; got shape \(3,\)"),
        (jnp.ones(1), ValueError, r"got shape \(1,\)"),
        (None, ValueError, "lt.cost needs a scalar; got None. Return a number"),
        ((1.0, 2.0), ValueError, "lt.cost needs a scalar; got tuple. Yield an lt.cost for each"),
        (jax.random.key(0), TypeError, "lt.cost: the cost must be a number; got a PRNG key"),
        (1j, TypeError, "must be real; got complex"),
    ],
)
def test_cost_that_is_no_scalar(value, error, match):
    with pytest.raises(error, match=match):
        run(coin_and(lambda x: iter([lt.cost(value)])))


def test_nothing_to_do():
    def no_site():
        yield lt.cost(1.0)

    def no_cost():
        yield lt.sample(COIN)

    def nothing():
        return
        yield

    assert run(no_site) == 1.0  # the sum of its costs
    with pytest.raises(ValueError, match="yields no lt.cost: there is nothing"):
        run(no_cost)
    with pytest.raises(ValueError, match="yields no lt.cost"):
        run(nothing)


def test_yields_something_else():
    with pytest.raises(
        TypeError, match=r"got the distribution itself, Bernoulli. Write `x = yield lt.sample"
    ):
        run(coin_and(lambda x: iter([COIN])))


def test_wrong_arguments_of_sample():
    with pytest.raises(TypeError, match=r"lt.sample\(dist=…\) needs a distribution; got float"):
        lt.sample(0.3)
    with pytest.raises(TypeError, match=r"needs an instance; got the class. Write Pathwise\(\)"):
        lt.sample(COIN, lt.Pathwise)
    with pytest.raises(TypeError, match=r"lt.sample\(estimator=…\) needs an estimator; got str"):
        lt.sample(COIN, "reinforce")
    for make in (
        lambda: lt.sample(COIN, name=3),
        lambda: lt.cost(1.0, name=3),
        lambda: lt.scan(len, 0, name=3),
    ):
        with pytest.raises(TypeError, match=r"\(name=…\) needs a string; got int 3"):
            make()


def test_names_are_unique():
    def twice(name):
        def program():
            x = yield lt.sample(COIN, name=name)
            y = yield lt.sample(COIN, name="a")
            yield lt.cost(x + y)

        return program

    with pytest.raises(
        ValueError,
        match=r"lt.sample\(name=…\) must be unique in a program; got \['a'\] more than once",
    ):
        run(twice("a"))
    _, aux = run(twice(None), has_aux=True)
    assert set(aux.draws) == {0, "a"}


class Unaveraged(lt.Estimator):
    def draw(self, noise, dist):
        return lt.Points(jnp.stack([dist.draw(noise)] * 2), dist, stacked=True)

    def close(self, costs, points, runs):
        return costs


class Miscounted(lt.Estimator):
    evaluations = 3

    def draw(self, noise, dist):
        return lt.Points(dist.draw(noise), dist)

    def close(self, costs, points, runs):
        return costs


class NoPoints(lt.Estimator):
    def draw(self, noise, dist):
        return dist.draw(noise)

    def close(self, costs, points, runs):
        return costs


@pytest.mark.parametrize(
    "estimator, error, match",
    [
        (Unaveraged(), ValueError, r"Unaveraged.close returned costs of shape \(2,\).*averaged"),
        (Miscounted(), ValueError, "Miscounted.evaluations declares 3 .* gives 1 points"),
        (NoPoints(), TypeError, r"NoPoints.draw must return lt.Points\(x, dist\)"),
    ],
)
def test_estimators_that_break_the_protocol(estimator, error, match):
    def program():
        x = yield lt.sample(COIN, estimator)
        yield lt.cost(x)

    with pytest.raises(error, match=match):
        run(program)
    with pytest.raises(error, match=match):
        lt.expect(jax.random.key(0), lambda x: x, COIN, estimator=estimator)


@pytest.mark.parametrize("change", ["sites", "fewer sites", "costs", "distribution", "estimator"])
def test_structure_changes_from_run_to_run(change):
    calls = []

    def program():
        calls.append(1)
        later = len(calls) > 1
        if change == "distribution" and later:
            x = yield lt.sample(lt.Bernoulli(jnp.zeros(2)))
            x = x.sum()
        else:
            x = yield lt.sample(
                COIN, lt.Enumerate() if change == "estimator" and later else lt.ScoreFunction()
            )
        if not (change == "fewer sites" and later):
            yield lt.sample(COIN)
        if change == "sites" and later:
            yield lt.sample(COIN)
        yield lt.cost(x)
        if change == "costs" and later:
            yield lt.cost(x)

    with pytest.raises(
        ValueError, match="in one sample than in another. Its structure must not change"
    ):
        run(program)


def test_illegal_estimators_are_refused_at_trace_time():
    for dist, estimator, match in (
        (
            COIN,
            lt.Pathwise(),
            r"Pathwise\(\) needs a reparameterized distribution; Bernoulli is not",
        ),
        (
            lt.Poisson(2.0),
            lt.Enumerate(),
            r"Enumerate\(\) needs a finite distribution; Poisson is not",
        ),
    ):

        def program(dist=dist, estimator=estimator):
            x = yield lt.sample(dist, estimator)
            yield lt.cost(x)

        with pytest.raises(ValueError, match=match):
            jax.jit(lambda: run(program)).trace()
    with pytest.raises(ValueError, match=r"leave-one-out needs num_samples >= 2"):
        run(coin_and(lambda x: iter([lt.cost(x)])), num_samples=1)


def test_numpy_on_traced_draws_points_to_black_box():
    def numpy_cost():
        x = yield lt.sample(COIN)
        yield lt.cost(np.sin(np.asarray(x)))

    def branch():
        x = yield lt.sample(COIN)
        yield lt.cost(1.0 if x > 0 else 2.0)

    for program in (numpy_cost, branch):
        with pytest.raises(Exception) as caught:
            run(program)
        assert any("lt.black_box" in note for note in caught.value.__notes__)
    with pytest.raises(jax.errors.TracerBoolConversionError) as caught:
        lt.expect(KEY, lambda x: 1.0 if x > 0 else 2.0, COIN)
    assert sum("lt.black_box" in note for note in caught.value.__notes__) == 1


# --- faults 40 to 46 and 52 at the entrance (44: test_chunks.py; 45 belongs to training)


@pytest.mark.parametrize(
    "how, error, match",
    [
        ({"num_samples": 0}, ValueError, r"\(num_samples=…\) needs an int of at least 1; got 0"),
        ({"num_samples": -1}, ValueError, "at least 1; got -1"),
        ({"num_samples": 2.0}, TypeError, r"needs a static positive int; got float 2.0"),
        ({"num_samples": True}, TypeError, "static positive int; got bool True"),
        ({"num_samples": None}, TypeError, "static positive int; got None"),
        ({"num_samples": 2**32}, ValueError, "fewer than 2"),
        ({"num_samples": 2**31, "chunk_size": 2**31}, ValueError, "Pass chunk_size"),
        ({"chunk_size": 0}, ValueError, r"\(chunk_size=…\) needs an int of at least 1; got 0"),
        ({"chunk_size": 2.0}, TypeError, "static positive int; got float"),
        ({"chunk_size": 1}, ValueError, r"leave-one-out needs num_samples >= 2 \(in every chunk\)"),
    ],
)
def test_faults_40_to_43(how, error, match):
    wide = lt.Bernoulli(jnp.zeros(4))
    with pytest.raises(error, match=match):
        lt.expect(KEY, jnp.sum, wide, **how)
    with pytest.raises(error, match=match):

        def program():
            x = yield lt.sample(wide)
            yield lt.cost(x.sum())

        run(program, **how)


def test_fault_42_traced():
    with pytest.raises(TypeError, match="static positive int; got a traced value"):
        jax.jit(lambda n: lt.expect(KEY, lambda x: x, COIN, num_samples=n))(4)


def test_fault_46_what_f_returns():
    for f, match in (
        (lambda x: x[None], r"f must return a scalar for one draw; got shape \(1,\)"),
        (lambda x: None, "f must return a scalar or a tuple of scalars; got None"),
        (lambda x: (x, x[None]), r"got shape \(1,\)"),
        (lambda x: (), "f must return a scalar or a tuple of scalars; got an empty tuple"),
    ):
        with pytest.raises(ValueError, match=match):
            lt.expect(KEY, f, COIN)
    assert lt.expect(KEY, lambda x: 2.0, COIN) == 2.0
    exact = {"estimator": lt.Enumerate()}
    both = lt.expect(KEY, lambda x: (x, 2 * x, 1), COIN, **exact)
    np.testing.assert_allclose(both, 1 + 3 * jax.nn.sigmoid(0.3), rtol=1e-6)


@pytest.mark.parametrize(
    "key, error, match",
    [
        (0, TypeError, r"got int 0. Pass jax.random.key\(seed\)"),
        (0.5, TypeError, "got float 0.5"),
        (None, TypeError, "got None. Pass jax.random.key"),
        (jnp.zeros(3), TypeError, r"an array float32\[3\]"),
        (
            jax.random.split(KEY, 3),
            ValueError,
            "one key; got an array of shape .*jax.vmap over the keys",
        ),
        (jax.random.key_data(jax.random.split(KEY, 3)), ValueError, "raw keys of shape .*jax.vmap"),
    ],
)
def test_fault_52_keys(key, error, match):
    with pytest.raises(error, match=match):
        lt.expect(key, lambda x: x, COIN)
    with pytest.raises(error, match=match):
        lt.expect_program(key, coin_and(lambda x: iter([lt.cost(x)])))


def test_fault_52_raw_keys_are_wrapped():
    of = lambda key: lt.expect(key, lambda x: x, lt.Normal(0.0, 1.0), num_samples=8)
    assert of(jax.random.key_data(KEY)) == of(KEY)


def leaf():
    x = yield lt.sample(COIN)
    yield lt.cost(x)
    return x


class Model:
    """Sub-programs that are methods."""

    def leaf(self):
        yield from leaf()

    @staticmethod
    def static():
        yield from leaf()

    def program(self):
        self.leaf()
        yield lt.cost(1.0)


MODEL, PARTIAL = Model(), functools.partial(leaf)


def dropped_two_levels_down():
    leaf()
    yield lt.cost(1.0)


def drops_its_own():
    def inner():
        yield from leaf()

    inner()
    yield lt.cost(1.0)


def drops_a_method():
    MODEL.leaf()
    yield lt.cost(1.0)


def drops_a_static_method():
    Model.static()
    yield lt.cost(1.0)


def drops_a_partial():
    PARTIAL()
    yield lt.cost(1.0)


def drops_an_argument(sub=leaf):
    sub()
    yield lt.cost(1.0)


def gives_it_a_name():
    _ = leaf()
    yield lt.cost(1.0)


def drops_a_list():
    [leaf() for _ in range(3)]
    yield lt.cost(1.0)


def in_an_element():
    def step(x):
        yield from dropped_two_levels_down()

    yield lt.plate(step, jnp.arange(2.0))


@pytest.mark.parametrize(
    "program, name",
    [
        (dropped_two_levels_down, "leaf"),
        (lambda: dropped_two_levels_down(), "leaf"),
        (drops_its_own, "inner"),
        (drops_a_method, "MODEL.leaf"),
        (drops_a_static_method, "Model.static"),
        (MODEL.program, "self.leaf"),
        (drops_a_partial, "PARTIAL"),
        (drops_an_argument, "sub"),
        (gives_it_a_name, "leaf"),
        (drops_a_list, "leaf"),
        (in_an_element, "leaf"),
    ],
)
def test_a_sub_program_without_yield_from(program, name):
    """All but the first two kinds of names were lost silently: the value was 1."""
    with pytest.raises(TypeError, match=rf"sub-program {name}\(…\) is called and not yielded"):
        run(program)


def uses_it_later():
    first, others = leaf(), [leaf() for _ in range(2)]
    again = first
    yield from again
    for other in others:
        yield from other


def has_a_function_of_that_name():
    leaf = lambda: 3.0
    leaf()
    yield lt.cost(1.0)


def calls_an_argument(leaf):
    leaf()
    yield lt.cost(1.0)


@pytest.mark.parametrize(
    "program",
    [uses_it_later, has_a_function_of_that_name, lambda: calls_an_argument(lambda: 3.0)],
)
def test_calls_that_are_no_lost_sub_programs(program):
    assert np.isfinite(run(program))
