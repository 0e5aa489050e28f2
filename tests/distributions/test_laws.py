"""Laws that every family of the registry keeps."""

import functools
import inspect
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import logtrick as lt
from logtrick.distributions import Distribution, weak_noise_spec
from tests.distributions.registry import (
    BY_NAME,
    CASES,
    NAMES,
    Case,
    finite_differences,
    float64,
    quadrature,
    support_points,
)

every = pytest.mark.parametrize("name", NAMES)
NUMBERS = [case.name for case in CASES if case.law == "number"]
COUNTED = [case.name for case in CASES if case.law in ("points", "count")]
KEYS = 20_000


def stacked(points: tuple, dtype: str) -> np.ndarray:
    return np.asarray(points, dtype)


@functools.cache
def evaluated(name: str, dtype: str) -> tuple[np.ndarray, tuple, np.ndarray, tuple]:
    """log p and score at the points inside and outside, in one compilation."""
    case = BY_NAME[name]
    params = tuple(np.asarray(p, dtype) for p in case.params)
    points = stacked((*case.inside, *case.outside), dtype)
    count = len(case.inside)

    @jax.jit
    def all_of(params: tuple, points: jax.Array) -> tuple:
        one = lambda x: jax.value_and_grad(lambda p: case.make(*p).log_prob(x))(params)
        return jax.vmap(one)(points)

    values, scores = jax.tree.map(np.asarray, all_of(params, points))
    split = lambda part: (values[part], jax.tree.map(lambda s: s[part], scores))
    return (*split(slice(0, count)), *split(slice(count, None)))


@functools.cache
def draws(name: str) -> np.ndarray:
    case = BY_NAME[name]
    params = tuple(np.asarray(p, np.float32) for p in case.params)
    sample = jax.jit(lambda p, keys: jax.vmap(lambda k: case.make(*p).sample(k))(keys))
    return np.asarray(sample(params, jax.random.split(jax.random.key(20), KEYS)))


@every
def test_log_prob_is_scipys_in_float64(name: str) -> None:
    case = BY_NAME[name]
    with float64():
        values = evaluated(name, "float64")[0]
    exact = [case.log_prob(np.asarray(x), *case.params) for x in case.inside]
    assert values.dtype == np.float64
    np.testing.assert_allclose(values, exact, rtol=1e-11, atol=1e-11)


@every
def test_log_prob_is_scipys_in_float32(name: str) -> None:
    case = BY_NAME[name]
    rounded = lambda v: np.asarray(
        np.asarray(v, np.float32), np.float64
    )  # what the float32 call was given
    values = evaluated(name, "float32")[0]
    exact = [case.log_prob(rounded(x), *map(rounded, case.params)) for x in case.inside]
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, exact, rtol=3e-6, atol=3e-6)


@every
def test_outside_the_support_log_prob_is_minus_infinity_and_the_score_no_nan(name: str) -> None:
    case = BY_NAME[name]
    values, scores = evaluated(name, "float32")[2:]
    legal = np.array([not np.isnan(np.asarray(x, float)).any() for x in case.outside])
    assert (values[legal] == -np.inf).all()
    assert not np.isfinite(values).any()  # nan: −inf or nan, never a number
    for score in scores:
        assert np.isfinite(score[legal]).all()


@every
def test_score_against_finite_differences(name: str) -> None:
    case = BY_NAME[name]
    with float64():
        scores = evaluated(name, "float64")[1]
    for i, x in enumerate(case.inside):
        if name == "Uniform" and x in case.params:
            continue  # at the boundary itself there is no derivative
        exact = finite_differences(lambda *p: case.log_prob(np.asarray(x), *p), case.params)
        for got, want in zip(scores, exact):
            want = np.tril(want) if want.ndim == 2 and name == "MultivariateNormal" else want
            np.testing.assert_allclose(
                got[i], want, rtol=3e-8, atol=3e-8 * max(1, np.abs(want).max())
            )


@every
def test_sampler(name: str) -> None:
    case, x = BY_NAME[name], draws(name)
    if case.law == "number":
        assert (
            stats.kstest(
                x.astype(float), lambda v: np.vectorize(lambda q: case.cdf(q, *case.params))(v)
            ).pvalue
            > 1e-4
        )
    elif case.law == "marginals":
        for column, law in zip(x.T, case.marginals):
            assert stats.kstest(column.astype(float), law.cdf).pvalue > 1e-4
    else:
        points = support_points(case)
        p = np.exp([case.log_prob(q, *case.params) for q in points])
        np.testing.assert_allclose(p.sum(), 1, rtol=1e-12)
        flat = x.reshape(KEYS, -1)
        counts = np.array([(flat == np.asarray(q).reshape(1, -1)).all(1).sum() for q in points])
        assert counts.sum() == KEYS  # every draw is in the support
        rare = p * KEYS < 5
        observed = np.append(counts[~rare], counts[rare].sum())
        expected = np.append(p[~rare], p[rare].sum()) * KEYS
        kept = expected > 0
        assert (
            stats.chisquare(observed[kept], expected[kept] * KEYS / expected[kept].sum()).pvalue
            > 1e-4
        )


@pytest.mark.parametrize("name", COUNTED)
def test_probabilities_sum_to_one_and_scores_to_zero(name: str) -> None:
    case = BY_NAME[name]
    with float64():
        points = jnp.asarray(support_points(case))
        total = jax.jit(lambda p: jnp.exp(jax.vmap(case.make(*p).log_prob)(points)).sum())
        value, slope = jax.value_and_grad(total)(case.params)
    np.testing.assert_allclose(value, 1, rtol=1e-12)
    for s in jax.tree.leaves(slope):  # ∇ Σ p = Σ p ∇ log p
        np.testing.assert_allclose(s, 0, atol=1e-12)


@pytest.mark.parametrize("name", NUMBERS)
def test_density_integrates_to_one_scores_to_zero_and_closed_forms_are_integrals(name: str) -> None:
    case = BY_NAME[name]
    with float64():
        params, others = jax.tree.map(jnp.asarray, (case.params, case.other))
        dist = case.make(*params)
        x, w = jax.lax.stop_gradient(quadrature(dist))
        w = jnp.where((x > -jnp.inf) & (x < jnp.inf), w, 0.0)

        @jax.jit
        def integrals(p: tuple, q: tuple) -> dict:
            log_p, log_q = jax.vmap(case.make(*p).log_prob)(x), jax.vmap(case.make(*q).log_prob)(x)
            density = jnp.exp(log_p) * w
            finite = jnp.where(log_p > -jnp.inf, log_p, 0.0)
            mean = density @ x
            return {
                "one": density.sum(),
                "mean": mean,
                "variance": density @ (x - mean) ** 2,
                "entropy": -density @ finite,
                "kl_divergence": density @ (finite - jnp.where(log_p > -jnp.inf, log_q, 0.0)),
            }

        got = integrals(params, others)
        slope = jax.grad(lambda p: integrals(p, others)["one"])(params)
        kink = (
            2e-6 if name == "Laplace" else 1e-9
        )  # at a kink the rule is off by h²/12 of its slopes' jump
        np.testing.assert_allclose(got["one"], 1, rtol=kink)
        if not dist.moving_support:
            for s in jax.tree.leaves(slope):
                np.testing.assert_allclose(s, 0, atol=10 * kink)
        for what in ("mean", "variance", "entropy"):
            if getattr(dist.closed_forms, what):
                np.testing.assert_allclose(getattr(dist, what)(), got[what], rtol=1e-6 + 5 * kink)
        if dist.closed_forms.kl_divergence:
            np.testing.assert_allclose(
                dist.kl_divergence(case.make(*others)), got["kl_divergence"], rtol=1e-6 + 5 * kink
            )


@pytest.mark.parametrize("name", [n for n in NAMES if n not in NUMBERS])
def test_closed_forms_of_the_other_families(name: str) -> None:
    case = BY_NAME[name]
    with float64():
        dist, other = case.make(*case.params), case.make(*case.other)
        if case.law == "marginals":
            want = {
                "mean": [m.mean() for m in case.marginals],
                "variance": [m.var() for m in case.marginals],
            }
            if name == "Dirichlet":
                want["entropy"] = stats.dirichlet.entropy(*case.params)
            else:
                want["entropy"] = stats.multivariate_normal.entropy(
                    case.params[0], case.params[1] @ case.params[1].T
                )
        else:
            points = support_points(case)
            log_p, log_q = (
                np.array([case.log_prob(x, *p) for x in points]) for p in (case.params, case.other)
            )
            p = np.exp(log_p)
            mean = np.tensordot(p, points, 1)
            want = {
                "mean": mean,
                "variance": np.tensordot(p, (points - mean) ** 2, 1),
                "entropy": -p @ log_p,
                "kl_divergence": p @ (log_p - log_q),
            }
        for what, value in want.items():
            if getattr(dist.closed_forms, what):
                args = (other,) if what == "kl_divergence" else ()
                np.testing.assert_allclose(
                    getattr(dist, what)(*args), value, rtol=1e-9, err_msg=what
                )


@every
def test_cdf_and_inverse_cdf(name: str) -> None:
    case = BY_NAME[name]
    with float64():
        dist = case.make(*case.params)
        if dist.quantiles.cdf and case.cdf is not None:
            for x in case.inside:
                np.testing.assert_allclose(
                    dist.cdf(x), case.cdf(x, *case.params), rtol=1e-9, atol=1e-14
                )
        if dist.quantiles.inverse:
            u = jnp.array([1e-4, 0.2, 0.5, 0.9, 1 - 1e-4])
            u = jnp.broadcast_to(
                u.reshape(-1, *[1] * len(dist.event_shape)), (5, *dist.event_shape)
            )
            x = jax.vmap(dist.inverse_cdf)(u)
            at, below = (
                jax.vmap(dist.cdf)(x),
                jax.vmap(dist.cdf)(x - (1 if dist.support.discrete else 1e-7)),
            )
            assert (at >= u - 1e-12).all() and (below < u + 1e-12).all()


@every
def test_draws_keep_the_dtype_and_log_prob_accumulates_in_float32(name: str) -> None:
    case = BY_NAME[name]

    def both(params: tuple) -> tuple:
        dist = case.make(*params)
        x = dist.sample(jax.random.key(1))
        return x, dist.log_prob(x)

    index = name in ("Categorical", "PlackettLuce")
    for dtype in (jnp.bfloat16, jnp.float16):
        x, log_p = jax.eval_shape(both, jax.tree.map(lambda p: jnp.asarray(p, dtype), case.params))
        assert x.dtype == (jnp.int32 if index else dtype) and log_p.dtype == jnp.float32
    with float64():  # float32 parameters under x64: nothing widens
        x, log_p = jax.eval_shape(
            both, jax.tree.map(lambda p: jnp.asarray(p, jnp.float32), case.params)
        )
        assert x.dtype == (jnp.int32 if index else jnp.float32) and log_p.dtype == jnp.float32


@every
def test_jit_vmap_and_loop_agree_and_a_distribution_is_a_pytree(name: str) -> None:
    case = BY_NAME[name]
    params = tuple(np.asarray(p, np.float32) for p in case.params)
    dist = case.make(*params)
    leaves, tree = jax.tree.flatten(dist)
    again = jax.tree.unflatten(tree, leaves)
    assert jax.tree.structure(again) == tree and repr(again) == repr(dist)
    keys = jax.random.split(jax.random.key(20), KEYS)[:3]
    for i in range(3):
        x = again.sample(keys[i])
        np.testing.assert_allclose(x, draws(name)[i], rtol=2e-6, atol=1e-7)
        together = jax.jit(lambda d, x: d.log_prob(x))(dist, x)
        np.testing.assert_allclose(together, dist.log_prob(x), rtol=1e-5, atol=1e-5)


@every
def test_construction_errors_and_traced_illegal_parameters(name: str) -> None:
    case = BY_NAME[name]
    for params, message in case.bad:
        with pytest.raises((ValueError, TypeError), match=message):
            case.make(*params)
        if "shape" in message or "as many" in message:
            continue
        arrays = jax.tree.map(lambda p: jnp.asarray(p, jnp.float32), params)
        x = (
            draws(name)[0]
            if jax.tree.map(np.shape, params) == jax.tree.map(np.shape, case.params)
            else None
        )
        if x is None:
            size = np.shape(params[0])
            x = {
                "Bernoulli": jnp.ones(size),
                "Dirichlet": jnp.array([0.5, 0.5]),
                "PlackettLuce": jnp.array([0, 1]),
            }.get(name, jnp.asarray(0))
        assert not np.isfinite(jax.jit(lambda p, x: case.make(*p).log_prob(x))(arrays, x))


@every
def test_the_wrong_shape_is_an_error(name: str) -> None:
    case = BY_NAME[name]
    dist = case.make(*case.params)
    with pytest.raises(
        ValueError, match=r"log_prob\(x=…\) needs one draw, shape .*Use jax.vmap over draws"
    ):
        dist.log_prob(np.zeros((7, *dist.event_shape)))


@every
def test_the_guard_raises_where_there_is_no_pathwise_derivative(name: str) -> None:
    case = BY_NAME[name]
    params = tuple(jnp.asarray(p, jnp.float32) for p in case.params)
    sampled = lambda p: jnp.sum(case.make(*p).sample(jax.random.key(0)) * 1.0)
    if case.make(*params).reparameterized:
        assert all(
            np.isfinite(g).all() for g in jax.tree.leaves(jax.jit(jax.grad(sampled))(params))
        )
    else:
        with pytest.raises(lt.UnaccountedRandomnessError, match="sample was differentiated"):
            jax.grad(sampled)(params)
        assert (
            jax.jit(jax.grad(lambda p: sampled(jax.lax.stop_gradient(p))))(params)[0] == 0
        ).all()


@pytest.mark.parametrize(
    "name", [n for n in NUMBERS if BY_NAME[n].make(*BY_NAME[n].params).reparameterized]
)
def test_the_pathwise_derivative_holds_the_quantile(name: str) -> None:
    """dx/dθ = −∂_θ F(x) / p(x) at the same draw, F and p by scipy: exact, and so is E[f′(x) dx/dθ] = ∇E[f]."""
    case: Case = BY_NAME[name]
    with float64():
        keys = jax.random.split(jax.random.key(3), 5)
        one = lambda p, k: case.make(*p).sample(k)
        x, slopes = jax.jit(jax.vmap(jax.value_and_grad(one), (None, 0)))(
            jax.tree.map(jnp.asarray, case.params), keys
        )
    for i in range(5):
        density = np.exp(case.log_prob(np.asarray(x[i]), *case.params))
        exact = finite_differences(lambda *p: float(case.cdf(np.asarray(x[i]), *p)), case.params)
        for got, want in zip(slopes, exact):
            np.testing.assert_allclose(got[i], -want / density, rtol=1e-7, atol=1e-9)


@every
def test_factors_sum_to_log_prob_and_reflection_keeps_the_law(name: str) -> None:
    case = BY_NAME[name]
    dist = case.make(*(np.asarray(p, np.float32) for p in case.params))
    x = dist.sample(jax.random.key(5))
    if dist.independent_factors:
        np.testing.assert_allclose(dist.log_prob_factors(x).sum(), dist.log_prob(x), rtol=1e-6)
    else:
        with pytest.raises(ValueError, match="declares no independent factors"):
            dist.log_prob_factors(x)
    if dist.has_numeric_noise:
        noise = dist.noise(jax.random.key(5))
        again = dist.reflect(dist.reflect(noise))
        assert all(map(np.array_equal, jax.tree.leaves(again), jax.tree.leaves(noise)))
    else:
        with pytest.raises(
            ValueError, match="draws from one key per sample, which has no antithetic key"
        ):
            dist.reflect(dist.noise(jax.random.key(5)))


@every
def test_what_is_declared_is_there_and_what_is_not_says_so(name: str) -> None:
    case = BY_NAME[name]
    dist = case.make(*case.params)
    for what in ("mean", "variance", "entropy", "cdf", "inverse_cdf"):
        args = (
            ()
            if what in ("mean", "variance", "entropy")
            else (np.full(dist.event_shape, 0.5, np.float32),)
        )
        declared = vars(dist.closed_forms) | {
            "cdf": dist.quantiles.cdf,
            "inverse_cdf": dist.quantiles.inverse,
        }
        if declared[what]:
            assert np.shape(getattr(dist, what)(*args)) == (
                () if what == "entropy" else dist.event_shape
            )
        else:
            with pytest.raises(ValueError, match=rf"has no {what} in closed form"):
                getattr(dist, what)(*args)
    if dist.closed_forms.kl_divergence:
        np.testing.assert_allclose(dist.kl_divergence(dist), 0, atol=1e-6)
    with pytest.raises(ValueError, match=r"kl_divergence\(other=…\) needs a|has no kl_divergence"):
        dist.kl_divergence(lt.Normal(np.zeros(11), 1.0))
    assert dist.support.finite == (dist.enumeration is not None)
    if not dist.support.finite:
        with pytest.raises(ValueError, match="has no finite support to enumerate"):
            dist.enumerate()
    if dist.weak_derivatives is None:
        with pytest.raises(ValueError, match="declares no weak derivatives"):
            weak_noise_spec(dist)


def test_every_exported_family_is_in_the_registry() -> None:
    assert exported_families(lt) - {"Joint"} == set(NAMES)


def exported_families(package: object) -> set[str]:
    """By `__all__`: `vars` of the package is empty until a name is used."""
    named = {name: getattr(package, name) for name in package.__all__}
    is_family = lambda v: inspect.isclass(v) and issubclass(v, Distribution)
    return {n for n, v in named.items() if is_family(v) and v is not Distribution}


def test_a_family_outside_of_the_registry_is_seen() -> None:
    class Planted(Distribution):
        event_shape = ()
        support = noise_spec = None

        def _transform(self, noise):
            return noise

        def _log_prob(self, x):
            return x

    package = types.SimpleNamespace(
        __all__=["Normal", "Planted"], Normal=lt.Normal, Planted=Planted
    )
    assert exported_families(package) - set(NAMES) == {"Planted"}


def test_adding_a_need_takes_a_class_and_no_more() -> None:
    class HasQuantiles(lt.estimators.Need):
        words = "quantile"

        @classmethod
        def met_by(cls, dist):
            return dist.quantiles.inverse is not None

    class Quantiled(lt.Estimator, abstract=True):
        needs = frozenset({HasQuantiles})

    stand_in = types.SimpleNamespace(needs=Quantiled.needs)
    lt.estimators.check_needs(stand_in, lt.Normal(0.0, 1.0))
    with pytest.raises(ValueError, match="needs a quantile distribution; Poisson is not"):
        lt.estimators.check_needs(stand_in, lt.Poisson(2.0))


@pytest.mark.parametrize("need", ["finite", lt.Normal, object()])
def test_an_unknown_need_raises_where_the_class_is_defined(need) -> None:
    with pytest.raises(TypeError, match=r"Asking\.needs holds .*, which is no need"):
        types.new_class(
            "Asking",
            (lt.Estimator,),
            {"abstract": True},
            lambda body: body.update(needs=frozenset({need})),
        )
