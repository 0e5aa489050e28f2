"""B3. Tucker et al. (2017), Grathwohl et al. (2018): f = (b − t)², trained by Adam 0.01 from p = ½; the optimum is p = 0.

Expected medians are those of a plain loop written by hand, without the library, over 2,000 seeds.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import logtrick as lt
from experiments.row import Row, median_row

SEEDS = 200
OPTIMIZER = optax.adam(0.01)


def _cost(t: float) -> Callable[[Any], Any]:
    return lambda b: (b - t) ** 2


def _fits(step: Callable[[Any, Any], Any], start: Callable[[Any], Any], steps: int) -> np.ndarray:
    """The probability at the end of a fit for each seed; `step(carry, key) -> carry`, carry["logit"]."""

    def fit(key: Any) -> Any:
        carry = start(key)
        keys = jax.random.split(jax.random.fold_in(key, 1), steps)
        carry, _ = jax.lax.scan(lambda carry, key: (step(carry, key), None), carry, keys)
        return jax.nn.sigmoid(carry["params"]["logit"])

    keys = jax.random.split(jax.random.key(0), SEEDS)
    return np.asarray(jax.jit(jax.vmap(fit))(keys), np.float64)


def _updated(carry: Any, gradient: Any) -> Any:
    updates, state = OPTIMIZER.update(gradient, carry["state"])
    return carry | {"params": optax.apply_updates(carry["params"], updates), "state": state}


def _start(params: Any, **more: Any) -> Any:
    return {"params": params, "state": OPTIMIZER.init(params), **more}


def train(estimator: Any, runs: int, t: float, steps: int) -> np.ndarray:
    """An estimator without memory."""

    def value(params: Any, key: Any) -> Any:
        dist = lt.Bernoulli(params["logit"])
        return lt.expect(key, _cost(t), dist, estimator=estimator, num_samples=runs)

    step = lambda carry, key: _updated(carry, jax.grad(value)(carry["params"], key))
    return _fits(step, lambda key: _start({"logit": jnp.zeros(())}), steps)


def train_moving_average(t: float, steps: int) -> np.ndarray:
    """One draw per step and a running mean of past costs, carried from step to step."""

    def value(params: Any, key: Any, estimator: Any) -> Any:
        dist = lt.Bernoulli(params["logit"])
        value, aux = lt.expect(
            key, _cost(t), dist, estimator=estimator, num_samples=1, has_aux=True
        )
        return value, aux.estimator

    def step(carry: Any, key: Any) -> Any:
        gradient, estimator = jax.grad(value, has_aux=True)(
            carry["params"], key, carry["estimator"]
        )
        return _updated(carry, gradient) | {"estimator": estimator}

    average = lt.ScoreFunction(lt.MovingAverage(0.9))
    return _fits(step, lambda key: _start({"logit": jnp.zeros(())}, estimator=average), steps)


def train_relax(t: float, steps: int) -> np.ndarray:
    """A surrogate of ten tanh units and its temperature, trained beside the logit."""

    def surrogate(w: Any, y: Any) -> Any:
        return jnp.tanh(w["a"] * y + w["b"]) @ w["c"] + w["d"]

    def loss(params: Any, key: Any) -> Any:
        estimator = lt.RELAX(surrogate, params["w"], jnp.exp(params["log temperature"]))
        dist = lt.Bernoulli(params["logit"])
        value, aux = lt.expect(
            key, _cost(t), dist, estimator=estimator, num_samples=1, has_aux=True
        )
        return value + aux.adaptive_loss

    def start(key: Any) -> Any:
        first, second = jax.random.split(key)
        w = {"a": jax.random.normal(first, (10,)), "b": jnp.zeros(10), "d": jnp.zeros(())}
        w["c"] = jax.random.normal(second, (10,)) / jnp.sqrt(10.0)
        return _start({"logit": jnp.zeros(()), "w": w, "log temperature": jnp.log(0.5)})

    step = lambda carry, key: _updated(carry, jax.grad(loss)(carry["params"], key))
    return _fits(step, start, steps)


def rows() -> list[Row]:
    """Medians of p over the seeds."""
    plain = lt.ScoreFunction(lt.NoBaseline())
    near: dict[str, tuple[Any, int, float, float]] = {
        "LOO, n = 2": (lt.ScoreFunction(), 2, 0.032, 0.15),
        "DisARM": (lt.DisARM(), 1, 0.025, 0.15),
        "ARM": (lt.ARM(), 1, 0.026, 0.15),
        "no baseline": (plain, 1, 0.476, 0.1),
        "REBAR (η = 1, τ = .5)": (lt.REBAR(), 1, 0.491, 0.1),
    }
    found = [
        median_row(f"p, t = .499, 1,000 steps, {name}", p, train(e, runs, 0.499, 1000), within)
        for name, (e, runs, p, within) in near.items()
    ]
    average = train_moving_average(0.499, 1000)
    found.append(median_row("p, t = .499, 1,000 steps, moving average", 0.29, average, 0.15))
    learned = [(0.499, 1000, 0.442, 0.04), (0.499, 3000, 0.245, 0.13), (0.45, 1000, 0.0407, 0.2)]
    found += [
        median_row(f"p, t = {t}, {steps:,} steps, RELAX, trained", p, train_relax(t, steps), within)
        for t, steps, p, within in learned
    ]
    rebar = train(lt.REBAR(), 1, 0.45, 1000)
    found.append(median_row("p, t = .45, 1,000 steps, REBAR (η = 1, τ = .5)", 0.1975, rebar, 0.1))
    stuck: dict[str, tuple[Any, float]] = {
        "straight-through": (lt.StraightThrough(), 0.45),
        "Gumbel-softmax, τ = .5": (lt.GumbelSoftmax(0.5), 0.355),
        "Gumbel-softmax, τ = 1": (lt.GumbelSoftmax(1.0), 0.377),
    }
    found += [
        median_row(
            f"p, t = .45, 10,000 steps, {name}: stuck", p, train(e, 1, 0.45, 10_000), 0.02 / p
        )
        for name, (e, p) in stuck.items()
    ]
    return found
