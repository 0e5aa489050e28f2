"""Bayesian logistic regression as a workload: by hand and by the library, and the same loop without random numbers.

569 rows, mean-field normal, 16 draws, Adam 1e-2. By hand is the plainest loop that a good user writes: keys split before one
`lax.scan`, one draw per step, the surrogate mean(stop(f − b) · log q) with the leave-one-out mean b, or pathwise.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import logtrick as lt

stop = jax.lax.stop_gradient
ROWS, DRAWS = 569, 16
OPTIMIZER = optax.adam(1e-2)
Joint = Callable[[jax.Array, Any], jax.Array]


def synthetic(dim: int = 31) -> tuple[jax.Array, jax.Array]:
    """Features and labels of the size of scikit-learn's breast cancer."""
    key = jax.random.key(3)
    features = jax.random.normal(key, (ROWS, dim))
    odds = jax.nn.sigmoid(features @ jnp.linspace(-1, 1, dim))
    labels = jax.random.uniform(jax.random.fold_in(key, 1), (ROWS,)) < odds
    return features, labels.astype(jnp.float32)


def breast_cancer() -> tuple[jax.Array, jax.Array]:
    """Features, standardized, with a bias; labels (scikit-learn)."""
    from sklearn.datasets import load_breast_cancer

    features, labels = load_breast_cancer(return_X_y=True)
    features = (features - features.mean(0)) / features.std(0)
    features = np.concatenate([np.ones((len(features), 1)), features], axis=1)
    return jnp.asarray(features, jnp.float32), jnp.asarray(labels, jnp.float32)


def start(data: Any) -> tuple[jax.Array, jax.Array]:
    """Means and log scales."""
    dim = data[0].shape[1]
    return jnp.zeros(dim), jnp.full(dim, -2.0)


def log_joint(w: jax.Array, data: Any) -> jax.Array:
    """log p(y, w) of one draw."""
    features, labels = data
    logits = features @ w
    log_likelihood = jnp.sum(labels * logits - jax.nn.softplus(logits))
    return log_likelihood - 0.5 * jnp.sum(w * w) - 0.5 * w.size * jnp.log(2 * jnp.pi)


def log_q(params: Any, w: jax.Array) -> jax.Array:
    """log q(w) of one draw."""
    loc, log_scale = params
    z = (w - loc) * jnp.exp(-log_scale)
    return jnp.sum(-0.5 * z * z - log_scale) - 0.5 * w.size * jnp.log(2 * jnp.pi)


def hand_loss(
    params: Any, noise: jax.Array, data: Any, pathwise: bool, joint: Joint = log_joint
) -> jax.Array:
    """−ELBO by hand; its gradient is the estimate."""
    loc, log_scale = params
    w = loc[None] + jnp.exp(log_scale)[None] * noise
    if pathwise:
        return jnp.mean(jax.vmap(lambda w: log_q(params, w) - joint(w, data))(w))
    w = stop(w)
    scores = jax.vmap(lambda w: log_q(params, w))(w)
    f = stop(scores - jax.vmap(lambda w: joint(w, data))(w))
    surrogate = jnp.mean((f - (jnp.sum(f) - f) / (DRAWS - 1)) * scores)
    return surrogate + stop(jnp.mean(f) - surrogate)


def hand_fit(
    steps: int, pathwise: bool, random: bool = True, joint: Joint = log_joint
) -> Callable[..., Any]:
    """A whole fit by hand, `fit(params, key, data) -> (params, values)`; without random numbers, one noise for all steps."""

    @jax.jit
    def run(params: Any, key: jax.Array, data: Any) -> Any:
        shape = (DRAWS, params[0].size)
        fixed = jax.random.normal(key, shape)

        def step(carry: Any, key: Any) -> Any:
            params, state = carry
            noise = jax.random.normal(key, shape) if random else fixed
            value, grad = jax.value_and_grad(hand_loss)(params, noise, data, pathwise, joint)
            updates, state = OPTIMIZER.update(grad, state, params)
            return (optax.apply_updates(params, updates), state), value

        keys = jax.random.split(key, steps)
        (params, _), values = jax.lax.scan(step, (params, OPTIMIZER.init(params)), keys)
        return params, values

    return run


@functools.cache  # one function object: fits of it are compiled once
def our_objective(
    pathwise: bool, estimator: Any = None, joint: Joint = log_joint
) -> Callable[..., jax.Array]:
    """−ELBO by `lt.expect`; under the score function log q's own term is held, as its mean is 0."""
    estimator = estimator or (lt.Pathwise() if pathwise else lt.ScoreFunction())

    def objective(params: Any, key: jax.Array, data: Any) -> jax.Array:
        held = params if pathwise else stop(params)
        cost = lambda w: log_q(held, w) - joint(w, data)
        dist = lt.Normal(params[0], jnp.exp(params[1]))
        return lt.expect(key, cost, dist, estimator=estimator, num_samples=DRAWS)

    return objective


def our_fit(steps: int, pathwise: bool) -> Callable[..., Any]:
    """A whole fit by `lt.minimize`, of the same signature."""
    objective = our_objective(pathwise)

    def run(params: Any, key: jax.Array, data: Any) -> Any:
        fit = lt.minimize(key, objective, params, OPTIMIZER, num_steps=steps, data=data)
        return fit.params, fit.history.value

    return run


def elbo(params: Any, data: Any, draws: int = 4000) -> float:
    """The ELBO of a fitted normal, on draws of its own."""
    noise = jax.random.normal(jax.random.key(99), (draws, params[0].size))
    w = params[0][None] + jnp.exp(params[1])[None] * noise
    values = jax.vmap(lambda w: log_joint(w, data) - log_q(params, w))(w)
    return float(jnp.mean(values))
