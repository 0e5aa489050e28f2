"""Where other libraries are silently wrong: the true values."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.nn import sigmoid

import logtrick as lt
from logtrick.testing import assert_unbiased
from tests.programs.exact import all_runs, estimate, expected, up_to

KEY = jax.random.key(0)
LOO = lt.ScoreFunction()


def flip(p):
    return lt.Bernoulli(jnp.log(p) - jnp.log1p(-p))


def cells(p, flips, runs):
    """The uniforms of every outcome of `flips` flips in `runs` runs: (outcomes, runs, flips)."""
    paths = np.array(list(itertools.product([0.0, 1.0], repeat=flips)))
    weights = np.prod(np.where(paths > 0, p, 1 - p), 1)
    return all_runs(np.where(paths > 0, -1.0, 2.0), weights, runs)


def test_flips_in_a_scan(x64):
    """E = 3p: the gradient is 3. (It was 0, without a word, where a flip sits inside lax.scan.)"""

    def program(p):
        def step(total, _):
            x = yield lt.sample(flip(p))
            yield lt.cost(x)
            return total + x, None

        yield lt.scan(step, 0.0, length=3)

    u, weights = cells(0.3, 3, 2)
    found = expected(
        lambda u: up_to(2, lambda p: estimate(lambda: program(p), [[u]], 2))(0.3), u, weights
    )
    np.testing.assert_allclose(found, [0.9, 3.0, 0.0], atol=1e-10)


def test_flips_hidden_in_jit_and_scan_raise():
    by_hand = jax.jit(lambda p: flip(p).sample(KEY))
    scanned = lambda p: lax.scan(
        lambda c, k: (c + flip(p).sample(k), None), 0.0, jax.random.split(KEY, 3)
    )[0]
    for f in (by_hand, scanned):
        with pytest.raises(lt.UnaccountedRandomnessError):
            jax.grad(f)(0.3)

    def hidden(p):
        x = jax.jit(lambda: lt.sample(flip(p)))()
        yield lt.cost(x)

    with pytest.raises(TypeError):
        lt.expect_program(KEY, hidden, 0.3)


def test_a_flip_inside_jit(x64):
    u, weights = cells(0.3, 1, 2)
    found = expected(
        lambda u: jax.grad(jax.jit(lambda p: estimate(lambda: single(p), [u[..., 0]], 2)))(0.3),
        u,
        weights,
    )
    np.testing.assert_allclose(found, 1.0, atol=1e-10)


def single(p):
    x = yield lt.sample(flip(p))
    yield lt.cost(x)


def test_grad_of_the_estimate_has_the_score_term(x64):
    """E[p b] = p²: value p², gradient 2p, second derivative 2, by plain jax.grad of the estimate."""

    def program(p):
        b = yield lt.sample(flip(p))
        yield lt.cost(p * b)

    u, weights = cells(0.3, 1, 2)
    found = expected(
        lambda u: up_to(3, lambda p: estimate(lambda: program(p), [u[..., 0]], 2))(0.3), u, weights
    )
    np.testing.assert_allclose(found, [0.09, 0.6, 2.0, 0.0], atol=1e-9)


# --- the geometric distribution by a while loop: E = 1/p, gradient −1/p²

P = 0.3


def tosses(p, key):
    """Tosses until the first head, with the log-prob of what was drawn: for forward mode."""

    def body(state):
        count, log_prob, key, _ = state
        key, sub = jax.random.split(key)
        head = flip(stop(p)).sample(sub)
        return count + 1.0, log_prob + flip(p).log_prob(head), key, head

    count, log_prob, *_ = lax.while_loop(
        lambda s: s[3] == 0.0, body, (0.0, jnp.zeros(()), key, 0.0)
    )
    return count * lt.magic_box(log_prob)


def stop(x):
    return lax.stop_gradient(x)


def test_geometric_by_while_loop_in_forward_mode():
    one = lambda key: jax.jvp(lambda p: tosses(p, key), (P,), (1.0,))
    values, gradients = jax.jit(jax.vmap(one))(jax.random.split(KEY, 150_000))
    assert_unbiased(values, 1 / P, resolve=0.05)
    assert_unbiased(gradients, -1 / P**2, resolve=0.1)


def test_geometric_as_a_family():
    """Its sampler a while loop, in reverse mode."""

    def sampler(key, logit):
        def body(s):
            key, sub = jax.random.split(s[1])
            return s[0] + 1.0, key, jax.random.uniform(sub) < sigmoid(logit)

        return lax.while_loop(lambda s: ~s[2], body, (0.0, key, False))[0]

    log_prob = lambda logit, n: (n - 1) * jax.nn.log_sigmoid(-logit) + jax.nn.log_sigmoid(logit)
    family = lt.distribution(log_prob, sampler)
    value = lambda p, key: lt.expect(
        key, lambda n: n, family(jnp.log(p) - jnp.log1p(-p)), num_samples=10
    )
    found = jax.jit(jax.vmap(jax.grad(value), (None, 0)))(P, jax.random.split(KEY, 8000))
    assert_unbiased(found, -1 / P**2, resolve=0.1)


# --- lanes, discrete guides


def test_lanes_do_not_share_their_noise():
    """64 independent lanes, an expectation each: a lane's variance is that of one lane (it was 800 times that)."""
    lane = lambda p, key: lt.expect(
        key, lambda x: x, flip(p), estimator=lt.ScoreFunction(lt.NoBaseline()), num_samples=1
    )

    def gradients(lanes):
        total = lambda p, key: jax.vmap(lane)(p, jax.random.split(key, lanes)).sum()
        return jax.jit(jax.vmap(lambda k: jax.grad(total)(jnp.full(lanes, P), k)[0]))(
            jax.random.split(KEY, 2000)
        )

    assert jnp.var(gradients(64)) == pytest.approx(jnp.var(gradients(1)).item(), rel=0.2)


PRIOR, LIKELIHOOD = 0.2, (-2.5, -0.4)  # log p(b = 1) by its logit, log p(data | b)


def joint(b):
    return lt.Bernoulli(PRIOR).log_prob(b) + jnp.where(b > 0, *LIKELIHOOD)


def log_ratio(phi, b):
    return joint(b) - lt.Bernoulli(phi).log_prob(b)


def test_discrete_guides(x64):
    """ELBO and its second derivative (a surrogate gives another), and the four-sample bound, by every draw."""

    def elbo(phi):
        b = yield lt.sample(lt.Bernoulli(phi))
        yield lt.cost(log_ratio(phi, b))

    def bound(phi):
        bs = [None] * 4
        for i in range(4):
            bs[i] = yield lt.sample(lt.Bernoulli(phi), lt.ScoreFunction(lt.NoBaseline()))
        yield lt.cost(jax.nn.logsumexp(jnp.stack([log_ratio(phi, b) for b in bs])) - jnp.log(4.0))

    def exact(phi, draws, of):
        weight = lambda b: jnp.exp(jnp.sum(jax.vmap(lt.Bernoulli(phi).log_prob)(b)))
        weighted = lambda b: weight(b) * of(jax.vmap(lambda x: log_ratio(phi, x))(b))
        every = jnp.array(list(itertools.product((0.0, 1.0), repeat=draws)))
        return jnp.sum(jax.vmap(weighted)(every))

    phi = jnp.asarray(0.7)
    p = float(sigmoid(phi))
    cases = (
        (elbo, 1, 2, jnp.sum),
        (bound, 4, 1, lambda r: jax.nn.logsumexp(r) - jnp.log(4.0)),
    )
    for program, draws, runs, of in cases:
        u, weights = cells(p, draws, runs)
        found = expected(
            lambda u: up_to(
                2, lambda t: estimate(lambda: program(t), [u[..., i] for i in range(draws)], runs)
            )(phi),
            u,
            weights,
        )
        want = up_to(2, lambda t: exact(t, draws, of))(phi)
        np.testing.assert_allclose(found, want, atol=1e-10)
        assert abs(want[1]) > 0.02 and abs(want[2]) > 0.02


def test_impossible_events_leave_the_box_at_one():
    """exp(log p − stop(log p)) is nan at log p = −inf, masked or not."""
    dist = lt.Categorical(jnp.array([0.0, -jnp.inf, 0.3]))
    assert lt.magic_box(dist.log_prob(1)) == 1.0
    masked = lambda t: jnp.where(t > 0, t * lt.magic_box(t), lt.magic_box(dist.log_prob(1) * t))
    assert masked(2.0) == 2.0
    value = lambda l: lt.expect(
        KEY,
        lambda x: x * 1.0,
        lt.Categorical(jnp.stack([l, -jnp.inf, 0.3])),
        estimator=lt.Enumerate(),
    )
    p = sigmoid(0.3)
    np.testing.assert_allclose(
        [value(0.0), jax.grad(value)(0.0)], [2 * p, -2 * p * (1 - p)], rtol=1e-5
    )
