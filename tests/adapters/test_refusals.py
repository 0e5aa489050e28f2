"""What the adapters refuse, and what they say: batch dimensions, moving supports, wrong objects, missing packages."""

import sys

import jax
import jax.numpy as jnp
import pytest

import logtrick as lt
from tests.adapters.conftest import require

KEY = jax.random.key(0)
A = jnp.array


def score_gradient(dist_of):
    value = lambda t: lt.expect(
        KEY, lambda x: jnp.sum(x * 1.0), dist_of(t), estimator=lt.ScoreFunction(), num_samples=2
    )
    return [derivative(0.5) for derivative in (jax.grad(value), jax.jit(jax.grad(value)))]


def refused(dist_of):
    with pytest.raises(
        ValueError, match="the support moves with parameters of .*, so the score function misses"
    ):
        score_gradient(dist_of)
    score_gradient(lambda t: dist_of(jax.lax.stop_gradient(t)))  # not differentiated: legal


def batch_is_an_error(adapter, batch, event, fix):
    message = rf"\(event_ndims=…\) needs one scalar log-prob a draw; got batch shape \(3,\).*{fix}, or pass event_ndims=1"
    with pytest.raises(ValueError, match=message):
        adapter(batch)
    with pytest.raises(
        ValueError, match=r"needs all 1 dimensions of a draw.*; got 0\. Pass event_ndims=1"
    ):
        adapter(batch, event_ndims=0)
    with pytest.raises(TypeError, match=r"event_ndims=…\) needs a static positive int; got bool"):
        adapter(batch, event_ndims=True)
    x = adapter(batch, event_ndims=1).sample(KEY)
    assert adapter(batch, event_ndims=1).log_prob(x) == pytest.approx(
        float(adapter(event).log_prob(x))
    )


def test_numpyro():
    require("numpyro")
    import numpyro.distributions as nd

    adapter, transforms = lt.adapters.from_numpyro, nd.transforms
    batch_is_an_error(
        adapter,
        nd.Normal(jnp.zeros(3), 1.0),
        nd.Normal(jnp.zeros(3), 1.0).to_event(1),
        r"\.to_event\(1\)",
    )
    refused(lambda t: adapter(nd.Uniform(0.0, t)))
    refused(lambda t: adapter(nd.Pareto(t, 2.0)))
    refused(lambda t: adapter(nd.LogUniform(t, 2.0)))
    refused(lambda t: adapter(nd.Delta(t)))
    refused(lambda t: adapter(nd.TruncatedNormal(0.0, 1.0, low=t)))
    refused(
        lambda t: adapter(
            nd.TransformedDistribution(nd.Exponential(1.0), transforms.AffineTransform(t, 1.0))
        )
    )
    score_gradient(
        lambda t: adapter(nd.TruncatedNormal(t, 1.0, low=A(0.0)))
    )  # only the end is refused
    score_gradient(
        lambda t: adapter(
            nd.TransformedDistribution(nd.Normal(0.0, 1.0), transforms.AffineTransform(t, 1.0))
        )
    )
    moved = lambda t: nd.TransformedDistribution(
        nd.Exponential(1.0), transforms.AffineTransform(0.0, t)
    )
    score_gradient(
        lambda t: adapter(moved(t), fixed_support=True)
    )  # a scale leaves (0, ∞) where it is
    assert not adapter(moved(A(2.0))).support.whole_space
    with pytest.raises(
        ValueError,
        match="needs a distribution whose log_prob is that of its draws; got a masked one",
    ):
        adapter(nd.Normal(0.0, 1.0).mask(False))
    with pytest.raises(
        TypeError, match=r"from_numpyro\(dist=…\) needs a numpyro distribution; got float"
    ):
        adapter(1.0)
    assert not adapter(nd.VonMises(0.0, 1.0)).reparameterized  # in loc only


def test_distrax():
    require("distrax")
    import distrax

    adapter = lt.adapters.from_distrax
    event = distrax.Independent(distrax.Normal(jnp.zeros(3), jnp.ones(3)), 1)
    batch_is_an_error(
        adapter, distrax.Normal(jnp.zeros(3), jnp.ones(3)), event, "distrax.Independent"
    )
    refused(lambda t: adapter(distrax.Uniform(0.0, t)))
    refused(lambda t: adapter(distrax.Deterministic(t)))
    refused(
        lambda t: adapter(
            distrax.Transformed(distrax.Gamma(1.0, 1.0), distrax.ScalarAffine(t, 1.0))
        )
    )
    refused(
        lambda t: adapter(
            distrax.MixtureOfTwo(0.3, distrax.Uniform(0.0, t), distrax.Normal(0.0, 1.0))
        )
    )
    score_gradient(
        lambda t: adapter(
            distrax.Transformed(distrax.Normal(0.0, 1.0), distrax.ScalarAffine(t, 1.0))
        )
    )
    with pytest.raises(
        TypeError, match=r"from_distrax\(dist=…\) needs a distrax distribution; got float"
    ):
        adapter(1.0)
    with pytest.raises(
        TypeError, match="needs a distribution over one array; got Joint. Use lt.Joint"
    ):
        adapter(distrax.Joint((distrax.Normal(0.0, 1.0),)))

    class Mine(distrax.Normal):
        pass

    assert (
        adapter(distrax.Normal(0.0, 1.0)).reparameterized
        and not adapter(Mine(0.0, 1.0)).reparameterized
    )
    assert adapter(Mine(0.0, 1.0), reparameterized=True).reparameterized
    straight_through = distrax.straight_through_wrapper(distrax.OneHotCategorical)
    assert not adapter(straight_through(logits=jnp.zeros(3))).reparameterized


def test_tfp():
    require("tensorflow_probability")
    from tensorflow_probability.substrates.jax import bijectors as tb, distributions as td

    adapter = lt.adapters.from_tfp
    batch_is_an_error(
        adapter,
        td.Normal(jnp.zeros(3), 1.0),
        td.Independent(td.Normal(jnp.zeros(3), 1.0), 1),
        "tfd.Independent",
    )
    refused(lambda t: adapter(td.Uniform(0.0, t)))
    refused(lambda t: adapter(td.Pareto(2.0, t)))
    refused(lambda t: adapter(td.Deterministic(t)))
    refused(
        lambda t: adapter(td.TransformedDistribution(td.Normal(0.0, 1.0), tb.Shift(t)(tb.Exp())))
    )
    refused(lambda t: adapter(td.Independent(td.Uniform(jnp.zeros(2), t), 1)))
    score_gradient(
        lambda t: adapter(td.TransformedDistribution(td.Normal(0.0, 1.0), tb.Exp()(tb.Shift(t))))
    )
    with pytest.raises(ValueError, match="got a masked one"):
        adapter(td.Masked(td.Normal(0.0, 1.0), False))
    with pytest.raises(
        TypeError, match="needs a distribution over one array; got JointDistributionSequential"
    ):
        adapter(td.JointDistributionSequential([td.Normal(0.0, 1.0)]))
    with pytest.raises(
        TypeError,
        match=r"from_tfp\(dist=…\) needs a tensorflow_probability distribution; got float",
    ):
        adapter(1.0)


def test_flowjax():
    require("flowjax")
    import flowjax.distributions as fd
    from flowjax.bijections import Affine, Chain, Sigmoid
    from flowjax.flows import coupling_flow

    adapter = lt.adapters.from_flowjax
    refused(lambda t: adapter(fd.Transformed(fd.Normal(0.0), Chain([Sigmoid(), Affine(t)]))))
    score_gradient(lambda t: adapter(fd.LogNormal(t, 1.0)))
    assert not adapter(fd.Gamma(2.0, 1.0)).moving_support
    with pytest.raises(
        ValueError,
        match=r"event_ndims=…\) needs all dimensions of a draw, shape \(2,\); got 0\. Leave it out",
    ):
        adapter(fd.Normal(jnp.zeros(2)), event_ndims=0)
    with pytest.raises(
        TypeError, match=r"from_flowjax\(dist=…\) needs a flowjax distribution; got float"
    ):
        adapter(1.0)
    flow = coupling_flow(
        KEY, base_dist=fd.StandardNormal((2,)), cond_dim=1, flow_layers=1, nn_width=3
    )
    with pytest.raises(
        ValueError, match=r"from_flowjax\(condition=…\) needs shape \(1,\); got None"
    ):
        adapter(flow)
    value = lambda c: lt.expect(
        KEY,
        lambda x: jnp.sum(x**2),
        adapter(flow, condition=c),
        estimator=lt.Pathwise(),
        num_samples=4,
    )
    assert jax.grad(value)(jnp.ones(1)).shape == (1,)


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [
        ("from_numpyro", "numpyro.distributions", "numpyro"),
        ("from_numpyro_model", "numpyro", "numpyro"),
        ("from_distrax", "distrax", "distrax"),
        ("from_tfp", "tensorflow_probability.substrates.jax", "tfp"),
        ("from_flowjax", "flowjax.distributions", "flowjax"),
        ("from_scipy", "scipy.stats", "scipy"),
    ],
)
def test_a_missing_package_names_its_extra(monkeypatch, name, module, extra):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        ImportError,
        match=rf"lt.adapters.{name} needs {module}; .* pip install 'logtrick\[{extra}\]'",
    ):
        getattr(lt.adapters, name)(object())
