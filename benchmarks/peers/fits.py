"""Whole fits of Bayesian logistic regression by each peer's own means, and the ELBO where they end.

`fit(seed, steps) -> (means, log scales)`, 16 draws per step, Adam 1e-2. All have one log-joint, and the data as constants,
since some peers take no other. `hand` and `logtrick` compute and keep the value of every step, the loops around the gradients
of distrax, netket, optax and genjax do not. The second call is what is timed: peers that make their compiled step anew in
every call compile in it.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import workloads
from found import has, netket, old_optax
from workloads import DRAWS, OPTIMIZER

stop = jax.lax.stop_gradient
DATA = workloads.breast_cancer()
START = workloads.start(DATA)
DIM = START[0].size
Fit = Callable[[int, int], Any]


def log_joint(w: Any) -> Any:
    """Of draws in the last axis."""
    features, labels = DATA
    logits = w @ features.T
    log_likelihood = jnp.sum(labels * logits - jax.nn.softplus(logits), -1)
    return log_likelihood - 0.5 * jnp.sum(w * w, -1) - 0.5 * DIM * jnp.log(2 * jnp.pi)


def _joint(w: Any, data: Any) -> Any:
    return log_joint(w)


def log_q(params: Any, w: Any) -> Any:
    z = (w - params[0]) * jnp.exp(-params[1])
    return jnp.sum(-0.5 * z * z - params[1], -1) - 0.5 * DIM * jnp.log(2 * jnp.pi)


def contenders(pathwise: bool) -> dict[str, Fit]:
    """By name, of those that are installed."""
    found: dict[str, Fit] = {
        "hand": _hand(pathwise),
        "logtrick": _ours(pathwise),
    }
    if has("numpyro"):
        found["numpyro SVI.run"] = _numpyro(pathwise)
    if has("tfp-nightly"):
        found["tfp fit_surrogate"] = _tfp(pathwise)
    if has("distrax") and not pathwise:
        found["distrax"] = _loop(_distrax)
    if has("netket") and not pathwise:
        found["netket expect"] = _loop(functools.partial(_netket, netket().jax.expect))
    if has("blackjax") and pathwise:
        found["blackjax meanfield_vi"] = _blackjax()
    if (monte_carlo := old_optax()) is not None:
        found["optax 0.2.6"] = _loop(functools.partial(_optax, monte_carlo, pathwise))
    if has("genjax"):
        found["genjax"] = _loop(_genjax(pathwise))
    return found


def _hand(pathwise: bool) -> Fit:
    @functools.partial(jax.jit, static_argnums=1)
    def run(key: Any, steps: int) -> Any:
        return workloads.hand_fit(steps, pathwise, joint=_joint)(START, key, DATA)[0]

    return lambda seed, steps: run(jax.random.key(seed), steps)


def _ours(pathwise: bool) -> Fit:
    import logtrick as lt

    of_data = workloads.our_objective(pathwise, joint=_joint)
    objective = lambda params, key: of_data(params, key, DATA)

    def fit(seed: int, steps: int) -> Any:
        key = jax.random.key(seed)
        return lt.minimize(key, objective, START, OPTIMIZER, num_steps=steps).params

    return fit


def _loop(gradient: Callable[[Any, Any], Any]) -> Fit:
    """The hand-written loop around a peer's gradient."""
    import optax

    @functools.partial(jax.jit, static_argnums=1)
    def run(key: Any, steps: int) -> Any:
        def step(carry: Any, key: Any) -> Any:
            params, state = carry
            updates, state = OPTIMIZER.update(gradient(params, key), state, params)
            return (optax.apply_updates(params, updates), state), None

        carry = (START, OPTIMIZER.init(START))
        return jax.lax.scan(step, carry, jax.random.split(key, steps))[0][0]

    return lambda seed, steps: run(jax.random.key(seed), steps)


def _numpyro(pathwise: bool) -> Fit:
    import numpyro
    import numpyro.distributions as dist
    from numpyro.infer import SVI, Trace_ELBO, TraceGraph_ELBO

    class Score(dist.Normal):
        reparametrized_params = []  # noqa: RUF012  # NumPyro's own form

    features, labels = DATA
    law = dist.Normal if pathwise else Score
    elbo = (Trace_ELBO if pathwise else TraceGraph_ELBO)(num_particles=DRAWS)

    def model() -> None:
        w = numpyro.sample("w", dist.Normal(jnp.zeros(DIM), 1).to_event(1))
        logits = w @ features.T
        numpyro.factor("y", jnp.sum(labels * logits - jax.nn.softplus(logits), -1))

    def guide() -> None:
        loc = numpyro.param("loc", START[0])
        log_scale = numpyro.param("log_scale", START[1])
        numpyro.sample("w", law(loc, jnp.exp(log_scale)).to_event(1))

    svi = SVI(model, guide, OPTIMIZER, elbo)

    def fit(seed: int, steps: int) -> Any:
        params = svi.run(jax.random.PRNGKey(seed), steps, progress_bar=False).params
        return params["loc"], params["log_scale"]

    return fit


def _tfp(pathwise: bool) -> Fit:
    import tensorflow_probability.substrates.jax as tfp

    kinds = tfp.vi.GradientEstimators
    kind = kinds.REPARAMETERIZATION if pathwise else kinds.SCORE_FUNCTION
    law = lambda loc, log_scale: tfp.distributions.MultivariateNormalDiag(loc, jnp.exp(log_scale))

    def fit(seed: int, steps: int) -> Any:
        params, _ = tfp.vi.fit_surrogate_posterior_stateless(
            log_joint,
            law,
            list(START),
            OPTIMIZER,
            steps,
            sample_size=DRAWS,
            gradient_estimator=kind,
            seed=jax.random.PRNGKey(seed),
        )
        return tuple(params)

    return fit


def _distrax(params: Any, key: Any) -> Any:
    import distrax

    def loss(params: Any) -> Any:
        q = distrax.MultivariateNormalDiag(params[0], jnp.exp(params[1]))
        w = stop(q.sample(seed=key, sample_shape=(DRAWS,)))
        log_probs = q.log_prob(w)
        costs = stop(log_probs - log_joint(w))
        return jnp.mean((costs - jnp.mean(costs)) * (DRAWS / (DRAWS - 1)) * log_probs)

    return jax.grad(loss)(params)


def _netket(expect: Any, params: Any, key: Any) -> Any:
    noise = jax.random.normal(key, (DRAWS, DIM))
    w = stop(params[0] + jnp.exp(params[1]) * noise)
    cost = lambda params, w: log_q(params, w) - log_joint(w)
    return jax.grad(lambda params: expect(log_q, cost, params, w)[0])(params)


def _blackjax() -> Fit:
    import blackjax

    algorithm = blackjax.meanfield_vi(log_joint, OPTIMIZER, DRAWS)

    @functools.partial(jax.jit, static_argnums=1)
    def run(key: Any, steps: int) -> Any:
        state, _ = jax.lax.scan(
            lambda state, key: (algorithm.step(key, state)[0], None),
            algorithm.init(START[0]),
            jax.random.split(key, steps),
        )
        return state.mu, state.rho

    return lambda seed, steps: run(jax.random.key(seed), steps)


def _optax(monte_carlo: Any, pathwise: bool, params: Any, key: Any) -> Any:
    class Diagonal:
        def __init__(self, loc: Any, log_scale: Any) -> None:
            self.params = (loc, log_scale)

        def sample(self, shape: Any, key: Any) -> Any:
            noise = jax.random.normal(key, (*shape, DIM))
            return self.params[0] + jnp.exp(self.params[1]) * noise

        def log_prob(self, w: Any) -> Any:
            return log_q(self.params, w)

    held = stop(params)
    cost = lambda w: log_q(held, w) - log_joint(w)
    jacobians = monte_carlo.pathwise_jacobians if pathwise else monte_carlo.score_function_jacobians
    rows = jacobians(cost, list(params), Diagonal, key, DRAWS)
    return tuple(jnp.mean(row, 0) for row in rows)


def _genjax(pathwise: bool) -> Callable[[Any, Any], Any]:
    from genjax.adev import expectation, multivariate_normal_diag_reparam, normal_reinforce
    from genjax.pjax import modular_vmap, seed

    primitive = multivariate_normal_diag_reparam if pathwise else normal_reinforce

    @expectation
    def negative_elbo(loc: Any, log_scale: Any) -> Any:
        w = primitive(loc, jnp.exp(log_scale))
        return log_q((loc, log_scale), w) - log_joint(w)

    def gradient(params: Any, key: Any) -> Any:
        one = lambda loc, log_scale: modular_vmap(
            lambda _: negative_elbo.grad_estimate(loc, log_scale), in_axes=0, axis_size=DRAWS
        )(jnp.arange(DRAWS))
        return tuple(jnp.mean(row, 0) for row in seed(one)(key, *params))

    return gradient
