"""Laws of guides: shapes, densities, moments, supports, the flat vector."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt
from logtrick import vi
from logtrick.vi._flat import layout_of
from logtrick.vi._simplex import IsometricLogRatio
from tests.vi.exact import hermite

LIKE = {"mu": 0.3, "tau": 2.0, "w": {"p": np.array([0.2, 0.5, 0.3]), "r": np.array([0.5])}}
SUPPORT = {"tau": vi.positive, "w": {"p": vi.simplex, "r": vi.interval(-1.0, 2.0)}}
BOUNDED = {**SUPPORT, "tau": vi.interval(0.5, 5.0)}  # a t of log tau has no mean

GUIDES = {
    "MeanFieldNormal": lambda: vi.MeanFieldNormal(like=LIKE, support=SUPPORT, scale=0.5),
    "FullRankNormal": lambda: vi.FullRankNormal(like=LIKE, support=SUPPORT, scale=0.5),
    "LowRankNormal": lambda: vi.LowRankNormal(2, like=LIKE, support=SUPPORT, scale=0.5),
    "StudentT": lambda: vi.StudentT(like=LIKE, support=BOUNDED, scale=0.3, df=9),
    "MixtureOf": lambda: vi.MixtureOf(2, like=LIKE, support=SUPPORT, scale=0.3),
    "CouplingFlow": lambda: vi.CouplingFlow(like=LIKE, support=SUPPORT, scale=0.5, width=4),
    "Blocks": lambda: vi.Blocks(
        a=vi.MeanFieldNormal(like=1.0, support=vi.positive),
        b=vi.BernoulliProduct(like={"x": np.zeros(2)}),
        c=vi.CategoricalProduct(like=np.zeros(3), num_states=4),
        d=lt.Gamma(2.0, 3.0),
        e=vi.StudentT(like=np.zeros(2), scale=3.0, df=9),  # whose own coordinates are whitened ones
    ),
    "Wrapped": lambda: vi.Wrapped(
        lt.Joint({"a": lt.Gamma(2.0, 3.0), "b": lt.Normal(np.zeros(2), 1.0)})
    ),
}


SLOW = pytest.mark.full
EACH = [
    n if n in ("MeanFieldNormal", "Blocks", "Wrapped") else pytest.param(n, marks=SLOW)
    for n in GUIDES
]


@pytest.mark.parametrize("name", EACH)
def test_draws_densities_and_moments_agree(name):
    q = GUIDES[name]()
    draws = q.sample(jax.random.key(0), 2000)
    one = q.sample(jax.random.key(0))
    first = jax.tree.map(lambda a: a[0], draws)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), one, first)
    log_q = jax.jit(jax.vmap(q.log_prob))(draws)
    assert log_q.shape == (2000,)
    assert np.isfinite(log_q).all()
    for moment, found in ((q.mean(), jnp.mean), (q.stddev(), jnp.std)):
        jax.tree.map(
            lambda m, d: np.testing.assert_allclose(m, found(d, 0), rtol=0.25, atol=0.15),
            moment,
            draws,
        )
    jax.tree.map(
        lambda v, s: np.testing.assert_allclose(v, s**2, rtol=1e-4), q.variance(), q.stddev()
    )
    leaves, tree = jax.tree.flatten(q)
    assert repr(jax.tree.unflatten(tree, leaves)) == repr(q)
    assert all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves)


@pytest.mark.parametrize("name", GUIDES)
def test_the_flat_vector_agrees_with_the_variables(name):
    """log q(u) = log q(z) + log |det ∂T/∂u|, and the target has the same log-determinant."""
    q = GUIDES[name]()
    u, log_q = q.flat_draws(jax.random.key(1), 4)
    target = vi.Target(q.log_prob, q)
    np.testing.assert_allclose(target.batch(u), log_q, rtol=1e-4, atol=2e-4)
    assert target.evaluations == 4
    assert u.shape == (4, q.dim)
    assert len(target.names) == q.dim
    assert target.differentiable == (name != "Blocks")


@pytest.mark.parametrize("name", ["StudentT", "MixtureOf", "CouplingFlow"])
def test_densities_integrate_to_one(x64, name):
    """E over a wide normal of q/normal, by quadrature, in the two unconstrained coordinates."""
    make = {"MixtureOf": lambda **k: vi.MixtureOf(2, **k)}
    q = make.get(name, getattr(vi, name))(like=np.zeros(2), scale=0.8)
    leaves, tree = jax.tree.flatten(q)
    q = tree.unflatten(
        [x + 0.1 * jnp.cos(jnp.arange(x.size, dtype=float)).reshape(x.shape) for x in leaves]
    )
    grid = jnp.linspace(-12.0, 12.0, 301)
    if name == "StudentT":
        grid = jnp.sinh(jnp.linspace(-7.0, 7.0, 401))
    spacing = jnp.gradient(grid)
    points = jnp.stack(jnp.meshgrid(grid, grid), -1).reshape(-1, 2)
    density = jnp.exp(jax.jit(jax.vmap(q.log_prob))(points)).reshape(grid.size, grid.size)
    np.testing.assert_allclose(spacing @ density @ spacing, 1.0, rtol=2e-3)


def test_outside_of_the_support_the_density_is_zero():
    q = vi.MeanFieldNormal(
        like={"a": 1.0, "b": 0.5}, support={"a": vi.positive, "b": vi.unit_interval}
    )
    for z in ({"a": -1.0, "b": 0.5}, {"a": 1.0, "b": 1.5}):
        assert q.log_prob(z) == -np.inf
        assert all(
            np.isfinite(g).all() for g in jax.tree.leaves(jax.grad(lambda q: q.log_prob(z))(q))
        )
    bits = vi.BernoulliProduct(like=np.zeros(2))
    assert bits.log_prob(jnp.array([0.5, 1.0])) == -np.inf


def test_a_guide_starts_at_the_values_given():
    q = vi.MeanFieldNormal(like=LIKE, support=SUPPORT, scale=1e-4)
    jax.tree.map(lambda m, v: np.testing.assert_allclose(m, v, rtol=1e-3), q.mean(), LIKE)
    outside = vi.MeanFieldNormal(like={"tau": -1.0}, support=vi.positive)
    assert outside.loc.tolist() == [0.0]
    shapes = vi.MeanFieldNormal(like=jax.ShapeDtypeStruct((3,), np.float32))
    assert shapes.loc.tolist() == [0.0, 0.0, 0.0]


def test_moments_in_closed_form(x64):
    q = vi.MeanFieldNormal(
        like={"a": 2.0, "b": 0.25},
        support={"a": vi.positive, "b": vi.interval(0.0, 2.0)},
        scale=0.6,
    )
    x, w = hermite(200)
    b = 2 / (1 + np.exp(-(np.log(0.25 / 1.75) + 0.6 * x)))
    np.testing.assert_allclose(q.mean()["b"], w @ b, rtol=1e-10)
    np.testing.assert_allclose(q.variance()["b"], w @ b**2 - (w @ b) ** 2, rtol=1e-8)
    np.testing.assert_allclose(q.mean()["a"], 2 * np.exp(0.18), rtol=1e-12)
    only = vi.FullRankNormal(like=2.0, support=vi.positive, scale=0.6)  # log-normal
    np.testing.assert_allclose(
        only.entropy(), np.log(2.0) + 0.5 + np.log(0.6) + 0.5 * np.log(2 * np.pi), rtol=1e-12
    )
    with pytest.raises(ValueError, match="no entropy in closed form"):
        q.entropy()


def test_moments_under_heavy_tails():
    """By draws they would be finite numbers that mean nothing: 20.6 for the positive one."""
    like, support = {"r": 0.5, "p": 1.0, "o": jnp.arange(2.0)}, {"p": vi.positive, "o": vi.ordered}
    q = vi.StudentT(like=like, support=support, df=2)
    listed = lambda tree: jax.tree.map(lambda a: a.tolist(), tree)
    assert listed(q.mean()) == {"r": 0.5, "p": np.inf, "o": [0.0, np.inf]}
    assert listed(q.stddev()) == {"r": np.inf, "p": np.inf, "o": [np.inf] * 2}  # fmt: skip
    assert np.isnan(vi.StudentT(like=0.0, df=1).mean())
    bounded = vi.StudentT(like=0.5, support=vi.unit_interval, df=1)
    np.testing.assert_allclose(bounded.mean(), 0.5, atol=1e-3)


def test_whole_numbers_and_probabilities_of_wrapped_distributions():
    """exp(log 7) is 7.0000005 in single precision, and 7 successes of as many trials were a wrong number: −9.84."""
    counts = lt.Binomial(jnp.array([10, 7]), logits=0.0)
    q, z = vi.Wrapped(counts), jnp.array([10.0, 7.0])
    np.testing.assert_allclose(q.log_prob(z), counts.log_prob(z), rtol=1e-6)
    grads = jax.grad(lambda q: q.log_prob(z))(q)
    assert grads.raw.total_count.tolist() == [0.0, 0.0] and grads.raw.parameter != 0
    for made in (lt.Bernoulli(probs=0.2), lt.Categorical(probs=jnp.array([0.2, 0.8]))):
        q = vi.Wrapped(made)
        np.testing.assert_allclose(q.log_prob(1), made.log_prob(1), rtol=1e-6)
        assert not q.raw.by_probs


def test_a_wrapped_joint_knows_which_of_its_variables_are_discrete():
    q = vi.Wrapped(
        lt.Joint(
            {"a": lt.Normal(0.0, 1.0), "b": lt.Poisson(2.0), "c": lt.Categorical(jnp.zeros(3))}
        )
    )
    assert [v.discrete for v in q.layout.variables] == [False, True, True] and q.discrete
    assert jax.tree.leaves(q.layout.constrain(jnp.array([0.5, 3.0, 1.0])))[2].dtype == jnp.int32
    report = vi.diagnose(jax.random.key(0), q.log_prob, q, num_draws=500)
    assert report.verdict == "good" and not report.searched and np.isnan(report.decrement)


def test_low_rank_is_woodbury(x64):
    q = vi.LowRankNormal(2, like=np.zeros(5), scale=1.3)
    z = np.linspace(-1, 1, 5)
    exact = jax.scipy.stats.multivariate_normal.logpdf(z, np.zeros(5), q.covariance())
    np.testing.assert_allclose(q.log_prob(z), exact, rtol=1e-12)


def test_a_square_scale_at_condition_1e8(x64):
    scale = np.array([[1.0, 1.0], [1.0, 1.0 + 1e-8]])
    q = vi.FullRankNormal(like=np.zeros(2), scale=scale)
    assert np.isfinite(q.scale_tril).all()
    np.testing.assert_allclose(
        jnp.sum(jnp.log(jnp.diagonal(q.scale_tril))), np.log(1e-8), rtol=1e-6
    )
    again = q.at_normal(*q.normal())
    np.testing.assert_allclose(again.scale_tril, q.scale_tril, rtol=1e-6)


def test_isometric_log_ratios_have_their_inverse_and_log_determinant(x64):
    x = jnp.array([0.3, -0.7, 1.1])
    bijector = IsometricLogRatio()
    jacobian = jax.jacobian(lambda x: bijector.forward(x)[:-1])(x)
    np.testing.assert_allclose(bijector.log_det(x), np.linalg.slogdet(jacobian)[1], rtol=1e-12)
    np.testing.assert_allclose(bijector.inverse(bijector.forward(x)), x, rtol=1e-12)
    np.testing.assert_allclose(jnp.sum(bijector.forward(x)), 1.0, rtol=1e-15)


@pytest.mark.parametrize("support, shape, size", [
    (vi.ordered, (4,), 4), (vi.correlation_cholesky, (3, 3), 3), (vi.simplex, (2, 3), 4),
    (vi.interval(np.zeros(3), np.ones(3)), (2, 3), 6),
])  # fmt: skip
def test_every_support_maps_there_and_back(support, shape, size):
    q = vi.FullRankNormal(like=np.zeros(shape), support=support)
    assert q.dim == size

    @jax.jit
    def there_and_back(q, key):
        z = q.sample(key)
        u, _ = q.flat_draws(key, 1)
        return z, q.log_prob(z), u[0], q.unconstrain(q.constrain(u[0]))

    z, log_prob, u, back = there_and_back(q, jax.random.key(0))
    assert z.shape == shape
    assert np.isfinite(log_prob)
    np.testing.assert_allclose(back, u, rtol=1e-3, atol=1e-4)


def test_what_guides_refuse():
    three = vi.interval(np.zeros(3), np.ones(3))
    cases = [
        (lambda: vi.MeanFieldNormal(like={}), ValueError, "at least one variable"),
        (lambda: vi.MeanFieldNormal(like={"a": 0.0}, support={"b": vi.positive}), ValueError, "names b, which"),
        (lambda: vi.MeanFieldNormal(like={"a": 0.0}, support={"a": "positive"}), TypeError, "needs supports; got str"),
        (lambda: vi.MeanFieldNormal(like=np.zeros(3, int)), TypeError, "'z' is int"),
        (lambda: vi.MeanFieldNormal(like=0.0, support=lt.supports.Boolean()), ValueError, "continuous supports"),
        (lambda: vi.MeanFieldNormal(like=0.0, support=vi.simplex), ValueError, "a shape that Simplex"),
        (lambda: vi.MeanFieldNormal(like=0.0, scale=-1.0), ValueError, "needs positive numbers"),
        (lambda: vi.MeanFieldNormal(like=np.zeros(2), scale=np.ones(3)), ValueError, r"shape \(\) or \(2,\)"),
        (lambda: vi.StudentT(like=0.0, scale=0.0), ValueError, r"StudentT\(scale=…\) needs positive numbers"),
        (lambda: vi.MixtureOf(2, like=np.zeros(2), scale=np.ones(3)), ValueError, r"shape \(\) or \(2,\)"),
        (lambda: vi.FullRankNormal(like=np.zeros(2), scale=np.ones((3, 3))), ValueError, r"got \(3, 3\)"),
        (lambda: vi.FullRankNormal(like=np.zeros(2), scale=np.zeros((2, 2))), ValueError, "an invertible matrix"),
        (lambda: vi.MeanFieldNormal(like=[0.0], support={"a": vi.positive}), ValueError, "pytree of supports"),
        (lambda: vi.interval(1.0, 0.0), ValueError, "high above low"),
        (lambda: vi.MeanFieldNormal(like=np.zeros(2), support=three), ValueError, "ends that broadcast"),
        (lambda: vi.BernoulliProduct(), ValueError, "needs the shapes"),
        (lambda: vi.BernoulliProduct(like=np.zeros(2), logits=np.zeros(3)), ValueError, r"needs shape \(\) or \(2,\)"),
        (lambda: vi.CategoricalProduct(like=np.zeros(2), num_states=0), ValueError, "at least 1"),
        (lambda: vi.LowRankNormal(0, like=0.0), ValueError, "rank=…"),
        (lambda: vi.StudentT(like=0.0, df=2.5), TypeError, "df=…"),
        (lambda: vi.Blocks(), ValueError, "at least one block"),
        (lambda: vi.Blocks(a=3), TypeError, "needs a guide or a distribution"),
        (lambda: vi.Wrapped(3), TypeError, "needs a distribution"),
    ]  # fmt: skip
    for make, kind, match in cases:
        with pytest.raises(kind, match=match):
            make()


def test_layouts_are_static():
    a, b = (layout_of("test", LIKE, SUPPORT) for _ in range(2))
    assert a == b
    assert hash(a) == hash(b)
    other = layout_of(
        "test", LIKE, {**SUPPORT, "w": {"p": vi.simplex, "r": vi.interval(-1.0, 3.0)}}
    )
    assert a != other
    assert a.names[:3] == ["mu", "tau", "w.p[0]"]
