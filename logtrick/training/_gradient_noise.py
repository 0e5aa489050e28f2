"""How noisy the gradient is while a fit runs: its variance and signal-to-noise ratio, from replicates at some steps."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from logtrick._core import checks, keys
from logtrick.training._listener import Listener
from logtrick.training._program import batch_of
from logtrick.training._reductions import wide
from logtrick.training._state import FitState
from logtrick.training._step import Task, propose


class GradientNoise(Listener):
    """Record the gradient's variance and signal-to-noise ratio at multiples of `every` steps.

    From n replicates gᵢ of the gradient at the current parameters, with keys of their own and the same batch:
    variance = Σ‖gᵢ − ḡ‖² / (n − 1), summed over coordinates; signal = ‖ḡ‖² − variance/n, an unbiased estimate of the squared
    norm of the expected gradient; signal-to-noise = √(max(signal, 0) / variance), of one step's gradient.
    `history.series["gradient_noise"]` has them as "step", "variance", "signal_to_noise".
    Cost: n gradients each time, n/`every` of a fit's own work (8 % by default); the fit's own steps do not change.

    Args:
      every: steps between measurements.
      num_replicates: n ≥ 2.
    Raises:
      ValueError: counts out of their range.
    Example:
      >>> import jax, optax, logtrick as lt
      >>> objective = lambda mu, key: lt.expect(key, lambda x: x**2, lt.Normal(mu, 1.0), num_samples=64)
      >>> noise = lt.training.GradientNoise(every=10, num_replicates=64)
      >>> fit = lt.minimize(jax.random.key(0), objective, 3.0, optax.sgd(0.01), num_steps=20, listeners=(noise,))
      >>> series = fit.history.series["gradient_noise"]
      >>> series["step"].tolist(), series["signal_to_noise"].round(0).tolist()
      ([10, 20], [5.0, 6.0])
    """

    name = "gradient_noise"

    def __init__(self, every: int = 100, num_replicates: int = 8) -> None:
        where = "lt.training.GradientNoise"
        self.every = checks.positive_int(where, "every", every)
        self.num_replicates = checks.positive_int(where, "num_replicates", num_replicates, 2)

    def start(self, run: Any) -> None:
        none = np.zeros(0, jax.dtypes.canonicalize_dtype(float))
        empty = {"step": np.zeros(0, np.int32), "variance": none, "signal_to_noise": none}
        run.series.setdefault(self.name, empty)
        self._measure = jax.jit(functools.partial(_measure, run.task, self.num_replicates))

    def after_chunk(self, run: Any) -> None:
        series = run.series[self.name]
        if run.step % self.every or (len(series["step"]) and series["step"][-1] >= run.step):
            return
        variance, ratio = self._measure(run.state, run.data)
        news = {"step": run.step, "variance": variance, "signal_to_noise": ratio}
        run.series[self.name] = {
            name: np.append(column, np.asarray(news[name], column.dtype))
            for name, column in series.items()
        }


def _measure(task: Task, count: int, state: FitState, data: Any) -> tuple[Any, Any]:
    """The variance and the signal-to-noise ratio of the gradient at `state`."""
    base = jax.random.wrap_key_data(state.key_data, impl=state.key_impl)
    base = jax.random.fold_in(jax.random.fold_in(base, state.step), keys.REPLICATE)
    batch = batch_of(task, state, data, jnp.zeros((), jnp.int32))
    gradient = lambda i: propose(task, state, jax.random.fold_in(base, i), batch).grads
    grads = [wide(g) for g in jax.tree.leaves(jax.vmap(gradient)(jnp.arange(count)))]
    means = [jnp.mean(g, 0, keepdims=True) for g in grads]
    squares = (jnp.sum(jnp.square(g - m)) for g, m in zip(grads, means))
    variance = sum(squares, jnp.zeros(())) / (count - 1)
    signal = sum((jnp.sum(jnp.square(m)) for m in means), jnp.zeros(())) - variance / count
    ratio = jnp.sqrt(jnp.maximum(signal, 0.0) / jnp.where(variance > 0, variance, 1.0))
    return variance, jnp.where(variance > 0, ratio, jnp.where(signal > 0, jnp.inf, 0.0))
