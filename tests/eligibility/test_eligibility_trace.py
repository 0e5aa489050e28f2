"""lt.eligibility_trace against sums over every pair of trajectories of a process of random length, and against reverse mode."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.nn import sigmoid
from jax.sharding import Mesh, PartitionSpec as P

import logtrick as lt
from logtrick.eligibility._loop import loop_of, run
from logtrick.testing import assert_unbiased
from tests.programs.exact import all_runs, estimate

KEY = jax.random.key(0)
T = 3
THETA = {"action": np.array([0.3, -0.5]), "next": 0.7, "memory": 0.6}


def traced(cond, step, carry, params, uniforms, decay=1.0):
    """(value, gradient) where the noise of step t is `uniforms[:, t]`, an array for each site, (runs, steps)."""
    runs = uniforms[0].shape[0]
    carry, params = jax.tree.map(jnp.asarray, (carry, params))
    loop = loop_of(cond, step, carry, params, runs)
    end = run(loop, lambda t: [u[:, t] for u in uniforms], jnp.asarray(decay))
    return end.values.mean(), end.gradient


# --- exact


def logits(theta, s, m):
    return theta["action"][0] + theta["action"][1] * s + 0.3 * m


def cost(theta, s, a, m):
    return (s - 0.4 * a) ** 2 + 0.3 * theta["next"] * a + jnp.sin(m) * (1 + s)


def process(baseline, estimator=lt.ScoreFunction):
    """Two draws and two costs a step, one of them between the draws; the state m varies smoothly with the parameters; it
    ends at the step where a = 1 meets n = 0, or after T steps."""

    def step(carry, theta):
        s, m, t, _ = carry
        a = yield lt.sample(lt.Bernoulli(logits(theta, s, m)), estimator(baseline))
        yield lt.cost(cost(theta, s, a, m))
        n = yield lt.sample(
            lt.Bernoulli(theta["next"] * (2 * a - 1) + 0.2 * m), estimator(baseline)
        )
        m = jnp.tanh(theta["memory"] * m + 0.5 * n)
        yield lt.cost(2 * n * m)
        return n, m, t + 1, (a > 0) & (n == 0)

    return step


def goes_on(carry):
    return (carry[2] < T) & ~carry[3]


START = (0.0, 0.5, 0, False)


def exact(theta):
    def value(s, m, t):
        total, p = 0.0, sigmoid(logits(theta, s, m))
        for a, n in itertools.product((0.0, 1.0), repeat=2):
            q = sigmoid(theta["next"] * (2 * a - 1) + 0.2 * m)
            after = jnp.tanh(theta["memory"] * m + 0.5 * n)
            rest = value(n, after, t + 1) if t + 1 < T and not (a and not n) else 0.0
            weight = (p if a else 1 - p) * (q if n else 1 - q)
            total += weight * (cost(theta, s, a, m) + 2 * n * after + rest)
        return total

    return value(0.0, 0.5, 0)


def probability(path):
    """Of a whole path of T steps; what comes after the end is drawn in vain, at the probabilities of a coin."""
    s, m, weight, ended = 0.0, 0.5, 1.0, False
    for a, n in path.reshape(T, 2):
        p = float(sigmoid(logits(THETA, s, m)))
        q = float(sigmoid(THETA["next"] * (2 * a - 1) + 0.2 * m))
        p, q = (0.5, 0.5) if ended else (p, q)
        weight *= (p if a else 1 - p) * (q if n else 1 - q)
        ended = ended or (a > 0 and n == 0)
        s, m = n, np.tanh(THETA["memory"] * m + 0.5 * n)
    return weight


def trajectories(runs):
    paths = np.array(list(itertools.product([0.0, 1.0], repeat=2 * T)))
    uniforms = np.where(paths > 0, -1.0, 2.0).reshape(-1, T, 2)
    noises, weights = all_runs(uniforms, [probability(p) for p in paths], runs)
    return jnp.asarray(noises), jnp.asarray(weights)


# (NoBaseline is compared with reverse mode below, together with the others.)
@pytest.mark.parametrize(
    "baseline, runs", [(lt.LeaveOneOut(), 2), (lt.ConstantBaseline(1.3), 1)], ids=repr
)
def test_every_trajectory(x64, baseline, runs):
    theta = jax.tree.map(jnp.asarray, THETA)
    noises, weights = trajectories(runs)
    one = lambda u: traced(goes_on, process(baseline), START, theta, [u[..., 0], u[..., 1]])
    found = jax.tree.map(lambda v: jnp.tensordot(weights, v, 1), jax.jit(jax.vmap(one))(noises))
    for got, want in zip(jax.tree.leaves(found), jax.tree.leaves(jax.value_and_grad(exact)(theta))):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-10)


# --- the same draws in reverse mode: lt.scan


def looped(step, carry, params, uniforms):
    def program():
        def timed(carry, _):
            return (yield from step(carry, params)), None

        yield lt.scan(timed, carry, length=uniforms[0].shape[1])

    return estimate(program, [list(uniforms)], uniforms[0].shape[0])


def test_it_is_reverse_mode_through_a_loop(x64):
    """For the same draws, number by number: scored, pathwise and relaxed draws, whose paths run through the carry."""
    theta = {"a": jnp.array([0.3, -0.2]), "b": jnp.array(0.8)}
    u = [jax.random.uniform(jax.random.fold_in(KEY, i), (3, 5)) for i in range(3)]
    u[1] = jax.random.normal(KEY, (3, 5))

    def step(carry, theta):
        z, still, t = carry
        a = yield lt.sample(lt.Bernoulli(theta["a"][0] * z), lt.ScoreFunction())
        z = yield lt.sample(lt.Normal(theta["b"] * z + a, 0.5), lt.Pathwise())
        yield lt.cost(z**2 * still)
        r = yield lt.sample(lt.Bernoulli(theta["a"][1] + z), lt.GumbelSoftmax(0.7))
        yield lt.cost(r * a + theta["b"] * r)
        return jnp.sin(z) + r, 0.9 * still + a, t + 1

    start = (jnp.asarray(0.4), jnp.asarray(1.0), jnp.asarray(0))
    found = jax.jit(lambda t: traced(lambda c: c[2] < 5, step, start, t, u))(theta)
    want = jax.jit(jax.value_and_grad(lambda t: looped(step, start, t, u)))(theta)
    for got, expected in zip(jax.tree.leaves(found), jax.tree.leaves(want)):
        np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-12)
    assert all(abs(g).min() > 1e-3 for g in jax.tree.leaves(want[1]))


def test_several_baselines_each_have_their_trace(x64):
    u = [jax.random.uniform(jax.random.fold_in(KEY, i), (4, 5)) for i in range(3)]

    def step(carry, theta):
        s, t = carry
        a = yield lt.sample(lt.Bernoulli(theta + s), lt.ScoreFunction())
        b = yield lt.sample(lt.Bernoulli(theta * a), lt.ScoreFunction(lt.NoBaseline()))
        yield lt.cost((a - 0.3 * b) * (1 + s) * theta)
        c = yield lt.sample(
            lt.Bernoulli(theta + b), lt.ScoreFunction(lt.ConstantBaseline(0.3 + 0.1 * s))
        )
        yield lt.cost(c * (s + b))
        return 0.5 * s + c - a, t + 1

    start = (jnp.asarray(0.4), jnp.asarray(0))
    found = jax.jit(lambda t: traced(lambda c: c[1] < 5, step, start, t, u))(0.3)
    want = jax.jit(jax.value_and_grad(lambda t: looped(step, start, t, u)))(0.3)
    np.testing.assert_allclose(found, want, rtol=1e-10)


def test_a_decaying_trace_is_gpomdp(x64):
    """z ← β z + ∇ log p, gradient ← Σ c z, by hand for the same draws; β = 0 credits a draw with its own step only."""
    u, theta = jax.random.uniform(KEY, (1, 6)), jnp.asarray(0.4)

    def step(carry, theta):
        s, t = carry
        a = yield lt.sample(lt.Bernoulli(theta + s), lt.ScoreFunction(lt.NoBaseline()))
        yield lt.cost(a + s)
        return a - 0.5 * s, t + 1

    for beta in (0.0, 0.7, 1.0):
        s, z, want = 0.2, 0.0, 0.0
        for t in range(6):
            p = sigmoid(theta + s)
            a = float(u[0, t] < p)
            z = beta * z + a - p
            want += (a + s) * z
            s = a - 0.5 * s
        start = (jnp.asarray(0.2), jnp.asarray(0))
        _, found = jax.jit(lambda b: traced(lambda c: c[1] < 6, step, start, theta, [u], b))(beta)
        np.testing.assert_allclose(found, want, rtol=1e-10)


# --- of unknown length


def toss(tail, logit):
    head = yield lt.sample(lt.Bernoulli(logit))
    yield lt.cost(1.0)
    return 1 - head


def tosses(key, p, **how):
    """Tosses until the first head: E = 1/p, gradient −1/p²."""
    logit = lambda p: jnp.log(p) - jnp.log1p(-p)
    step = lambda tail, p: (yield from toss(tail, logit(p)))
    return lt.eligibility_trace(key, lambda tail: tail > 0, step, 1.0, p, **how)


def test_tosses_until_the_first_head_are_unbiased():
    values, gradients = jax.jit(jax.vmap(lambda k: tosses(k, 0.3, num_samples=8)))(
        jax.random.split(KEY, 20_000)
    )
    assert_unbiased(values, 1 / 0.3, resolve=0.05)
    assert_unbiased(gradients, -1 / 0.3**2, resolve=0.1)


def test_aux_and_vmap():
    """Over parameters and keys: each lane ends by itself, and gives what it gives alone."""
    ps, keys = jnp.array([0.05, 0.9]), jax.random.split(KEY, 2)
    one = jax.jit(lambda k, p: tosses(k, p, has_aux=True))
    together = jax.vmap(one)(keys, ps)
    for i in range(2):
        for got, want in zip(jax.tree.leaves(together), jax.tree.leaves(one(keys[i], ps[i]))):
            np.testing.assert_allclose(got[i], want, rtol=1e-5)
    (value, aux), _ = together
    np.testing.assert_allclose(value, aux.num_steps.mean(1), rtol=1e-6)
    np.testing.assert_allclose(aux.standard_error, aux.num_steps.std(1, ddof=1) / 4, rtol=1e-5)
    assert aux.num_steps[0].max() > 2 * aux.num_steps[1].max() and not aux.carry.any()


def test_memory_does_not_depend_on_the_number_of_steps():
    """The same compiled program goes 10 steps and 100,000; a sum of scores that is 0 in the mean."""

    def step(carry, theta):
        x = yield lt.sample(lt.Bernoulli(theta), lt.ScoreFunction(lt.NoBaseline()))
        yield lt.cost(x)
        return carry - 1

    compiled = (
        jax.jit(
            lambda k, n: lt.eligibility_trace(
                k, lambda n: n > 0, step, n, jnp.zeros(4).sum(), num_samples=2
            )
        )
        .lower(KEY, 3)
        .compile()
    )
    assert compiled.memory_analysis().temp_size_in_bytes < 4096
    value, gradient = compiled(KEY, 100_000)
    error = 0.5 / (2 * 100_000) ** 0.5  # of the mean of so many fair coins
    assert abs(value / 100_000 - 0.5) < 6 * error and jnp.isfinite(gradient)


def test_carries_of_any_kind():
    """Keys, bits, integers and Python numbers; a loop that never starts costs nothing."""

    def step(carry, theta):
        key, flag, count, total = carry
        key, sub = jax.random.split(key)
        x = yield lt.sample(lt.Bernoulli(theta["w"] * total), lt.ScoreFunction())
        yield lt.cost(x + jax.random.uniform(sub))
        return key, ~flag, count + 1, 0.5 * total + x

    start = (jax.random.key(1), True, 0, 1)
    theta = {"w": jnp.float32(0.3)}
    for limit, paid in ((4, True), (0, False)):
        (value, aux), gradient = lt.eligibility_trace(
            KEY, lambda c: c[2] < limit, step, start, theta, has_aux=True
        )
        assert (value != 0) == paid and (gradient["w"] != 0) == paid
        assert (aux.num_steps == limit).all() and (aux.carry[2] == limit).all()


def test_idle_steps_of_a_run_that_has_ended_do_no_harm():
    """The carry of a run that has ended is where its step divides by zero."""

    def step(left, theta):
        x = yield lt.sample(lt.Bernoulli(theta / left))
        yield lt.cost(jnp.sqrt(left) * theta)
        return left - 1 - x * (left > 1)

    value, gradient = lt.eligibility_trace(KEY, lambda left: left > 0, step, 6.0, jnp.asarray(0.3))
    assert jnp.isfinite(value) and jnp.isfinite(gradient) and gradient != 0


def test_a_log_prob_that_is_not_finite_gives_nan():
    family = lt.distribution(lambda p, x: jnp.where(x > 0, p * x, -jnp.inf), lambda key, p: -1.0)

    def step(n, theta):
        x = yield lt.sample(family(theta))
        yield lt.cost(x)
        return n - 1

    assert jnp.isnan(lt.eligibility_trace(KEY, lambda n: n > 0, step, 2, 0.3)[1])


def test_illegal_parameters_are_nan():
    """Also the value, where the cost compares: a draw from nan logits is 0 or the last class."""

    def step(left, theta):
        x = yield lt.sample(lt.Categorical(jnp.stack([theta / left, 0.0])))
        yield lt.cost(jnp.where(x > 0, 1.0, 2.0))
        return left - 1

    trace = jax.jit(lambda t: lt.eligibility_trace(KEY, lambda n: n > 0, step, 2.0, t))
    assert jnp.isnan(jnp.stack(trace(jnp.nan))).all()
    assert jnp.isfinite(
        jnp.stack(trace(0.3))
    ).all()  # nor are the idle steps of samples that have ended


def test_in_a_users_shard_map():
    """A key a device, and the costs of what each device closes over: each device's own gradient, as on one device."""
    mesh, keys, prices = (
        Mesh(jax.devices()[:4], ("d",)),
        jax.random.split(KEY, 4),
        jnp.arange(1.0, 5.0),
    )

    def local(key, price):
        def step(tail, logit):
            head = yield lt.sample(lt.Bernoulli(logit))
            yield lt.cost(price)
            return 1 - head

        return lt.eligibility_trace(key, lambda tail: tail > 0, step, 1.0, jnp.float32(0.4))

    mean = lambda tree: jax.tree.map(lambda x: lax.pmean(x, "d"), tree)
    sharded = {
        "keys": lambda k, c: mean(local(k[0], c[0])),
        "prices": lambda k, c: mean(local(KEY, c[0])),
    }
    for name, function in sharded.items():
        found = jax.jit(jax.shard_map(function, mesh=mesh, in_specs=P("d"), out_specs=P()))(
            keys, prices
        )
        each = jax.vmap(local, (0 if name == "keys" else None, 0))(
            keys if name == "keys" else KEY, prices
        )
        np.testing.assert_allclose(found, jax.tree.map(lambda x: x.mean(), each), rtol=1e-5)


def test_dtype_is_kept(x64):
    found = jax.eval_shape(lambda p: tosses(KEY, p), np.float32(0.3))
    assert [x.dtype for x in found] == [jnp.float32, jnp.float32]


# --- what is refused


WAYS = {
    "reverse": lambda f: jax.grad(f)(0.3),
    "forward": lambda f: jax.jacfwd(f)(0.3),
    "jit": lambda f: jax.grad(jax.jit(f))(0.3),
    "vmap": lambda f: jax.grad(lambda p: jax.vmap(f)(jnp.stack([p, p])).sum())(0.3),
}
WHAT = {
    "value": lambda p: tosses(KEY, p)[0],
    "gradient": lambda p: tosses(KEY, p)[1],
    "step": lambda p: lt.eligibility_trace(
        KEY, lambda tail: tail > 0, lambda t, _: toss(t, p), 1.0, 0.3
    )[0],
    "cond": lambda p: lt.eligibility_trace(KEY, lambda tail: tail > p, toss, 1.0, 0.3)[0],
    "carry": lambda p: lt.eligibility_trace(KEY, lambda tail: tail > 0, toss, p, 0.3)[0],
    "decay": lambda p: lt.eligibility_trace(KEY, lambda tail: tail > 0, toss, 1.0, 0.3, decay=p)[1],
}


@pytest.mark.parametrize(
    "what, way", [*((w, "reverse") for w in WHAT), *(("value", w) for w in WAYS)]
)
def test_no_derivative_is_lost(what, way):
    with pytest.raises(
        lt.DerivativeOrderError,
        match="lt.eligibility_trace was differentiated; it returns the gradient",
    ):
        WAYS[way](WHAT[what])


def refused(step, carry=1.0, params=0.3, cond=lambda c: c > 0, **how):
    return lt.eligibility_trace(KEY, cond, step, carry, params, **how)


def one_draw(estimator, num_samples=4):
    def step(carry, theta):
        x = yield lt.sample(lt.Bernoulli(theta), estimator)
        yield lt.cost(x)
        return 1 - x

    return refused(step, num_samples=num_samples)


def test_estimators_that_need_the_costs_to_come():
    with pytest.raises(
        ValueError,
        match="lt.eligibility_trace: Enumerate evaluates the rest of the program at 2 points",
    ):
        one_draw(lt.Enumerate())
    for baseline in (lt.MovingAverage(), lt.LearnedBaseline(lambda p: p, jnp.zeros(()))):
        with pytest.raises(
            ValueError, match=rf"ScoreFunction\({type(baseline).__name__}\(\)\) needs all the costs"
        ):
            one_draw(lt.ScoreFunction(baseline))
    with pytest.raises(ValueError, match="OptimalBaseline"):
        one_draw(lt.ScoreFunction(lt.OptimalBaseline()))
    with pytest.raises(ValueError, match="leave-one-out needs num_samples >= 2"):
        one_draw(lt.ScoreFunction(), num_samples=1)


def test_wrong_arguments():
    def inner(carry, theta):
        yield lt.scan(lambda c, _: toss(c, theta), carry, length=2)

    def idle(carry, theta):
        yield lt.cost(carry)
        return carry

    def free(carry, theta):
        return (yield lt.sample(lt.Bernoulli(theta)))

    def other(carry, theta):
        yield from toss(carry, theta)
        return jnp.zeros(2)

    def nothing(carry, theta):
        yield from toss(carry, theta)

    where = "lt.eligibility_trace"
    with pytest.raises(ValueError, match=rf"{where}: a step yields lt.sample.*got lt.scan"):
        refused(inner)
    with pytest.raises(
        ValueError, match=f"{where}: the step yields no lt.sample: nothing is random"
    ):
        refused(idle)
    with pytest.raises(ValueError, match=f"{where}: the step yields no lt.cost"):
        refused(free)
    with pytest.raises(
        TypeError, match=r"must return a carry like the first, float32\[\]; got float32\[2\]"
    ):
        refused(other)
    with pytest.raises(
        TypeError, match=r"must return a carry like the first, .*got PyTreeDef\(None\)"
    ):
        refused(nothing)
    with pytest.raises(
        TypeError, match=r"cond must return a truth value, shape \(\); got float32\[\]"
    ):
        refused(toss, cond=lambda c: c)
    with pytest.raises(TypeError, match="a program is a generator function"):
        refused(lambda carry, theta: carry)
    with pytest.raises(TypeError, match=f"{where}: params is int32"):
        refused(toss, params=jnp.asarray(1))
    with pytest.raises(
        ValueError, match=rf"{where}\(decay=…\) needs a number in \[0, 1\]; got 1.5"
    ):
        refused(toss, decay=1.5)
