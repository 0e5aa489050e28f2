"""Refusals say who needs what, and what is legal instead: for every estimator of the registry, at trace time."""

import jax
import jax.numpy as jnp
import pytest

import logtrick as lt
from tests.estimators.registry import PROBLEMS, REGISTRY

KEY = jax.random.key(0)
host = lt.black_box(lambda x: float(x.sum()))
ONE_EACH = {type(e.estimator).__name__: e for e in reversed(REGISTRY.values())}
CONTINUOUS = {
    "Pathwise": lt.Pathwise(),
    "GeneralizedReparameterization": lt.GeneralizedReparameterization(),
    "LAX": lt.LAX(lambda w, x: w * jnp.sum(x), 0.5),
}


def gradient(estimator, dist_of, params):
    """The shapes of a gradient, which is all that a refusal at trace time takes."""
    options = {"estimator": estimator, "num_samples": 4, "has_aux": True}
    return jax.eval_shape(
        jax.grad(lambda p: lt.expect(KEY, host, dist_of(p), **options)[0]), params
    )


def cases():
    for name, entry in ONE_EACH.items():
        problem = PROBLEMS[entry.problems[0]]
        yield name, entry.estimator, problem.dist, jnp.asarray(problem.params, float)
    for name, estimator in CONTINUOUS.items():
        yield name, estimator, lambda p: lt.Normal(p, 1.0), jnp.array([0.3, -0.2])
    yield (
        "ScoreFunction",
        lt.ScoreFunction(lt.DeltaMethod()),
        lambda p: lt.Normal(p, 1.0),
        jnp.array([0.3, -0.2]),
    )


@pytest.mark.parametrize("name, estimator, dist_of, params", list(cases()))
def test_a_host_function_as_f(name, estimator, dist_of, params):
    """Legal where the estimator does not differentiate f; else it is named."""
    if lt.estimators.DifferentiableCost not in estimator.needs:
        assert gradient(estimator, dist_of, params).shape == params.shape
        return
    message = rf"has no derivative. {name}\(\) needs a differentiable f. Use an estimator that does not .* ScoreFunction\(\)"
    with pytest.raises(TypeError, match=message):
        gradient(estimator, dist_of, params)


NEEDED = {
    "Bernoulli": ["ARM", "ARMS", "DisARM", "DoubleCV", "RODEO"],
    "Bernoulli or one-hot": [
        "GumbelRao",
        "GumbelSoftmax",
        "LocalExpectation",
        "REBAR",
        "RELAX",
        "ReinMax",
        "StraightThrough",
        "StraightThroughGumbelSoftmax",
    ],
    "finite": ["Enumerate", "SumAndSample", "UnorderedSet", "VariableElimination"],
}
OTHERS = {
    "Bernoulli": (lt.OneHotCategorical(jnp.zeros(3)), lt.Categorical(jnp.zeros(3))),
    "Bernoulli or one-hot": (lt.Categorical(jnp.zeros(3)), lt.Poisson(2.0)),
    "finite": (lt.Poisson(2.0), lt.Normal(0.0, 1.0)),
}


@pytest.mark.parametrize("need, name", [(need, name) for need in NEEDED for name in NEEDED[need]])
def test_a_distribution_of_another_kind(need, name):
    estimator = ONE_EACH[name].estimator
    for dist in OTHERS[need]:
        family = type(dist).__name__
        message = rf"{name}\(\) needs a {need} distribution; {family} is not. Use ScoreFunction\(\)"
        with pytest.raises(ValueError, match=message):
            lt.expect(KEY, jnp.sum, dist, estimator=estimator, num_samples=4, has_aux=True)


class Centered(lt.Estimator):
    """A user who forgets that centered costs lack their mean."""

    def draw(self, noise, dist):
        return lt.Points(dist.enumerate(), dist, stacked=True)

    def close(self, costs, points, runs):
        return costs.centered().at(0)


def test_centered_costs_that_are_not_averaged():
    with pytest.raises(ValueError, match=r"Centered.close returned costs.centered\(\), which lack"):
        lt.expect(KEY, jnp.sum, lt.Bernoulli(0.3), estimator=Centered())


ILLEGAL = [
    (
        lt.MeasureValued(),
        lt.Uniform(0.0, 1.0),
        r"MeasureValued\(\) needs .* Uniform declares none. Use Pathwise\(\)",
    ),
    (
        lt.DisARM(),
        lt.Uniform(0.0, 1.0),
        r"DisARM\(\) needs a Bernoulli distribution; Uniform is not. Use Pathwise\(\)",
    ),
    (
        lt.ScoreFunction(lt.MuProp()),
        lt.Categorical(jnp.zeros(3)),
        r"needs Bernoullis; got Categorical. Use LeaveOneOut",
    ),
    (
        lt.ScoreFunction(lt.MuProp()),
        lt.Poisson(2.0),
        r"got Poisson. Use DeltaMethod\(order=1\), or LeaveOneOut\(\)",
    ),
]


@pytest.mark.parametrize("estimator, dist, message", ILLEGAL)
def test_the_alternative_is_legal(estimator, dist, message):
    with pytest.raises(ValueError, match=message):
        lt.expect(KEY, lambda x: 1.0 * x, dist, estimator=estimator, num_samples=2)


def test_a_parameter_without_a_weak_derivative_names_the_estimator():
    value = lambda a: lt.expect(KEY, lambda x: x, lt.Gamma(a, 1.0), estimator=lt.MeasureValued())
    message = r"needs a weak derivative in every parameter that is differentiated; Gamma has weak derivatives in rate only"
    with pytest.raises(ValueError, match=message):
        jax.grad(value)(2.0)
