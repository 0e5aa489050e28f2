"""B10. Buchholz, Wenzel & Mandt (2018): the variance of a gradient over n = 16 … 4,096 draws; cosines and a square, D = 4."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import logtrick as lt
from experiments.row import Row

COUNTS = np.array([16, 64, 256, 1024, 4096])


def slope(estimator: Any) -> float:
    """Of log variance over log n."""
    f = lambda x: jnp.sum(jnp.cos(x)) + 0.1 * jnp.sum(x) ** 2

    def variance(n: int) -> float:
        def value(mu: Any, key: Any) -> Any:
            return lt.expect(key, f, lt.Normal(mu, 1.0), estimator=estimator, num_samples=n)

        one = lambda key: jax.grad(value)(jnp.full(4, 0.3), key)
        keys = jax.random.split(jax.random.key(0), 200)
        draws = jax.jit(lambda keys: jax.lax.map(one, keys, batch_size=50))(keys)
        return float(jnp.var(draws, axis=0).sum())

    variances = [variance(int(n)) for n in COUNTS]
    return float(np.polyfit(np.log(COUNTS), np.log(variances), 1)[0])


def rows() -> list[Row]:
    """Slopes."""
    score = lambda plan: lt.ScoreFunction(lt.NoBaseline(), plan)
    sobol = "scrambled Sobol': at most"
    return [
        Row("slope, pathwise, independent draws", -1.0, slope(lt.Pathwise()), 0.1),
        Row("slope, score function, independent draws", -1.0, slope(score(lt.IID())), 0.1),
        Row(f"slope, pathwise, {sobol}", -1.6, slope(lt.Pathwise(lt.Sobol())), at_most=True),
        Row(f"slope, score function, {sobol}", -1.6, slope(score(lt.Sobol())), at_most=True),
    ]
