"""Every family under every estimator that its declarations make legal: unbiased in each of its parameters."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt
from logtrick.bijectors import bijector_to
from logtrick.distributions import Distribution
from tests.distributions.registry import CASES, float64, joint, quadrature

FAMILIES: dict[str, tuple[Callable[..., Distribution], tuple[Any, ...]]] = {
    **{case.name: (case.make, case.params) for case in CASES},
    "Joint": (joint, (np.array(0.5), np.array(-0.4))),
    # heavier tails than the registry's, whose gradient in df is too small to be resolved
    "StudentT": (lt.StudentT, (np.array(0.8), np.array(0.5), np.array(1.0))),
}
ESTIMATORS: dict[str, lt.Estimator] = {
    "score": lt.ScoreFunction(),
    "score without baseline": lt.ScoreFunction(lt.NoBaseline()),
    "pathwise": lt.Pathwise(),
    "enumerate": lt.Enumerate(),
}
SLOW = (
    "Gamma",
    "Beta",
    "Dirichlet",
    "NegativeBinomial",
    "Poisson",
)  # samplers that reject; few calls resolve them


def f(x: Any) -> jax.Array:
    """Bounded, smooth, neither even nor odd, of every coordinate of the draw."""
    flat = jnp.concatenate([jnp.ravel(leaf).astype(float) for leaf in jax.tree.leaves(x)])
    s = flat @ (0.9 - 0.7 * jnp.arange(flat.size))
    return jnp.tanh(s) - 1 / (1 + s**2)


def legal(dist: Distribution) -> list[str]:
    """The estimators that the declarations allow for a derivative in every parameter."""
    score = () if dist.moving_support else ("score", "score without baseline")
    pathwise = ("pathwise",) if dist.reparameterized else ()
    return [*score, *pathwise, *(("enumerate",) if dist.support.finite else ())]


def made(name: str) -> Distribution:
    make, params = FAMILIES[name]
    return make(*params)


def pairs() -> list[Any]:
    """Every family and every legal estimator; by default each family by one, in turn."""
    listed = []
    for turn, name in enumerate(FAMILIES):
        allowed = legal(made(name))
        for i, estimator in enumerate(allowed):
            marks = () if i == turn % len(allowed) else pytest.mark.full
            listed.append(pytest.param(name, estimator, marks=marks, id=f"{name}-{estimator}"))
    return listed


def nodes(dist: Any) -> tuple[Any, jax.Array]:
    """Points x and weights w with Σ w g(x) = ∫ g(x) dx over the support, or the sum over it."""
    if isinstance(dist, lt.Joint):
        each = {name: nodes(part) for name, part in dist.parts.items()}
        index = np.indices([len(w) for _, w in each.values()]).reshape(len(each), -1)
        points = {name: x[i] for (name, (x, _)), i in zip(each.items(), index)}
        return points, functools.reduce(
            jnp.multiply, [w[i] for (_, w), i in zip(each.values(), index)]
        )
    if dist.support.discrete:
        points = dist.enumerate() if dist.support.finite else jnp.arange(400.0)
        return points, jnp.ones(len(points))
    if dist.event_shape == ():
        return quadrature(dist)
    line, bijector = 0.2 * jnp.arange(-100.0, 101.0), bijector_to(dist.support)
    plane = jnp.stack(jnp.meshgrid(line, line), -1).reshape(-1, 2)
    return jax.vmap(bijector.forward)(plane), 0.2**2 * jnp.exp(jax.vmap(bijector.log_det)(plane))


@functools.cache
def truth(name: str) -> tuple[np.ndarray, ...]:
    """∇E[f] in float64, by a sum or by quadrature; where the support moves, the nodes move with it."""
    make, params = FAMILIES[name]
    with float64():
        fixed = None if made(name).moving_support else nodes(made(name))

        def moments(p: tuple, fixed: Any) -> tuple[jax.Array, jax.Array]:
            x, w = fixed or nodes(make(*p))
            mass = jnp.exp(jax.vmap(make(*p).log_prob)(x)) * w
            return mass @ jax.vmap(f)(x), mass.sum()

        gradient, mass = jax.jit(jax.grad(moments, has_aux=True))(
            jax.tree.map(jnp.asarray, params), fixed
        )
    np.testing.assert_allclose(mass, 1, rtol=3e-6)  # Laplace's kink
    return jax.tree.map(np.asarray, gradient)


def slopes(name: str, estimator: str, keys: jax.Array) -> tuple[jax.Array, ...]:
    """The gradient of one call a key, two draws each."""
    make, params = FAMILIES[name]
    value = lambda p, key: lt.expect(
        key, f, make(*p), estimator=ESTIMATORS[estimator], num_samples=2
    )
    return jax.jit(jax.vmap(jax.grad(value), (None, 0)))(jax.tree.map(jnp.asarray, params), keys)


@pytest.mark.parametrize(("name", "estimator"), pairs())
def test_unbiased(name: str, estimator: str) -> None:
    make, params = FAMILIES[name]
    if not made(name).support.finite:
        calls = 40_000 if estimator == "pathwise" or name in SLOW else 200_000
        keys = jax.random.split(jax.random.key(4), calls)
        for draws, exact in zip(
            slopes(name, estimator, keys), truth(name)
        ):  # a bias is relative to its parameter's gradient
            lt.testing.assert_unbiased(draws, exact, resolve=0.2)
        return
    with float64():  # every pair of draws, weighted by its probability: exact
        moments = lt.testing.exact_estimator_variance(
            lambda x, _: f(x),
            lambda p: make(*p),
            params,
            estimator=ESTIMATORS[estimator],
            num_samples=2,
        )
    for mean, variance, exact in zip(moments.mean, moments.variance, truth(name)):
        np.testing.assert_allclose(mean, exact, rtol=1e-10, atol=1e-12)
        assert (np.max(variance) < 1e-25) == (estimator == "enumerate")


@pytest.mark.parametrize("name", FAMILIES)
def test_every_other_estimator_is_refused(name: str) -> None:
    for estimator in set(ESTIMATORS) - set(legal(made(name))):
        with pytest.raises(
            ValueError,
            match=r"needs a (reparameterized|finite) distribution|the support moves with",
        ):
            jax.eval_shape(
                lambda keys, e=estimator: slopes(name, e, keys),
                jax.random.split(jax.random.key(0), 2),
            )


def test_every_exported_family_and_every_estimator_takes_part() -> None:
    exported = {
        n for n, v in vars(lt).items() if isinstance(v, type) and issubclass(v, Distribution)
    }
    assert exported - {"Distribution"} == set(FAMILIES)
    default = [pair.values for pair in pairs() if not pair.marks]
    assert {name for name, _ in default} == set(FAMILIES)
    assert {estimator for _, estimator in default} == set(ESTIMATORS)
    for name in FAMILIES:  # no parameter takes part by a gradient of 0
        for gradient in truth(name):
            assert np.max(np.abs(gradient)) > 0.01
