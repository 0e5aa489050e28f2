"""What a newcomer mistypes: each gets a sentence of ours that says what to write, not Python's or JAX's."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import logtrick as lt

KEY = jax.random.key(0)
DIST = lt.Normal(0.0, 1.0)
SGD = optax.sgd(0.1)


def square(x):
    return x**2


def objective(params, key):
    return params**2


def key_first(key, params):
    return params**2


def keyless(params):
    return params**2


def batched(params, key, batch):
    return params**2


def distribution_itself():
    x = yield DIST
    yield lt.cost(x)


def not_yielded():
    x = lt.sample(DIST)
    yield lt.cost(x)


def sample_of(*args):
    def program():
        x = yield lt.sample(*args)
        yield lt.cost(x)

    return program


class Assigns(lt.Module):
    def __init__(self, loc):
        self.loc = loc


class Number(lt.Estimator):
    max_order = 1

    def draw(self, noise, dist):
        return lt.Points(dist.draw(noise), dist)

    def close(self, costs, points, runs):
        return costs.total


def fit(*args, **options):
    return lambda: lt.minimize(*args, **{"num_steps": 2, **options})


CASES = {
    "a distribution yielded": (
        lambda: lt.expect_program(KEY, distribution_itself),
        r"got the distribution itself, Normal. Write `x = yield lt.sample\(Normal",
    ),
    "a sample not yielded": (
        lambda: lt.expect_program(KEY, not_yielded),
        r"got Sample. Write `x = yield lt.sample\(…\)`",
    ),
    "a class": (
        lambda: lt.expect_program(KEY, sample_of(lt.Normal)),
        "got the class Normal. Call it with its parameters",
    ),
    "a key in lt.sample": (lambda: lt.expect_program(KEY, sample_of(KEY)), "takes no key"),
    "a name first": (
        lambda: lt.expect_program(KEY, sample_of("z", DIST)),
        r"lt.sample\(dist, name='z'\)",
    ),
    "a name second": (
        lambda: lt.expect_program(KEY, sample_of(DIST, "z")),
        "A name goes by name='z'",
    ),
    "a program in expect": (
        lambda: lt.expect(KEY, distribution_itself, DIST),
        "Call lt.expect_program",
    ),
    "num_samples to a program": (
        lambda: lt.expect_program(KEY, distribution_itself, 100),
        r"got a program of \(\): too many positional arguments. Its own options, such as num_samples",
    ),
    "f without argument": (lambda: lt.expect(KEY, lambda: 1.0, DIST), r"is called with one draw"),
    "f missing": (
        lambda: lt.expect(square, DIST),
        "lt.expect takes .key, f, dist.; dist is missing. Keys come first",
    ),
    "positional num_samples": (
        lambda: lt.expect(KEY, square, DIST, 100),
        "takes .key, f, dist., and everything else by name; got 4.*num_samples=100",
    ),
    "positional estimator": (
        lambda: lt.expect(KEY, square, DIST, lt.Pathwise()),
        "Pass estimator=…",
    ),
    "n=": (lambda: lt.expect(KEY, square, DIST, n=3), "Pass num_samples=…"),
    "baseline=": (
        lambda: lt.expect(KEY, square, DIST, baseline=lt.NoBaseline()),
        r"Pass estimator=lt.ScoreFunction\(baseline\)",
    ),
    "a baseline as estimator": (
        lambda: lt.expect(KEY, square, DIST, estimator=lt.NoBaseline()),
        r"Pass lt.ScoreFunction\(NoBaseline",
    ),
    "a number as baseline": (lambda: lt.ScoreFunction(0.5), r"Pass lt.ConstantBaseline\(0.5\)"),
    "a list of costs": (lambda: lt.expect(KEY, lambda x: [x], DIST), "use lt.expect_tree"),
    "swapped key": (fit(1.0, objective, KEY, SGD), "got a key as params.*Keys come first"),
    "swapped key of statistics": (
        lambda: lt.gradient_statistics(1.0, objective, KEY, num_replicates=2),
        "lt.gradient_statistics got a key as params.*Keys come first",
    ),
    "swapped key of a comparison": (
        lambda: lt.compare_estimators(1.0, {"a": objective}, KEY),
        "lt.compare_estimators got a key as params",
    ),
    "objective first": (fit(objective, 1.0, SGD, KEY), "needs a PRNG key; got the function"),
    "key first in the objective": (
        fit(KEY, key_first, 1.0, SGD),
        r"got a function of \(key, params\). The parameters come first",
    ),
    "no key in the objective": (fit(KEY, keyless, 1.0, SGD), "The key may stay unused"),
    "no key in statistics": (
        lambda: lt.gradient_statistics(KEY, keyless, 1.0, num_replicates=2),
        r"is called with \(params, key\)",
    ),
    "no key in a comparison": (
        lambda: lt.compare_estimators(KEY, {"a": keyless}, 1.0),
        r"objectives\['a'\]=….*is called with \(params, key\)",
    ),
    "an estimator in a comparison": (
        lambda: lt.compare_estimators(KEY, {"a": lt.Enumerate()}, 1.0),
        "needs a function of .params, key.; got Enumerate",
    ),
    "no data": (fit(KEY, batched, 1.0, SGD), "A third argument is a batch: pass data=…"),
    "no batch": (
        fit(KEY, objective, 1.0, SGD, data=np.zeros(3)),
        "Its third argument is the batch",
    ),
    "an optimizer not called": (fit(KEY, objective, 1.0, optax.adam), "Call it: optax.adam"),
    "steps=": (
        lambda: lt.minimize(KEY, objective, 1.0, SGD, steps=3),
        "Pass num_steps=…",
    ),
    "a callback": (fit(KEY, objective, 1.0, SGD, callback=3), "callback=….*needs a function"),
    "stop=True": (fit(KEY, objective, 1.0, SGD, stop=True), r"Pass stop=lt.training.Converged\(\)"),
    "sample(key, shape)": (
        lambda: DIST.sample(KEY, (3,)),
        r"makes one draw from one key.*jax.vmap\(dist.sample\)",
    ),
    "sample(sample_shape=)": (lambda: DIST.sample(KEY, sample_shape=(3,)), "makes one draw"),
    "a parameter missing": (lambda: lt.Normal(0.0), r"Normal\(loc, scale\) needs scale, too"),
    "a parameter too many": (lambda: lt.Normal(0.0, 1.0, 2.0), "takes 2 positional arguments"),
    "an estimator's argument": (lambda: lt.ARMS(k=3), "Pass num_draws=…"),
    "an estimator's argument missing": (lambda: lt.GumbelSoftmax(), "temperature is missing"),
    "an estimator that returns a number": (
        lambda: lt.expect(KEY, square, DIST, estimator=Number()),
        "Number.close must return the costs; got an array",
    ),
    "swapped functions": (
        lambda: lt.distribution(lambda key, p: p, lambda p, x: p),
        "The two functions are swapped",
    ),
    "a sampler with a shape": (
        lambda: lt.distribution(lambda p, x: p, lambda key, p, shape: p),
        "returns ONE draw",
    ),
    "log_prob(x, params)": (
        lambda: lt.distribution(lambda x, params: x, lambda key, p: p),
        "Parameters come first",
    ),
    "an array for a function": (
        lambda: lt.distribution(jnp.zeros(3), jnp.zeros(3)),
        r"needs a function; got an array float32\[3\]",
    ),
    "score of a distribution": (lambda: lt.score(DIST, 1.0, 2.0), "needs a function of .params, x"),
    "no mesh": (lambda: lt.expect(KEY, square, DIST, mesh=2), "needs a jax.sharding.Mesh"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_sentence_of_ours(case):
    call, sentence = CASES[case]
    with pytest.raises((TypeError, ValueError), match=sentence):
        call()


def test_frozen_objects_say_how_they_are_made_and_changed():
    with pytest.raises(AttributeError, match="Declare the fields in the class body, `loc: float`"):
        Assigns(1.0)
    with pytest.raises(AttributeError, match=r"Make a changed copy, lt.replace\(obj, loc=…\)"):
        DIST.loc = 1.0


@pytest.mark.parametrize(
    "call",
    [
        lambda f: lt.expect(KEY, f, DIST),
        lambda f: lt.minimize(KEY, lambda p, k: f(p), 1.0, SGD, num_steps=1),
    ],
)
@pytest.mark.parametrize("f", [float, np.sin, lambda x: x if x > 0 else -x])
def test_47_python_and_numpy_on_traced_values_are_pointed_to_black_box(call, f):
    with pytest.raises(Exception, match=r"Tracer|traced") as caught:
        call(f)
    assert any("lt.black_box" in note for note in caught.value.__notes__)


def test_48_a_host_function_that_raises_within_statistics():
    def simulator(x):
        raise KeyError("no such state")

    box = lt.black_box(simulator)
    value = lambda p, key: lt.expect(key, box, lt.Normal(p, 1.0), num_samples=2)
    for _ in range(2):  # also where the compiled code runs again
        with pytest.raises(lt.BlackBoxError, match="no such state") as caught:
            lt.gradient_statistics(KEY, value, 0.0, num_replicates=2)
        assert isinstance(caught.value.__cause__, KeyError)


def test_45_a_mesh_as_jax_makes_it():
    mesh = jax.make_mesh((2,), ("samples",), devices=jax.devices()[:2])
    value = lambda mesh: lt.expect(KEY, square, DIST, num_samples=4, mesh=mesh)
    assert value(mesh).item() == pytest.approx(value(None).item(), rel=1e-6)
    with pytest.raises(ValueError, match="needs a multiple of the 2 devices"):
        lt.expect(KEY, square, DIST, num_samples=5, mesh=mesh)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("REINFORCE", r"lt.ScoreFunction\(\)"),
        ("reinforce", r"lt.ScoreFunction\(\)"),
        ("gumbel_softmax", "lt.GumbelSoftmax"),
        ("Bernouli", "lt.Bernoulli"),
        ("minimi" + "se", "lt.minimize"),
        ("TruncatedNormal", "lt.adapters"),
    ],
)
def test_names_that_people_type(name, advice):
    with pytest.raises(AttributeError, match=f"{name}.*{advice}"):
        getattr(lt, name)


def test_statements_say_what_they_are():
    assert repr(lt.sample(DIST, lt.Pathwise(), name="z")) == (
        "lt.sample(dist=Normal(loc=0.0, scale=1.0), estimator=Pathwise(plan=IID()), name='z')"
    )
    assert repr(lt.cost(1.0)) == "lt.cost(value=1.0)"


@pytest.mark.parametrize(
    "call",
    [
        lambda n: lt.expect(KEY, square, DIST, num_samples=40, chunk_size=n),
        lambda n: lt.expect(KEY, square, DIST, num_samples=n, chunk_size=n),
        lambda n: lt.expect_tree(KEY, square, DIST, num_samples=n, chunk_size=n),
        lambda n: lt.expect(KEY, jnp.sum, lt.PlackettLuce(jnp.zeros(40), length=n)),
        lambda n: lt.expect(KEY, jnp.sum, lt.Bernoulli(jnp.zeros(9)), estimator=lt.ARMS(n)),
        lambda n: lt.gradient_statistics(KEY, objective, 1.0, num_replicates=n).mean,
        lambda n: lt.minimize(KEY, objective, 1.0, SGD, num_steps=n, chunk=n).params,
    ],
)
@pytest.mark.parametrize("integer", [np.int64, np.int8])
def test_42_counts_of_numpy_are_counts(call, integer):
    """`np.prod(shape)` is one: chunks raised "can't multiply sequence"; int8 wraps around at 127."""
    assert call(integer(30)) == call(30)


@pytest.mark.parametrize(
    "make",
    [
        lambda c: lt.Normal(c, 1.0),
        lambda c: lt.bijectors.Affine(c, 1.0),
        lambda c: lt.bijectors.Affine(0.0, c),
        lambda c: lt.bijectors.Interval(0.0, c),
        lt.ConstantBaseline,
        lt.GumbelSoftmax,
        lt.REBAR,
        lambda c: lt.MovingAverage(0.9, c, 1.0),
        lambda c: lt.Combination((lt.ScoreFunction(), lt.DisARM()), (c, 1.0 - c)),
        lambda c: lt.expect_given(jnp.zeros(2), square, DIST, log_weights=jnp.stack([c, c])),
    ],
)
def test_37_complex_numbers_are_refused(make):
    """A pathwise gradient in a complex location was one of its real part, with no word."""
    with pytest.raises(TypeError, match=r"must be real; got complex64. Take .real"):
        make(jnp.asarray(0.5 + 0.2j))
