"""lt.plate is exact: against the same program with separate sites, summed over everything that can be drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.nn import sigmoid

import logtrick as lt
from tests.programs.exact import all_runs, estimate, expected, up_to

THETA = (0.3, -0.6)
WEIGHTS = (1.0, -0.7)
BELOW, ABOVE = -1.0, 2.0  # uniforms below and above any probability


def bits(count):
    """Every tuple of `count` bits."""
    return np.array(np.meshgrid(*[[0.0, 1.0]] * count, indexing="ij")).reshape(count, -1).T


def uniforms(values):
    """Uniforms that make a Bernoulli draw these bits."""
    return np.where(values > 0, BELOW, ABOVE)


def probability(logits, values):
    return np.prod(np.where(values > 0, sigmoid(logits), sigmoid(-logits)), axis=-1)


def agree(got, want):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-10), got, want)


def moments(program, cells, weights, runs, order):
    """The expectation of the program's estimate and of its derivatives, over every tuple of cells."""
    noises, weights = all_runs(cells, weights, runs)
    theta = jnp.array(THETA)
    one = lambda noise: up_to(order, lambda t: estimate(lambda: program(t), noise, runs))(theta)
    return expected(one, noises, weights)


# --- two coins in each of two elements, the second given the first; costs inside and after


def inside(a, b, weight, t):
    return weight * (a - 0.4 * b) ** 2 + 0.3 * t[0] * a * b


def after(returned, t):
    return (returned[0] - 0.5) * (1.5 * returned[1] + t[1]) + 0.2 * returned[1]


def second(a, weight, t):
    return t[1] * weight + 0.8 * a


def coins(t, estimators, ending):
    """The flips of an element: a coin, a coin given the first, a cost of both; then a cost of all second coins."""

    def flip(weight):
        a = yield lt.sample(lt.Bernoulli(t[0] * weight), estimators[0])
        b = yield lt.sample(lt.Bernoulli(second(a, weight, t)), estimators[1])
        yield lt.cost(inside(a, b, weight, t))
        return b

    returned = yield lt.plate(flip, jnp.array(WEIGHTS))
    if ending:
        yield lt.cost(after(returned, t))


def coins_exact(t, ending):
    def outcome(flips):
        a, b = flips[::2], flips[1::2]
        weights = jnp.array(WEIGHTS)
        first, last = t[0] * weights, second(a, weights, t)
        p = jnp.prod(sigmoid((2 * a - 1) * first) * sigmoid((2 * b - 1) * last))
        cost = jnp.sum(inside(a, b, weights, t))
        return p * (cost + after(b, t) if ending else cost)

    return jnp.sum(jax.vmap(outcome)(jnp.asarray(bits(4))))


def coins_cells():
    """The noise of one sample, [chooser, [first coin, second coin]], for each of its 16 outcomes."""
    outcomes = bits(4).reshape(-1, 2, 2)  # outcome, element, coin
    t, weight = np.array(THETA), np.array(WEIGHTS)
    logits = np.stack(
        [np.broadcast_to(t[0] * weight, (16, 2)), second(outcomes[..., 0], weight, t)], -1
    )
    u = uniforms(outcomes)
    p = np.prod(probability(logits, outcomes), axis=-1)
    return [[[], [u[..., 0], u[..., 1]]]], p


NONE, OUT = lt.ScoreFunction(lt.NoBaseline()), lt.ScoreFunction()


@pytest.mark.parametrize("ending", [False, True])
@pytest.mark.parametrize("runs, estimator", [(1, NONE), (2, OUT)])
def test_value_and_derivatives_of_two_coins_in_each_element(x64, runs, estimator, ending):
    order = 3 if runs == 1 and ending else 2
    cells, p = coins_cells()
    got = moments(lambda t: coins(t, (estimator, estimator), ending), cells, p, runs, order)
    agree(got, up_to(order, lambda t: coins_exact(t, ending))(jnp.array(THETA)))


def test_the_variance_is_that_of_separate_expectations(x64):
    """Without costs after the plate, no element's score is multiplied with the costs of another."""
    cells, p = coins_cells()
    theta = jnp.array(THETA)
    value = lambda t, noise: estimate(lambda: coins(t, (NONE, NONE), False), noise, 1)
    noises, _ = all_runs(cells, p, 1)
    draws = np.asarray(jax.jit(jax.vmap(jax.grad(value), (None, 0)))(theta, noises))
    variance = p @ (draws - p @ draws) ** 2
    separate = 0.0
    for weight in WEIGHTS:

        def one(t, noise, weight=weight):
            def program():
                a = yield lt.sample(lt.Bernoulli(t[0] * weight), NONE)
                b = yield lt.sample(lt.Bernoulli(second(a, weight, t)), NONE)
                yield lt.cost(inside(a, b, weight, t))

            return estimate(program, noise, 1)

        pairs = bits(2)
        t = np.array(THETA)
        logits = np.stack([np.full(4, t[0] * weight), second(pairs[:, 0], weight, t)], -1)
        q = probability(logits, pairs)
        u = uniforms(pairs)
        run = jax.jit(jax.vmap(jax.grad(one), (None, 0)))
        grads = np.asarray(run(theta, [u[:, None, 0], u[:, None, 1]]))
        separate = separate + q @ (grads - q @ grads) ** 2
    np.testing.assert_allclose(variance, separate, rtol=1e-10)


@pytest.mark.parametrize("first", [lt.LocalExpectation(), lt.DisARM()])
def test_several_points_inside(x64, first):
    """The first coin of an element is looked at from several points; the second follows, its noise common to them."""
    agree_first_order(first)


def test_enumerate_inside(x64):
    """To second order; the second coin's uniform decides it at both points: cells between its two probabilities."""
    theta, weights = jnp.array(THETA), np.array(WEIGHTS)
    middles, widths = [], []
    for weight in weights:
        edges = [0.0, *sorted(float(sigmoid(second(a, weight, THETA))) for a in (0.0, 1.0)), 1.0]
        middles.append((np.array(edges[1:]) + edges[:-1]) / 2)
        widths.append(np.diff(edges))
    i, j = np.indices((3, 3)).reshape(2, -1)
    u = np.stack([middles[0][i], middles[1][j]], -1)
    p = widths[0][i] * widths[1][j]
    cells = [[[], [None, u]]]
    got = moments(lambda t: coins(t, (lt.Enumerate(), NONE), False), cells, p, 1, 2)
    agree(got, up_to(2, lambda t: coins_exact(t, False))(theta))


def agree_first_order(estimator):
    """Against the two expectations apart, from the same noise: as many sites, one after the other."""
    theta = jnp.array(THETA)
    u = jax.random.uniform(jax.random.key(0), (2, 40, 2, 2), float)  # site, case, sample, element

    def plate(t, u):
        noises = [[[], [u[0], u[1]]]]
        return estimate(lambda: coins(t, (estimator, OUT), False), noises, 2)

    def apart(t, u):
        def program():
            for weight in WEIGHTS:
                a = yield lt.sample(lt.Bernoulli(t[0] * weight), estimator)
                b = yield lt.sample(lt.Bernoulli(second(a, weight, t)), OUT)
                yield lt.cost(inside(a, b, weight, t))

        return estimate(program, [u[0, :, 0], u[1, :, 0], u[0, :, 1], u[1, :, 1]], 2)

    run = lambda f: jax.jit(jax.vmap(jax.value_and_grad(f), (None, 1)))(theta, u)
    agree(run(plate), run(apart))


# --- against separate sites, from the same noise


def elements(plated, element):
    """Two elements, as a plate or as sites one after the other."""
    if plated:
        return (yield lt.plate(element, jnp.array(WEIGHTS)))
    return [(yield from element(WEIGHTS[0])), (yield from element(WEIGHTS[1]))]


def same(plate, flat, noise_of, shape, order=1, runs=3):
    """The program with a plate and the flat one give the same numbers for the same noise.

    `noise_of(u)` gives the noises of both, for uniforms of `shape`, with a leading axis of samples.
    """
    theta = jnp.array(THETA)
    u = jax.random.uniform(jax.random.key(1), (8, runs, *shape), float)

    def run(program, which):
        def one(u):
            value = lambda t: estimate(lambda: program(t), noise_of(u)[which], runs)
            return up_to(order, value)(theta)

        return jax.jit(jax.vmap(one))(u)

    agree(run(plate, 0), run(flat, 1))


def test_nested_plates(x64):
    table = jnp.array([[0.4, -0.2], [1.0, 0.3]])

    def body(t, row, scale, plated):
        a = yield lt.sample(lt.Bernoulli(t[0] * row[0]))

        def inner(x):
            b = yield lt.sample(lt.Bernoulli(t[1] * x + a))
            yield lt.cost(x * b * (1 + a))
            return b

        if plated:
            found = yield lt.plate(inner, row)
        else:
            found = []
            for x in row:
                found.append((yield from inner(x)))
        yield lt.cost(scale * (found[0] - 0.3) * (found[1] + a))
        return found[0] - found[1]

    def plate(t):
        found = yield lt.plate(lambda row: body(t, row, 0.7, True), table)
        yield lt.cost(found[0] * found[1] + t[0] * found[0])

    def flat(t):
        found = []
        for row in table:
            found.append((yield from body(t, row, 0.7, False)))  # noqa: PERF401  # no yield in a comprehension
        yield lt.cost(found[0] * found[1] + t[0] * found[0])

    def noises(u):  # sample, outer, (a, b0, b1)
        nested = [[[], [u[..., 0], [[], [u[..., 1:]]]]]]
        return nested, [u[:, i, j] for i in (0, 1) for j in (0, 1, 2)]

    same(plate, flat, noises, (2, 3))


def test_a_plate_in_a_loop(x64):
    """By enumeration: by time, a draw of a step is credited with all that follows; in its plate, with its own element."""

    def step(t, carry, i, plated):
        def element(x):
            b = yield lt.sample(lt.Bernoulli(t[0] * x + carry), NONE)
            yield lt.cost(x * b * carry)
            return b

        found = yield from elements(plated, element)
        carry = 0.5 * carry + found[0] * (1.3 - found[1]) + t[1]
        yield lt.cost((1.0 + i) * carry**2)
        return carry, None

    def program(t, plated):
        body = lambda carry, i: step(t, carry, i, plated)
        carry, _ = yield lt.scan(body, 0.2, jnp.arange(2.0))
        yield lt.cost(jnp.sin(carry))

    outcomes = bits(4).reshape(-1, 2, 2)  # outcome, time, element
    weights = []
    for path in outcomes:
        carry, p = 0.2, 1.0
        for found in path:
            p *= probability(THETA[0] * np.array(WEIGHTS) + carry, found)
            carry = 0.5 * carry + found[0] * (1.3 - found[1]) + THETA[1]
        weights.append(p)
    np.testing.assert_allclose(sum(weights), 1.0)
    u = uniforms(outcomes)
    got = moments(lambda t: program(t, True), [[[[], [u]]]], weights, 1, 2)
    want = moments(lambda t: program(t, False), [[u[..., 0], u[..., 1]]], weights, 1, 2)
    agree(got, want)


def test_a_loop_in_a_plate(x64):
    def element(t, x, looped):
        def step(carry, i):
            a = yield lt.sample(lt.Bernoulli(t[0] * x + carry))
            yield lt.cost((1 + i) * a * x)
            return carry + t[1] * a, a

        carry, ys = 0.1 * x, []
        if looped:
            carry, ys = yield lt.scan(step, carry, jnp.arange(2.0))
        else:
            for i in range(2):
                carry, y = yield from step(carry, 1.0 * i)
                ys.append(y)
        yield lt.cost(carry**2)
        return ys[0] * ys[1] + carry

    def plate(t):
        found = yield lt.plate(lambda x: element(t, x, True), jnp.array(WEIGHTS))
        yield lt.cost(found[0] * found[1])

    def flat(t):
        found = []
        for x in WEIGHTS:
            found.append((yield from element(t, x, False)))  # noqa: PERF401  # no yield in a comprehension
        yield lt.cost(found[0] * found[1])

    def noises(u):  # sample, element, time
        return [[[], [[u]]]], [u[:, i, j] for i in (0, 1) for j in (0, 1)]

    same(plate, flat, noises, (2, 2))


# --- some of the elements, keys, what is reported


def test_some_of_the_elements(x64):
    """Every choice of one element of three, equally likely: the costs are those of all elements."""
    values = jnp.array([0.5, -1.0, 2.0])

    def program(t, subsample):
        def element(x):
            a = yield lt.sample(lt.Bernoulli(t[0] * x), NONE)
            b = yield lt.sample(lt.Bernoulli(t[1] + a), lt.Enumerate())
            yield lt.cost(x * (a + b) ** 2 + t[1] * x)

        yield lt.plate(element, values, subsample=subsample)

    # the chooser's least uniform is the element used; then a bit with its probability
    chooser = np.repeat(np.eye(3) * -0.5 + 0.7, 2, axis=0)
    chosen = np.array(bits(1)[:, 0].tolist() * 3)
    x = np.repeat(np.asarray(values), 2)
    weights = np.where(chosen > 0, sigmoid(THETA[0] * x), sigmoid(-THETA[0] * x)) / 3
    cells = [[[chooser], [uniforms(chosen)[:, None], None]]]
    got = moments(lambda t: program(t, 1), cells, weights, 1, 2)

    def exact(t):
        total = 0.0
        for x in values:
            for a, b in bits(2):
                p = sigmoid(t[0] * x * (2 * a - 1)) * sigmoid((t[1] + a) * (2 * b - 1))
                total = total + p * (x * (a + b) ** 2 + t[1] * x)
        return total

    agree(got, up_to(2, exact)(jnp.array(THETA)))


def test_nested_plates_multiply_their_factors():
    def inner(x):
        yield lt.cost(x)

    def outer(x):
        yield lt.sample(lt.Bernoulli(0.0))
        yield lt.plate(inner, x * jnp.ones(6), subsample=2)

    def program():
        yield lt.plate(outer, jnp.ones(4), subsample=1)

    assert lt.expect_program(jax.random.key(0), program, num_samples=2) == 24.0


def test_each_element_has_a_key_of_its_own():
    def element(_):
        key = yield lt.fresh_key()
        yield lt.cost(jax.random.uniform(key), name="u")

    def program():
        yield lt.plate(element, length=3, name="p")

    _, aux = lt.expect_program(jax.random.key(0), program, num_samples=4, has_aux=True)
    found = np.asarray(aux.costs["p.u"])
    assert found.shape == (4, 3)
    assert len(np.unique(found)) == 12


def named(t, x, estimator=OUT):
    a = yield lt.sample(lt.Bernoulli(t * jnp.ones(2)), lt.ScoreFunction(), name="a")
    b = yield lt.sample(lt.Bernoulli(t + x), estimator)
    yield lt.cost(jnp.sum(a) * b, name="c")
    yield lt.cost(x * b)
    return a


@pytest.mark.parametrize("estimator", [OUT, lt.DisARM()])
def test_what_is_reported(estimator):
    def program(t):
        yield lt.sample(lt.Normal(t, 1.0))
        found = yield lt.plate(lambda x: named(t, x, estimator), jnp.arange(3.0), name="p")
        yield lt.cost(jnp.sum(found), name="end")

    def run(t, chunk):
        how = {"num_samples": 6, "chunk_size": chunk, "has_aux": True}
        return lt.expect_program(jax.random.key(0), program, t, **how)

    value, aux = jax.jit(run, static_argnums=1)(0.3, None)
    assert {k: v.shape for k, v in aux.draws.items()} == {0: (6,), "p.a": (6, 3, 2), "p.1": (6, 3)}
    shapes = {k: v.shape for k, v in aux.costs.items()}
    assert shapes == {"p.c": (6, 3), "p.1": (6, 3), "end": (6,)}
    assert list(aux.estimators) == [0, "p.a", "p.1"]
    np.testing.assert_allclose(aux.costs["end"], jnp.sum(aux.draws["p.a"], (1, 2)))
    total = aux.costs["end"] + jnp.sum(aux.costs["p.c"] + aux.costs["p.1"], 1)
    np.testing.assert_allclose(value, jnp.mean(total), rtol=1e-6)
    _, chunked = jax.jit(run, static_argnums=1)(0.3, 2)
    for name, draws in aux.draws.items():
        np.testing.assert_array_equal(draws, chunked.draws[name])


def test_explain(capsys):
    def program(t):
        found = yield lt.plate(lambda x: named(t, x, lt.DisARM()), jnp.arange(3.0), name="p")
        yield lt.cost(jnp.sum(found), name="end")

    rows = {row.name: row for row in lt.explain(program, 0.3).sites}
    assert rows["p.a"].costs == ("p.c", "end")
    assert rows["p.1"].costs == ("p.c", "p.1")
    assert (rows["p.1"].estimator, rows["p.1"].evaluations) == ("DisARM", 2)
    assert "p.a   Bernoulli" in capsys.readouterr().out


# --- baselines that learn


def test_a_learned_baseline_inside():
    """Its function gets what it closes over, of the element; its loss is that of all elements."""

    def program(t, w):
        def element(x):
            baseline = lt.LearnedBaseline(lambda w: w * x, w)
            a = yield lt.sample(lt.Bernoulli(t * x), lt.ScoreFunction(baseline))
            yield lt.cost(a * x)

        yield lt.plate(element, jnp.array([1.0, 2.0]), name="p")

    def run(t, w):
        value, aux = lt.expect_program(
            jax.random.key(0), program, t, w, num_samples=8, has_aux=True
        )
        return value, aux

    _, aux = jax.jit(run)(0.3, 0.5)
    costs = np.asarray(aux.costs["p.0"])
    residuals = costs - 0.5 * np.array([[1.0, 2.0]])
    np.testing.assert_allclose(aux.adaptive_loss, (residuals**2).sum(1).mean(), rtol=1e-5)
    slope = jax.jit(jax.grad(lambda w: run(0.3, w)[1].adaptive_loss))(0.5)
    want = (-2 * residuals * np.array([[1.0, 2.0]])).sum(1).mean()
    np.testing.assert_allclose(slope, want, rtol=1e-5)
    draws = np.asarray(aux.draws["p.0"])
    x = np.array([[1.0, 2.0]])
    scores = (draws - np.asarray(sigmoid(0.3 * x))) * x
    got = jax.jit(jax.grad(lambda t: run(t, 0.5)[0]))(0.3)
    np.testing.assert_allclose(got, (residuals * scores).sum(1).mean(), rtol=1e-5)


def test_a_moving_average_inside():
    """It moves by the mean over samples and elements."""
    average = lt.MovingAverage(0.9)

    def program(t):
        def element(x):
            a = yield lt.sample(lt.Bernoulli(t * x), lt.ScoreFunction(average), name="a")
            yield lt.cost(a * x)

        yield lt.plate(element, jnp.array([1.0, 2.0]), name="p")

    _, aux = lt.expect_program(jax.random.key(0), program, 0.3, num_samples=8, has_aux=True)
    moved = aux.estimators["p.a"].baseline
    np.testing.assert_allclose(moved.average / moved.weight, np.mean(aux.costs["p.0"]), rtol=1e-5)


# --- what is refused


def refused(program, message, error=ValueError):
    with pytest.raises(error, match=message):
        jax.eval_shape(
            lambda t: lt.expect_program(jax.random.key(0), program, t, num_samples=2), 0.3
        )


def coin_of(estimator, t=0.3, later=False):
    """An element that draws with an estimator of several points, pays, and returns a draw: that one or a later one."""

    def element(x):
        a = yield lt.sample(lt.Bernoulli(t * x), estimator, name="first")
        yield lt.cost(a * x)
        if not later:
            return a
        b = yield lt.sample(lt.Bernoulli(t - x), name="second")
        yield lt.cost(a * b)
        return b

    return element


SEVERAL = [lt.DisARM(), lt.Enumerate(), lt.ScoreFunction(lt.MuProp())]


@pytest.mark.parametrize("estimator", SEVERAL, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("later", [False, True])
def test_costs_after_the_plate_that_cannot_be_credited(estimator, later):
    site = "second" if later else "first"

    def program(t):
        found = yield lt.plate(coin_of(estimator, t, later), jnp.ones(2), name="p")
        yield lt.cost(jnp.sum(found))

    message = f"lt.plate 'p': costs after the plate depend on the draw of site '{site}'.*"
    refused(program, message + f"{type(estimator).__name__} at site 'first' evaluates the rest")

    def through_a_distribution(t):
        found = yield lt.plate(coin_of(estimator, t, later), jnp.ones(2), name="p")
        b = yield lt.sample(lt.Bernoulli(jnp.sum(found)))
        yield lt.cost(b)

    refused(through_a_distribution, message)

    def into_a_loop(t):
        found = yield lt.plate(coin_of(estimator, t, later), jnp.ones(2), name="p")

        def step(carry, _):
            b = yield lt.sample(lt.Bernoulli(jnp.sum(found)))
            yield lt.cost(b)
            return carry, None

        yield lt.scan(step, 0.0, length=2)

    refused(into_a_loop, message)

    def within(t):
        def outer(x):
            found = yield lt.plate(coin_of(estimator, t, later), x * jnp.ones(2), name="p")
            return jnp.sum(found)

        found = yield lt.plate(outer, jnp.ones(2), name="q")
        yield lt.cost(jnp.sum(found))

    refused(within, message)


@pytest.mark.parametrize("estimator", SEVERAL, ids=lambda e: type(e).__name__)
def test_what_is_returned_and_not_paid_for_is_legal(estimator):
    def program(t):
        found = yield lt.plate(coin_of(estimator, t), jnp.ones(2), name="p")
        a = yield lt.sample(lt.Bernoulli(t))
        yield lt.cost(a)
        del found

    jax.eval_shape(lambda t: lt.expect_program(jax.random.key(0), program, t, num_samples=2), 0.3)


def test_a_draw_before_the_site_of_several_points_may_be_paid_for(x64):
    """a, returned, then b by Enumerate: the costs after the plate are a's alone."""

    def program(t, plated, last):
        def element(x):
            a = yield lt.sample(lt.Bernoulli(t[0] * x), NONE)
            b = yield lt.sample(lt.Bernoulli(t[1] + x * a), last)
            yield lt.cost(x * a * b)
            return a

        found = yield from elements(plated, element)
        yield lt.cost((found[0] - 0.3) * (found[1] + t[1]))

    outcomes = bits(2)
    u = uniforms(outcomes)
    weights = probability(THETA[0] * np.array(WEIGHTS), outcomes)
    got = moments(lambda t: program(t, True, lt.Enumerate()), [[[], [u, None]]], weights, 1, 2)
    flat = [u[:, 0], None, u[:, 1], None]
    want = moments(lambda t: program(t, False, lt.Enumerate()), flat, weights, 1, 2)
    agree(got, want)


@pytest.mark.parametrize(
    "estimator",
    [lt.Enumerate(), lt.UnorderedSet(2), lt.DoubleCV(), lt.ScoreFunction(lt.MuProp()),
     lt.Combination((lt.DisARM(), lt.LocalExpectation()), (0.5, 0.5))],
    ids=lambda e: type(e).__name__,
)  # fmt: skip
def test_what_an_element_returns_passes_a_site_of_several_points_as_it_is(estimator):
    """A whole number stays one, and what depends on parameters keeps its derivative: costs after the plate are exact."""
    labels, keys = jnp.array([2, 0, 1]), jax.random.split(jax.random.key(1), 3)
    prices = jnp.array([0.3, 5.0, 70.0])

    def program(t, after):
        def element(x):
            label, key = x
            b = yield lt.sample(lt.Bernoulli(t), estimator)
            yield lt.cost(t * b)
            return label, t * prices[label], key

        labels_, rates, keys_ = yield lt.plate(element, (labels, keys))
        if after:
            assert labels_.dtype == labels.dtype and keys_.dtype == keys.dtype
            yield lt.cost(jnp.sum(prices[labels_] * rates * (labels_ < 2)))
            yield lt.cost(jax.random.normal(keys_[0]))

    value = lambda t, after: lt.expect_program(jax.random.key(0), program, t, after, num_samples=4)
    both = jax.jit(lambda t: [jax.value_and_grad(value)(t, after) for after in (True, False)])
    (found, slope), (inside, its_slope) = both(0.7)
    rest = 0.3**2 + 5.0**2  # the two labels below 2
    np.testing.assert_allclose(found - inside, 0.7 * rest + jax.random.normal(keys[0]), rtol=1e-5)
    np.testing.assert_allclose(slope - its_slope, rest, rtol=1e-5)


def test_plans_whose_rows_depend_on_each_other():
    def program(t):
        def element(x):
            a = yield lt.sample(
                lt.Normal(t * x, 1.0), lt.ScoreFunction(lt.NoBaseline(), lt.Antithetic())
            )
            yield lt.cost(a)

        yield lt.plate(element, jnp.ones(3))

    refused(
        program, r"lt.plate: the noise of ScoreFunction depends from sample to sample, and a pl"
    )


def test_several_points_in_a_plate_in_a_loop():
    def program(t):
        def step(carry, _):
            yield lt.plate(coin_of(lt.DisARM(), t), jnp.ones(2))
            return carry, None

        yield lt.scan(step, 0.0, length=2)

    refused(program, r"lt.scan: DisARM evaluates the rest of the program at 2 points")


def test_misuse():
    def empty(x):
        return x
        yield

    def program(t):
        yield lt.plate(empty, jnp.ones(3))
        yield lt.cost(t)

    refused(program, r"the step of lt.plate yields no lt.sample and no lt.cost. Use jax.vmap")
    element = coin_of(OUT)
    with pytest.raises(ValueError, match=r"lt.plate\(xs=…\) needs one leading axis of elements"):
        lt.plate(element, (jnp.ones(2), jnp.ones(3)))
    with pytest.raises(ValueError, match=r"needs one leading axis of elements on every leaf, or"):
        lt.plate(element)
    with pytest.raises(ValueError, match=r"lt.plate\(subsample=…\) needs at most as many as there"):
        lt.plate(element, jnp.ones(2), subsample=3)
    with pytest.raises(TypeError, match=r"lt.plate\(step=…\) needs a generator function; got int"):
        lt.plate(3, jnp.ones(2))
    with pytest.raises(ValueError, match=r"lt.plate\(length=…\)"):
        lt.plate(element, length=0)
    with pytest.raises(
        ValueError, match=r"lt.plate\(xs=…\) needs at least 1 of the elements; got 0"
    ):
        lt.plate(element, jnp.ones(0))


def test_a_subsample_of_deterministic_elements_is_random():
    """Which elements are used differs from sample to sample, so there is a standard error, and every sample counts."""

    def program():
        def element(value):
            bit = yield lt.sample(lt.Bernoulli(0.3), lt.Enumerate())
            yield lt.cost(value * bit)

        yield lt.plate(element, jnp.arange(4.0), subsample=1)

    value, aux = lt.expect_program(jax.random.key(0), program, num_samples=4096, has_aux=True)
    each = 4 * jax.nn.sigmoid(0.3) * jnp.arange(4.0)
    # the standard deviation of 4,096 draws from four equally likely numbers is right to 1 %
    np.testing.assert_allclose(aux.standard_error * 64, jnp.std(each), rtol=0.05)
    assert abs(value - jnp.mean(each)) < 6 * aux.standard_error
