"""Illegal cells raise, with the legal alternatives; biased ones say so."""

import jax
import jax.numpy as jnp
import pytest

import logtrick as lt
from logtrick import vi
from logtrick.vi._auto import automatic
from logtrick.vi._legality import cell

normal = vi.MeanFieldNormal(like=jnp.zeros(2))
bits = vi.BernoulliProduct(like=jnp.zeros(5))
blocks = vi.Blocks(a=vi.MeanFieldNormal(like=0.0), b=vi.BernoulliProduct(like=jnp.zeros(5)))
density = lambda z: -0.5 * jnp.sum(z**2)


def loss(q=normal, log_density=density, **options):
    return vi.loss(jax.random.key(0), log_density, q, **options)


ILLEGAL = [
    (vi.ELBO(), vi.VIMCO(), r"vi.loss\(estimator=…\): ELBO needs one of any lt.Estimator"),
    (vi.ELBO(), vi.HeldDraws(), "got HeldDraws"),
    (vi.IWELBO(3), lt.DisARM(), r"IWELBO needs one of ScoreFunction\(\), Pathwise\(\)"),
    (vi.IWELBO(3), vi.HeldDraws(), "VIMCO"),
    (vi.Renyi(0.5), vi.OVIS(), "Renyi needs one of"),
    (vi.Renyi(-1.0), vi.DReG(), r"HeldDraws\(\) \(biased\)"),
    (vi.LogVariance(), lt.Pathwise(), r"LogVariance needs one of HeldDraws\(\) as"),
    (vi.InclusiveKL(), vi.STL(), "InclusiveKL"),
]


@pytest.mark.parametrize("objective, estimator, match", ILLEGAL)
def test_illegal_cells_name_the_legal_ones(objective, estimator, match):
    with pytest.raises(ValueError, match=match):
        loss(objective=objective, estimator=estimator)


def test_guides_that_an_estimator_cannot_use():
    for estimator in (vi.STL(), lt.Pathwise()):
        with pytest.raises(ValueError, match="needs a reparameterized"):
            loss(bits, estimator=estimator)
    with pytest.raises(ValueError, match=r"vi.DReG\(\) needs a reparameterized distribution"):
        loss(bits, objective=vi.IWELBO(2), estimator=vi.DReG())
    with pytest.raises(ValueError, match="a reparameterized distribution; BernoulliProduct is not"):
        loss(bits, objective=vi.IWELBO(2), estimator=lt.Pathwise())
    with pytest.raises(ValueError, match="Bernoulli"):
        loss(normal, estimator=lt.DisARM())


def test_what_is_no_estimator():
    with pytest.raises(TypeError, match=r"needs an instance; got the class. Write STL\(\)"):
        loss(estimator=vi.STL)
    with pytest.raises(TypeError, match="needs an estimator; got int"):
        loss(estimator=3)
    with pytest.raises(ValueError, match="needs \"auto\" or an estimator; got 'best'"):
        loss(estimator="best")
    with pytest.raises(TypeError, match="needs an objective"):
        loss(objective="elbo")
    with pytest.raises(TypeError, match="needs a guide or a distribution; got dict"):
        loss({"loc": 0.0})
    with pytest.raises(TypeError, match=r"takes a dict of estimators for vi.Blocks only"):
        loss(estimator={"a": vi.STL()})
    with pytest.raises(ValueError, match="names c; the blocks are a, b"):
        loss(blocks, lambda z: 0.0, estimator={"c": vi.STL()})
    with pytest.raises(ValueError, match="has one estimator for all blocks"):
        loss(blocks, lambda z: 0.0, objective=vi.IWELBO(2), estimator={"a": vi.STL()})
    with pytest.raises(ValueError, match="needs an estimator of lt"):
        loss(objective=vi.IWELBO(2), has_aux=True)


def test_a_density_that_is_no_scalar():
    with pytest.raises(ValueError, match="must be scalar"):
        loss(log_density=lambda z: z)


def test_objectives_refuse():
    with pytest.raises(ValueError, match=r"got 1. Use vi.ELBO\(\)"):
        vi.Renyi(1.0)
    with pytest.raises(ValueError, match="k=…"):
        vi.Renyi(0.5, k=1)
    with pytest.raises(ValueError, match="k=…"):
        vi.IWELBO(0)
    with pytest.raises(TypeError, match="static number"):
        vi.Renyi("a")
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        vi.OVIS(2.0)
    with pytest.raises(ValueError, match=r"InclusiveKL\(\) needs num_samples >= 2"):
        loss(objective=vi.InclusiveKL(), num_samples=1)


SECOND = [
    {"estimator": lt.ScoreFunction()},
    {"estimator": vi.STL()},
    {"objective": vi.IWELBO(2), "estimator": vi.DReG()},
    {"objective": vi.IWELBO(2), "estimator": vi.VIMCO()},
    {"objective": vi.LogVariance()},
]


@pytest.mark.parametrize("options", SECOND, ids=lambda o: type(o.get("estimator")).__name__)
def test_second_derivatives_raise_where_they_would_be_wrong(options):
    q = vi.MeanFieldNormal(like=jnp.zeros(1))
    value = lambda loc: loss(
        vi.MeanFieldNormal(like=jnp.zeros(1), loc=loc), num_samples=4, **options
    )
    assert jax.jit(jax.grad(value))(q.loc).shape == (1,)
    with pytest.raises(lt.DerivativeOrderError, match="first derivatives only"):
        jax.eval_shape(jax.hessian(value), q.loc)


def test_the_table_says_what_is_biased():
    assert not cell(vi.IWELBO(4), vi.STL()).unbiased
    assert not cell(vi.InclusiveKL(), vi.HeldDraws()).unbiased
    assert not cell(vi.IWELBO(4), vi.OVIS(0.5)).unbiased
    assert not cell(vi.ELBO(), lt.StraightThrough()).unbiased
    assert cell(vi.IWELBO(4), vi.DReG()).unbiased
    assert cell(vi.LogVariance(), vi.HeldDraws()).unbiased


def test_the_automatic_choice_is_legal():
    names = {}
    for objective in (
        vi.ELBO(),
        vi.IWELBO(2),
        vi.Renyi(0.5),
        vi.Renyi(-1.0),
        vi.InclusiveKL(),
        vi.LogVariance(),
    ):
        for q, smooth in ((normal, True), (normal, False), (bits, True)):
            chosen = automatic(objective, q, smooth)
            cell(objective, chosen)
            names[type(objective).__name__, type(q).__name__, smooth] = type(chosen).__name__
    assert names["ELBO", "MeanFieldNormal", True] == "STL"
    assert names["ELBO", "MeanFieldNormal", False] == "ScoreFunction"
    assert names["ELBO", "BernoulliProduct", True] == "DisARM"
    assert names["IWELBO", "MeanFieldNormal", True] == "DReG"
    assert names["IWELBO", "BernoulliProduct", True] == "VIMCO"


def fit(log_density=density, q=normal, **options):
    return vi.fit(jax.random.key(0), log_density, q, **options)


def amortized(**options):
    rows = vi.per_row(lambda z, x: -0.5 * (x - z) ** 2, jnp.ones(3))
    guide = vi.Amortized(lambda w, x: lt.Normal(w * x, 1.0), jnp.array(0.0))
    return vi.fit(jax.random.key(0), rows, guide, max_steps=2, **options)


def test_fits_refuse():
    means = vi.minibatch(lambda z: 0.0, lambda z, y: -jnp.mean((y - 3.0) ** 2), jnp.ones(10), 5)
    rows = vi.minibatch(lambda z: 0.0, lambda z, y: -((y - z[0]) ** 2), jnp.ones(10), 5)
    square = vi.minibatch(
        lambda z: 0.0, lambda z, y: -((y[None] - z[0] - y[:, None]) ** 2), jnp.ones(10), 5
    )
    cases = [
        (lambda: fit(optimizer="adam"), TypeError, "needs an optax optimizer or an engine"),
        (lambda: fit(optimizer=vi.Pipeline), TypeError, r"Write vi.Pipeline\(\)"),
        (lambda: fit(log_density=3.0), TypeError, r"needs a function, log_density\(z\); got float"),
        (lambda: fit(objective=vi.IWELBO(2), optimizer=vi.BatchAndMatch()), ValueError, "fits the ELBO's normal"),
        (lambda: fit(rows, optimizer=vi.BatchAndMatch()), ValueError, "on minibatches is biased"),
        (lambda: fit(rows, objective=vi.IWELBO(2)), ValueError, "IWELBO on minibatches is biased"),
        (lambda: fit(q=bits, optimizer=vi.Pipeline()), ValueError, "needs a normal guide; got BernoulliProduct"),
        (lambda: fit(refine="spline"), ValueError, 'None or "flow"'),
        (lambda: fit(q=bits, refine="flow"), ValueError, "a guide that a flow can start from"),
        (lambda: fit(init=bits), ValueError, "needs the family of q0"),
        (lambda: fit(stop="soon", max_steps=5), TypeError, "stop=…"),
        (lambda: fit(max_steps=0), ValueError, "max_steps"),
        (lambda: vi.minibatch(lambda z: 0.0, lambda z, y: y, jnp.ones(3), 5), ValueError, "at most the 3 rows"),
        (lambda: vi.minibatch(lambda z: 0.0, lambda z, y: y, (jnp.ones(3), jnp.ones(4)), 2), ValueError, "leading axis"),
        (lambda: fit(means), ValueError, "a sum over rows"),
        (lambda: fit(square), ValueError, r"over its 10 rows, shape \(\), .* got shape \(10, 10\)"),
        (lambda: fit(q=vi.Amortized(lambda w, x: normal, 0.0)), TypeError, "vi.per_row"),
        (lambda: amortized(init=normal), ValueError, "init=…. needs a guide that is not amortized"),
        (lambda: amortized(refine="flow"), ValueError, "refine=…. needs a guide that is not amortized"),
        (lambda: amortized(optimizer=vi.Pipeline()), ValueError, "Amortized, which has one for every"),
        (lambda: amortized(optimizer="adam"), TypeError, "needs an optax optimizer or an engine"),
        (lambda: amortized(objective="elbo"), TypeError, "needs an objective"),
        (lambda: amortized(estimator=vi.VIMCO()), ValueError, "ELBO needs one of"),
        (lambda: amortized(estimator=lt.ScoreFunction(lt.MovingAverage())), ValueError, "that does not learn"),
        (lambda: fit(vi.per_row(lambda z, x: 0.0, jnp.ones(3))), TypeError, r"Pass vi.Amortized"),
        (lambda: amortized(stop="soon"), TypeError, "stop=…"),
        (lambda: vi.per_row(3, jnp.ones(3)), TypeError, r"needs a function, log_joint\(z, x\)"),
        (lambda: vi.mcmc_start(jax.random.key(0), density, normal, num_draws=1), ValueError, "at least 2"),
        (lambda: vi.mcmc_start(jax.random.key(0), density, bits), ValueError, "continuous variables"),
        (lambda: vi.init(normal, 3), TypeError, "needs an optax gradient transformation"),
        (lambda: vi.Target(3, normal), TypeError, "needs a function of one draw"),
        (lambda: vi.Amortized(3, 0.0), TypeError, "needs a function of"),
    ]  # fmt: skip
    for call, kind, match in cases:
        with pytest.raises(kind, match=match):
            call()
