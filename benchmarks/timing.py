"""Interleaved timings: what slows the machine down slows all compared functions alike, so their ratios hold."""

import dataclasses
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax


@dataclasses.dataclass(frozen=True)
class Timing:
    """One of several functions that were timed together.

    Attributes:
      seconds: the median of one call.
      ratio: the median of its time over the reference's, of calls next to each other.
      low: the lower quartile of the ratios.
      high: the upper quartile.
    """

    seconds: float
    ratio: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.ratio:5.2f} [{self.low:.2f}, {self.high:.2f}]  {1e3 * self.seconds:9.3f} ms"


def seconds(
    function: Callable[[], Any], repeat: int = 1, clock: Callable[[], float] = time.perf_counter
) -> float:
    """The seconds of one call, the mean of `repeat` calls."""
    began = clock()
    for _ in range(repeat):
        out = function()
    jax.block_until_ready(out)
    return (clock() - began) / repeat


def interleaved(
    functions: dict[str, Callable[[], Any]],
    reference: str,
    rounds: int = 25,
    least: float = 0.01,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Timing]:
    """Time functions in turns, each next to the reference, in random order.

    Args:
      functions: by name, what to call; compiled in a first call that is not timed.
      reference: the name of the one that the others are compared with.
      rounds: pairs of timings per function.
      least: seconds that one timing takes at least; short functions are repeated.
      clock: `time.process_time` counts the time of the processors, which other work on the machine disturbs less.
    """
    order = random.Random(0)
    repeats = {}
    for name, function in functions.items():
        jax.block_until_ready(function())
        repeats[name] = max(1, round(least / max(seconds(function), 1e-7)))
    taken: dict[str, list[float]] = {name: [] for name in functions}
    ratios: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name in order.sample(list(functions), len(functions)):
            if name == reference:
                continue
            pair = [name, reference]
            order.shuffle(pair)
            found = {each: seconds(functions[each], repeats[each], clock) for each in pair}
            taken[name].append(found[name])
            taken[reference].append(found[reference])
            ratios[name].append(found[name] / found[reference])
    ratios[reference] = [1.0, 1.0, 1.0]
    return {name: _summary(taken[name], ratios[name]) for name in functions}


def _summary(taken: list[float], ratios: list[float]) -> Timing:
    low, middle, high = statistics.quantiles(ratios, n=4)
    return Timing(statistics.median(taken), middle, low, high)
