"""Variable elimination: exact in chains, trees and loops at the cost of neighbors, and refused where a loop remembers more."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt
from logtrick._core import meter
from logtrick._core.jaxprs import inner_jaxprs

KEY = jax.random.key(0)
VE, ENUMERATE = lt.VariableElimination(), lt.Enumerate()
THETA = jnp.array([0.3, -0.7, 1.1])


def value(program, num_samples=1, **options):
    return jax.jit(
        lambda *theta: lt.expect_program(KEY, program, *theta, num_samples=num_samples, **options)
    )


def up_to(order, function):
    """Value, gradient and so on to `order`, compiled as one."""
    orders = [function, jax.grad(function), jax.hessian(function)][: order + 1]
    return jax.jit(lambda theta: tuple(f(theta) for f in orders))


def close(found, right, rtol):
    for one, other in zip(found, right, strict=True):
        np.testing.assert_allclose(one, other, rtol=rtol)


def next_state(theta, x, t):
    return lt.Categorical(theta * (x + 1) + 0.1 * t * jnp.arange(3))


def step_cost(theta, before, x, t):
    return (x - before) ** 2 * theta[0] + jnp.sin(x * theta[1] + t)


def unrolled(estimator, length, at_end=False):
    """A chain of three states, its costs in the steps or all at the end."""

    def program(theta):
        x, costs = jnp.int32(0), []
        for t in range(length):
            before = x
            x = yield lt.sample(next_state(theta, before, float(t)), estimator)
            costs.append(step_cost(theta, before, x, float(t)))
            if not at_end:
                yield lt.cost(costs.pop())
        for cost in costs:
            yield lt.cost(cost)
        yield lt.cost(x * theta[2])

    return program


def looped(length, remat=False):
    def program(theta):
        def step(before, t):
            x = yield lt.sample(next_state(theta, before, t), VE, name="x")
            yield lt.cost(step_cost(theta, before, x, t), name="c")
            return x, t

        times = 1.0 * jnp.arange(length)
        x, _ = yield lt.scan(step, jnp.int32(0), times, name="chain", remat=remat)
        yield lt.cost(x * theta[2])

    return program


def by_matrices(length):
    """The same expectation, by products of transition matrices."""

    def total(theta):
        states, found, probs = jnp.arange(3), 0.0, jnp.array([1.0, 0.0, 0.0])
        for t in range(length):
            rows = jax.vmap(lambda x, t=t: jax.nn.softmax(next_state(theta, x, float(t)).logits))
            costs = jax.vmap(
                lambda i, t=t: jax.vmap(lambda j: step_cost(theta, i, j, float(t)))(states)
            )
            found += jnp.sum(probs[:, None] * rows(states) * costs(states))
            probs = probs @ rows(states)
        return found + probs @ states * theta[2]

    return total


def largest(jaxpr):
    """The entries of the largest array in a jaxpr."""
    sizes = [getattr(v.aval, "size", 0) for eqn in jaxpr.eqns for v in eqn.outvars]
    return max([*sizes, *(largest(j) for eqn in jaxpr.eqns for j in inner_jaxprs(eqn)), 0])


@pytest.mark.quick
@pytest.mark.parametrize(
    "program", [unrolled(VE, 3), unrolled(VE, 3, at_end=True), looped(3), looped(3, remat=True)]
)
def test_value_gradient_and_hessian_are_those_of_the_matrices(x64, program):
    theta, right, found = THETA.astype(float), by_matrices(3), value(program)
    close(up_to(2, found)(theta), up_to(2, right)(theta), rtol=1e-9)


@pytest.mark.parametrize("program", [unrolled(VE, 8), unrolled(VE, 8, at_end=True), looped(8)])
def test_a_chain_costs_as_much_as_its_neighbors(program):
    """3⁸ = 6,561 outcomes; no array is larger than some tables of two neighbors."""
    found, right = jax.value_and_grad(value(program)), jax.value_and_grad(by_matrices(8))
    assert largest(jax.make_jaxpr(found)(THETA).jaxpr) <= 9 * 8
    (total, grad), (exact, slope) = jax.jit(found)(THETA), jax.jit(right)(THETA)
    np.testing.assert_allclose(total, exact, rtol=1e-4)
    np.testing.assert_allclose(grad, slope, rtol=1e-4)


def test_a_long_loop():
    found, right = value(looped(300)), by_matrices(4)
    assert jnp.isfinite(jax.jit(jax.grad(found))(THETA)).all()
    np.testing.assert_allclose(value(looped(4))(THETA), right(THETA), rtol=1e-5)


def test_evaluations_are_those_of_the_largest_table():
    count = lambda program: meter.seen_in(value(program), THETA).evaluations
    assert count(unrolled(ENUMERATE, 4)) == 81
    assert count(unrolled(VE, 4)) == 9
    assert count(looped(4)) == 9
    bits = lambda t: lt.expect(KEY, jnp.sum, lt.Bernoulli(t), estimator=VE, num_samples=1)
    assert meter.seen_in(bits, THETA).evaluations == 8


def test_a_tree():
    """b and c depend on a, d on b: 2 · 2 at most, and costs between neighbors."""

    def program(estimator):
        def run(t):
            a = yield lt.sample(lt.Bernoulli(t[0]), estimator)
            b = yield lt.sample(lt.Bernoulli(t[1] + a), estimator)
            c = yield lt.sample(lt.Bernoulli(t[2] - a), estimator)
            d = yield lt.sample(lt.Bernoulli(t[0] * b), estimator)
            yield lt.cost(a * b + t[1] * c)
            yield lt.cost((b - d) ** 3 * t[2])
            yield lt.cost(c * a * 2.0)

        return run

    found, right = value(program(VE)), value(program(ENUMERATE))
    # a cost of a, b and c, 8 numbers, which leaving the vmap over d repeats twice
    assert largest(jax.make_jaxpr(jax.grad(found))(THETA).jaxpr) <= 16
    close(up_to(1, found)(THETA), up_to(1, right)(THETA), rtol=1e-5)
    assert meter.seen_in(found, THETA).evaluations == 8


def two_a_step(estimator, loop):
    """Two sites a step, one dependent on the other, and a carry with a part that is not random."""

    def program(t):
        first = yield lt.sample(lt.Bernoulli(t[2]), estimator)

        def step(carry, _):
            number, before = carry
            a = yield lt.sample(lt.Bernoulli(t[0] + before * number), estimator)
            yield lt.cost(a * before * t[1])
            b = yield lt.sample(lt.Bernoulli(t[1] * a - before + first), estimator)
            yield lt.cost((a + b - before) ** 2 * number)
            return (number + 1.0, b + a), number

        carry = (1.0, first)
        if loop:
            carry, _ = yield lt.scan(step, carry, length=2)
        else:
            for _ in range(2):
                carry, _ = yield from step(carry, None)
        yield lt.cost(carry[0] * jnp.exp(t[0] * carry[1]))

    return program


def test_several_sites_a_step_after_another_site():
    found, right = value(two_a_step(VE, True)), value(two_a_step(ENUMERATE, False))
    close(up_to(2, found)(THETA), up_to(2, right)(THETA), rtol=1e-3)


def independent_steps(t):
    def step(carry, x):
        a = yield lt.sample(lt.Bernoulli(t[0] * x), VE)
        yield lt.cost(a * t[1] * carry)
        return carry + 1.0, carry

    last, ys = yield lt.scan(step, 1.0, jnp.array([0.5, 1.0, 2.0]))
    yield lt.cost(last * t[2] + jnp.sum(ys))


def test_a_carry_that_is_not_random():
    right = lambda t: (
        jax.nn.sigmoid(t[0] * jnp.array([0.5, 1.0, 2.0])) @ jnp.array([1.0, 2.0, 3.0]) * t[1]
        + 4.0 * t[2]
        + 6.0
    )
    close(up_to(1, value(independent_steps))(THETA), up_to(1, right)(THETA), rtol=1e-5)


def test_beside_sampled_sites():
    """A score-function site before the loop is credited with its costs and those after; its two outcomes are enumerated."""

    def program(t, coin):
        a = yield lt.sample(lt.Bernoulli(t[2]), coin, name="coin")

        def step(before, _):
            x = yield lt.sample(lt.Bernoulli(t[0] + before - a), VE)
            yield lt.cost(x * (1 + a) * t[1])
            return x, None

        x, _ = yield lt.scan(step, 0.0, length=3)
        yield lt.cost(x * a)

    sampled = lt.ScoreFunction(lt.NoBaseline())
    right = jax.grad(value(lambda t: program(t, VE)))(THETA)

    @jax.jit
    def one(key):
        def run(t):
            return lt.expect_program(
                key, lambda t: program(t, sampled), t, num_samples=1, has_aux=True
            )

        gradient, aux = jax.grad(run, has_aux=True)(THETA)
        return aux.draws["coin"][0], gradient

    sides, gradients = jax.vmap(one)(jax.random.split(KEY, 16))
    assert set(np.unique(sides)) == {0.0, 1.0}
    heads, tails = gradients[jnp.argmax(sides)], gradients[jnp.argmin(sides)]
    p = jax.nn.sigmoid(THETA[2])
    np.testing.assert_allclose(p * heads + (1 - p) * tails, right, rtol=1e-5)


def test_in_a_plate():
    def program(estimator, loop):
        def element(shift):
            def step(before, _):
                x = yield lt.sample(lt.Bernoulli(shift + before), estimator)
                yield lt.cost((x - 0.3) ** 2 * shift)
                return x, None

            if loop:
                last, _ = yield lt.scan(step, 0.0, length=3)
            else:
                last = 0.0
                for _ in range(3):
                    last, _ = yield from step(last, None)
            yield lt.cost(last * shift)
            return None

        def run(t):
            yield lt.plate(element, t)

        return run

    found, right = value(program(VE, True)), value(program(ENUMERATE, False))
    close(up_to(1, found)(THETA), up_to(1, right)(THETA), rtol=1e-5)


def test_aux_has_the_means():
    aux = value(looped(2), has_aux=True)(THETA)[1]
    p = jax.nn.softmax(next_state(THETA, 0, 0.0).logits)
    assert aux.draws["chain.x"].shape == (1, 2)
    np.testing.assert_allclose(aux.draws["chain.x"][0, 0], p @ jnp.arange(3.0), rtol=1e-6)
    costs = jnp.stack([step_cost(THETA, 0, x, 0.0) for x in range(3)])
    np.testing.assert_allclose(aux.costs["chain.c"][0, 0], p @ costs, rtol=1e-6)
    assert aux.standard_error == 0


def test_impossible_outcomes_with_finite_costs():
    """A −inf logit: weight 0, derivative 0, no nan in other outcomes."""

    def program(t):
        x = jnp.int32(0)
        for _ in range(3):
            before = x
            logits = jnp.where(jnp.arange(3) == before, -jnp.inf, t)  # no state stays
            x = yield lt.sample(lt.Categorical(logits), VE)
            yield lt.cost((x - before) ** 2 * t[0] + x)

    def right(t):
        total = 0.0
        for path in itertools.product(range(3), repeat=3):
            log_p, cost, before = 0.0, 0.0, 0
            for x in path:
                others = [i for i in range(3) if i != before]
                if x == before:
                    log_p = -jnp.inf
                    break
                log_p += t[x] - jax.nn.logsumexp(t[jnp.array(others)])
                cost += (x - before) ** 2 * t[0] + x
                before = x
            total += 0.0 if log_p is -jnp.inf else jnp.exp(log_p) * cost
        return total

    close(up_to(1, value(program))(THETA), up_to(1, right)(THETA), rtol=1e-5)


def test_a_cost_that_is_not_finite_at_an_impossible_outcome_is_nan():
    logits = jnp.array([-jnp.inf, 0.0])
    run = lambda estimator: lt.expect(
        KEY, lambda x: 1.0 / x, lt.Categorical(logits), estimator=estimator, num_samples=1
    )
    assert jnp.isnan(run(VE))
    assert run(ENUMERATE) == 1.0


def test_illegal_parameters_are_nan():
    def program(t):
        def step(before, _):
            x = yield lt.sample(lt.Bernoulli(t[0] + before), VE)
            yield lt.cost(x)
            return x, None

        yield lt.scan(step, 0.0, length=3)

    assert jnp.isnan(value(program)(jnp.array([jnp.nan, 0.0, 0.0])))


def test_under_jit_and_vmap():
    found = value(looped(3))
    stacked = jnp.stack([THETA, -THETA])
    grad = jax.jit(jax.grad(found))
    at_once = jax.vmap(grad)(stacked)
    one_by_one = jnp.stack([grad(t) for t in stacked])
    np.testing.assert_allclose(at_once, one_by_one, rtol=2e-5)


def test_large_constant_costs_keep_their_differences():
    """f = 1e8 + x: the gradient is that of x, to float32."""

    def program(shift):
        def run(t):
            def step(before, _):
                x = yield lt.sample(lt.Bernoulli(t + before), VE)
                yield lt.cost(shift)
                yield lt.cost(8.0 * x)
                return x, None

            yield lt.scan(step, 0.0, length=2)

        return run

    grads = [jax.grad(value(program(shift)))(0.2) for shift in (0.0, 1e8)]
    np.testing.assert_allclose(*grads, rtol=1e-5)


def refused(match, step, carry=0.0):
    def program(t):
        yield lt.scan(lambda c, x: step(t, c), carry, length=3)
        yield lt.cost(0.0)

    with pytest.raises(ValueError, match=match):
        value(program)(0.1)


def remembers_a_sum(t, carry):
    x = yield lt.sample(lt.Bernoulli(t), VE)
    return carry + x, None


def remembers_two_steps(t, carry):
    x = yield lt.sample(lt.Bernoulli(t + carry[1]), VE)
    yield lt.cost(x)
    return (x, carry[0]), None


def returns_its_draw(t, carry):
    x = yield lt.sample(lt.Bernoulli(t + carry), VE)
    yield lt.cost(x)
    return x, x


def mixes(t, carry):
    x = yield lt.sample(lt.Bernoulli(t + carry), VE)
    yield lt.sample(lt.Normal(t, 1.0), lt.Pathwise(), name="z")
    yield lt.cost(x)
    return x, None


def takes_a_key(t, carry):
    x = yield lt.sample(lt.Bernoulli(t + carry), VE)
    key = yield lt.fresh_key()
    yield lt.cost(x * jax.random.normal(key))
    return x, None


def nests(t, carry):
    def inner(before, _):
        x = yield lt.sample(lt.Bernoulli(t + before), VE)
        yield lt.cost(x)
        return x, None

    carry, _ = yield lt.scan(inner, carry, length=2)
    return carry, None


def has_no_end(t, carry):
    x = yield lt.sample(lt.Poisson(1.0), VE)
    yield lt.cost(x)
    return x, None


@pytest.mark.parametrize(
    "step, match",
    [
        (remembers_a_sum, "carry depends on those of several. Carry the last draw alone"),
        (returns_its_draw, "its y depends on them. Return None"),
        (mixes, "draws nothing else; got Pathwise at 'z'"),
        (takes_a_key, "draws nothing else; got lt.fresh_key at 'key 1'"),
        (nests, r"in each of T steps that would be k\^T"),
        (has_no_end, "needs a finite distribution; Poisson is not"),
    ],
)
def test_what_a_loop_cannot_sum_out(step, match):
    refused(match, step)


def test_the_carry_at_fault_is_named():
    refused(r"carry\[1\] depends on those of several", remembers_two_steps, (0.0, 0.0))


def test_unrolled_a_longer_memory_is_right():
    """What a loop refuses is exact without one: JAX batches over what a number depends on."""

    def program(estimator):
        def run(t):
            total = 0.0
            for _ in range(4):
                x = yield lt.sample(lt.Bernoulli(t + 0.3 * total), estimator)
                total = total + x
            yield lt.cost(total**2)

        return run

    found, right = value(program(VE)), value(program(ENUMERATE))
    close(up_to(1, found)(0.1), up_to(1, right)(0.1), rtol=1e-5)


def test_in_an_eligibility_trace_it_is_refused():
    def step(t, carry):
        x = yield lt.sample(lt.Bernoulli(t), VE)
        yield lt.cost(x)
        return carry + 1

    with pytest.raises(ValueError, match="VariableElimination evaluates the rest of the program"):
        lt.eligibility_trace(KEY, lambda c: c < 3, step, 0, 0.1)
