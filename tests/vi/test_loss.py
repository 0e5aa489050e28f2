"""`vi.loss`: what it tells those who count evaluations of the log density."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt
from logtrick import vi
from logtrick._core.meter import seen_in

NORMAL = vi.MeanFieldNormal(like=jnp.zeros(2))
BITS = vi.BernoulliProduct(like=jnp.zeros(2))


@pytest.mark.parametrize(
    ("q", "objective", "estimator", "evaluations", "biased"),
    [
        (NORMAL, vi.ELBO(), "auto", 8, ()),
        (NORMAL, vi.IWELBO(5), vi.DReG(), 40, ()),
        (NORMAL, vi.IWELBO(5), vi.STL(), 40, ("STL",)),
        (NORMAL, vi.IWELBO(5), lt.Pathwise(), 40, ()),
        (BITS, vi.IWELBO(5), lt.ScoreFunction(), 40, ()),
        (BITS, vi.IWELBO(5), vi.VIMCO(), 40, ()),
        (NORMAL, vi.LogVariance(), "auto", 8, ()),
    ],
)
def test_every_log_density_is_counted(q, objective, estimator, evaluations, biased):
    log_density = lambda z: -0.5 * jnp.sum((z - 1.0) ** 2)

    def value(q, key):
        return vi.loss(key, log_density, q, objective=objective, estimator=estimator, num_samples=8)

    seen = seen_in(value, q, jax.random.key(0))
    assert seen.evaluations == evaluations and seen.biased == biased


@pytest.mark.parametrize(
    ("objective", "estimator"),
    [
        (vi.IWELBO(4), vi.DReG()),
        (vi.IWELBO(4), vi.STL()),
        (vi.IWELBO(4), vi.VIMCO()),
        (vi.InclusiveKL(), vi.HeldDraws()),
        (vi.Renyi(-1.0, 4), vi.HeldDraws()),
    ],
    ids=lambda x: type(x).__name__,
)
def test_a_draw_that_the_density_excludes_has_weight_zero(objective, estimator):
    """Finite while another draw is possible: the value that a log density of −200 there gives, to rounding."""

    def value_and_grad(impossible):
        log_density = lambda z: jnp.where(z[0] > 0, -0.5 * jnp.sum(z**2), impossible)
        value = lambda q: vi.loss(
            jax.random.key(0),
            log_density,
            q,
            objective=objective,
            estimator=estimator,
            num_samples=4,
        )
        return jax.value_and_grad(value)(vi.MeanFieldNormal(like=jnp.array([1.0, 0.0])))

    found, expected = value_and_grad(-jnp.inf), value_and_grad(-200.0)
    assert 0 < sum(jnp.abs(leaf).sum() for leaf in jax.tree.leaves(found[1])) < jnp.inf
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected)):
        np.testing.assert_allclose(a, b, rtol=1e-5)
