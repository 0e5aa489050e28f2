"""A training step of a Bernoulli VAE on digits (8 × 8, binarized) by each peer's own means, four draws, 200 images.

`fit(seed, steps) -> parameters`. By hand: batched log-probs, one draw of uniforms per step, leave-one-out per image.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from found import has

import logtrick as lt

stop = jax.lax.stop_gradient
BATCH, DRAWS = 200, 4
OPTIMIZER = optax.adam(3e-3)
Loss = Callable[[Any, Any, Any], Any]


def images() -> Any:
    from sklearn.datasets import load_digits

    return jnp.asarray(load_digits().data > 7, jnp.float32)


IMAGES = images()
PIXELS = IMAGES.shape[1]


def start(width: int) -> Any:
    keys = jax.random.split(jax.random.key(0))
    layer = lambda key, i, o: (jax.random.normal(key, (i, o)) / i**0.5, jnp.zeros(o))
    return {
        "up": layer(keys[0], PIXELS, width),
        "down": layer(keys[1], width, PIXELS),
        "prior": jnp.zeros(width),
    }


def _linear(layer: Any, x: Any) -> Any:
    return x @ layer[0] + layer[1]


def _log_prob(logits: Any, bits: Any) -> Any:
    return jnp.sum(bits * logits - jax.nn.softplus(logits), -1)


def log_joint(params: Any, x: Any, h: Any) -> Any:
    return _log_prob(params["prior"], h) + _log_prob(_linear(params["down"], h), x)


def _hand(params: Any, key: Any, x: Any) -> Any:
    logits = _linear(params["up"], x)
    uniforms = jax.random.uniform(key, (DRAWS, *logits.shape))
    h = stop((uniforms < jax.nn.sigmoid(logits)).astype(jnp.float32))
    log_probs, model = _log_prob(logits, h), log_joint(params, x, h)
    gain = stop(model - log_probs)
    centered = (gain - jnp.mean(gain, 0)) * (DRAWS / (DRAWS - 1))
    return -jnp.mean(model + centered * log_probs)


def _ours(params: Any, key: Any, x: Any) -> Any:
    def one(key: Any, x: Any) -> Any:
        logits = _linear(params["up"], x)
        held = stop(logits)
        cost = lambda h: _log_prob(held, h) - log_joint(params, x, h)
        return lt.expect(key, cost, lt.Bernoulli(logits), num_samples=DRAWS)

    return jnp.mean(jax.vmap(one)(jax.random.split(key, x.shape[0]), x))


def _tfp(params: Any, key: Any, x: Any) -> Any:
    import tensorflow_probability.substrates.jax as tfp

    law = tfp.distributions
    q = law.Independent(law.Bernoulli(logits=_linear(params["up"], x), dtype=jnp.float32), 1)
    losses = tfp.vi.monte_carlo_variational_loss(
        lambda h: log_joint(params, x, h),
        q,
        sample_size=DRAWS,
        gradient_estimator=tfp.vi.GradientEstimators.SCORE_FUNCTION,
        seed=key,
    )
    return jnp.mean(losses)


def _distrax(params: Any, key: Any, x: Any) -> Any:
    import distrax

    bits = lambda logits: distrax.Independent(
        distrax.Bernoulli(logits=logits, dtype=jnp.float32), 1
    )
    q = bits(_linear(params["up"], x))
    h = stop(q.sample(seed=key, sample_shape=(DRAWS,)))
    model = bits(params["prior"]).log_prob(h) + bits(_linear(params["down"], h)).log_prob(x)
    log_probs = q.log_prob(h)
    gain = stop(model - log_probs)
    centered = (gain - jnp.mean(gain, 0)) * (DRAWS / (DRAWS - 1))
    return -jnp.mean(model + centered * log_probs)


def contenders() -> dict[str, Callable[..., Any]]:
    """By name, `fit(width, seed, steps)`, of those that are installed."""
    found = {"hand": _loop(jax.grad(_hand)), "logtrick": _loop(jax.grad(_ours))}
    if has("tfp-nightly"):
        found["tfp"] = _loop(jax.grad(_tfp))
    if has("distrax"):
        found["distrax"] = _loop(jax.grad(_distrax))
    if has("numpyro"):
        found["numpyro"] = _numpyro()
    if has("genjax"):
        found["genjax"] = _loop(_genjax())
    return found


def _batches(key: Any, steps: int) -> Any:
    return jax.random.randint(jax.random.fold_in(key, 1), (steps, BATCH), 0, IMAGES.shape[0])


def _loop(gradient: Loss) -> Callable[..., Any]:
    @functools.partial(jax.jit, static_argnums=(0, 2))
    def run(width: int, key: Any, steps: int) -> Any:
        def step(carry: Any, of: Any) -> Any:
            params, state = carry
            key, rows = of
            updates, state = OPTIMIZER.update(gradient(params, key, IMAGES[rows]), state, params)
            return (optax.apply_updates(params, updates), state), None

        params = start(width)
        inputs = (jax.random.split(key, steps), _batches(key, steps))
        return jax.lax.scan(step, (params, OPTIMIZER.init(params)), inputs)[0][0]

    return lambda width, seed, steps: run(width, jax.random.key(seed), steps)


def _numpyro() -> Callable[..., Any]:
    import numpyro
    import numpyro.distributions as dist
    from numpyro.infer import SVI, TraceGraph_ELBO

    def svi_of(width: int) -> Any:
        first = start(width)

        def model(x: Any) -> None:
            down, prior = (
                numpyro.param("down", first["down"]),
                numpyro.param("prior", first["prior"]),
            )
            with numpyro.plate("images", BATCH):
                h = numpyro.sample("h", dist.Bernoulli(logits=prior).to_event(1))
                numpyro.sample("x", dist.Bernoulli(logits=_linear(down, h)).to_event(1), obs=x)

        def guide(x: Any) -> None:
            up = numpyro.param("up", first["up"])
            with numpyro.plate("images", BATCH):
                numpyro.sample("h", dist.Bernoulli(logits=_linear(up, x)).to_event(1))

        scaled = optax.chain(optax.scale(1.0 / BATCH), OPTIMIZER)
        return SVI(model, guide, scaled, TraceGraph_ELBO(num_particles=DRAWS))

    @functools.partial(jax.jit, static_argnums=(0, 2))
    def run(width: int, key: Any, steps: int) -> Any:
        svi = svi_of(width)
        state, _ = jax.lax.scan(
            lambda state, rows: (svi.update(state, IMAGES[rows])[0], None),
            svi.init(key, IMAGES[:BATCH]),
            _batches(key, steps),
        )
        return svi.get_params(state)

    return lambda width, seed, steps: run(width, jax.random.PRNGKey(seed), steps)


def _genjax() -> Loss:
    from genjax.adev import expectation, flip_reinforce
    from genjax.pjax import modular_vmap, seed

    @expectation
    def negative_elbo(params: Any, x: Any) -> Any:
        logits = _linear(params["up"], x)
        h = flip_reinforce(jax.nn.sigmoid(logits)) * 1.0
        return _log_prob(logits, h) - log_joint(params, x, h)

    def gradient(params: Any, key: Any, x: Any) -> Any:
        image = lambda params, x: modular_vmap(
            lambda one: negative_elbo.grad_estimate(params, one)[0], in_axes=0
        )(x)
        several = lambda params, x: modular_vmap(
            lambda _: image(params, x), in_axes=0, axis_size=DRAWS
        )(jnp.arange(DRAWS))
        return jax.tree.map(lambda g: jnp.mean(g, (0, 1)), seed(several)(key, params, x))

    return gradient


@jax.jit
def elbo(params: Any) -> Any:
    """The mean ELBO of an image, 32 draws each."""
    logits = _linear(params["up"], IMAGES)
    uniforms = jax.random.uniform(jax.random.key(77), (32, *logits.shape))
    h = (uniforms < jax.nn.sigmoid(logits)).astype(jnp.float32)
    return jnp.mean(log_joint(params, IMAGES, h) - _log_prob(logits, h))
