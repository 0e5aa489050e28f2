"""B7. Rainforth et al. (2018), Tucker et al. (2019): the signal-to-noise ratio of importance-weighted bounds against K.

z ~ N(μ, I), x ~ N(z, I), q(z | x) = N(A x + b, ⅔ I), D = 2, at the optimum (A = I / 2, b = μ / 2) moved by 0.1 N(0, 1);
the gradient is in b, at 16 data points. Its unbiased estimators have one mean: their ratios use that of DReG, which varies
least.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import logtrick as lt
from experiments.row import Row

stop = jax.lax.stop_gradient
D, POINTS, CALLS = 2, 16, 1000
COUNTS = (10, 32, 100, 316, 1000)
SCALE = (2.0 / 3.0) ** 0.5
BIASED, MODEL = "STL (biased, by its own mean)", "the model's μ"


def _problem() -> tuple[Any, Any, Any, Any]:
    """μ, the data, A and b."""
    keys = jax.random.split(jax.random.key(7), 5)
    mu = jax.random.normal(keys[0], (D,))
    x = mu[None] + 2**0.5 * jax.random.normal(keys[1], (POINTS, D))
    a = jnp.eye(D) / 2 + 0.1 * jax.random.normal(keys[3], (D, D))
    return mu, x, a, mu / 2 + 0.1 * jax.random.normal(keys[4], (D,))


MU, X, A, B = _problem()


def _log_normal(z: Any, mean: Any, scale: float) -> Any:
    return jnp.sum(jax.scipy.stats.norm.logpdf(z, jnp.broadcast_to(mean, z.shape), scale), axis=-1)


def _log_weights(mu: Any, z: Any, x: Any, mean: Any) -> Any:
    """log p(x, z) − log q(z) of K draws, shape (K,)."""
    log_p = _log_normal(z, mu, 1.0) + _log_normal(z, x, 1.0)
    return log_p - _log_normal(z, mean, SCALE)


def _bound(log_w: Any) -> Any:
    return jax.nn.logsumexp(log_w) - jnp.log(log_w.shape[0])


def _without(log_w: Any) -> Any:
    """log Σ of the other weights, for each draw, from those before it and those after."""
    before = jax.lax.cumlogsumexp(log_w)
    after = jax.lax.cumlogsumexp(log_w, reverse=True)
    none = jnp.full(1, -jnp.inf)
    return jnp.logaddexp(jnp.concatenate([none, before[:-1]]), jnp.concatenate([after[1:], none]))


def _vimco(log_w: Any) -> Any:
    """The bound with each draw's weight replaced by the geometric mean of the others."""
    count = log_w.shape[0]
    others = (jnp.sum(log_w) - log_w) / (count - 1)
    return jnp.logaddexp(_without(log_w), others) - jnp.log(count)


def pathwise(kind: str) -> Callable[..., Any]:
    """The gradient in b (or in μ) by `lt.Pathwise` of one cost of K draws."""

    def value(b: Any, mu: Any, key: Any, x: Any, count: int) -> Any:
        mean = A @ x + b
        own = mean if kind in ("IWAE", "θ") else stop(mean)

        def cost(z: Any) -> Any:
            log_w = _log_weights(mu, z, x, own)
            if kind == "DReG":
                return jnp.sum(stop(jax.nn.softmax(log_w) ** 2) * log_w)
            return _bound(log_w)

        dist = lt.Normal(jnp.broadcast_to(mean, (count, D)), SCALE)
        return lt.expect(key, cost, dist, estimator=lt.Pathwise(), num_samples=1)

    return value


def score(kind: str) -> Callable[..., Any]:
    """The gradient in b by magic boxes of the draws' log-probs, each times its own coefficient."""

    def value(b: Any, mu: Any, key: Any, x: Any, count: int) -> Any:
        mean = A @ x + b
        z = lt.Normal(jnp.broadcast_to(stop(mean), (count, D)), SCALE).sample(key)
        log_w = _log_weights(mu, z, x, stop(mean))
        boxes = lt.magic_box(_log_normal(z, mean, SCALE))
        own = jax.nn.softmax(log_w)
        if kind == "VIMCO":
            coefficients = _bound(log_w) - _vimco(log_w) - own
        elif kind == "OVIS":
            shrunk = jnp.log1p(-1 / count)
            coefficients = _bound(log_w) - own - (_without(log_w) - jnp.log(count - 1)) - shrunk
        else:
            coefficients = _bound(log_w) - own
        return jnp.sum(stop(coefficients) * boxes)

    return value


ESTIMATORS: dict[str, tuple[Callable[..., Any], float]] = {
    "IWAE": (pathwise("IWAE"), -0.50),
    "VIMCO": (score("VIMCO"), -0.50),
    "DReG": (pathwise("DReG"), 0.50),
    BIASED: (pathwise("STL"), 0.50),
    "OVIS, γ = 0": (score("OVIS"), 0.52),
    "score function": (score("none"), -1.46),
    MODEL: (pathwise("θ"), 0.51),
}


def moments(value: Callable[..., Any], count: int, model: bool) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the gradient, summed over the data, per coordinate."""
    argument = 1 if model else 0

    def one(key: Any) -> Any:
        total = lambda b, mu: jnp.sum(
            jax.vmap(lambda k, x: value(b, mu, k, x, count))(jax.random.split(key, POINTS), X)
        )
        return jax.grad(total, argument)(B, MU)

    keys = jax.random.split(jax.random.key(count), CALLS)
    batch = max(1, 4000 // count)
    draws = jax.jit(lambda keys: jax.lax.map(one, keys, batch_size=batch))(keys)
    draws = np.asarray(draws, np.float64)
    return draws.mean(0), draws.std(0, ddof=1)


def rows() -> list[Row]:
    """Slopes of log signal-to-noise over log K."""
    found: dict[str, list[float]] = {name: [] for name in ESTIMATORS}
    for count in COUNTS:
        signal, _ = moments(ESTIMATORS["DReG"][0], count, model=False)
        for name, (value, _) in ESTIMATORS.items():
            mean, deviation = moments(value, count, name == MODEL)
            size = np.abs(mean if name in (MODEL, BIASED) else signal)
            found[name].append(float(np.mean(size / deviation)))
    published = {"IWAE": -0.5, "DReG": 0.5, MODEL: 0.5}
    return [
        Row(
            f"slope of the SNR over K, {name}",
            exact,
            float(np.polyfit(np.log(COUNTS), np.log(found[name]), 1)[0]),
            0.1 / abs(exact),
            published=published.get(name),
        )
        for name, (_, exact) in ESTIMATORS.items()
    ]
