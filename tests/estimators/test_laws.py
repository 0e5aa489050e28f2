"""Laws of every estimator of the registry: a covering set by default, the full product under the marker `full`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt
from logtrick._core.meter import evaluations_counted
from tests.core.x64 import double_precision
from tests.estimators.exact import exact
from tests.estimators.registry import PROBLEMS, REGISTRY

RUNS, CALLS = 4, 20_000
# Variants that share their code with another entry, and the laws that compile op by op, run in full only.
VARIANTS = {
    "ScoreFunction, no baseline",
    "SumAndSample, stochastic",
    "REBAR, coupled and learned",
    "DoubleCV, learned",
}
FEW = {"DisARM", "LocalExpectation", "RELAX", "DoubleCV"}
# the part that is right to first order only is named in the refusal
COMPOSED = {n for n in REGISTRY if n.startswith(("ScoreFunction", "Combination", "WithControl"))}


def covering(names):
    """The estimators of `names` on their first problem by default, the full product under the marker."""
    pairs = [(name, p) for name, entry in REGISTRY.items() for p in entry.problems]
    light = lambda name, p: name in names and p == REGISTRY[name].problems[0]
    params = [
        case if light(*case) else pytest.param(*case, marks=pytest.mark.full) for case in pairs
    ]
    return pytest.mark.parametrize("name, problem", params)


cases, few_cases = covering(set(REGISTRY) - VARIANTS), covering(FEW)


def value(estimator, problem, params, key, shift=0.0, **options):
    """One call: without its aux, which an adaptive estimator must be asked for."""
    p = PROBLEMS[problem]
    options = {"num_samples": RUNS, "has_aux": estimator.adaptive, **options}
    out = lt.expect(
        key, lambda x: p.cost(params, x) + shift, p.dist(params), estimator=estimator, **options
    )
    return out[0] if options["has_aux"] else out


@functools.cache
def calls(name, problem, count=CALLS):
    """Values and gradients of independent calls; the estimator goes through jit as a pytree."""
    run = lambda estimator, params, key: jax.value_and_grad(value, argnums=2)(
        estimator, problem, params, key
    )
    many = jax.jit(jax.vmap(run, (None, None, 0)))
    params = jnp.asarray(PROBLEMS[problem].params, jnp.float32)
    return jax.tree.map(np.asarray, many(REGISTRY[name].estimator, params, keys(count)))


def keys(count):
    return jax.random.split(jax.random.key(0), count)


def params_of(problem):
    return jnp.asarray(PROBLEMS[problem].params, jnp.float32)


def agree(a, b):
    np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)


# those that make something of the other samples, whose distributions are others after an earlier draw
OF_SIBLINGS = {
    "DoubleCV",
    "RODEO",
    "ScoreFunction, optimal baseline",
    "WithControlVariate",
    "Combination, learned",
}


@covering(OF_SIBLINGS)
def test_unbiased_after_an_earlier_draw(name, problem):
    """The samples of the site have different distributions and costs."""
    entry, p = REGISTRY[name], PROBLEMS[problem]
    if entry.relaxed or not entry.estimator.unbiased:
        pytest.skip("biased by declaration")
    moved = lambda params, a: params * (1 - 2 * a) + 1.5 * a
    scaled = lambda params, a, x: (1 + 3 * a) * p.cost(params, x)

    def call(params, key):
        def program():
            a = yield lt.sample(lt.Bernoulli(0.3))
            x = yield lt.sample(p.dist(moved(params, a)), entry.estimator)
            yield lt.cost(scaled(params, a, x))

        return lt.expect_program(key, program, num_samples=RUNS, has_aux=True)[0]

    params, chance = params_of(problem), jax.nn.sigmoid(0.3)

    def truth(params):
        of = lambda a: lt.expect(
            jax.random.key(0),
            lambda x: scaled(params, a, x),
            p.dist(moved(params, a)),
            estimator=lt.Enumerate(),
        )
        return chance * of(1.0) + (1 - chance) * of(0.0)

    draws = jax.jit(jax.vmap(jax.value_and_grad(call), (None, 0)))(params, keys(CALLS))
    want = jax.value_and_grad(truth)(params)
    for got, exactly, resolve in zip(draws, want, (0.2, 0.2)):
        lt.testing.assert_unbiased(np.asarray(got), np.asarray(exactly), resolve=resolve)


# each way in which the rest of a program is differentiated by the estimator itself
THAT_DIFFERENTIATE = {"DoubleCV", "RODEO", "ScoreFunction, MuProp", "REBAR, coupled and learned"}


@covering(THAT_DIFFERENTIATE)
def test_several_costs_of_a_site_are_those_of_their_sum(name, problem):
    """DoubleCV, RODEO and expansions around a mean raised a KeyError where costs are added up."""
    entry, p = REGISTRY[name], PROBLEMS[problem]

    def value(params, parts):
        def program():
            x = yield lt.sample(p.dist(params), entry.estimator)
            for part in parts:
                yield lt.cost(part * p.cost(params, x))

        key = jax.random.key(3)
        return lt.expect_program(key, program, num_samples=RUNS, has_aux=True)[0]

    gradient = jax.jit(jax.grad(value), static_argnums=1)
    params = params_of(problem)
    agree(gradient(params, (0.2, 0.5, 0.3)), gradient(params, (1.0,)))


@cases
def test_unbiased(name, problem):
    """The value always (but of relaxed draws); the gradient where it is not declared biased."""
    entry, p = REGISTRY[name], PROBLEMS[problem]
    values, grads = calls(name, problem)
    want_value, want = exact(p.dist, p.cost, params_of(problem))
    if not entry.relaxed:
        lt.testing.assert_unbiased(values, want_value, resolve=0.1)
    if entry.estimator.unbiased:
        lt.testing.assert_unbiased(grads, want, resolve=0.15)


@few_cases
def test_vmap_and_jit_are_the_loop(name, problem):
    """The first calls of the compiled map over keys, one by one and uncompiled."""
    values, grads = calls(name, problem)
    one = jax.value_and_grad(value, argnums=2)
    got = one(REGISTRY[name].estimator, problem, params_of(problem), keys(CALLS)[0])
    agree(got[0], values[0])
    agree(got[1], grads[0])


@cases
def test_counted_evaluations_are_those_declared(name, problem):
    """At points, by the collector; and one by one, by a callback to the host: a value and its gradient."""
    p = PROBLEMS[problem]
    check_count(REGISTRY[name].estimator, p.dist, p.cost, params_of(problem))


PAIR = jnp.array([0.4, 1.3])
COUNTED = {
    "Pathwise": (lt.Pathwise(), lambda t: lt.Normal(t[0], t[1])),
    "Pathwise, Sobol": (lt.Pathwise(lt.Sobol()), lambda t: lt.Normal(t[0], t[1])),
    "LAX": (lt.LAX(lambda w, x: w * x**2, np.float32(0.3)), lambda t: lt.Normal(t[0], t[1])),
    "GeneralizedReparameterization": (
        lt.GeneralizedReparameterization(),
        lambda t: lt.Gamma(t[0], t[1]),
    ),
    "MeasureValued": (lt.MeasureValued(), lambda t: lt.Normal(t[0], t[1])),
    "delta method": (lt.ScoreFunction(lt.DeltaMethod()), lambda t: lt.Normal(t[0], t[1])),
    "control variate": (
        lt.ScoreFunction(lt.ControlVariate(lambda x: x, lambda dist: dist.mean())),
        lambda t: lt.Normal(t[0], t[1]),
    ),
    "Combination": (
        lt.Combination((lt.Pathwise(), lt.MeasureValued()), (0.4, 0.6), learn=True),
        lambda t: lt.Normal(t[0], t[1]),
    ),
}


@pytest.mark.parametrize("name", COUNTED)
def test_counted_evaluations_of_continuous_draws(name):
    estimator, dist_of = COUNTED[name]
    check_count(estimator, dist_of, lambda t, x: x**2 + t[0] * x, PAIR)


def check_count(estimator, dist_of, cost_of, params):
    seen = []

    def call(params):
        def cost(x):
            jax.debug.callback(lambda _: seen.append(1), jnp.sum(jnp.asarray(x, float)))
            return cost_of(params, x)

        how = {"estimator": estimator, "num_samples": RUNS, "has_aux": estimator.adaptive}
        out = lt.expect(keys(1)[0], cost, dist_of(params), **how)
        return out[0] + out[1].adaptive_loss if estimator.adaptive else out

    declared = estimator.count_evaluations(dist_of(params)) * (
        1 if isinstance(estimator, lt.Enumerate | lt.VariableElimination) else RUNS
    )
    with evaluations_counted() as counts:
        jax.block_until_ready(jax.jit(jax.value_and_grad(call))(params))
    jax.effects_barrier()
    # an expansion around a mean that all samples share is evaluated once for all of them
    shared = (RUNS - 1) * getattr(getattr(estimator, "baseline", None), "expansion_order", 0) > 0
    assert counts == [declared]
    if isinstance(estimator, lt.UnorderedSet):
        size = len(dist_of(params).enumeration.points())
        # the set of all outcomes is that of every sample, and evaluated once for all of them
        if estimator.num_draws == size:
            assert len(seen) == size == declared / RUNS
            return
    assert len(seen) == declared - (RUNS - 1) * shared


@cases
def test_a_constant_in_f(name, problem):
    entry = REGISTRY[name]
    grad = jax.jit(jax.grad(value, argnums=2), static_argnums=1)
    base, moved = (
        grad(entry.estimator, problem, params_of(problem), keys(1)[0], shift)
        for shift in (0.0, 4.0)
    )
    assert np.allclose(base, moved, atol=3e-5) == entry.shift


@few_cases
def test_chunks_have_the_same_draws(name, problem):
    entry, p = REGISTRY[name], PROBLEMS[problem]

    def draws(chunk_size):
        params = params_of(problem)
        cost = lambda x: p.cost(params, x)
        out = lt.expect(
            keys(1)[0],
            cost,
            p.dist(params),
            estimator=entry.estimator,
            num_samples=2 * entry.chunk,
            chunk_size=chunk_size,
            has_aux=True,
        )
        return out[1].draws, out[1].costs

    draws = jax.jit(draws, static_argnums=0)
    jax.tree.map(agree, draws(None), draws(entry.chunk))


@cases
def test_dtypes_are_kept(name, problem):
    """float32 parameters under double precision, and bfloat16 ones without."""
    estimator = REGISTRY[name].estimator

    def shape(dtype):
        params = jnp.asarray(PROBLEMS[problem].params, dtype)
        return jax.eval_shape(
            jax.value_and_grad(lambda p: value(estimator, problem, p, keys(1)[0])), params
        )

    assert shape(jnp.bfloat16)[1].dtype == jnp.bfloat16
    with double_precision():
        assert shape(jnp.float32)[1].dtype == jnp.float32
        assert shape(jnp.float64)[1].dtype == jnp.float64


@cases
def test_the_second_derivative_is_refused_or_there(name, problem):
    estimator = REGISTRY[name].estimator
    one = lambda params: value(estimator, problem, params, keys(1)[0])
    hessian = lambda: jax.eval_shape(jax.hessian(one), params_of(problem))
    if estimator.max_order > 1:
        hessian()
        return
    blame = "" if name in COMPOSED else type(estimator).__name__
    message = rf"{blame}.* is right for first derivatives only. Use ScoreFunction\(\)"
    with pytest.raises(lt.DerivativeOrderError, match=message):
        hessian()


BITS = [
    name
    for name, entry in REGISTRY.items()
    if "bits" in entry.problems and entry.estimator.unbiased
]
AMONG = {"DisARM", "UnorderedSet", "REBAR", "DoubleCV", "MeasureValued"}


@pytest.mark.parametrize(
    "name", [n if n in AMONG else pytest.param(n, marks=pytest.mark.full) for n in BITS]
)
def test_a_site_among_others(name):
    """a, then the estimator's bits given a, then b given both, right to first order only: every gradient, its direct term
    too."""
    estimator = REGISTRY[name].estimator

    def program(t, first, middle, last):
        a = yield lt.sample(lt.Bernoulli(t[0]), first)
        x = yield lt.sample(lt.Bernoulli(t[1:3] + a), middle)
        b = yield lt.sample(lt.Bernoulli(t[3] + 2 * x[0] - x[1]), last)
        yield lt.cost((b + x[0] * a - 0.45) ** 2 + 0.3 * t[1] * x[1])
        yield lt.cost(0.5 * a)

    def call(t, key, middle):
        options = {"num_samples": RUNS, "has_aux": middle.adaptive}
        out = lt.expect_program(
            key, program, t, lt.ScoreFunction(), middle, lt.LocalExpectation(), **options
        )
        return out[0] if middle.adaptive else out

    t = jnp.array([0.3, -0.5, 0.8, -0.2])
    every = [lt.Enumerate()] * 3
    want = jax.grad(lambda t: lt.expect_program(keys(1)[0], program, t, *every, num_samples=1))(t)
    draws = jax.jit(jax.vmap(jax.grad(call), (None, 0, None)))(t, keys(CALLS), estimator)
    lt.testing.assert_unbiased(np.asarray(draws), np.asarray(want), resolve=0.15)


EMPTY = [
    (name, family)
    for name in ("ScoreFunction, optimal baseline", "LocalExpectation", "DisARM")
    for family in ("bits", "one hot")
]


@pytest.mark.parametrize(
    "name, problem", [case for case in EMPTY if case[1] in REGISTRY[case[0]].problems]
)
def test_an_empty_event_leaves_f_alone(name, problem):
    shape = (0,) if problem == "bits" else (0, 3)

    def value(logits):
        dist, f = PROBLEMS[problem].dist(logits), lambda x: jnp.sum(x) + 1.5
        return lt.expect(
            jax.random.key(0), f, dist, estimator=REGISTRY[name].estimator, num_samples=6
        )

    got, grad = jax.value_and_grad(value)(jnp.zeros(shape))
    assert got == 1.5 and grad.shape == shape
