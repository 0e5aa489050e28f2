"""Do the estimators give the published figures, through the public API? Expected beside obtained.

`python benchmarks/published.py [--only arms-toy]`. Variances are of ONE call, over independent calls; expected values are
exact (closed forms and enumeration) where the figure can only be read off. Medians of trained runs are those of a plain loop
written by hand, without the library, over 2,000 seeds.
"""

import argparse
import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import logtrick as lt


@dataclasses.dataclass(frozen=True)
class Row:
    """One number of a figure; `within` is the tolerance, relative, or absolute where the expected number is 0.

    With `at_most` the expected number is a bound.
    """

    quantity: str
    expected: float
    obtained: float
    within: float = 0.0
    at_most: bool = False

    @property
    def right(self) -> bool:
        if self.at_most:
            return self.obtained <= self.expected
        error = abs(self.obtained - self.expected)
        return bool(error <= self.within * (abs(self.expected) or 1.0))


def moments(gradient: Callable[[Any], Any], calls: int) -> tuple[float, float]:
    """Mean and variance of a scalar gradient estimate over `calls` keys."""
    draws = np.asarray(
        jax.jit(jax.vmap(gradient))(jax.random.split(jax.random.key(0), calls)), np.float64
    )
    return float(draws.mean()), float(draws.var(ddof=1))


def one_bit(estimator: Any, runs: int, t: float, p: float = 0.5) -> Callable[[Any], Any]:
    logit = float(np.log(p / (1 - p)))
    value = lambda l, key: lt.expect(
        key, lambda x: (x - t) ** 2, lt.Bernoulli(l), estimator=estimator, num_samples=runs
    )
    return lambda key: jax.grad(value)(logit, key)


def arms_toy() -> list[Row]:
    """Dimitriev & Zhou (2021), figure 1: f = (b − .49)², p = ½."""
    loo = lambda n: (lt.ScoreFunction(), n)
    cases = {
        "LOO, n = 2": (*loo(2), 2.5e-5),
        "ARM": (lt.ARM(), 1, 8.3333e-6),
        "DisARM": (lt.DisARM(), 1, 0.0),
        "LOO, n = 4": (*loo(4), 4.16667e-6),
        "ARMS, n = 4": (lt.ARMS(4), 1, 6.07803e-7),
        "LOO, n = 10": (*loo(10), 5.55556e-7),
        "ARMS, n = 10": (lt.ARMS(10), 1, 1.2868e-7),
    }
    rows = []
    for name, (estimator, runs, expected) in cases.items():
        _, variance = moments(one_bit(estimator, runs, 0.49), 100_000)
        rows.append(Row(f"variance, {name}", expected, variance, 0.1 if expected else 1e-12))
    return rows


def titsias_shi() -> list[Row]:
    """Titsias & Shi (2022), figure 1: f = mean (b − .499)², D = 200, two samples, one coordinate's variance."""
    expected = {
        0.5: {
            "LOO": 1.25e-9,
            "DisARM": 1.24375e-9,
            "double CV": 1.248e-9,
            "R*: the exact mean": 6.21875e-10,
        },
        0.7: {
            "LOO": 8.837e-10,
            "DisARM": 8.8053e-10,
            "double CV": 1.11834e-11,
            "R*: the exact mean": 4.40475e-10,
        },
    }
    best = {0.5: -0.0015974441, 0.7: -0.0048878899}  # α*
    rows = []
    for theta, want in expected.items():
        logits = jnp.full(200, np.log(theta / (1 - theta)))
        estimators = {
            "LOO": (lt.ScoreFunction(), 2),
            "DisARM": (lt.DisARM(), 1),
            "double CV": (lt.DoubleCV(best[theta]), 2),
            "R*: the exact mean": (
                lt.ScoreFunction(lt.ConstantBaseline(theta * 0.501**2 + (1 - theta) * 0.499**2)),
                2,
            ),
        }
        for name, (estimator, runs) in estimators.items():
            value = lambda l, key: lt.expect(
                key,
                lambda x: jnp.mean((x - 0.499) ** 2),
                lt.Bernoulli(l),
                estimator=estimator,
                num_samples=runs,
            )
            _, variance = moments(lambda key: jax.grad(value)(logits, key)[0], 50_000)
            rows.append(Row(f"variance at θ = {theta}, {name}", want[name], variance, 0.05))
    return rows


def kool() -> list[Row]:
    """Kool, van Hoof & Welling (2020), the Bernoulli toy at η = 0: three bits, one logit."""
    p0 = jnp.array([0.6, 0.51, 0.48])

    def gradient(estimator: Any, runs: int) -> Callable[[Any], Any]:
        def value(eta: Any, key: Any) -> Any:
            dist = lt.Bernoulli(jnp.broadcast_to(eta, (3,)))
            return lt.expect(
                key, lambda x: jnp.sum((x - p0) ** 2), dist, estimator=estimator, num_samples=runs
            )

        return lambda key: jax.grad(value)(0.0, key)

    unordered = {2: 6.1125e-3, 3: 2.2625e-3, 4: 1.13083e-3, 5: 6.105e-4, 6: 3.165e-4, 7: 1.29167e-4}
    rows = []
    for k, expected in {2: 7.275e-3, 3: 3.20e-3, 4: 1.99e-3}.items():
        rows.append(
            Row(
                f"variance, LOO, k = {k}",
                expected,
                moments(gradient(lt.ScoreFunction(), k), 100_000)[1],
                0.05,
            )
        )
    for k, expected in unordered.items():
        mean, variance = moments(gradient(lt.UnorderedSet(k), 1), 100_000)
        rows.append(Row(f"variance, unordered set, k = {k}", expected, variance, 0.05))
    rows.append(Row("gradient, unordered set, k = 7", -0.045, mean, 0.01))
    return rows


def reinmax_polynomial() -> list[Row]:
    """Liu et al. (2023), polynomial programming: 128 one-hot pairs, mean |x − .45|^p at logits (.3, 0), one coordinate."""
    logits = jnp.tile(jnp.array([0.3, 0.0]), (128, 1))

    def mean(estimator: Any, power: float) -> float:
        f = lambda x: jnp.mean(jnp.abs(x[:, 0] - 0.45) ** power)
        value = lambda l: lt.expect(
            jax.random.key(0), f, lt.OneHotCategorical(l), estimator=estimator, num_samples=40_000
        )
        return float(jnp.mean(jax.jit(jax.grad(value))(logits)[:, 0]))

    exact = {1.5: 2.02483559e-4, 2.0: 1.90983056e-4}
    return [
        Row("gradient, p = 2, ReinMax (no bias)", exact[2.0], mean(lt.ReinMax(), 2.0), 0.03),
        Row("gradient, p = 1.5, ReinMax (biased)", 1.01411223e-4, mean(lt.ReinMax(), 1.5), 0.05),
        Row(
            "gradient, p = 1.5, straight-through (biased)",
            4.02626661e-4,
            mean(lt.StraightThrough(), 1.5),
            0.03,
        ),
        Row(
            "gradient, p = 2, straight-through / exact",
            2.5,
            mean(lt.StraightThrough(), 2.0) / exact[2.0],
            0.05,
        ),
    ]


def train_one_bit(estimator: Any, runs: int, t: float, steps: int, seeds: int) -> float:
    """Median over seeds of p after Adam 0.01 from logit 0."""
    optimizer = optax.adam(0.01)

    def fit(key: Any) -> Any:
        def step(carry: Any, key: Any) -> Any:
            logit, state = carry
            value = lambda l: lt.expect(
                key, lambda x: (x - t) ** 2, lt.Bernoulli(l), estimator=estimator, num_samples=runs
            )
            updates, state = optimizer.update(jax.grad(value)(logit), state)
            return (optax.apply_updates(logit, updates), state), None

        start = jnp.zeros(())
        (logit, _), _ = jax.lax.scan(
            step, (start, optimizer.init(start)), jax.random.split(key, steps)
        )
        return jax.nn.sigmoid(logit)

    return float(jnp.median(jax.jit(jax.vmap(fit))(jax.random.split(jax.random.key(0), seeds))))


def train_moving_average(t: float, steps: int, seeds: int) -> float:
    """The same with one draw a step and a running mean of past costs, carried from step to step."""
    optimizer = optax.adam(0.01)

    def step(carry: Any, key: Any) -> Any:
        logit, state, estimator = carry

        def loss(l: Any) -> Any:
            value, aux = lt.expect(
                key,
                lambda x: (x - t) ** 2,
                lt.Bernoulli(l),
                estimator=estimator,
                num_samples=1,
                has_aux=True,
            )
            return value, aux.estimator

        gradient, estimator = jax.grad(loss, has_aux=True)(logit)
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(logit, updates), state, estimator), None

    def fit(key: Any) -> Any:
        start = (
            jnp.zeros(()),
            optimizer.init(jnp.zeros(())),
            lt.ScoreFunction(lt.MovingAverage(0.9)),
        )
        return jax.nn.sigmoid(jax.lax.scan(step, start, jax.random.split(key, steps))[0][0])

    return float(jnp.median(jax.jit(jax.vmap(fit))(jax.random.split(jax.random.key(0), seeds))))


def train_relax(t: float, steps: int, seeds: int) -> float:
    """The same with a surrogate of ten tanh units and its temperature, trained beside the logit by Adam 0.01."""
    optimizer = optax.adam(0.01)

    def surrogate(w: Any, y: Any) -> Any:
        return jnp.tanh(w["a"] * y + w["b"]) @ w["c"] + w["d"]

    def loss(params: Any, key: Any) -> Any:
        estimator = lt.RELAX(surrogate, params["w"], jnp.exp(params["log temperature"]))
        value, aux = lt.expect(
            key,
            lambda x: (x - t) ** 2,
            lt.Bernoulli(params["logit"]),
            estimator=estimator,
            num_samples=1,
            has_aux=True,
        )
        return value + aux.adaptive_loss

    def fit(key: Any) -> Any:
        keys = jax.random.split(key, steps + 2)
        w = {"a": jax.random.normal(keys[0], (10,)), "b": jnp.zeros(10), "d": jnp.zeros(())}
        w["c"] = jax.random.normal(keys[1], (10,)) / jnp.sqrt(10.0)
        params = {"logit": jnp.zeros(()), "w": w, "log temperature": jnp.log(0.5)}

        def step(carry: Any, key: Any) -> Any:
            params, state = carry
            updates, state = optimizer.update(jax.grad(loss)(params, key), state)
            return (optax.apply_updates(params, updates), state), None

        (params, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), keys[2:])
        return jax.nn.sigmoid(params["logit"])

    return float(jnp.median(jax.jit(jax.vmap(fit))(jax.random.split(jax.random.key(0), seeds))))


def rebar_toy() -> list[Row]:
    """Tucker et al. (2017), Grathwohl et al. (2018): f = (b − t)², Adam 0.01 from p = ½; the optimum is p = 0."""
    plain = lt.ScoreFunction(lt.NoBaseline())
    near = {
        "LOO, n = 2": (lt.ScoreFunction(), 2, 0.032, 0.15),
        "DisARM": (lt.DisARM(), 1, 0.025, 0.15),
        "ARM": (lt.ARM(), 1, 0.026, 0.15),
        "no baseline": (plain, 1, 0.476, 0.1),
        "REBAR (η = 1, τ = .5)": (lt.REBAR(), 1, 0.491, 0.1),
    }
    far = {
        "straight-through": (lt.StraightThrough(), 0.45),
        "Gumbel-softmax, τ = .5": (lt.GumbelSoftmax(0.5), 0.355),
        "Gumbel-softmax, τ = 1": (lt.GumbelSoftmax(1.0), 0.377),
    }
    rows = [
        Row(
            f"median p, t = .499, 1,000 steps, {name}",
            expected,
            train_one_bit(e, runs, 0.499, 1000, 200),
            within,
        )
        for name, (e, runs, expected, within) in near.items()
    ]
    average = train_moving_average(0.499, 1000, 200)
    rows.append(Row("median p, t = .499, 1,000 steps, moving average", 0.29, average, 0.15))
    learned = [(0.499, 1000, 0.442, 0.04), (0.499, 3000, 0.245, 0.13), (0.45, 1000, 0.0407, 0.2)]
    rows += [
        Row(
            f"median p, t = {f'{t}'[1:]}, {steps:,} steps, RELAX, trained",
            p,
            train_relax(t, steps, 200),
            within,
        )
        for t, steps, p, within in learned
    ]
    rebar = train_one_bit(lt.REBAR(), 1, 0.45, 1000, 200)
    rows.append(Row("median p, t = .45, 1,000 steps, REBAR (η = 1, τ = .5)", 0.1975, rebar, 0.1))
    rows += [
        Row(
            f"median p, t = .45, 10,000 steps, {name}: stuck",
            p,
            train_one_bit(e, 1, 0.45, 10_000, 200),
            0.02 / p,
        )
        for name, (e, p) in far.items()
    ]
    return rows


def rqmc() -> list[Row]:
    """Buchholz, Wenzel & Mandt (2018): the variance of a gradient over n = 16 … 4,096 draws; cosines and a square, D = 4."""
    counts = np.array([16, 64, 256, 1024, 4096])
    f = lambda x: jnp.sum(jnp.cos(x)) + 0.1 * jnp.sum(x) ** 2

    def slope(estimator: Any) -> float:
        def variance(n: int) -> float:
            value = lambda mu, key: lt.expect(
                key, f, lt.Normal(mu, 1.0), estimator=estimator, num_samples=n
            )
            one = lambda key: jax.grad(value)(jnp.full(4, 0.3), key)
            draws = jax.jit(lambda keys: jax.lax.map(one, keys, batch_size=50))(
                jax.random.split(jax.random.key(0), 200)
            )
            return float(jnp.var(draws, axis=0).sum())

        return float(np.polyfit(np.log(counts), np.log([variance(int(n)) for n in counts]), 1)[0])

    score = lambda plan: lt.ScoreFunction(lt.NoBaseline(), plan)
    return [
        Row("slope, pathwise, independent draws", -1.0, slope(lt.Pathwise()), 0.1),
        Row("slope, score function, independent draws", -1.0, slope(score(lt.IID())), 0.1),
        Row(
            "slope, pathwise, scrambled Sobol': at most",
            -1.6,
            slope(lt.Pathwise(lt.Sobol())),
            at_most=True,
        ),
        Row(
            "slope, score function, scrambled Sobol': at most",
            -1.6,
            slope(score(lt.Sobol())),
            at_most=True,
        ),
    ]


FIGURES: dict[str, Callable[[], list[Row]]] = {
    "arms-toy": arms_toy,
    "titsias-shi": titsias_shi,
    "kool": kool,
    "reinmax-polynomial": reinmax_polynomial,
    "rebar-toy": rebar_toy,
    "rqmc": rqmc,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=sorted(FIGURES))
    only = parser.parse_args().only
    for name, figure in FIGURES.items():
        if only in (None, name):
            print(f"\n{name}: {(figure.__doc__ or '').strip()}")
            for row in figure():
                mark = "" if row.right else "   <-- off"
                print(
                    f"  {row.quantity:<52} expected {row.expected:<12.5g} obtained {row.obtained:<12.5g}{mark}"
                )


if __name__ == "__main__":
    main()
