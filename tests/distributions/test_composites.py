"""Joint, Mixture and Transformed: declarations pass through, the guard holds, log p and draws are the parts'."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt
from logtrick.bijectors import Affine, Exp, Interval, Sigmoid, StickBreaking
from tests.distributions.registry import float64

KEY = jax.random.key(0)


def custom(mean: jax.Array) -> lt.Distribution:
    return lt.distribution(
        lambda m, x: -0.5 * (x - m) ** 2, lambda key, m: m + jax.random.normal(key)
    )(mean)


def test_a_joint_is_the_product_of_its_parts() -> None:
    parts = {
        "x": lt.Normal(jnp.zeros(2), 1.0),
        "n": (lt.Poisson(2.0), lt.Categorical(jnp.zeros(3))),
    }
    dist = lt.Joint(parts)
    x = dist.sample(KEY)
    assert jax.tree.map(np.shape, x) == dist.event_shape == {"x": (2,), "n": ((), ())}
    by_hand = (
        parts["x"].log_prob(x["x"])
        + parts["n"][0].log_prob(x["n"][0])
        + parts["n"][1].log_prob(x["n"][1])
    )
    np.testing.assert_allclose(dist.log_prob(x), by_hand, rtol=1e-6)
    assert (
        not dist.reparameterized
        and not dist.has_numeric_noise
        and not dist.support.finite
        and not dist.support.discrete
    )
    with pytest.raises(ValueError, match=r"Joint.log_prob\(x=…\) needs one draw, shape"):
        dist.log_prob({"x": jnp.zeros(3), "n": x["n"]})


def test_a_joint_enumerates_and_has_the_closed_forms_of_all_its_parts() -> None:
    dist = lt.Joint(
        (lt.Bernoulli(jnp.array([0.3, -1.0])), lt.Categorical(jnp.array([0.0, 1.0, 2.0])))
    )
    points = dist.enumerate()
    assert (
        jax.tree.map(np.shape, points) == ((12, 2), (12,))
        and dist.support.finite
        and dist.support.discrete
    )
    log_p = jax.vmap(dist.log_prob)(points)
    np.testing.assert_allclose(jnp.exp(log_p).sum(), 1, rtol=1e-6)
    np.testing.assert_allclose(dist.entropy(), -jnp.exp(log_p) @ log_p, rtol=1e-5)
    assert dist.closed_forms.mean is None and dist.kl_divergence(dist) == 0
    pair = lt.Joint([lt.Normal(1.0, 2.0), lt.Gamma(2.0, 4.0)])
    assert pair.mean() == [1.0, 0.5] and pair.reparameterized


def test_the_guard_of_a_joint_is_each_parts() -> None:
    make = lambda m, l: lt.Joint({"x": lt.Normal(m, 1.0), "b": lt.Bernoulli(l)})
    assert (
        jax.grad(lambda m: make(m, 0.0).sample(KEY)["x"])(1.0) == 1.0
    )  # pathwise by hand is legal
    with pytest.raises(lt.UnaccountedRandomnessError, match="Bernoulli.sample was differentiated"):
        jax.grad(lambda l: make(0.0, l).sample(KEY)["b"])(1.0)
    drawn = jax.grad(lambda m: make(m, 0.0).draw(make(m, 0.0).noise(KEY))["x"])(1.0)
    assert drawn == 0.0  # what a score function draws is held
    with pytest.raises(ValueError, match="the support moves with low, high"):
        jax.grad(lambda h: lt.Joint([lt.Uniform(0.0, h)]).fixed_support().log_prob([0.5]))(1.0)


def test_a_users_family_inside_keeps_its_guard_over_closures() -> None:
    for wrap in (lambda d: lt.Joint([d]), lambda d: lt.Transformed(d, Affine(0.0, 2.0))):

        def through_a_closure(m, wrap=wrap):
            family = lt.distribution(
                lambda p, x: -0.5 * (x - m) ** 2, lambda key, p: m + p + jax.random.normal(key)
            )
            return jax.tree.leaves(wrap(family(0.0)).sample(KEY))[0]

        with pytest.raises(lt.UnaccountedRandomnessError):
            jax.grad(through_a_closure)(1.0)
        assert wrap(custom(0.0)).may_hide_parameters


SETTING = {"power": 2.0}


class Power(lt.Distribution):
    """A user's class whose log-prob reads a setting elsewhere: log p(x) = −|x − loc|ᵃ up to a constant."""

    loc: Any
    event_shape = ()
    support = lt.supports.Real()
    noise_spec = lt.noise.StandardNormal()

    def _transform(self, noise):
        return self.loc + noise

    def _log_prob(self, x):
        return -(jnp.abs(x - self.loc) ** SETTING["power"])


def test_what_a_users_class_reads_elsewhere_is_read_at_every_call() -> None:
    def score(loc):
        return lt.expect(KEY, lambda x: x, Power(loc), num_samples=64)

    draws = lt.expect(KEY, lambda x: x, Power(0.0), num_samples=64, has_aux=True)[1].draws
    others = (draws.sum() - draws) / 63
    for power in (2.0, 4.0):
        SETTING["power"] = power
        slopes = power * jnp.abs(draws) ** (power - 1) * jnp.sign(draws)
        by_hand = jnp.mean((draws - others) * slopes)
        np.testing.assert_allclose(jax.grad(score)(0.0), by_hand, rtol=1e-4)


def test_a_users_class_made_of_an_earlier_draw_is_credited() -> None:
    """The bit reaches the second site through a closure only; P(y = 1) = ½ + ¼ x."""

    def program(logit):
        x = yield lt.sample(lt.Bernoulli(logit), lt.Enumerate())

        class Biased(lt.Distribution):
            event_shape = ()
            support = lt.supports.Boolean()
            noise_spec = lt.noise.Uniform()

            def _transform(self, noise):
                return (noise < 0.5 + 0.25 * x).astype(jnp.float32)

            def _log_prob(self, y):
                p = 0.5 + 0.25 * x
                return jnp.log(jnp.where(y == 1, p, 1 - p))

        y = yield lt.sample(Biased())
        yield lt.cost(y)

    slope = jax.grad(lambda a: lt.expect_program(KEY, program, a, num_samples=20_000))(0.0)
    assert (
        abs(slope - 0.25 * 0.25) < 0.02
    )  # 0 without the credit; its standard deviation is below 0.004


def test_a_mixture_of_one_family_is_vmapped_and_equals_the_loop() -> None:
    logits = jnp.array([0.0, 1.0, -jnp.inf])
    parts = tuple(
        lt.MultivariateNormal(jnp.full(2, float(i)), jnp.eye(2) * (i + 1)) for i in range(3)
    )
    dist = lt.Mixture(logits, parts)
    assert isinstance(dist.components, lt.MultivariateNormal) and dist.event_shape == (2,)
    x = jnp.array([0.3, -0.5])
    terms = jnp.stack([p.log_prob(x) for p in parts]) + jax.nn.log_softmax(logits)
    np.testing.assert_allclose(dist.log_prob(x), jax.nn.logsumexp(terms), rtol=1e-6)
    assert not dist.reparameterized  # two coordinates
    draws = jax.jit(jax.vmap(dist.sample))(jax.random.split(KEY, 20_000))
    lt.testing.assert_unbiased(draws, np.asarray(dist.mean()), resolve=0.2)
    lt.testing.assert_unbiased(
        (draws - dist.mean()[None]) ** 2, np.asarray(dist.variance()), resolve=0.2
    )


def test_a_mixture_of_several_families() -> None:
    dist = lt.Mixture(jnp.array([0.5, -0.2]), (lt.Gamma(2.0, 1.0), lt.LogNormal(0.0, 0.5)))
    assert dist.reparameterized and type(dist.support).__name__ == "Positive"
    terms = jnp.stack([lt.Gamma(2.0, 1.0).log_prob(1.3), lt.LogNormal(0.0, 0.5).log_prob(1.3)])
    np.testing.assert_allclose(
        dist.log_prob(1.3), jax.nn.logsumexp(terms + jax.nn.log_softmax(dist.logits)), rtol=1e-6
    )
    log_p, slope = jax.value_and_grad(lambda l: lt.Mixture(l, dist.components).log_prob(-1.0))(
        dist.logits
    )
    assert log_p == -np.inf and not np.isnan(slope).any()
    counts = lt.Mixture(jnp.zeros(2), (lt.Poisson(1.0), lt.Geometric(0.0)))
    assert counts.support.discrete and not counts.reparameterized
    with pytest.raises(lt.UnaccountedRandomnessError, match="Mixture.sample was differentiated"):
        jax.grad(lambda l: lt.Mixture(l, counts.components).sample(KEY))(jnp.zeros(2))
    beta = lt.Mixture(jnp.zeros(2), (lt.Beta(2.0, 3.0), lt.Beta(1.0, 1.0)))
    assert (
        not beta.reparameterized
    )  # JAX cannot differentiate the incomplete beta function in a and b


def test_transformed_declares_what_its_base_and_its_image_allow() -> None:
    assert lt.Transformed(lt.Normal(0.0, 1.0), Affine(1.0, 2.0)).moving_support == ()
    assert lt.Transformed(lt.Exponential(1.0), Affine(1.0, 2.0)).moving_support == ("bijector",)
    assert lt.Transformed(lt.Normal(0.0, 1.0), Interval(0.0, 2.0)).moving_support == ("bijector",)
    assert lt.Transformed(lt.Uniform(0.0, 1.0), Exp()).moving_support == ("base",)
    score = lambda high: (
        lt.Transformed(lt.Normal(0.0, 1.0), Interval(0.0, high)).fixed_support().log_prob(0.5)
    )
    with pytest.raises(ValueError, match="Transformed: the support moves with bijector"):
        jax.grad(score)(2.0)
    logistic_normal = lt.Transformed(lt.Normal(jnp.zeros(2), 1.0), StickBreaking())
    assert logistic_normal.event_shape == (3,)
    x = logistic_normal.sample(KEY)
    np.testing.assert_allclose(x.sum(), 1, rtol=1e-6)
    assert np.isfinite(logistic_normal.log_prob(x)) and logistic_normal.log_prob(x + 0.1) == -np.inf
    # the density of σ(z) integrates to one
    grid = jnp.linspace(5e-4, 1 - 5e-4, 1000)
    density = jnp.exp(jax.vmap(lt.Transformed(lt.Normal(0.3, 0.7), Sigmoid()).log_prob)(grid))
    np.testing.assert_allclose(density.sum() * 1e-3, 1, rtol=1e-4)


def test_errors() -> None:
    with pytest.raises(
        TypeError, match=r"Joint\(parts=…\) needs a pytree of distributions; got float"
    ):
        lt.Joint([lt.Normal(0.0, 1.0), 2.0])
    with pytest.raises(
        TypeError, match=r"Joint\(parts=…\) needs a pytree of distributions; got no leaves"
    ):
        lt.Joint([])
    with pytest.raises(ValueError, match="enumerating .* points exceeds"):
        lt.Joint([lt.Bernoulli(jnp.zeros(12)), lt.Bernoulli(jnp.zeros(12))]).enumerate()
    with pytest.raises(TypeError, match=r"Mixture\(components=…\) needs distributions; got float"):
        lt.Mixture(jnp.zeros(2), (lt.Normal(0.0, 1.0), 2.0))
    with pytest.raises(
        ValueError, match=r"Mixture\(components=…\) needs components of one event shape"
    ):
        lt.Mixture(jnp.zeros(2), (lt.Normal(0.0, 1.0), lt.Normal(jnp.zeros(2), 1.0)))
    with pytest.raises(ValueError, match="mixes discrete and continuous components"):
        lt.Mixture(jnp.zeros(2), (lt.Normal(0.0, 1.0), lt.Poisson(1.0)))
    with pytest.raises(TypeError, match=r"Transformed\(base=…\) needs a distribution; got float"):
        lt.Transformed(0.0, Exp())
    with pytest.raises(
        TypeError, match=r"Transformed\(bijector=…\) needs a bijector; got function"
    ):
        lt.Transformed(lt.Normal(0.0, 1.0), lambda x: x)
    with pytest.raises(
        ValueError, match=r"Transformed\(base=…\) needs a continuous distribution; got Bernoulli"
    ):
        lt.Transformed(lt.Bernoulli(0.0), Exp())
    with pytest.raises(ValueError, match="enumerating 12!/0! rankings exceeds"):
        lt.PlackettLuce(jnp.zeros(12)).enumerate()
    with pytest.raises(
        ValueError,
        match=r"Binomial\(total_count=…\) needs whole numbers between 0 and 2\*\*30; got -1",
    ):
        lt.Binomial(-1, 0.0)
    with pytest.raises(
        ValueError,
        match=r"Normal: parameters of shapes \(2,\), \(3,\) do not broadcast to one event",
    ):
        lt.Normal(jnp.zeros(2), jnp.ones(3))


def by_component(make, f, estimator: lt.Estimator):
    """The program that sums over the component and draws from it."""

    def program(params):
        mixture = make(params)
        k = yield lt.sample(lt.Categorical(mixture.logits), lt.Enumerate())
        x = yield lt.sample(mixture.component(k), estimator)
        yield lt.cost(f(x))

    return program


def test_the_sum_over_components_is_the_mixture_exactly() -> None:
    f = lambda x: jnp.cos(1.7 * x) + 0.3 * x**2

    def make(params):
        logits, rows = params  # the last component has no weight
        return lt.Mixture(jnp.append(logits, -jnp.inf), jax.vmap(lt.Categorical)(rows))

    params = (
        jnp.array([0.4, -0.8]),
        jnp.array([[0.3, -1.0, 0.5], [1.0, 0.0, -0.4], [5.0, 0.0, 0.0]]),
    )
    with float64():
        params = jax.tree.map(lambda p: jnp.asarray(p, float), params)
        program = by_component(make, f, lt.Enumerate())
        ours = lambda p: lt.expect_program(KEY, program, p)
        exactly = lambda p: lt.testing.exact_expectation(f, make(p))
        value, slope = jax.jit(jax.value_and_grad(ours))(params)
        direct, exact = jax.jit(jax.value_and_grad(exactly))(params)
    np.testing.assert_allclose(value, direct, rtol=1e-13)
    for got, want in zip(slope, exact):
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-15)
        assert np.abs(want).max() > 0.01


@pytest.mark.parametrize("estimator", [lt.Pathwise(), lt.ScoreFunction()])
def test_the_sum_over_components_of_normals_is_unbiased(estimator: lt.Estimator) -> None:
    make = lambda p: lt.Mixture(p[0], (lt.Normal(p[1][0], p[2]), lt.Normal(p[1][1], p[2])))
    program = by_component(make, lambda x: x**2 + x, estimator)
    params = (jnp.array([0.4, -0.8]), jnp.array([-1.0, 0.5]), jnp.array(0.8))

    def exact(p):  # E[x² + x] of a normal is μ² + σ² + μ
        return jax.nn.softmax(p[0]) @ (p[1] ** 2 + p[2] ** 2 + p[1])

    value = lambda p, key: lt.expect_program(key, program, p, num_samples=2)
    keys = jax.random.split(KEY, 60_000)
    draws = jax.jit(jax.vmap(jax.grad(value), (None, 0)))(params, keys)
    lt.testing.assert_unbiased(
        draws, jax.tree.map(np.asarray, jax.grad(exact)(params)), resolve=0.1
    )


def test_a_traced_component_is_the_component() -> None:
    alike = lt.Mixture(jnp.zeros(2), (lt.Gamma(2.0, 1.0), lt.Gamma(0.5, 3.0)))
    several = lt.Mixture(
        jnp.zeros(3), (lt.Exponential(0.4), lt.LogNormal(0.3, 0.5), lt.Gamma(2.0, 1.0))
    )
    at_k = jax.jit(
        jax.vmap(jax.value_and_grad(lambda dist, k: dist.component(k).log_prob(1.3)), (None, 0))
    )
    for dist in (alike, several):
        parts = [dist.component(k) for k in range(dist.logits.size)]
        values, slopes = at_k(dist, jnp.arange(len(parts)))
        np.testing.assert_allclose(
            values, jnp.stack([part.log_prob(1.3) for part in parts]), rtol=1e-6
        )
        for k, part in enumerate(
            parts
        ):  # the k-th component's score, and nothing in the others or the weights
            want = jax.tree.map(jnp.zeros_like, parts)
            want[k] = jax.grad(lambda d: d.log_prob(1.3))(part)
            got = jax.tree.map(lambda s: s[k], slopes)
            np.testing.assert_array_equal(got.logits, 0)
            for i, part in enumerate(want):
                mine = (
                    jax.tree.map(lambda s: s[i], got.components)
                    if dist is alike
                    else got.components[i]
                )
                np.testing.assert_allclose(jax.tree.leaves(mine), jax.tree.leaves(part), rtol=1e-6)
    assert isinstance(several.component(1), lt.LogNormal)
    draw = jax.jit(jax.vmap(lambda k, key: several.component(k).sample(key), (None, 0)))
    for k in range(3):
        x = draw(k, jax.random.split(KEY, 10_000))
        lt.testing.assert_unbiased(x, several.component(k).mean(), resolve=0.1)


def test_a_wrong_component_is_refused() -> None:
    mixture = lt.Mixture(jnp.zeros(2), (lt.Normal(0.0, 1.0), lt.Normal(1.0, 1.0)))
    for k in (1.0, True, jnp.arange(2)):
        with pytest.raises(TypeError, match=r"Mixture.component\(k=…\) needs one integer; got "):
            mixture.component(k)
    for k in (-1, 2):
        with pytest.raises(
            ValueError, match=rf"Mixture.component\(k=…\) needs k in 0 … 1; got {k}"
        ):
            mixture.component(k)
