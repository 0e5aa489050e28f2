"""Oracle rows beyond one scalar expectation: second derivatives, direct terms, credit, full covariances."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import special

import logtrick as lt
from tests.oracles.problems import ROWS, check, problem


def run(row, one, seed=0):
    """`suggested_M` independent calls of `one(key)`."""
    keys = jax.random.split(jax.random.key(seed), row["suggested_M"])
    return check(row, np.asarray(jax.jit(lambda k: jax.lax.map(one, k, batch_size=10_000))(keys)))


@pytest.mark.parametrize("name", ["dice/normal_mu_hessian", "dice/normal_mu_hessian_baseline"])
def test_second_derivative_of_a_normal(name):
    row = ROWS[name]
    mu, sigma = row["params"]["mu"], row["params"]["sigma"]
    baseline = (
        lt.ConstantBaseline(mu**2 + sigma**2) if name.endswith("baseline") else lt.NoBaseline()
    )
    value = lambda m, k: lt.expect(
        k, lambda x: x**2, lt.Normal(m, sigma), estimator=lt.ScoreFunction(baseline), num_samples=1
    )
    run(row, lambda k: jax.hessian(value)(mu, k))


def test_second_derivative_of_a_bernoulli():
    row = ROWS["dice/bernoulli_hessian"]
    p, f1, f0 = (row["params"][k] for k in ("p", "f1", "f0"))
    value = lambda logit, k: lt.expect(
        k,
        lambda x: jnp.where(x == 1, f1, f0),
        lt.Bernoulli(logit),
        estimator=lt.ScoreFunction(lt.NoBaseline()),
        num_samples=1,
    )
    run(row, lambda k: jax.hessian(value)(float(special.logit(p)), k))


def test_direct_term():
    row = ROWS["adev/figure2"]

    def value(theta, k):
        dist = lt.Bernoulli(jnp.log(theta) - jnp.log1p(-theta))
        f = lambda b: jnp.where(b == 1, 0.0, -theta / 2)
        return lt.expect(k, f, dist, estimator=lt.ScoreFunction(lt.NoBaseline()), num_samples=1)

    run(row, lambda k: jax.grad(value)(row["params"]["theta"], k))


@pytest.mark.parametrize(
    "name, estimator", [("sf", lt.ScoreFunction(lt.NoBaseline())), ("loo4", lt.ScoreFunction())]
)
def test_poisson_to_negative_binomial(name, estimator):
    row = ROWS[f"stochasticad/poisson_nb_kl/{name}"]
    check(row, problem(row).gradients(estimator, row["n_samples"], row["suggested_M"]))


def test_credit_by_dependency_is_rao_blackwellised():
    """A separable cost in ten sites: each is credited with its own term, without being told."""
    row = ROWS["mvn/iso_D10/rao_blackwell_local"]

    def program(mu):
        for i in range(10):
            x = yield lt.sample(lt.Normal(mu[i], 1.0), lt.ScoreFunction(lt.NoBaseline()))
            yield lt.cost(x**2)

    value = lambda mu, k: lt.expect_program(k, program, mu, num_samples=1)
    run(row, lambda k: jax.grad(value)(jnp.ones(10), k)[0])


def test_pathwise_full_covariance():
    """Domke (2019), equality case: E‖g‖² = M² [(D + 1) ‖mu − z*‖² + (D + 3) ‖C‖²] over all D + D² entries of (mu, C).

    Of C only the lower triangle is a parameter here; the others' part, M² Σ_{i<j} ((mu − z*)_i² + ‖C_i‖²), comes off.
    """
    row = ROWS["mvn/domke_fullrank"]
    mu, c, target = (jnp.asarray(row["params"][k]) for k in ("mu", "C", "zstar"))
    scale, dim = row["params"]["M"], row["params"]["D"]
    c = c * jnp.sign(jnp.diagonal(c))[None, :]  # the same law, with a positive diagonal

    def value(mu, c, k):
        cost = lambda x: 0.5 * scale * jnp.sum((x - target) ** 2)
        return lt.expect(
            k, cost, lt.MultivariateNormal(mu, c), estimator=lt.Pathwise(), num_samples=1
        )

    keys = jax.random.split(jax.random.key(0), 200_000)
    by_mu, by_c = jax.jit(jax.vmap(jax.grad(value, (0, 1)), (None, None, 0)))(mu, c, keys)
    lt.testing.assert_unbiased({"mu": by_mu}, {"mu": scale * (mu - target)}, resolve=0.04)
    entries = np.tril_indices(dim)
    lt.testing.assert_unbiased(by_c[:, *entries], scale * c[entries], resolve=0.04)
    offset, rows = np.asarray((mu - target) ** 2), np.asarray(jnp.sum(c**2, 1))
    total = scale**2 * ((dim + 1) * offset.sum() + (dim + 3) * rows.sum())
    # the row holds the trace of the covariance
    moments = row["exact_variance"] + scale**2 * (offset.sum() + rows.sum())
    assert total == pytest.approx(moments, rel=1e-5)
    above = scale**2 * sum((offset[i] + rows[i]) * (dim - 1 - i) for i in range(dim))
    squares = np.sum(np.square(np.asarray(by_mu)), 1) + np.sum(np.square(np.asarray(by_c)), (1, 2))
    lt.testing.assert_unbiased(squares, total - above, resolve=0.04)


def test_the_crazy_program():
    """A binomial and a Bernoulli summed over, a normal whose cost is linear in mirrored noise: exact, and so its maximum."""
    row = ROWS["stochasticad/crazy_program"]

    def program(logit):
        p = jax.nn.sigmoid(logit)
        a = p * (1 - p)
        b = yield lt.sample(lt.Binomial(10, logit), lt.Enumerate())
        c = 2 * b + 3 * (yield lt.sample(lt.Bernoulli(logit), lt.Enumerate()))
        yield lt.cost(a * c * (yield lt.sample(lt.Normal(b, a), lt.Pathwise(plan=lt.Antithetic()))))

    value = lambda logit, key: lt.expect_program(key, program, logit, num_samples=2)
    mean, slope = jax.value_and_grad(value)(special.logit(0.5), jax.random.key(0))
    np.testing.assert_allclose(mean, 15.625, rtol=1e-6)
    np.testing.assert_allclose(slope / 0.25, row["exact_gradient"], rtol=1e-6)  # dp / d logit = ¼
    fit = lt.maximize(jax.random.key(1), value, jnp.array(0.0), optax.adam(0.1), num_steps=300)
    np.testing.assert_allclose(
        jax.nn.sigmoid(fit.params), (570 + (570**2 + 134400) ** 0.5) / 1680, rtol=1e-4
    )
