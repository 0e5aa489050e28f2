"""B9. A Bernoulli VAE on scikit-learn's digits (8 × 8, binarized), linear 64–32–64, as the binary VAEs of the ARM papers.

Trained with leave-one-out of four draws, Adam 5e-3, 3,000 steps; then the variance of the gradient in a logit of the
encoder, the mean over 32 latents and 64 images, at two and four evaluations of f. Expected numbers are those of another
training run by hand, so they differ by more than their standard errors: within 15 %.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import logtrick as lt
from experiments.row import Row

WIDTH, BATCH, STEPS, CALLS = 32, 100, 3000, 4000
EXPECTED = {
    2: {"no baseline": 36.0, "LOO": 0.298, "ARM": 0.266, "DisARM": 0.186},
    4: {"ARM": 0.132, "LOO": 0.101, "DisARM": 0.093, "ARMS": 0.084},
}


def images() -> Any:
    from sklearn.datasets import load_digits

    return jnp.asarray(load_digits().data / 16 > 0.5, jnp.float32)


IMAGES = images()
PIXELS = IMAGES.shape[1]


def start() -> Any:
    keys = jax.random.split(jax.random.key(0))
    layer = lambda key, i, o: {"w": jax.random.normal(key, (i, o)) / i**0.5, "b": jnp.zeros(o)}
    return {
        "up": layer(keys[0], PIXELS, WIDTH),
        "down": layer(keys[1], WIDTH, PIXELS),
        "prior": jnp.zeros(WIDTH),
    }


def _linear(layer: Any, x: Any) -> Any:
    return x @ layer["w"] + layer["b"]


def _log_prob(logits: Any, bits: Any) -> Any:
    return jnp.sum(bits * logits - jax.nn.softplus(logits))


def cost(params: Any, logits: Any, image: Any, z: Any) -> Any:
    """log q(z | x) − log p(x, z)."""
    log_p = _log_prob(params["prior"], z) + _log_prob(_linear(params["down"], z), image)
    return _log_prob(logits, z) - log_p


def negative_elbo(params: Any, key: Any, batch: Any) -> Any:
    """The mean over a batch; one expectation per image, where the randomness is local."""

    def one(key: Any, image: Any) -> Any:
        logits = _linear(params["up"], image)
        return lt.expect(
            key, lambda z: cost(params, logits, image, z), lt.Bernoulli(logits), num_samples=4
        )

    return jnp.mean(jax.vmap(one)(jax.random.split(key, batch.shape[0]), batch))


def trained() -> Any:
    fit = lt.minimize(
        jax.random.key(1),
        negative_elbo,
        start(),
        optax.adam(5e-3),
        num_steps=STEPS,
        data=IMAGES,
        batch_size=BATCH,
    )
    return fit.params


def variance(params: Any, estimator: Any, runs: int) -> tuple[float, float]:
    """Of the gradient in a logit, the mean over latents and images; and its standard error."""
    stopped = jax.lax.stop_gradient

    def one(key: Any, image: Any) -> Any:
        logits = _linear(params["up"], image)

        def value(logits: Any) -> Any:
            f = lambda z: cost(params, stopped(logits), image, z)
            dist = lt.Bernoulli(logits)
            return lt.expect(key, f, dist, estimator=estimator, num_samples=runs)

        return jax.grad(value)(logits)

    def of_image(image: Any, index: Any) -> Any:
        keys = jax.random.split(jax.random.fold_in(jax.random.key(2), index), CALLS)
        return jnp.var(jax.vmap(lambda key: one(key, image))(keys), axis=0, ddof=1).mean()

    chosen = IMAGES[:64]
    each = jax.jit(lambda: jax.lax.map(lambda a: of_image(*a), (chosen, jnp.arange(64))))()
    each = np.asarray(each, np.float64)
    # over the images the variances differ; over the calls their error is about √(2 / calls)
    return float(each.mean()), float(each.mean() * (2 / CALLS) ** 0.5)


def rows() -> list[Row]:
    """The ELBO, and the variances."""
    params = trained()
    elbos = [-negative_elbo(params, jax.random.key(i), IMAGES) for i in range(20)]
    found = [Row("ELBO after 3,000 steps", -19.6, float(np.mean(elbos)), 0.3 / 19.6)]
    estimators: dict[str, Any] = {
        "no baseline": lambda n: (lt.ScoreFunction(lt.NoBaseline()), n),
        "LOO": lambda n: (lt.ScoreFunction(), n),
        "ARM": lambda n: (lt.ARM(), n // 2),
        "DisARM": lambda n: (lt.DisARM(), n // 2),
        "ARMS": lambda n: (lt.ARMS(n), 1),
    }
    for n, expected in EXPECTED.items():
        for name, exact in expected.items():
            got, error = variance(params, *estimators[name](n))
            found.append(
                Row(f"logit variance, n = {n}, {name}", exact, got, 0.15, error, evaluations=n)
            )
    return found
