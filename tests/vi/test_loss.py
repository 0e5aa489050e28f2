"""`vi.loss`: what it tells those who count evaluations of the log density."""

import jax
import jax.numpy as jnp
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
