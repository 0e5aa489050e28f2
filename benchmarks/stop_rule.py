"""How often does `lt.training.Converged` stop a fit that still improves, and how late does it stop one that does not?

The part of the rule that sees the objective alone (the test of the parameters only makes it stricter), on traces of
independent noise: four families that still improve, whose slopes and noises are drawn at random over the range that matters
(a total gain from 2 to 100 standard deviations of one step's noise), and flat traces. A false stop is a `converged` while
what the rest of the trace gains is above the rule's `resolution`. Further, fits by `lt.minimize`: Adam after one huge gradient.
`python benchmarks/stop_rule.py [--traces 1000] [--steps 20000] [--frozen 100]`.
"""

import argparse
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

import logtrick as lt
from logtrick.training._standstill import compare, looks

Trace = tuple[np.ndarray, np.ndarray]


def linear(random: np.random.Generator, steps: int) -> Trace:
    """The mean falls at a constant rate."""
    gain = np.exp(random.uniform(np.log(2), np.log(100)))
    mean = -gain * np.arange(steps) / steps
    return mean, mean + random.standard_normal(steps)


def power_law(random: np.random.Generator, steps: int) -> Trace:
    """The mean falls as (1 + t/t₀)^−a, a from 0.25 to 1."""
    gain = np.exp(random.uniform(np.log(10), np.log(1e4)))
    exponent, knee = random.uniform(0.25, 1.0), np.exp(random.uniform(0, np.log(steps / 10)))
    mean = gain * (1 + np.arange(steps) / knee) ** -exponent
    return mean, mean + random.standard_normal(steps)


def heteroscedastic(random: np.random.Generator, steps: int) -> Trace:
    """A linear fall; the noise's scale changes by a factor from 1/10 to 10 on the way."""
    mean, _ = linear(random, steps)
    factor = np.exp(random.uniform(-1, 1) * np.log(10) * np.arange(steps) / steps)
    return mean, mean + factor * random.standard_normal(steps)


def heavy_tailed(random: np.random.Generator, steps: int) -> Trace:
    """A linear fall; the noise is Student's t with 2 degrees of freedom."""
    mean, _ = linear(random, steps)
    return mean, mean + random.standard_t(2.0, steps)


def flat(random: np.random.Generator, steps: int) -> Trace:
    """Nothing but noise."""
    return np.zeros(steps), random.standard_normal(steps)


def stop_step(values: np.ndarray, rule: lt.training.Converged) -> int | None:
    """The step at which the rule's test of the objective says `converged`."""
    still: dict[int, bool] = {}

    def stands_still(step: int) -> bool:
        if step not in still:
            still[step] = compare(values[:step]).stands_still(rule.resolution, rule.z)
        return still[step]

    for step in range(rule.every, len(values) + 1, rule.every):
        at = looks(step, rule.every, rule.repeats, rule.min_steps)
        if at is not None and all(stands_still(s) for s in at):
            return step
    return None


def measure(
    family: Callable[[np.random.Generator, int], Trace],
    traces: int,
    steps: int,
    rule: lt.training.Converged,
) -> tuple[float, float, list[int]]:
    """The fraction of traces that stopped, the fraction that stopped with a resolvable gain left, and the steps of the stops."""
    random, stops, false = np.random.default_rng(0), [], 0
    for _ in range(traces):
        mean, values = family(random, steps)
        step = stop_step(values, rule)
        if step is not None:
            stops.append(step)
            noise = float(np.std(values[:step] - mean[:step]))
            false += mean[step - 1] - mean[-1] > rule.resolution * noise
    return len(stops) / traces, false / traces, stops


def frozen(fits: int) -> float:
    """The fraction of fits with the status `frozen`, where Adam meets one gradient of 1e12 without the freeze guard."""

    def objective(params: jax.Array, key: jax.Array) -> jax.Array:
        clock = params[-1]  # which Adam moves by its learning rate in every step
        huge = jnp.where((clock < -0.5) & (clock > -0.51), 1e12, 0.0)  # in one of them
        noisy = jnp.sum((params[:4] - 1 - jax.random.normal(key, (4,))) ** 2)
        return noisy + huge * jnp.sum(params) + 0.01 * clock

    called = 0
    rule = lt.training.Converged(every=50)
    optimizer = optax.adam(0.01)
    for seed in range(fits):
        fit = lt.minimize(
            jax.random.key(seed),
            objective,
            jnp.zeros(5),
            optimizer,
            num_steps=20_000,
            stop=rule,
            freeze_guard=None,
        )
        called += fit.status == "frozen"
    return called / max(fits, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--traces", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--frozen", type=int, default=100)
    parser.add_argument("--resolution", type=float, default=0.1)
    args = parser.parse_args()
    rule = lt.training.Converged(resolution=args.resolution)
    print(f"{args.traces} traces of {args.steps} steps, resolution {args.resolution}")
    for family in (linear, power_law, heteroscedastic, heavy_tailed, flat):
        stopped, false, stops = measure(family, args.traces, args.steps, rule)
        when = ""
        if stops:
            when = f", median step {np.median(stops):.0f}, 90 % by {np.quantile(stops, 0.9):.0f}"
        print(f"{family.__name__:16s} stopped {stopped:7.2%}, falsely {false:7.2%}{when}")
    print(f"frozen: called so in {frozen(args.frozen):.0%} of {args.frozen} fits")


if __name__ == "__main__":
    main()
