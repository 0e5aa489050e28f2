"""Oracle rows elbo/* and iwae4/*: exact mean and variance of every estimator, by quadrature and enumeration."""

import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt
from logtrick import vi
from tests.oracles.problems import ROWS
from tests.vi.exact import categorical_noise, moments, normal_noise

ELBO = {
    "total": (vi.ELBO(), lt.Pathwise()),
    "stl": (vi.ELBO(), vi.STL()),
    "sf": (vi.ELBO(), lt.ScoreFunction(lt.NoBaseline())),
    "vargrad2": (vi.LogVariance(), vi.HeldDraws()),
    "vargrad4": (vi.LogVariance(), vi.HeldDraws()),
}
IWAE = {
    "none": (vi.IWELBO(2), lt.ScoreFunction(lt.NoBaseline())),
    "vimco_geo": (vi.IWELBO(2), vi.VIMCO()),
    "vimco_arith": (vi.IWELBO(2), vi.VIMCO(vi.ArithmeticMean())),
    "ovis0": (vi.IWELBO(2), vi.OVIS()),
    "ovis1": (vi.IWELBO(2), vi.OVIS(1.0)),
    "rws_wake": (vi.InclusiveKL(), vi.HeldDraws()),
}


def test_every_row_is_taken():
    rows = [name for name in ROWS if name.startswith(("elbo/", "iwae4/"))]
    assert len(rows) == 26
    assert {name.rsplit("/", 1)[1] for name in rows} == set(ELBO) | set(IWAE)


@pytest.mark.parametrize("point", ["m.5_s.8_c0", "at_optimum_c3"])
@pytest.mark.parametrize("name", ELBO)
def test_elbo_rows_are_reproduced(x64, point, name):
    objective, estimator = ELBO[name]
    row = ROWS[f"elbo/{point}/mu/{name}"]
    mu, sigma, log_z = (row["params"][k] for k in ("mu", "sigma", "logZ"))
    q = vi.MeanFieldNormal(like=np.array([mu]), scale=sigma)
    log_density = lambda z: log_z - 0.5 * z[0] ** 2 - 0.5 * jnp.log(2 * jnp.pi)
    noise, weights = normal_noise(1, row["n_samples"], 6)
    found = moments(
        q, log_density, noise, weights, row["n_samples"], objective=objective, estimator=estimator
    )
    for wrt, leaf, factor in (("mu", "loc", 1.0), ("sigma", "log_scale", sigma)):
        row = ROWS[f"elbo/{point}/{wrt}/{name}"]
        mean, variance = (getattr(m, leaf)[0] for m in found)
        np.testing.assert_allclose(-mean / factor, row["exact_mean"], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(
            variance / factor**2, row["exact_variance"], rtol=1e-9, atol=1e-12
        )


@pytest.mark.parametrize("name", IWAE)
def test_iwae4_rows_are_reproduced(x64, name):
    objective, estimator = IWAE[name]
    row = ROWS[f"iwae4/K2/{name}"]
    q = vi.CategoricalProduct(
        like=jnp.zeros(1, int), num_states=4, logits=np.array([row["params"]["q_logits"]])
    )
    joint = jnp.asarray(row["params"]["joint"])
    noise, weights = categorical_noise(q, 2)
    samples = 2 if objective.num_draws is None else 1
    if isinstance(estimator, lt.Estimator):
        noise = noise[:, None]
    mean, variance = moments(
        q,
        lambda z: jnp.log(joint[z[0]]),
        noise,
        weights,
        samples,
        objective=objective,
        estimator=estimator,
    )
    np.testing.assert_allclose(-mean.logits[0], row["exact_mean"], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(variance.logits[0], row["exact_variance"], rtol=1e-9)
