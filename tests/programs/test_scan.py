"""lt.scan is exact: every pair of trajectories of a small decision process, orders 0 to 3."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.nn import sigmoid

import logtrick as lt
from tests.programs.exact import ORDERS, all_runs, estimate

T, GAMMA = 3, 0.9
THETA = (0.3, -0.5, 0.7)


def action(theta, s):
    return theta[0] + theta[1] * s


def transition(theta, s, a):
    return theta[2] * (2 * a - 1) + 0.3 * s


def cost(theta, s, a, t):
    return GAMMA**t * ((1.0 + t) * (s - 0.4 * a) ** 2 + 0.1 * theta[0] * a)


def final(theta, s):
    return 2.0 * s + theta[1] * s


def process(theta, baseline=None, late=False):
    """Two sites and one cost a step; the cost comes before the transition, or after it."""
    baseline = lt.LeaveOneOut() if baseline is None else baseline

    def step(carry, _):
        s, t = carry
        a = yield lt.sample(lt.Bernoulli(action(theta, s)), lt.ScoreFunction(baseline))
        if not late:
            yield lt.cost(cost(theta, s, a, t))
        n = yield lt.sample(lt.Bernoulli(transition(theta, s, a)), lt.ScoreFunction(baseline))
        if late:
            yield lt.cost(cost(theta, s, a, t))
        return (n, t + 1), None

    (s, _), _ = yield lt.scan(step, (jnp.zeros(()), 0.0), length=T)
    yield lt.cost(final(theta, s))


def exact(theta):
    def value(s, t):
        if t == T:
            return final(theta, s)
        total, p = 0.0, sigmoid(action(theta, s))
        for a in (0.0, 1.0):
            q = sigmoid(transition(theta, s, a))
            rest = sum((q if n else 1 - q) * value(n, t + 1) for n in (0.0, 1.0))
            total += (p if a else 1 - p) * (cost(theta, s, a, t) + rest)
        return total

    return value(0.0, 0)


def probability(path):
    s, weight = 0.0, 1.0
    for a, n in path.reshape(T, 2):
        p, q = float(sigmoid(action(THETA, s))), float(sigmoid(transition(THETA, s, a)))
        weight, s = weight * (p if a else 1 - p) * (q if n else 1 - q), n
    return weight


def trajectories():
    """The uniforms and probabilities of every pair of trajectories: (4096, runs, T, sites)."""
    paths = np.array(list(itertools.product([0.0, 1.0], repeat=2 * T)))
    uniforms = np.where(paths > 0, -1.0, 2.0).reshape(-1, T, 2)  # below or above any probability
    noises, weights = all_runs(uniforms, [probability(p) for p in paths], 2)
    return jnp.asarray(noises), jnp.asarray(weights)


def moments(order, theta, **how):
    noises, weights = trajectories()

    def one(u):
        value = lambda t: estimate(lambda: process(t, **how), [[u[..., 0], u[..., 1]]], 2)
        return ORDERS[order](value)(theta)

    values = jax.jit(jax.vmap(one))(noises)
    mean = jnp.tensordot(weights, values, 1)
    return mean, jnp.tensordot(weights, (values - mean[None]) ** 2, 1).sum()


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_exact_leave_one_out(x64, order):
    theta = jnp.array(THETA)
    mean, variance = moments(order, theta)
    np.testing.assert_allclose(mean, ORDERS[order](exact)(theta), rtol=0, atol=1e-10)
    if order == 2:  # the boxes of the earlier sites on the baselines; without them it is twice that
        assert variance < 5.5


@pytest.mark.parametrize(
    "how", [{"baseline": lt.NoBaseline()}, {"late": True}, {"baseline": lt.ConstantBaseline(1.3)}]
)
def test_exact_variants(x64, how):
    theta = jnp.array(THETA)
    mean, _ = moments(2, theta, **how)
    np.testing.assert_allclose(mean, jax.hessian(exact)(theta), rtol=0, atol=1e-10)


# --- against the same program without loops


def loop(unrolled, step, carry, length, name=None):
    if not unrolled:
        carry, _ = yield lt.scan(step, carry, jnp.arange(length) * 1.0, name=name)
        return carry
    for i in range(length):
        carry, _ = yield from step(carry, i * 1.0)
    return carry


def nested(theta, unrolled):
    """Draws and costs before, inside and after two nested loops; each depends on all that came before it."""
    e = yield lt.sample(lt.Bernoulli(theta[0]), lt.Enumerate())
    a = yield lt.sample(lt.Bernoulli(theta[1] + e))
    yield lt.cost(theta[2] * a * (1 + e))

    def inner(carry, i):
        c = yield lt.sample(lt.Bernoulli(theta[0] + 0.4 * carry * (1 + i)))
        carry = jnp.sin(carry) + c
        yield lt.cost(carry**2 * theta[1])
        return carry, None

    def outer(carry, i):
        b = yield lt.sample(
            lt.Bernoulli(theta[2] * carry + 0.1 * i), lt.ScoreFunction(lt.ConstantBaseline(0.4))
        )
        yield lt.cost((b - 0.3) * carry)
        z = yield lt.sample(lt.Normal(theta[0] * carry + b, 0.5), lt.Pathwise())
        carry = yield from loop(unrolled, inner, jnp.tanh(z + carry), 2)
        yield lt.cost(jnp.cos(carry))
        return carry + 0.3, None

    carry = yield from loop(unrolled, outer, a + 0.5 * e + theta[1], 2)
    f = yield lt.sample(lt.Bernoulli(carry * theta[2]))
    yield lt.cost(f * carry)


def test_loops_are_their_unrolled_programs(x64):
    theta, runs, key = jnp.array(THETA), 2, jax.random.key(5)
    uniform = lambda i, *shape: jax.random.uniform(jax.random.fold_in(key, i), (runs, *shape))
    a, b, c, f = uniform(0), uniform(1, 2), uniform(2, 2, 2), uniform(4)
    z = jax.random.normal(jax.random.fold_in(key, 9), (runs, 2))
    looped = [None, a, [b, z, [c]], f]
    flat = [None, a]
    for i in range(2):
        flat += [b[:, i], z[:, i], c[:, i, 0], c[:, i, 1]]
    flat.append(f)
    # some logits are 0 exactly, where JAX's own log_sigmoid loses its second derivative
    hessian = lambda unrolled, noises: jax.jit(
        jax.hessian(lambda t: estimate(lambda: nested(t, unrolled), noises, runs))
    )(theta)
    np.testing.assert_allclose(hessian(False, looped), hessian(True, flat), rtol=1e-10, atol=1e-12)


def test_a_loop_of_no_steps_adds_nothing():
    def program(logit):
        def step(carry, _):
            x = yield lt.sample(lt.Bernoulli(logit))
            yield lt.cost(x)
            return carry, x

        carry, xs = yield lt.scan(step, 2.0, length=0)
        assert xs.shape == (0,)
        yield lt.cost(carry * logit)

    value = lambda t: lt.expect_program(jax.random.key(0), program, t, num_samples=4)
    np.testing.assert_allclose(jax.value_and_grad(value)(0.3), (0.6, 2.0), rtol=1e-6)


def test_statistics_do_not_move_by_a_loop_of_no_steps():
    average = lt.MovingAverage(0.9)

    def program(logit):
        def step(carry, _):
            x = yield lt.sample(lt.Bernoulli(logit), lt.ScoreFunction(average), name="x")
            yield lt.cost(x)
            return carry, None

        yield lt.scan(step, 0.0, length=0, name="loop")
        yield lt.cost(logit)

    _, aux = lt.expect_program(jax.random.key(0), program, 0.3, num_samples=4, has_aux=True)
    assert aux.estimators["loop.x"].baseline == average and aux.draws["loop.x"].shape == (4, 0)


def test_remat_changes_nothing():
    def program(theta, remat):
        def step(carry, _):
            x = yield lt.sample(lt.Bernoulli(theta * carry))
            yield lt.cost(x * carry)
            return jnp.sin(carry) + x, None

        yield lt.scan(step, 1.0, length=5, remat=remat)

    value = lambda t, remat: lt.expect_program(jax.random.key(0), program, t, remat, num_samples=4)
    found = [jax.jit(jax.hessian(lambda t: value(t, remat)))(0.3) for remat in (True, False)]
    np.testing.assert_allclose(*found, rtol=1e-5)


# --- episodes, walks, memory


def test_masks_for_episodes_that_end(x64):
    """Flips until the first head, at most four: E = Σ_t (1 − p)^t, by every trajectory of one run."""
    steps = 4

    def program(logit):
        def step(alive, _):
            x = yield lt.sample(lt.Bernoulli(logit), lt.ScoreFunction(lt.NoBaseline()))
            yield lt.cost(alive)
            return alive * (1 - x), None

        yield lt.scan(step, 1.0, length=steps)

    exact = lambda t: sum(sigmoid(-t) ** i for i in range(steps))
    paths = np.array(list(itertools.product([0.0, 1.0], repeat=steps)))
    p = float(sigmoid(0.3))
    weights = jnp.asarray(np.prod(np.where(paths > 0, p, 1 - p), 1))
    for order in (0, 1, 2):
        one = lambda u: ORDERS[order](lambda t: estimate(lambda: program(t), [[u[None]]], 1))(0.3)
        found = jnp.tensordot(
            weights, jax.jit(jax.vmap(one))(jnp.asarray(np.where(paths > 0, -1.0, 2.0))), 1
        )
        np.testing.assert_allclose(found, ORDERS[order](exact)(0.3), rtol=0, atol=1e-10)


def walk(p, steps):
    """Steps of ±1, P(up) = exp(−X/p), f = X_n² (Arya et al., 2022, section 5.1); benchmarks/random_walk.py has more of it."""

    def step(x, _):
        rate = jnp.where(x <= 0, 1.0, x) / p
        logit = jnp.where(
            x <= 0, 30.0, -rate - jnp.log(-jnp.expm1(-rate))
        )  # at 0 the walk always goes up
        move = yield lt.sample(lt.Bernoulli(logit), BASELINE)
        return x + 2 * move - 1, None

    x, _ = yield lt.scan(step, jnp.zeros(()), length=steps)
    yield lt.cost(x**2)


BASELINE = lt.ScoreFunction(lt.NoBaseline())


def test_walk_of_ten_steps_is_the_oracles(x64):
    """Rows walk/n10_p20/sf: gradient 1.4898178246080858, variance 14.411797074826367, by all 1024 trajectories."""
    paths = np.array(list(itertools.product([0.0, 1.0], repeat=10)))
    x, weight = np.zeros(len(paths)), np.ones(len(paths))
    for move in paths.T:
        up = np.where(x <= 0, 1.0, np.exp(-x / 20))
        weight, x = weight * np.where(move > 0, up, 1 - up), x + 2 * move - 1
    keep = weight > 0
    u = jnp.asarray(np.where(paths[keep] > 0, -1.0, 2.0))
    gradients = jax.jit(
        jax.vmap(lambda u: jax.grad(lambda p: estimate(lambda: walk(p, 10), [[u[None]]], 1))(20.0))
    )(u)
    w = jnp.asarray(weight[keep])
    mean = w @ gradients
    np.testing.assert_allclose(mean, 1.4898178246080858, rtol=1e-9)
    np.testing.assert_allclose(w @ (gradients - mean) ** 2, 14.411797074826367, rtol=1e-9)


def test_memory_is_linear_in_the_carry():
    """1,000 steps of a step that holds 32 times its carry: with remat, reverse mode keeps the carries and little else."""

    def program(theta, remat):
        def step(carry, _):
            hidden = jnp.tanh(theta * jnp.outer(carry, jnp.arange(32.0)))
            x = yield lt.sample(lt.Bernoulli(hidden.mean(1)))
            yield lt.cost(jnp.sin(hidden).sum())
            return carry * 0.9 + x, None

        yield lt.scan(step, jnp.ones(64), length=1000, remat=remat)

    def temporary(remat):
        value = lambda t: lt.expect_program(jax.random.key(0), program, t, remat, num_samples=2)
        return jax.jit(jax.grad(value)).lower(0.3).compile().memory_analysis().temp_size_in_bytes

    carries = 2 * 1000 * 64 * 4
    assert temporary(True) < 8 * carries < 16 * carries < temporary(False)


# --- what is illegal


def one_step(step, carry=0.0):
    def program():
        yield lt.scan(step, carry, length=3)

    return lt.expect_program(jax.random.key(0), program, num_samples=4)


def test_estimators_of_several_points_are_refused():
    def step(carry, _):
        x = yield lt.sample(lt.Bernoulli(0.0), lt.Enumerate())
        yield lt.cost(x)
        return carry, None

    with pytest.raises(
        ValueError, match=r"lt.scan: Enumerate evaluates the rest of the program at 2 points.*2\^T"
    ):
        one_step(step)


def test_wrong_steps():
    def no_pair(carry, _):
        x = yield lt.sample(lt.Bernoulli(0.0))
        yield lt.cost(x)
        return carry

    def empty(carry, _):
        return carry, None
        yield

    def other_carry(carry, _):
        x = yield lt.sample(lt.Bernoulli(jnp.zeros(2)))
        yield lt.cost(x.sum())
        return x, None

    def twice(carry, _):
        x = yield lt.sample(lt.Bernoulli(0.0), name="x")
        x = yield lt.sample(lt.Bernoulli(x), name="x")
        yield lt.cost(x)
        return carry, None

    with pytest.raises(TypeError, match=r"step of lt.scan must return \(carry, y\); got float"):
        one_step(lambda carry, _: (yield from no_pair(1.0, None)))
    with pytest.raises(ValueError, match="yields no lt.sample and no lt.cost. Use jax.lax.scan"):
        one_step(empty)
    with pytest.raises(TypeError, match="carry"):
        one_step(other_carry)
    with pytest.raises(ValueError, match=r"\(name=…\) must be unique"):
        one_step(twice)
    with pytest.raises(TypeError, match=r"lt.scan\(step=…\) needs a generator function; got float"):
        one_step(1.0)
    for xs, length in (
        (None, None),
        (jnp.ones(2), 3),
        ((jnp.ones(2), jnp.ones(3)), None),
        (1.0, None),
    ):
        with pytest.raises(ValueError, match=r"lt.scan\(xs=…\) needs one leading axis of steps"):
            lt.scan(no_pair, 0.0, xs, length)
    with pytest.raises(ValueError, match=r"lt.scan\(length=…\) needs an int of at least 0; got -1"):
        lt.scan(no_pair, 0.0, length=-1)
    with pytest.raises(
        TypeError, match=r"lt.scan\(length=…\) needs a static positive int; got float"
    ):
        lt.scan(no_pair, 0.0, length=2.0)
    with pytest.raises(TypeError, match="a program is a generator function"):
        one_step(lambda carry, x: (carry, x))


def test_a_baseline_made_from_the_carry():
    """A value function as the baseline: a constant baseline made inside the step, from the state."""

    def program(logit, inside):
        def step(s, _):
            baseline = lt.ConstantBaseline(2.0 + 0.0 * s if inside else 2.0)
            x = yield lt.sample(lt.Bernoulli(logit + s), lt.ScoreFunction(baseline))
            yield lt.cost(x)
            return 0.5 * s + x, None

        yield lt.scan(step, 0.1, length=3)

    value = lambda t, inside: lt.expect_program(
        jax.random.key(0), program, t, inside, num_samples=4
    )
    np.testing.assert_allclose(jax.grad(value)(0.3, True), jax.grad(value)(0.3, False), rtol=1e-6)
    assert abs(jax.grad(value)(0.3, True)) > 0
