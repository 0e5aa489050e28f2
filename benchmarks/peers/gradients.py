"""One gradient of E_{N(μ, σ)}[f] by the score function, n draws in D dimensions, by each peer's own means.

Peers without leave-one-out compute an estimate of larger variance at the same cost; the table of fits shows what it does.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from found import has, netket, old_optax

import logtrick as lt

stop = jax.lax.stop_gradient
Gradient = Callable[[Any, Any, int], Any]  # of (params, key, draws)


def f(x: Any) -> Any:
    """The cost, of draws in the last axis."""
    return jnp.sum(jnp.cos(x) + 0.5 * (x - 0.5) ** 2, -1)


def start(dim: int) -> Any:
    """Means and log scales."""
    return jnp.linspace(-1.0, 1.0, dim), jnp.full(dim, -0.3)


def log_q(params: Any, x: Any) -> Any:
    z = (x - params[0]) * jnp.exp(-params[1])
    return jnp.sum(-0.5 * z * z - params[1] - 0.9189385, -1)


def draws(params: Any, key: Any, n: int) -> Any:
    noise = jax.random.normal(key, (n, params[0].size))
    return stop(params[0] + jnp.exp(params[1]) * noise)


def _surrogate(costs: Any, log_probs: Any) -> Any:
    n = costs.shape[0]
    return jnp.mean(stop((costs - jnp.mean(costs)) * (n / (n - 1))) * log_probs)


def contenders() -> dict[str, Gradient]:
    """By name, of those that are installed."""
    found: dict[str, Gradient] = {"hand": _hand, "logtrick": _ours}
    if has("tfp-nightly"):
        found["tfp"] = _tfp
    if has("distrax"):
        found["distrax"] = _distrax
    if has("numpyro"):
        found["numpyro"] = _numpyro
    if has("netket"):
        found["netket"] = functools.partial(_netket, netket().jax.expect)
    if (monte_carlo := old_optax()) is not None:
        found["optax 0.2.6"] = _optax(monte_carlo)
    return found


def _hand(params: Any, key: Any, n: int) -> Any:
    x = draws(params, key, n)
    return jax.grad(lambda params: _surrogate(f(x), log_q(params, x)))(params)


def _ours(params: Any, key: Any, n: int) -> Any:
    dist = lambda params: lt.Normal(params[0], jnp.exp(params[1]))
    return jax.grad(lambda params: lt.expect(key, f, dist(params), num_samples=n))(params)


def _tfp(params: Any, key: Any, n: int) -> Any:
    import tensorflow_probability.substrates.jax as tfp

    def loss(params: Any) -> Any:
        q = tfp.distributions.MultivariateNormalDiag(params[0], jnp.exp(params[1]))
        x = stop(q.sample(n, seed=key))
        return tfp.monte_carlo.expectation(
            f=f, samples=x, log_prob=q.log_prob, use_reparameterization=False
        )

    return jax.grad(loss)(params)


def _distrax(params: Any, key: Any, n: int) -> Any:
    import distrax

    def loss(params: Any) -> Any:
        q = distrax.MultivariateNormalDiag(params[0], jnp.exp(params[1]))
        x = stop(q.sample(seed=key, sample_shape=(n,)))
        return _surrogate(f(x), q.log_prob(x))

    return jax.grad(loss)(params)


def _numpyro(params: Any, key: Any, n: int) -> Any:
    """As a factor of a model: the guide's entropy comes along, NumPyro has no bare expectation."""
    import numpyro
    import numpyro.distributions as dist
    from numpyro.infer import TraceGraph_ELBO

    class Score(dist.Normal):
        reparametrized_params = []  # noqa: RUF012  # NumPyro's own form

    dim = params[0].size

    def model() -> None:
        flat = dist.ImproperUniform(dist.constraints.real_vector, (), (dim,))
        numpyro.factor("f", -f(numpyro.sample("x", flat)))

    def guide(params: Any) -> None:
        numpyro.sample("x", Score(params[0], jnp.exp(params[1])).to_event(1))

    elbo = TraceGraph_ELBO(num_particles=n)
    loss = lambda params: elbo.loss(key, {}, lambda *_: model(), lambda *_: guide(params))
    return jax.grad(loss)(params)


def _netket(expect: Any, params: Any, key: Any, n: int) -> Any:
    x = draws(params, key, n)
    return jax.grad(lambda params: expect(log_q, lambda _, x: f(x), params, x)[0])(params)


def _optax(monte_carlo: Any) -> Gradient:
    class Diagonal:
        def __init__(self, loc: Any, log_scale: Any) -> None:
            self.params = (loc, log_scale)

        def sample(self, shape: Any, key: Any) -> Any:
            noise = jax.random.normal(key, (*shape, self.params[0].size))
            return self.params[0] + jnp.exp(self.params[1]) * noise

        def log_prob(self, x: Any) -> Any:
            return log_q(self.params, x)

    def gradient(params: Any, key: Any, n: int) -> Any:
        rows = monte_carlo.score_function_jacobians(f, list(params), Diagonal, key, n)
        return tuple(jnp.mean(row, 0) for row in rows)

    return gradient
