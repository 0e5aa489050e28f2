"""No silent zero: a foreign draw that no estimator accounts for raises when it is differentiated, wherever it stands."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.nn import sigmoid

import logtrick as lt
from tests.adapters.conftest import require
from tests.programs.test_guard import KEY, WHERE

# from its module and a logit, a distribution of 0 and 1
COINS = {
    "scipy.stats": lambda m, l: lt.adapters.from_scipy(m.bernoulli(sigmoid(l))),
    "numpyro.distributions": lambda m, l: lt.adapters.from_numpyro(m.Bernoulli(logits=l)),
    "distrax": lambda m, l: lt.adapters.from_distrax(m.Bernoulli(logits=l, dtype=jnp.float32)),
    "tensorflow_probability.substrates.jax.distributions": lambda m, l: lt.adapters.from_tfp(
        m.Bernoulli(logits=l, dtype=jnp.float32)
    ),
}
NORMALS = {
    "scipy.stats": lambda m, s: lt.adapters.from_scipy(m.norm(0.3, s)),
    "numpyro.distributions": lambda m, s: lt.adapters.from_numpyro(m.Normal(0.3, s)),
    "distrax": lambda m, s: lt.adapters.from_distrax(m.Normal(0.3, s)),
    "tensorflow_probability.substrates.jax.distributions": lambda m, s: lt.adapters.from_tfp(
        m.Normal(0.3, s)
    ),
    "flowjax.distributions": lambda m, s: lt.adapters.from_flowjax(m.Normal(0.3, s)),
}
PLACES = (
    "grad",
    "forward",
    "jit",
    "scan",
    "grad of vmap",
    "cond",
    "checkpointed scan",
    "linearize",
    "in a program",
)


def foreign(module):
    require(module.split(".")[0])
    return importlib.import_module(module)


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("module", COINS)
def test_raises_wherever_it_stands(module, where):
    m = foreign(module)
    with pytest.raises(lt.UnaccountedRandomnessError, match="sample was differentiated"):
        jax.block_until_ready(
            WHERE[where](lambda l, key=KEY: COINS[module](m, l).sample(key) * 1.0)(0.3)
        )


@pytest.mark.parametrize("module", COINS)
def test_silent_where_nothing_is_lost(module):
    m = foreign(module)
    draw = lambda l: COINS[module](m, l).sample(KEY)
    assert draw(0.3) in (0.0, 1.0)
    assert jax.grad(lambda l: draw(lax.stop_gradient(l)) * l)(0.3) == draw(0.3)
    assert jax.grad(lambda w: w**2 * draw(0.3))(2.0) == 4.0 * draw(0.3)


@pytest.mark.parametrize("module", NORMALS)
def test_reparameterized_ones_by_hand_are_pathwise(module):
    m = foreign(module)
    draw = lambda s: NORMALS[module](m, s).sample(KEY)
    np.testing.assert_allclose(
        jax.grad(lambda s: draw(s) ** 2)(2.0), draw(2.0) * (draw(2.0) - 0.3), rtol=1e-4
    )


def test_a_family_on_the_host():
    """Its parameters are constants: nothing can be lost, and traced ones are refused."""
    stats = foreign("scipy.stats")
    dist = lambda: lt.adapters.from_scipy(stats.hypergeom(20, 7, 12))
    assert jax.grad(lambda w: w * dist().sample(KEY))(1.0) == dist().sample(KEY)
    with pytest.raises(TypeError, match="from_scipy"):
        jax.grad(lambda a: lt.adapters.from_scipy(stats.gengamma(a, 1.0)).sample(KEY))(0.3)
