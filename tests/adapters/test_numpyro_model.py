"""A NumPyro model as a log density: NumPyro's own, in the constrained space; what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt
from logtrick.bijectors import bijector_to
from tests.adapters.conftest import require

DATA = jnp.array([1.0, 2.5, -0.3])


def models():
    require("numpyro")
    import numpyro
    import numpyro.distributions as nd

    return numpyro, nd


def mixed(y):
    numpyro, nd = models()
    loc = numpyro.sample("loc", nd.Normal(0.0, 1.0))
    scale = numpyro.sample("scale", nd.HalfNormal(2.0))
    slope = numpyro.sample("slope", nd.Uniform(-1.0, 3.0))
    with numpyro.plate("data", len(y)):
        numpyro.sample("y", nd.Normal(loc + slope, scale), obs=y)


def test_density_with_the_jacobian_is_the_potential_up_to_the_choice_of_bijectors():
    numpyro, _ = models()
    model = lt.adapters.from_numpyro_model(mixed, DATA)
    assert {name: type(s).__name__ for name, s in model.supports.items()} == {
        "loc": "Real", "scale": "Positive", "slope": "Interval"
    }  # fmt: skip
    free = {"loc": jnp.array(0.4), "scale": jnp.array(-0.7), "slope": jnp.array(1.2)}
    initial = numpyro.infer.util.initialize_model(jax.random.key(0), mixed, model_args=(DATA,))

    def ours(free):
        maps = {name: bijector_to(support) for name, support in model.supports.items()}
        z = {name: maps[name].forward(free[name]) for name in free}
        return model.log_density(z) + sum(maps[name].log_det(free[name]) for name in free)

    np.testing.assert_allclose(ours(free), -initial.potential_fn(free), rtol=1e-5)
    theirs = jax.grad(lambda z: -initial.potential_fn(z))(free)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), jax.grad(ours)(free), theirs
    )


def test_discrete_latents():
    numpyro, nd = models()

    def coin(y):
        on = numpyro.sample("on", nd.Bernoulli(0.3))
        numpyro.sample("y", nd.Normal(2.0 * on, 1.0), obs=y)

    model = lt.adapters.from_numpyro_model(coin, jnp.array(1.5))
    assert model.supports["on"].finite and model.like["on"].dtype == jnp.int32
    normal = lambda mean: -0.5 * (1.5 - mean) ** 2 - 0.5 * np.log(2 * np.pi)
    assert float(model.log_density({"on": 1})) == pytest.approx(np.log(0.3) + normal(2.0), rel=1e-5)
    assert float(model.log_density({"on": 0})) == pytest.approx(np.log(0.7) + normal(0.0), rel=1e-5)


def test_refusals():
    numpyro, nd = models()
    adapt = lt.adapters.from_numpyro_model
    with pytest.raises(
        ValueError,
        match=r"log_density\(z\) needs the sites \['loc', 'scale', 'slope'\]; got \['loc'\]",
    ):
        adapt(mixed, DATA).log_density({"loc": 0.0})
    with pytest.raises(
        ValueError, match=r"needs 'loc' of shape \(\); got \(2,\)\. Use jax.vmap over draws"
    ):
        adapt(mixed, DATA).log_density({"loc": jnp.zeros(2), "scale": 1.0, "slope": 0.0})

    def subsampled(y):
        loc = numpyro.sample("loc", nd.Normal(0.0, 1.0))
        with numpyro.plate("data", len(y), subsample_size=2) as index:
            numpyro.sample("y", nd.Normal(loc, 1.0), obs=y[index])

    with pytest.raises(
        ValueError, match="needs a density without randomness; plate 'data' draws 2 of 3"
    ):
        adapt(subsampled, DATA)

    def nested(y):
        top = numpyro.sample("top", nd.HalfNormal(1.0))
        numpyro.sample("below", nd.Uniform(0.0, top))

    with pytest.raises(
        ValueError,
        match="needs supports that stand still; that of site 'below' depends on another site",
    ):
        adapt(nested, DATA)
    with pytest.raises(ValueError, match=r"needs latent sites; got \['y'\], all observed"):
        adapt(lambda y: numpyro.sample("y", nd.Normal(0.0, 1.0), obs=y), 1.0)
