"""Draws that a foreign distribution's own support or log-prob excludes: nan, in the value too, with the reason at hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import logtrick as lt
from tests.adapters.conftest import require

KEY, SCORE = jax.random.key(0), lt.ScoreFunction()
numpyro, distrax, tfp = lt.adapters.from_numpyro, lt.adapters.from_distrax, lt.adapters.from_tfp


def made_up(support, sample, log_prob):
    """A NumPyro distribution of a user's, of one parameter."""
    require("numpyro")
    import numpyro.distributions as nd

    class MadeUp(nd.Distribution):
        reparametrized_params = ("loc",)

        def __init__(self, loc):
            self.loc = loc
            super().__init__(batch_shape=(), event_shape=())

        def sample(self, key, sample_shape=()):
            return sample(key, self.loc)

        def log_prob(self, x):
            return log_prob(x, self.loc)

    MadeUp.support = support(nd.constraints)
    MadeUp.arg_constraints = {"loc": nd.constraints.real}
    return lambda loc: numpyro(MadeUp(loc))


def _toss(k, m):
    return (jax.random.uniform(k) < jax.nn.sigmoid(m)).astype(jnp.int32)


def _times(x, m):
    return jax.nn.log_sigmoid(m) * x


def _far(nd, m):
    return nd.TruncatedNormal(m, 1.0, low=0.0)


# a name: the number of its parameter, and from it the distribution
FLOATS = {
    "outside of the support": lambda nd: (0.7, made_up(lambda c: c.unit_interval, lambda k, m: m + 1.0, lambda x, m: 0 * x)),
    "impossible by the log-prob": lambda nd: (
        0.7, made_up(lambda c: c.real, lambda k, m: m - 1.0, lambda x, m: jnp.where(x > 0, -m * x, -jnp.inf))),
    "infinite": lambda nd: (-100.0, lambda m: numpyro(_far(nd, m))),
    "infinite, of several": lambda nd: (-100.0, lambda m: numpyro(_far(nd, m).expand((2,)).to_event(1))),
    "infinite, in a mixture": lambda nd: (
        -100.0, lambda m: lt.Mixture(jnp.zeros(2), (numpyro(_far(nd, m)), numpyro(_far(nd, m))))),
    "infinite, transformed": lambda nd: (
        -100.0, lambda m: numpyro(nd.TransformedDistribution(_far(nd, m), nd.transforms.ExpTransform()))),
}  # fmt: skip
WHOLE = {
    "not 0 or 1": lambda nd: (0.7, made_up(lambda c: c.boolean, lambda k, m: 2 * _toss(k, m), _times)),
    "above the interval": lambda nd: (
        0.7, made_up(lambda c: c.integer_interval(0, 3), lambda k, m: 5 * _toss(k, m), _times)),
    "below the interval": lambda nd: (
        0.7, made_up(lambda c: c.integer_interval(1, 3), lambda k, m: 3 * _toss(k, m), _times)),
    "negative": lambda nd: (-1.0, lambda m: numpyro(nd.Poisson(m))),
    "saturated": lambda nd: (1e10, lambda m: numpyro(nd.Poisson(m))),
    "negative, beside another": lambda nd: (-1.0, lambda m: lt.Joint((numpyro(nd.Poisson(m)), lt.Bernoulli(m)))),
    "negative, in a mixture": lambda nd: (
        -1.0, lambda m: lt.Mixture(jnp.zeros(2), (numpyro(nd.Poisson(m)), numpyro(nd.Poisson(m))))),
    "without a rate": lambda nd: (jnp.nan, lambda m: numpyro(nd.ZeroInflatedPoisson(m, 2.0))),
}  # fmt: skip
PATHWISE = [name for name in FLOATS if "mixture" not in name]
COSTS = {
    "a sum": lambda x: sum(jnp.sum(1.0 * leaf) for leaf in jax.tree.leaves(x)),
    "a comparison": lambda x: sum(1.0 * jnp.sum(leaf < 0.5) for leaf in jax.tree.leaves(x)),
}


def _value(make, cost, estimator=SCORE):
    return lambda p: lt.expect(KEY, cost, make(p), estimator=estimator, num_samples=32)


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("name", [*FLOATS, *WHOLE])
def test_no_number_comes_out(name, cost):
    """In the value too: whole numbers cannot be nan, and a cost may compare a nan with something."""
    require("numpyro")
    import numpyro.distributions as nd

    parameter, make = (FLOATS | WHOLE)[name](nd)
    value, slope = jax.jit(jax.value_and_grad(_value(make, COSTS[cost])))(jnp.float32(parameter))
    assert np.isnan(value) and np.isnan(slope)
    if name in PATHWISE and cost == "a sum":
        pathwise = jax.jit(jax.value_and_grad(_value(make, COSTS[cost], lt.Pathwise())))
        value, slope = pathwise(jnp.float32(parameter))
        assert np.isnan(value) and np.isnan(slope)


@pytest.mark.parametrize("where", ["scan", "plate"])
def test_no_number_comes_out_of_a_loop_either(where):
    """A Poisson of rate −1 draws −1, which a comparison makes a number of: in `lt.scan` its value was 0."""
    require("numpyro")
    import numpyro.distributions as nd

    def element(carry, _):
        x = yield lt.sample(numpyro(nd.Poisson(carry)))
        yield lt.cost(1.0 * (x < 0.5))
        return carry, None

    def program(rate):
        if where == "scan":
            yield lt.scan(element, rate, jnp.arange(2.0))
        else:
            yield lt.plate(lambda x: element(rate, x), jnp.arange(2.0))

    both = jax.jit(
        jax.value_and_grad(lambda rate: lt.expect_program(KEY, program, rate, num_samples=4))
    )
    assert np.isnan(both(jnp.float32(-1.0))).all() and np.isfinite(both(jnp.float32(1.0))).all()


def test_rows_without_an_outcome():
    """Distrax draws -1 from a row of which nothing is possible, NumPyro 0."""
    for library, adapt in (("numpyro.distributions", numpyro), ("distrax", distrax)):
        foreign = pytest.importorskip(library)
        value = _value(lambda row: adapt(foreign.Categorical(logits=row)), lambda x: 1.0 * x)
        assert np.isnan(jax.jit(value)(jnp.full(3, -jnp.inf)))


def test_in_loops_and_programs():
    require("numpyro")
    import numpyro.distributions as nd

    def program(rate):
        def step(carry, _):
            x = yield lt.sample(numpyro(nd.Poisson(rate)))
            yield lt.cost(1.0 * (x < 0.5))
            return carry, x

        yield lt.scan(step, 0.0, length=2)

    def toss(state, rate):
        x = yield lt.sample(numpyro(nd.Poisson(rate)))
        yield lt.cost(1.0 * (x < 0.5))
        return state + 1

    in_program = lambda rate: lt.expect_program(KEY, program, rate, num_samples=4)
    traced = lambda rate: lt.eligibility_trace(KEY, lambda s: s < 2, toss, 0, rate, num_samples=4)[
        0
    ]
    for value in (in_program, traced):
        assert np.isnan(jax.jit(value)(-1.0)) and np.isfinite(jax.jit(value)(1.0))


@pytest.mark.filterwarnings("ignore:Explicitly requested dtype (int64|float64):UserWarning")
@pytest.mark.parametrize("loc", [-100.0, -6.0, -3.0, 3.0, 7.0])
def test_a_sampler_that_cannot_tell_the_tail_apart(loc):
    """TFP's draws 1 for a mean of 0.01, and scores it as any other number; NumPyro's of a Cauchy takes 8 values."""
    td = pytest.importorskip("tensorflow_probability.substrates.jax.distributions")
    value = jax.value_and_grad(
        _value(lambda m: tfp(td.TruncatedNormal(m, 1.0, 0.0, 1.0)), lambda x: x)
    )(loc)
    assert np.isfinite(value).all() if abs(loc) == 3.0 else np.isnan(value).all()
    nd = pytest.importorskip("numpyro.distributions")
    cauchy = lambda m: numpyro(nd.TruncatedCauchy(m, 1.0, low=0.0, high=1.0))
    assert np.isnan(_value(cauchy, lambda x: x)(300 * loc)) and np.isfinite(
        _value(cauchy, lambda x: x)(loc / 100)
    )


def test_the_reason_is_at_hand():
    require("numpyro")
    import numpyro.distributions as nd

    family = lambda p: numpyro(nd.Poisson(p))
    reason = "Poisson of numpyro drew 2.14748e[+]09, which its support or log_prob excludes"
    objective = lambda p, key: lt.expect(key, lambda x: 1.0 * x, family(p), num_samples=4)
    with pytest.raises(lt.NonFiniteError, match=reason):
        lt.minimize(KEY, objective, 1e10, optax.sgd(0.1), num_steps=2, nonfinite="raise")
    with pytest.raises(ValueError, match=reason):
        lt.testing.check_distribution(KEY, family, 1e10)
