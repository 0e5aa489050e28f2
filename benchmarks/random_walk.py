"""How much variance does reward-to-go credit save in a random walk with a cost at every step? Expected beside obtained.

Steps of ±1, P(up) = exp(−X/p), at 0 always up (Arya et al., 2022, section 5.1), of 100 steps at p = 200; the gradient is in
p, of one run without a baseline. The cost is X_t² / n after each step, credited to the draws before it (`lt.cost` inside
`lt.scan`) or all of it to all draws (one `lt.cost` after the loop); or X_n² after the last step, where there is nothing to
save. Expected are exact moments, by dynamic programming over the walk's places. `python benchmarks/random_walk.py
[--steps 100] [--calls 100000]`.
"""

import argparse
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from experiments.row import Row

import logtrick as lt

PLAIN = lt.ScoreFunction(lt.NoBaseline())


def walk(p: Any, steps: int, pays: str, estimator: Any = PLAIN) -> Any:
    """The program; its costs are of "each step", of "the whole" walk after the loop, or of "the end" alone."""

    def step(x: Any, _: Any) -> Any:
        rate = jnp.where(x <= 0, 1.0, x) / p
        logit = jnp.where(x <= 0, 30.0, -rate - jnp.log(-jnp.expm1(-rate)))
        x = x + 2 * (yield lt.sample(lt.Bernoulli(logit), estimator)) - 1
        if pays == "each step":
            yield lt.cost(x**2 / steps)
        return x, x**2 / steps

    x, squares = yield lt.scan(step, jnp.zeros(()), length=steps)
    if pays != "each step":
        yield lt.cost(squares.sum() if pays == "the whole" else x**2)


def obtained(steps: int, pays: str, calls: int) -> tuple[float, float]:
    """Mean and variance of the gradient over calls of one run each."""
    value = lambda p, key: lt.expect_program(key, walk, p, steps, pays, num_samples=1)
    gradients = jax.jit(
        lambda keys: jax.lax.map(lambda k: jax.grad(value)(2.0 * steps, k), keys, batch_size=10_000)
    )
    found = np.asarray(gradients(jax.random.split(jax.random.key(0), calls)), np.float64)
    return float(found.mean()), float(found.var(ddof=1))


Moments = dict[tuple[int, int], np.ndarray]  # of S^i G^j, over the paths that end in each place


def expected(steps: int, pays: str) -> tuple[float, float]:
    """Mean and variance of the gradient, exactly.

    S is the score of the path so far. With reward-to-go credit G ← G + c S′ is the gradient; with the whole return, G is
    the sum of the costs and the gradient is G S.
    """
    x, p = np.arange(steps + 1.0), 2.0 * steps
    up = np.exp(-x / p)
    score_up = x / p**2
    score_down = -score_up * np.divide(up, 1 - up, out=np.zeros(steps + 1), where=up < 1)
    powers = [(i, j) for i in range(3) for j in range(3)]
    moments = {power: np.zeros(steps + 1) for power in powers}
    moments[0, 0][0] = 1.0
    for t in range(steps):
        if pays != "the end":
            cost = x**2 / steps
        else:
            cost = x**2 if t == steps - 1 else np.zeros_like(x)
        risen, fallen = (
            _weighted(_shifted(moments, s), r) for s, r in ((score_up, up), (score_down, 1 - up))
        )
        for power in powers:
            moments[power] = np.append(0.0, risen[power][:-1]) + np.append(fallen[power][1:], 0.0)
        moments = _paid(moments, cost, pays == "the whole")
    i = int(pays == "the whole")
    first, second = moments[i, 1].sum(), moments[2 * i, 2].sum()
    return float(first), float(second - first**2)


def _weighted(moments: Moments, rate: np.ndarray) -> Moments:
    return {power: rate * m for power, m in moments.items()}


def _shifted(moments: Moments, score: np.ndarray) -> Moments:
    """Those of (S + score)^i G^j."""
    return {
        (i, j): sum(
            (_choose(i, k) * score ** (i - k) * moments[k, j] for k in range(i + 1)),
            np.zeros_like(score),
        )
        for i, j in moments
    }


def _paid(moments: Moments, cost: np.ndarray, whole: bool) -> Moments:
    """Those of S^i (G + cost)^j, or of S^i (G + cost S)^j; of the latter those that need higher powers of S are not used."""
    if whole:
        return {
            (i, j): sum(
                (_choose(j, k) * cost ** (j - k) * moments[i, k] for k in range(j + 1)),
                np.zeros_like(cost),
            )
            for i, j in moments
        }
    paid = dict(moments)
    paid[0, 1] = moments[0, 1] + cost * moments[1, 0]
    paid[1, 1] = moments[1, 1] + cost * moments[2, 0]
    paid[0, 2] = moments[0, 2] + 2 * cost * moments[1, 1] + cost**2 * moments[2, 0]
    return paid


def _choose(n: int, k: int) -> int:
    return 2 if (n, k) == (2, 1) else 1


def rows(steps: int = 100, calls: int = 100_000) -> list[Row]:
    """The figures; tolerances are six standard errors or more at 100,000 calls of 100 steps."""
    wider = max(1.0, (100_000 / calls) ** 0.5)
    found, variances = [], {}
    for pays in ("each step", "the whole", "the end"):
        (mean, variance), (want, spread) = obtained(steps, pays, calls), expected(steps, pays)
        variances[pays] = (spread, variance)
        within = 6 * (spread / 100_000) ** 0.5 / want
        found.append(Row(f"gradient, {pays}", want, mean, wider * within))
        found.append(Row(f"variance, {pays}", spread, variance, wider * 0.08))
    ratios = [variances["the whole"][i] / variances["each step"][i] for i in (0, 1)]
    return [*found, Row("variance of the whole return / of reward-to-go", *ratios, wider * 0.1)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--calls", type=int, default=100_000)
    arguments = parser.parse_args()
    for row in rows(arguments.steps, arguments.calls):
        mark = "" if row.right else "   <-- off"
        print(
            f"  {row.quantity:<50} expected {row.expected:<12.6g} obtained {row.obtained:<12.6g}{mark}"
        )


if __name__ == "__main__":
    main()
