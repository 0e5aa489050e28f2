"""Estimators that take a derivative of their own, inside a user's `shard_map`: of their own device's number, not the sum.

A derivative in what all devices share is summed over them; here it was, silently: RELAX's gradient was off by 40 %.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import Mesh, PartitionSpec as P

import logtrick as lt

THETA = jnp.array([0.4, -0.7])
KEYS = jax.random.split(jax.random.key(2), 4)
MESH = Mesh(jax.devices()[:4], ("d",))
BITS, NORMAL = lt.Bernoulli, lambda t: lt.Normal(t, 1.0)
CASES = {
    "RELAX": (lambda w: lt.RELAX(lambda w, y: w * jnp.sum(y**2), w), BITS),
    "LAX": (lambda w: lt.LAX(lambda w, x: w * jnp.sum(x**2), w), NORMAL),
    "REBAR": (lambda w: lt.REBAR(0.6, w, learn=True), BITS),
    "DoubleCV": (lambda w: lt.DoubleCV(w, learn=True), BITS),
    "RODEO": (lambda w: lt.RODEO(lambda w, u: w * jnp.tanh(u), w), BITS),
    "Combination": (
        lambda w: lt.Combination((lt.Pathwise(), lt.ScoreFunction()), (w, 1 - w), learn=True),
        NORMAL,
    ),
    "optimal baseline": (lambda w: lt.ScoreFunction(lt.OptimalBaseline()), NORMAL),
    "MuProp": (lambda w: lt.ScoreFunction(lt.MuProp()), BITS),
}


def loss(name, params, key, scale=1.0):
    """Value and adaptive loss of one device."""
    make, dist_of = CASES[name]
    theta, w = params
    cost = lambda x: scale * (x[0] - 2.0 * x[1] + 0.5 * x[0] * x[1] - 0.3) ** 2 + theta[0] * x[1]
    value, aux = lt.expect(
        key, cost, dist_of(theta), estimator=make(w), num_samples=4, has_aux=True
    )
    return value + aux.adaptive_loss


FEW = {"RELAX", "REBAR", "Combination", "optimal baseline"}


@pytest.mark.parametrize(
    "name", [n if n in FEW else pytest.param(n, marks=pytest.mark.full) for n in CASES]
)
def test_a_key_a_device_is_a_vmap_over_the_keys(name):
    params = (THETA, jnp.array(0.3))
    spread = jax.shard_map(
        lambda p, k: lax.pmean(loss(name, p, k[0]), "d"),
        mesh=MESH,
        in_specs=(P(), P("d")),
        out_specs=P(),
    )
    want = jax.jit(
        jax.value_and_grad(lambda p: jnp.mean(jax.vmap(lambda k: loss(name, p, k))(KEYS)))
    )(params)
    got = jax.jit(jax.value_and_grad(lambda p: spread(p, KEYS)))(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), got, want)


def test_one_key_for_costs_that_differ_is_refused():
    """The draw is the same on all devices and the costs are not: a derivative in the draw would be their sum."""
    run = lambda name: jax.shard_map(
        lambda p, s: lax.pmean(loss(name, p, KEYS[0], s[0]), "d"),
        mesh=MESH,
        in_specs=(P(), P("d")),
        out_specs=P(),
    )
    params, scales = (THETA, jnp.array(0.3)), jnp.arange(1.0, 5.0)
    for name in ("DoubleCV", "RODEO", "REBAR", "MuProp"):
        with pytest.raises(
            ValueError,
            match=r"over the mesh axes \['d'\] the costs vary while the draw is the same.*fold_in",
        ):
            jax.eval_shape(run(name), params, scales)
    want = jnp.mean(jax.vmap(lambda s: loss("RELAX", params, KEYS[0], s))(scales))
    np.testing.assert_allclose(
        jax.jit(run("RELAX"))(params, scales), want, rtol=1e-5
    )  # no derivative of f
