"""The declared order is enforced: a derivative beyond `max_order` raises, whoever wrote the estimator; within it, it is exact."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt
from logtrick import vi
from tests.estimators.registry import PROBLEMS, REGISTRY
from tests.programs.exact import all_runs, estimate

stop = jax.lax.stop_gradient
KEY = jax.random.key(0)


class Written(lt.Estimator, abstract=True):
    """What a user's estimators have in common: one point, first order."""

    max_order = 1

    def draw(self, noise, dist):
        return lt.Points(dist.draw(noise), dist)


class Surrogate(Written):
    """REINFORCE as a user writes it."""

    def close(self, costs, points, runs):
        log_prob = points.dist.log_prob(points.x)
        return costs.plus(stop(costs.total) * (log_prob - stop(log_prob)))


class Expanded(Written):
    """A ratio expanded to second order, but the costs held constant: its mixed derivatives are wrong."""

    def close(self, costs, points, runs):
        log_prob = points.dist.log_prob(points.x)
        ratio = log_prob - stop(log_prob)
        return costs.plus(stop(costs.total) * (ratio + 0.5 * ratio**2))


class TwoPoints(Written):
    """Enumeration of a bit by a user who has only thought of first derivatives."""

    def noise(self, dist):
        return ()

    def draw(self, noise, dist):
        return lt.Points(dist.enumerate(), dist, stacked=True)

    def close(self, costs, points, runs):
        probs = jnp.exp(jax.vmap(points.dist.log_prob)(points.x))
        moved = jnp.sum(stop(costs.total) * (probs - stop(probs)))
        return costs.averaged(stop(probs)).plus(moved)


class Boxed(Written):
    """The score alone, by the box: right at every order."""

    max_order = math.inf

    def close(self, costs, points, runs):
        return costs.scored(lt.magic_box(points.dist.log_prob(points.x)))


FIRST = {"Surrogate": Surrogate(), "Expanded": Expanded(), "TwoPoints": TwoPoints()}
SECOND = {
    "hessian": jax.hessian,
    "grad of grad": lambda f: jax.grad(lambda t: jnp.sum(jax.grad(f)(t))),
    "jacfwd of jacfwd": lambda f: jax.jacfwd(jax.jacfwd(f)),
    "jacrev of jacfwd": lambda f: jax.jacrev(jax.jacfwd(f)),
    "jacrev of jacrev": lambda f: jax.jacrev(jax.jacrev(f)),
}
UNDER = {
    "plain": lambda f: f,
    "jit": jax.jit,
    "vmap": lambda f: lambda t: jnp.sum(jax.vmap(f)(jnp.stack([t, t]))),
    "scan": lambda f: lambda t: jax.lax.scan(lambda c, _: (c + f(t), None), 0.0, None, length=2)[0],
    "checkpoint": jax.checkpoint,
    "scan of checkpoint": lambda f: (
        lambda t: jax.lax.scan(lambda c, _: (c + jax.checkpoint(f)(t), None), 0.0, None, length=2)[
            0
        ]
    ),
}
CASES = [("Surrogate", "plain", s) for s in SECOND]
CASES += [("Surrogate", u, "hessian") for u in UNDER if u != "plain"]
CASES += [(n, u, "grad of grad") for n in FIRST for u in ("plain", "scan of checkpoint")]


def refused(f, name, second="hessian", at=None):
    at = jnp.array([0.4, -0.8]) if at is None else at
    with pytest.raises(
        lt.DerivativeOrderError, match=rf"{name}.* is right for first derivatives only"
    ):
        jax.eval_shape(SECOND[second](f), at)


def value(estimator, problem="bit", **options):
    p = PROBLEMS[problem]

    def call(t):
        how = {"num_samples": 4, "has_aux": estimator.adaptive, **options}
        out = lt.expect(KEY, lambda x: p.cost(t, x), p.dist(t), estimator=estimator, **how)
        return out[0] if how["has_aux"] else out

    return call


def of_one(f):
    """A function of two numbers, the second unused."""
    return lambda t: f(t[0])


# --- lt.expect


@pytest.mark.parametrize("name, under, second", sorted(set(CASES)))
def test_a_users_estimator(name, under, second):
    f = of_one(value(FIRST[name]))
    refused(UNDER[under](f), name, second)


@pytest.mark.parametrize("name", [n for n, e in REGISTRY.items() if e.estimator.max_order == 1])
def test_every_estimator_of_first_order(name):
    """Forward over forward, reverse over forward, in a scan under checkpoint; the Hessian is in the laws of estimators."""
    entry = REGISTRY[name]
    f = value(entry.estimator, entry.problems[0])
    at = jnp.asarray(PROBLEMS[entry.problems[0]].params, jnp.float32)
    composed = name.startswith(("ScoreFunction", "Combination", "WithControl"))
    blame = "" if composed else type(entry.estimator).__name__
    for second in ("jacfwd of jacfwd", "jacrev of jacfwd"):
        refused(f, blame, second, at)
    refused(UNDER["scan of checkpoint"](f), blame, "grad of grad", at)


# those whose control variate has a derivative in f's parameters, of first order too
NO_MIXED = {"REBAR, coupled and learned"}
OF_BITS = [
    name
    for name, entry in REGISTRY.items()
    if entry.estimator.unbiased and entry.estimator.max_order == 1 and "bits" in entry.problems
]


# one for each way in which the coefficient of a first-order term is made
FEW_OF_BITS = {"MeasureValued", "DisARM", "DoubleCV", "REBAR", "RELAX", "LocalExpectation"}


@pytest.mark.parametrize(
    "name", [n if n in FEW_OF_BITS else pytest.param(n, marks=pytest.mark.full) for n in OF_BITS]
)
def test_a_parameter_of_f_and_one_of_the_distribution(name):
    """Differentiated in the parameter of f first, they are right in the mean; MeasureValued gave 0. The other way is refused."""
    estimator, p = REGISTRY[name].estimator, PROBLEMS["bits"]

    def call(t, u, key):
        how = {"num_samples": 4, "has_aux": estimator.adaptive}
        out = lt.expect(key, lambda x: p.cost(u, x), p.dist(t), estimator=estimator, **how)
        return out[0] if estimator.adaptive else out

    at = jnp.asarray(p.params, jnp.float32)
    of_f_first = lambda t, key: jax.grad(lambda t: jax.grad(call, 1)(t, at, key)[0])(t)
    of_f_last = lambda u: jax.grad(lambda u: jnp.sum(jax.grad(call)(at, u, KEY)))(u)
    if name in NO_MIXED:
        with pytest.raises(lt.DerivativeOrderError):
            jax.eval_shape(of_f_first, at, KEY)
        return
    draws = jax.jit(jax.vmap(of_f_first, (None, 0)))(at, jax.random.split(KEY, 12_000))
    want = jax.grad(lambda t: jax.grad(lambda u: enumerated(p, t, u))(at)[0])(at)
    lt.testing.assert_unbiased(np.asarray(draws), np.asarray(want), resolve=0.05)
    if name != "ScoreFunction, optimal baseline":  # its costs are under a box, right in both
        with pytest.raises(lt.DerivativeOrderError):
            jax.eval_shape(of_f_last, at)


@pytest.mark.parametrize("how", [{"chunk_size": 2}, {"has_aux": True}])
def test_however_it_is_called(how):
    f = value(Surrogate(), **how)
    refused(of_one(f), "Surrogate")


def test_expect_tree():
    def f(t):
        found = lt.expect_tree(
            KEY,
            lambda x: {"a": x * t[0], "b": (x, x**2)},
            lt.Bernoulli(t[1]),
            estimator=Surrogate(),
        )
        return found["a"] + found["b"][1]

    refused(f, "Surrogate")


@pytest.mark.parametrize("estimator", [vi.VIMCO(), vi.OVIS(), vi.DReG(), vi.STL()])
def test_mixed_derivatives_of_a_bound(estimator):
    """In a parameter of the guide and one of the model, either way; they were 0, or any number."""

    def value(t):
        loc, mode = t
        q = lt.replace(vi.MeanFieldNormal(like=0.0), loc=loc)
        log_density = lambda z: -0.5 * (z - mode) ** 2
        return vi.loss(KEY, log_density, q, objective=vi.IWELBO(4), estimator=estimator)

    for i, j in [(0, 1), (1, 0), (0, 0)]:
        with pytest.raises(
            lt.DerivativeOrderError,
            match=rf"vi.{type(estimator).__name__} is right for first derivatives only",
        ):
            jax.eval_shape(mixed(value, i, j), 0.3, 0.5)


def test_combinations():
    both = lt.Combination((lt.ScoreFunction(), Surrogate()), (0.3, 0.7))
    assert both.max_order == 1
    refused(of_one(value(both)), "Combination")
    refused(of_one(value(lt.Combination((both, lt.Enumerate()), (0.5, 0.5)))), "Combination")


# --- programs


def program_of(estimator, later=None):
    """A site, and one whose distribution does not depend on it; a cost of both, with a parameter of its own."""
    later = lt.ScoreFunction() if later is None else later

    def program(t):
        a = yield lt.sample(lt.Bernoulli(t[0]), estimator)
        b = yield lt.sample(lt.Bernoulli(t[1]), later)
        yield lt.cost((a + 1.3 * t[2]) * (b - 0.4) * (1 + t[2] * a))

    return lambda t: lt.expect_program(KEY, program, t, num_samples=4)


MIXED = [(0, 0), (0, 1), (1, 0), (0, 2), (2, 0)]
AT = (0.4, -0.8, 0.7)


def mixed(f, i, j):
    """∂/∂tᵢ of ∂/∂tⱼ, of separate arguments: what one does not depend on is then known to JAX not to move."""
    return jax.grad(jax.grad(lambda *t: f(t), j), i)


@pytest.mark.parametrize("i, j", MIXED)
@pytest.mark.parametrize("name", FIRST)
def test_mixed_derivatives_in_a_program(name, i, j):
    """In the site's own parameter, one of a later site, one of the cost."""
    f = program_of(FIRST[name])
    with pytest.raises(lt.DerivativeOrderError, match=f"{name} is right for first derivatives"):
        jax.eval_shape(mixed(f, i, j), *AT)


def test_derivatives_in_other_parameters_stay_legal(x64):
    """Of a later site that is right at every order, and of the cost: exact."""
    f = program_of(TwoPoints(), lt.Enumerate())
    want = program_of(lt.Enumerate(), lt.Enumerate())
    for i, j in [(1, 1), (1, 2), (2, 2)]:
        got, exact = (jax.jit(mixed(g, i, j))(*AT) for g in (f, want))
        np.testing.assert_allclose(got, exact, rtol=0, atol=1e-10)


def in_a_loop(estimator):
    """Two steps; a site after the loop."""

    def program(t):
        def step(carry, _):
            a = yield lt.sample(lt.Bernoulli(t[0] + 0.3 * carry), estimator)
            yield lt.cost((a + 1.3 * t[2]) ** 2)
            return carry + a, None

        carry, _ = yield lt.scan(step, 0.0, length=2)
        b = yield lt.sample(lt.Bernoulli(t[1]))
        yield lt.cost(carry * b)

    return lambda t: lt.expect_program(KEY, program, t, num_samples=4)


def in_a_plate(estimator):
    def program(t):
        def element(x):
            a = yield lt.sample(lt.Bernoulli(t[0] * x), estimator)
            yield lt.cost((a + 1.3 * t[2]) ** 2)
            return a

        found = yield lt.plate(element, jnp.ones(2))
        b = yield lt.sample(lt.Bernoulli(t[1]))
        yield lt.cost((found[0] - 0.3 * found[1]) * b)

    return lambda t: lt.expect_program(KEY, program, t, num_samples=4)


def in_a_plate_in_a_loop(estimator):
    def program(t):
        def element(x):
            a = yield lt.sample(lt.Bernoulli(t[0] * x), estimator)
            yield lt.cost((a + 1.3 * t[2]) ** 2)
            return a

        def step(carry, _):
            found = yield lt.plate(element, jnp.ones(2))
            return carry + found[0], None

        carry, _ = yield lt.scan(step, 0.0, length=2)
        b = yield lt.sample(lt.Bernoulli(t[1]))
        yield lt.cost(carry * b)

    return lambda t: lt.expect_program(KEY, program, t, num_samples=4)


def hiding(mu):
    """A normal whose log-prob closes over its mean: no leaf of the distribution depends on it."""
    log_prob = lambda _, x: -0.5 * (x - mu) ** 2
    return lt.distribution(log_prob, lambda key, _: stop(mu) + jax.random.normal(key))(0.0)


@pytest.mark.parametrize("i, j", [(0, 1), (1, 0), (0, 0)])
@pytest.mark.parametrize("around", ["program", "loop", "plate"])
def test_mixed_derivatives_in_a_parameter_that_a_log_prob_closes_over(around, i, j):
    """In the parameter of the cost first it was 0."""

    def program(t):
        def part(_):
            x = yield lt.sample(hiding(t[0]), Surrogate())
            yield lt.cost(t[1] * x)

        def step(carry, _):
            yield from part(None)
            return carry, None

        if around == "program":
            yield from part(None)
        elif around == "loop":
            yield lt.scan(step, 0.0, length=2)
        else:
            yield lt.plate(part, length=2)

    value = lambda t: lt.expect_program(KEY, program, t, num_samples=4)
    with pytest.raises(lt.DerivativeOrderError, match="Surrogate is right for first derivatives"):
        jax.eval_shape(mixed(value, i, j), 0.3, 0.5)


AROUND = {"loop": in_a_loop, "plate": in_a_plate, "plate in a loop": in_a_plate_in_a_loop}


@pytest.mark.parametrize("i, j", MIXED)
@pytest.mark.parametrize("around", AROUND)
def test_mixed_derivatives_in_loops_and_plates(around, i, j):
    """Also of a cost that comes later: by it and by the site in either order."""
    f = AROUND[around](Surrogate())
    with pytest.raises(lt.DerivativeOrderError, match="Surrogate is right for first derivatives"):
        jax.eval_shape(mixed(f, i, j), *AT)


@pytest.mark.parametrize("around", AROUND)
def test_first_derivatives_in_loops_and_plates_are_those_of_the_score(around):
    """The limits let the first derivative through, as it is."""
    got, want = (
        jax.jit(jax.grad(AROUND[around](e)))(jnp.array(AT))
        for e in (Surrogate(), lt.ScoreFunction(lt.NoBaseline()))
    )
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


# --- exact where every order is declared


def test_a_users_estimator_of_every_order(x64):
    """A box alone: orders 1 to 3 in a program with a later site, by enumeration of both draws."""
    theta = jnp.array([0.4, -0.8, 0.7])

    def program(t):
        a = yield lt.sample(lt.Bernoulli(t[0]), Boxed())
        b = yield lt.sample(lt.Bernoulli(t[1] + a), Boxed())
        yield lt.cost((a + 1.3 * t[2]) * (b - 0.4) * (1 + t[2] * a))

    def truth(t):
        return lt.expect_program(KEY, every, t, num_samples=1)

    def every(t):
        a = yield lt.sample(lt.Bernoulli(t[0]), lt.Enumerate())
        b = yield lt.sample(lt.Bernoulli(t[1] + a), lt.Enumerate())
        yield lt.cost((a + 1.3 * t[2]) * (b - 0.4) * (1 + t[2] * a))

    bits = np.array([[a, b] for a in (0.0, 1.0) for b in (0.0, 1.0)])
    logits = np.stack([np.full(4, 0.4), -0.8 + bits[:, 0]], -1)
    weights = np.prod(1 / (1 + np.exp(-logits * (2 * bits - 1))), axis=-1)
    noises, weights = all_runs([np.where(b > 0, -1.0, 2.0) for b in bits.T], weights, 1)
    third = lambda f: jax.jacfwd(jax.hessian(f))

    def one(noise):
        return third(lambda t: estimate(lambda: program(t), noise, 1))(theta)

    got = jnp.tensordot(weights, jax.jit(jax.vmap(one))(noises), 1)
    np.testing.assert_allclose(got, jax.jit(third(truth))(theta), rtol=0, atol=1e-10)


EVERY = [n for n, e in REGISTRY.items() if e.estimator.max_order > 1 and not e.relaxed]


def test_some_declare_every_order():
    assert {"Enumerate", "ScoreFunction", "UnorderedSet"} <= set(EVERY)


@pytest.mark.parametrize("name", EVERY)
def test_the_second_derivative_of_every_estimator_that_declares_it(name):
    """Many independent calls against enumeration: the mean of the Hessians; of relaxed draws it is another one."""
    entry = REGISTRY[name]
    problem = entry.problems[0]
    p = PROBLEMS[problem]
    at = jnp.asarray(p.params, jnp.float32)

    def call(t, key):
        how = {"num_samples": 4, "has_aux": entry.estimator.adaptive}
        out = lt.expect(key, lambda x: p.cost(t, x), p.dist(t), estimator=entry.estimator, **how)
        return out[0] if entry.estimator.adaptive else out

    keys = jax.random.split(KEY, 20_000)
    draws = jax.jit(jax.vmap(jax.hessian(call), (None, 0)))(at, keys)
    want = jax.hessian(lambda t: enumerated(p, t))(at)
    lt.testing.assert_unbiased(np.asarray(draws), np.asarray(want), resolve=0.3)


def enumerated(p, t, of_f=None):
    """E f, of the distribution's parameters and those of f, which are the same unless said otherwise."""
    dist = p.dist(t)
    points = dist.enumerate()
    costs = jax.vmap(lambda x: p.cost(t if of_f is None else of_f, x))(points)
    return jnp.exp(jax.vmap(dist.log_prob)(points)) @ costs
