"""B9. A Bernoulli VAE on scikit-learn's digits (8 × 8, binarized), linear 64–32–64, as the binary VAEs of the ARM papers.

The model and the optimizer are those of `discrete_vae.py`: leave-one-out of four draws, Adam 5e-3, 3,000 steps. Then the
variance of the gradient in a logit of the encoder, the mean over 32 latents and 64 images, at two and four evaluations of f.

The variances depend on where a training ends: over four seeds they range by 15 %, and those of leave-one-out fall with the
negative ELBO. So the expected numbers are those of the estimators written out by hand, without the library, at the same
parameters and with noise of their own; "published" are those of a training run elsewhere, which ended at an ELBO of −19.6.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from discrete_vae import BATCH, DRAWS, IMAGES, OPTIMIZER, bernoulli, linear, start

import logtrick as lt
from experiments.row import Row

STEPS, CALLS = 3000, 4000
ELSEWHERE = {
    2: {"no baseline": 36.0, "LOO": 0.298, "ARM": 0.266, "DisARM": 0.186},
    4: {"ARM": 0.132, "LOO": 0.101, "DisARM": 0.093, "ARMS": 0.084},
}


def cost(model: Any, logits: Any, image: Any, z: Any) -> Any:
    """log q(z | x) − log p(x, z)."""
    log_p = bernoulli(model["prior"], z) + bernoulli(linear(model["decoder"], z), image)
    return bernoulli(logits, z) - log_p


def negative_elbo(params: Any, key: Any, batch: Any) -> Any:
    """The mean over a batch; one expectation per image, where the randomness is local."""
    encoder, model = params

    def one(key: Any, image: Any) -> Any:
        logits = linear(encoder, image)
        f = lambda z: cost(model, logits, image, z)
        return lt.expect(key, f, lt.Bernoulli(logits), num_samples=DRAWS)

    return jnp.mean(jax.vmap(one)(jax.random.split(key, batch.shape[0]), batch))


def trained() -> Any:
    fit = lt.minimize(
        jax.random.key(1),
        negative_elbo,
        start(0),
        OPTIMIZER,
        num_steps=STEPS,
        data=IMAGES,
        batch_size=BATCH,
    )
    return fit.params


def variance(params: Any, gradient: Any, seed: int) -> tuple[float, float]:
    """Of the gradient in a logit, the mean over latents and images; and its standard error.

    Args:
      params: the encoder and the model.
      gradient: `gradient(key, logits, f)`.
      seed: of the keys.
    """

    encoder, model = params

    def one(key: Any, image: Any) -> Any:
        logits = linear(encoder, image)
        stopped = jax.lax.stop_gradient(logits)
        return gradient(key, logits, lambda z: cost(model, stopped, image, z))

    def of_image(image: Any, index: Any) -> Any:
        keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), index), CALLS)
        return jnp.var(jax.vmap(lambda key: one(key, image))(keys), axis=0, ddof=1).mean()

    chosen = IMAGES[:64]
    each = jax.jit(lambda: jax.lax.map(lambda a: of_image(*a), (chosen, jnp.arange(64))))()
    each = np.asarray(each, np.float64)
    # over the images the variances differ; over the calls their error is about √(2 / calls)
    return float(each.mean()), float(each.mean() * (2 / CALLS) ** 0.5)


def by_hand(logits: Any, f: Any, name: str, n: int, key: Any) -> Any:
    """One gradient in the logits at n evaluations of f, as the papers write the estimators."""
    p = jax.nn.sigmoid(logits)
    if name in ("no baseline", "LOO"):
        bits = (jax.random.uniform(key, (n, *logits.shape)) < p).astype(jnp.float32)
        costs = jax.vmap(f)(bits)
        apart = costs if name == "no baseline" else (costs - costs.mean()) * n / (n - 1)
        return jnp.mean(apart[:, None] * (bits - p), axis=0)
    if name == "ARMS":
        return _arms_by_hand(p, f, n, key)
    u = jax.random.uniform(key, (n // 2, *logits.shape))
    low, high = (u < p).astype(jnp.float32), (u > 1 - p).astype(jnp.float32)
    difference = (jax.vmap(f)(high) - jax.vmap(f)(low))[:, None]
    if name == "ARM":
        return jnp.mean(difference * (u - 0.5), axis=0)
    weight = (high - low) * jnp.maximum(p, 1 - p)
    return jnp.mean(0.5 * difference * weight, axis=0)


def _arms_by_hand(p: Any, f: Any, n: int, key: Any) -> Any:
    """A Dirichlet copula of the rarer value of each bit, and the correlation that it makes."""
    rarer = jnp.minimum(p, 1 - p)
    mass = jax.random.exponential(key, (n, *p.shape))
    rare = (1 - mass / mass.sum(0)) ** (n - 1) < rarer
    bits = jnp.where(p <= 0.5, rare, ~rare).astype(jnp.float32)
    both = jnp.maximum(2 * rarer ** (1 / (n - 1)) - 1, 0.0) ** (n - 1)
    correlation = (both - rarer**2) / (rarer * (1 - rarer))
    costs = jax.vmap(f)(bits)
    apart = (costs - costs.mean())[:, None] * (bits - p) / (1 - correlation)
    return apart.sum(0) / (n - 1)


def rows() -> list[Row]:
    """The ELBO, and the variances."""
    params = trained()
    elbos = [-negative_elbo(params, jax.random.key(i), IMAGES) for i in range(20)]
    found = [
        Row(
            "ELBO after 3,000 steps: its negative, at most",
            19.9,
            -float(np.mean(elbos)),
            published=19.6,
            at_most=True,
        )
    ]
    estimators: dict[str, Any] = {
        "no baseline": lambda n: (lt.ScoreFunction(lt.NoBaseline()), n),
        "LOO": lambda n: (lt.ScoreFunction(), n),
        "ARM": lambda n: (lt.ARM(), n // 2),
        "DisARM": lambda n: (lt.DisARM(), n // 2),
        "ARMS": lambda n: (lt.ARMS(n), 1),
    }
    for n, elsewhere in ELSEWHERE.items():
        for name, published in elsewhere.items():
            estimator, runs = estimators[name](n)

            def value(logits: Any, key: Any, f: Any) -> Any:
                dist = lt.Bernoulli(logits)
                return lt.expect(key, f, dist, estimator=estimator, num_samples=runs)

            ours = lambda key, logits, f: jax.grad(value)(logits, key, f)
            plain = lambda key, logits, f: by_hand(logits, f, name, n, key)
            got, error = variance(params, ours, 2)
            exact, _ = variance(params, plain, 3)
            quantity = f"logit variance, n = {n}, {name}"
            found.append(Row(quantity, exact, got, 0.05, error, published, evaluations=n))
    return found
