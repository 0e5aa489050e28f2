"""The author's kit: shipped classes, copied into a user's module with public imports only, pass their laws there."""

import ast
import importlib
import pathlib
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import logtrick as lt
from tests.estimators.exact import LOGITS, bernoulli, coupled_bits_cost, exact, moments
from tests.estimators.test_disarm import pair_noise
from tests.estimators.test_rebar import noise_of

PACKAGE = pathlib.Path(lt.__file__).parent
PUBLIC = (
    "logtrick",
    "logtrick.estimators",
    "logtrick.baselines",
    "logtrick.plans",
    "logtrick.distributions",
    "logtrick.noise",
    "logtrick.supports",
)
# Names of our private modules that a user finds in JAX, or reads off a public module.
ELSEWHERE = {
    "stop": "from jax.lax import stop_gradient as stop",
    "Array": "from jax import Array",
    "checks": "from logtrick import estimators as checks",
}


def public_import(module: str, alias: ast.alias) -> str:
    """The import of the same object from a public module."""
    name, bound = alias.name, alias.asname or alias.name
    if name in ELSEWHERE:
        return ELSEWHERE[name]
    wanted = getattr(importlib.import_module(module), name)
    for home in PUBLIC:
        if getattr(importlib.import_module(home), name, None) is wanted:
            return f"from {home} import {name} as {bound}"
    raise AssertionError(f"{module}.{name} is imported by a shipped class and is not public")


def with_public_imports(path: pathlib.Path, kept: str) -> str:
    """The source of a file, its imports of ours rewritten; of its classes only `kept`."""
    lines, tree = [], ast.parse(path.read_text())
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("logtrick"):
            if needed := [a for a in node.names if used(a.asname or a.name, tree, kept)]:
                lines += [public_import(node.module, alias) for alias in needed]
        elif not isinstance(node, ast.ClassDef) or node.name == kept:
            lines.append(ast.unparse(node))
        elif used(node.name, tree, kept):  # a base class of the same file
            lines.append(public_import(module_of(path), ast.alias(node.name)))
    return "\n".join(lines)


def module_of(path: pathlib.Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)


def used(name: str, tree: ast.Module, kept: str) -> bool:
    """Whether a definition that is copied mentions `name`."""
    copied = [n for n in tree.body if not isinstance(n, ast.ClassDef) or n.name == kept]
    names = (n for node in copied for n in ast.walk(node))
    return any(isinstance(n, ast.Name) and n.id == name for n in names)


@pytest.fixture(scope="module")
def users():
    """The classes as a user's own module has them."""
    module = types.ModuleType("a_users_module")
    sys.modules[module.__name__] = module  # dataclasses look their module up
    places = {
        "DisARM": "estimators/_disarm.py",
        "RELAX": "estimators/_relax.py",
        "MovingAverage": "baselines/_moving_average.py",
        "Antithetic": "plans/_plans.py",
        "Laplace": "distributions/_location_scale.py",
    }
    for name, place in places.items():
        source = with_public_imports(PACKAGE / place, kept=name)
        assert "logtrick._" not in source and "._" not in source.split("class ")[0]
        exec(compile(source, f"<copy of {place}>", "exec"), module.__dict__)
    yield module
    del sys.modules[module.__name__]


def test_the_copies_are_classes_of_their_own(users):
    for name in ("DisARM", "RELAX", "MovingAverage", "Antithetic", "Laplace"):
        copy, shipped = getattr(users, name), getattr(lt, name)
        assert copy is not shipped and copy.__module__ == "a_users_module"
        assert copy.__mro__[1] is shipped.__mro__[1]


def test_a_name_that_is_not_public_is_seen():
    with pytest.raises(AssertionError, match="_costs.Sites is imported by a shipped class"):
        public_import("logtrick.estimators._costs", ast.alias("Sites"))


def test_disarm(users, x64):
    noise, weights = pair_noise(LOGITS[2])
    value, mean, _ = moments(
        users.DisARM(), bernoulli, coupled_bits_cost, LOGITS[2], noise, weights
    )
    want_value, want = exact(bernoulli, coupled_bits_cost, LOGITS[2])
    np.testing.assert_allclose(value, want_value, rtol=1e-12)
    np.testing.assert_allclose(mean, want, atol=1e-12)
    call = lambda logit: lt.expect(
        jax.random.key(0), lambda x: x, lt.Bernoulli(logit), estimator=users.DisARM()
    )
    with pytest.raises(lt.DerivativeOrderError, match="DisARM is right for first derivatives only"):
        jax.hessian(call)(0.3)


def test_relax(users, x64):
    noise, weights = noise_of(LOGITS[1], 40)
    surrogate = lambda w, y: w[0] + w[1] * jnp.sum(y**2)
    estimator = users.RELAX(surrogate, np.array([0.3, -0.8]), 1.0, 0.9)
    value, mean, _ = moments(estimator, bernoulli, coupled_bits_cost, LOGITS[1], noise, weights)
    want_value, want = exact(bernoulli, coupled_bits_cost, LOGITS[1])
    np.testing.assert_allclose(value, want_value, rtol=1e-10)
    np.testing.assert_allclose(mean, want, atol=1e-10)


def test_moving_average(users, x64):
    """Two calls: the statistics are those of the shipped class, and the gradient is that of a constant baseline."""

    def call(baseline, key):
        value = lambda logit: lt.expect(
            key,
            lambda x: (x - 0.45) ** 2 + 7.0,
            lt.Bernoulli(logit),
            estimator=lt.ScoreFunction(baseline),
            num_samples=4,
            has_aux=True,
        )
        return jax.grad(value, has_aux=True)(0.2)

    first, second = jax.random.split(jax.random.key(0))
    _, aux = call(users.MovingAverage(0.9), first)
    advanced = aux.estimator.baseline
    np.testing.assert_allclose(advanced.average, 0.1 * np.mean(aux.costs), rtol=1e-12)
    np.testing.assert_allclose(advanced.weight, 0.1, rtol=1e-12)
    gradient, _ = call(advanced, second)
    want, _ = call(lt.ConstantBaseline(np.mean(aux.costs)), second)
    np.testing.assert_allclose(gradient, want, rtol=1e-10)


def test_antithetic(users, x64):
    """The mirrored rows, and E x² under N(μ, 1) from two pairs, exact by quadrature."""
    plan = users.Antithetic()
    rows = plan.noise(lt.Normal(0.0, 1.0)).rows(jax.random.key(7), 0, 6, 6)
    np.testing.assert_array_equal(rows[1::2], -rows[::2])
    assert len(np.unique(rows)) == 6
    nodes, weights = np.polynomial.hermite_e.hermegauss(5)
    weights = weights / weights.sum()
    i, j = (index.ravel() for index in np.meshgrid(range(5), range(5), indexing="ij"))
    a, b = nodes[i], nodes[j]
    noise = np.stack([a, -a, b, -b], 1)
    value, gradient, _ = moments(
        lt.ScoreFunction(plan=plan),
        lambda mu: lt.Normal(mu, 1.0),
        lambda mu, x: x**2,
        jnp.asarray(0.7),
        noise,
        weights[i] * weights[j],
    )
    np.testing.assert_allclose(value, 1.49, atol=1e-10)
    np.testing.assert_allclose(gradient, 1.4, atol=1e-10)


def test_laplace(users, x64):
    """Density, distribution function and entropy are scipy's; the pathwise gradient of a mean is exact."""
    dist, twin = users.Laplace(0.3, 2.0), stats.laplace(0.3, 2.0)
    points = np.array([-30.0, -1.2, 0.3, 0.4, 25.0])
    np.testing.assert_allclose(jax.vmap(dist.log_prob)(points), twin.logpdf(points), rtol=1e-12)
    np.testing.assert_allclose(jax.vmap(dist.cdf)(points), twin.cdf(points), rtol=1e-12)
    np.testing.assert_allclose(dist.entropy(), twin.entropy(), rtol=1e-12)
    u = np.array([0.01, 0.3, 0.5, 0.9])
    np.testing.assert_allclose(jax.vmap(dist.inverse_cdf)(u), twin.ppf(u), rtol=1e-12)
    mean = lambda loc: lt.expect(
        jax.random.key(0), lambda x: 3.0 * x, users.Laplace(loc, 2.0), estimator=lt.Pathwise()
    )
    np.testing.assert_allclose(jax.grad(mean)(0.3), 3.0, rtol=1e-12)
    report = lt.testing.check_distribution(
        jax.random.key(0), lambda p: users.Laplace(p, 2.0), jnp.asarray(0.3)
    )
    assert len(report.checked) >= 3
