"""Every legal objective × estimator on continuous guides: the mean gradient by quadrature is that of the stated target."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt
from logtrick import vi
from logtrick._core.module import replace
from tests.vi.exact import assert_close, hermite, moments, normal_noise
from tests.vi.objectives import ChiSquare, ForwardKL, JensenShannon, NormalizedChiSquare

NODES = 30

# smooth, not Gaussian, light-tailed enough for 30 nodes; in a positive variable
log_density = lambda z: (
    -0.5 * (jnp.log(z) - 0.4) ** 2 + 0.2 * jnp.sin(jnp.log(z)) - jnp.log(z) + 7.0
)
density_1 = lambda z: log_density(z[0])


def guide(cls=vi.MeanFieldNormal, **options):
    return cls(like=np.ones(1), support=vi.positive, scale=0.7, **options)


def exact_gradient(q, log_density, objective, k, width=1, nodes=NODES):
    """∇ ∓E[φ] by the pathwise derivative of a quadrature sum over k draws of `width` normals."""
    noise, weights = normal_noise(width, k, nodes)
    sign = -1 if objective.maximize else 1

    def value(q, noise):
        xs = jax.vmap(q.base.transform)(noise)
        log_w = lambda x: log_density(q.constrain(x)) + q.log_det(x) - q.base.log_prob(x)
        return sign * objective.value(jax.vmap(log_w)(xs))

    grads = jax.jit(jax.vmap(jax.grad(value), (None, 0)))(q, jnp.asarray(noise))
    return jax.tree.map(lambda g: jnp.tensordot(weights, g, 1), grads)


CASES = [
    (vi.ELBO(), vi.STL()),
    (vi.ELBO(), vi.DReG()),
    (vi.ELBO(), lt.Pathwise()),
    (vi.ELBO(), lt.ScoreFunction(lt.NoBaseline())),
    (vi.IWELBO(2), vi.DReG()),
    (vi.IWELBO(2), vi.VIMCO()),
    (vi.IWELBO(2), lt.Pathwise()),
    (vi.IWELBO(2), lt.ScoreFunction(lt.NoBaseline())),
    (vi.Renyi(0.5, 2), vi.DReG()),
    (vi.Renyi(2.0, 2), vi.DReG()),
    (JensenShannon(), vi.DReG()),
    (ChiSquare(), vi.DReG()),
    (ChiSquare(), vi.VIMCO()),
]


@pytest.mark.parametrize("objective, estimator", CASES, ids=lambda x: type(x).__name__)
def test_the_mean_gradient_of_a_mean_field_normal_is_exact(x64, objective, estimator):
    q, k = guide(), objective.num_draws
    noise, weights = normal_noise(1, k, NODES)
    if k > 1 and isinstance(estimator, lt.Estimator):
        noise = noise[:, None]  # one site draws all
    mean, _ = moments(q, density_1, noise, weights, 1, objective=objective, estimator=estimator)
    assert_close(mean, exact_gradient(q, density_1, objective, k), rtol=1e-6)


def test_leave_one_out_and_log_variance(x64):
    q = guide()
    noise, weights = normal_noise(1, 2, NODES)
    exact = exact_gradient(q, density_1, vi.ELBO(), 1)
    for options in ({"estimator": lt.ScoreFunction()}, {"objective": vi.LogVariance()}):
        mean, _ = moments(q, density_1, noise, weights, 2, **options)
        assert_close(mean, exact, rtol=1e-6)


def test_sticking_the_landing_of_a_k_draw_bound_is_declared_biased(x64):
    q = guide()
    noise, weights = normal_noise(1, 2, NODES)
    options = {"objective": vi.IWELBO(2), "estimator": vi.STL()}
    mean, _ = moments(q, density_1, noise, weights, 1, **options)
    exact = exact_gradient(q, density_1, vi.IWELBO(2), 2)
    assert not vi.LEGAL["IWELBO"]["STL"].unbiased
    assert np.max(np.abs(mean.loc - exact.loc)) > 0.05 * np.max(np.abs(exact.loc))


two = lambda z: -0.5 * z[0] ** 2 - 0.5 * (z[1] - 0.3 * z[0]) ** 2 + 0.1 * jnp.cos(z[0]) * z[1]


def moved(q, size=0.2):
    """A guide away from its start, so that no derivative is 0 by symmetry."""
    leaves, tree = jax.tree.flatten(q)
    bump = lambda i, x: (
        x + size * jnp.cos(1.0 + i + jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape)
    )
    return tree.unflatten([bump(i, leaf) for i, leaf in enumerate(leaves)])


def flow():
    """With gentle tanh units, whose poles quadrature does not see."""
    q = vi.CouplingFlow(like=np.zeros(2), num_couplings=2, width=2)
    couplings = tuple(replace(c, inner=0.2 * c.inner) for c in q.couplings)
    return replace(q, couplings=couplings)


# name: the guide, the normals of a draw, nodes, and the accuracy of the quadrature
FAMILIES = {
    "FullRankNormal": (lambda: vi.FullRankNormal(like=np.zeros(2)), 2, 24, 1e-6),
    "LowRankNormal": (lambda: vi.LowRankNormal(1, like=np.zeros(2)), 3, 16, 1e-6),
    "CouplingFlow": (flow, 2, 40, 1e-6),
    "Wrapped": (lambda: vi.Wrapped(lt.Normal(np.zeros(2), np.ones(2))), 2, 24, 1e-6),
}
BY_FAMILY = [vi.STL(), lt.ScoreFunction(lt.NoBaseline())]


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("estimator", BY_FAMILY, ids=lambda e: type(e).__name__)
def test_the_mean_gradient_of_every_family_is_exact(x64, name, estimator):
    make, width, nodes, accuracy = FAMILIES[name]
    q = moved(make(), 0.05 if name == "CouplingFlow" else 0.2)
    noise, weights = normal_noise(width, 1, nodes)
    mean, _ = moments(q, two, noise, weights, 1, estimator=estimator)
    exact = exact_gradient(q, two, vi.ELBO(), 1, width, nodes)
    assert_close(mean, exact, rtol=accuracy)


def test_student_t_by_draws():
    """Heavy tails defeat quadrature: STL against the total derivative on a million draws, log q bounded in its tails."""
    q = moved(vi.StudentT(like=np.zeros(1), df=3))
    density = lambda z: -jnp.log1p(z[0] ** 2)
    grads = {
        type(e).__name__: jax.jit(
            jax.grad(
                lambda q: vi.loss(jax.random.key(0), density, q, estimator=e, num_samples=400_000)
            )
        )(q)
        for e in (vi.STL(), lt.Pathwise(), lt.ScoreFunction())
    }
    for name in ("Pathwise", "ScoreFunction"):
        assert_close(grads[name], grads["STL"], rtol=0.02)


def test_mixture_by_quadrature(x64):
    """The stratified gradient against the derivative of Σⱼ wⱼ E_j[log w] by quadrature in each component."""
    q = moved(vi.MixtureOf(2, like=np.zeros(1)))
    density = lambda z: -0.5 * z[0] ** 2 + 0.3 * jnp.cos(z[0])
    x, w = hermite(60)

    def exact(q):
        trils = jnp.exp(q.factors[:, 0, 0])
        xs = q.locs[:, 0][:, None] + trils[:, None] * jnp.asarray(x)[None]
        log_w = lambda x: (
            density(q.constrain(x[None])) + q.log_det(x[None]) - q.base.log_prob(x[None])
        )
        return -q.weights @ (jax.vmap(jax.vmap(log_w))(xs) @ w)

    exact_gradient = jax.jit(jax.grad(exact))(q)
    keys = jax.random.split(jax.random.key(0), 30_000)
    for estimator in (vi.STL(), lt.ScoreFunction()):
        loss = lambda q, k: vi.loss(k, density, q, estimator=estimator, num_samples=2)
        grads = jax.jit(jax.vmap(jax.grad(loss), (None, 0)))(q, keys)
        found = {n: getattr(grads, n) for n in ("logits", "locs", "factors")}
        truth = {n: getattr(exact_gradient, n) for n in found}
        lt.testing.assert_unbiased(found, truth, resolve=0.2)


def test_blocks_of_bits_and_a_normal(x64):
    """A program of two sites: an exact sum over the bits of a quadrature over the normal."""
    density = lambda z: (
        -0.5 * (z["mu"] - z["on"] @ jnp.array([1.0, -2.0])) ** 2 + 0.2 * jnp.sin(z["mu"])
    )
    q = vi.Blocks(
        mu=vi.MeanFieldNormal(like=0.2, scale=0.8),
        on=vi.BernoulliProduct(logits=np.array([0.4, -0.3])),
    )
    x, w = hermite(40)

    def exact(q):
        mu, on = q.parts["mu"], q.parts["on"]
        bits = on.base.enumerate()
        log_w = lambda m, b: (
            density({"mu": m[0], "on": b}) - mu.base.log_prob(m) - on.base.log_prob(b)
        )
        at = mu.base.transform
        values = jax.vmap(lambda b: w @ jax.vmap(lambda e: log_w(at(e[None]), b))(jnp.asarray(x)))(
            bits
        )
        return -jnp.exp(jax.vmap(on.base.log_prob)(bits)) @ values

    truth = jax.jit(jax.grad(exact))(q)
    keys = jax.random.split(jax.random.key(0), 40_000)
    pairs = [(vi.STL(), lt.DisARM()), (lt.ScoreFunction(), lt.Enumerate())]
    for on_mu, on_bits in pairs:
        choice = {"mu": on_mu, "on": on_bits}
        loss = lambda q, k: vi.loss(k, density, q, estimator=choice, num_samples=2)
        grads = jax.jit(jax.vmap(jax.grad(loss), (None, 0)))(q, keys)
        pick = lambda g: {
            "loc": g.parts["mu"].loc,
            "s": g.parts["mu"].log_scale,
            "l": g.parts["on"].logits,
        }
        lt.testing.assert_unbiased(pick(grads), pick(truth), resolve=0.2)


@pytest.mark.parametrize(
    "objective", [ForwardKL(), NormalizedChiSquare()], ids=lambda o: type(o).__name__
)
def test_one_draw_divergences_with_a_normalized_density(x64, objective):
    """A one-draw f-divergence: DReG keeps the score term's mean, which has the wrong sign where it is dropped."""
    normal = lambda z: jax.scipy.stats.norm.logpdf(z[0])
    q = vi.MeanFieldNormal(like=np.array([0.5]), scale=np.exp(0.3))
    noise, weights = normal_noise(1, 1, 100)
    published = {"ForwardKL": (0.274, 0.314), "NormalizedChiSquare": (0.466, 0.445)}
    for estimator in (vi.DReG(), lt.Pathwise(), lt.ScoreFunction(lt.NoBaseline())):
        mean, _ = moments(q, normal, noise, weights, 1, objective=objective, estimator=estimator)
        found = (mean.loc[0], mean.log_scale[0])
        np.testing.assert_allclose(found, published[type(objective).__name__], atol=6e-4)
