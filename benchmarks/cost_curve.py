"""How do time and memory of a gradient grow with samples, dimensions, sites and devices? Slopes beside the tables.

`python benchmarks/cost_curve.py [--only samples dimensions sites devices] [--plot FILE]`. Seconds are medians of compiled
calls; temporaries are XLA's own account; the slope is that of log seconds over log size in the upper half of the sizes.
Devices: the CPU split into 1, 2 and 4 (their number of cores bounds the gain).
"""

import argparse
import os
from collections.abc import Callable, Iterator
from typing import Any

os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=4")

import statistics

import jax
import jax.numpy as jnp
import numpy as np
from compile_time import chain
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from timing import seconds

import logtrick as lt

Point = tuple[int, float, float]  # size, seconds, megabytes of temporaries


def cost(x: Any) -> Any:
    return jnp.sum((x - 0.45) ** 2)


def gradient(dim: int, n: int, chunk: int | None = None) -> tuple[Callable[..., Any], Any]:
    """The compiled gradient of an expectation under a normal, and its arguments."""

    def value(params: Any, key: Any) -> Any:
        dist = lt.Normal(params[0], jnp.exp(params[1]))
        return lt.expect(key, cost, dist, num_samples=n, chunk_size=chunk)

    arguments = ((jnp.full(dim, 0.1), jnp.zeros(dim)), jax.random.key(0))
    return jax.jit(jax.grad(value)).lower(*arguments).compile(), arguments


def gradient_of_chain(sites: int) -> tuple[Callable[..., Any], Any]:
    """The same of a program of many sites, each depending on those before."""
    value = lambda logits, key: lt.expect_program(key, chain, logits, num_samples=64)
    arguments = (jnp.zeros(sites), jax.random.key(0))
    return jax.jit(jax.grad(value)).lower(*arguments).compile(), arguments


def measured(size: int, compiled: Any, arguments: Any, calls: int = 11) -> Point:
    run = lambda: compiled(*arguments)
    jax.block_until_ready(run())
    repeat = max(1, round(0.01 / max(seconds(run), 1e-7)))
    taken = statistics.median(seconds(run, repeat) for _ in range(calls))
    analysis = compiled.memory_analysis()
    memory = float("nan") if analysis is None else analysis.temp_size_in_bytes / 2**20
    return size, taken, memory


def samples() -> Iterator[Point]:
    """100 dimensions."""
    for n in (16, 64, 256, 1024, 4096, 16_384, 65_536):
        yield measured(n, *gradient(100, n))


def dimensions() -> Iterator[Point]:
    """256 samples."""
    for dim in (1, 10, 100, 1000, 10_000):
        yield measured(dim, *gradient(dim, 256))


def sites() -> Iterator[Point]:
    """64 samples of a chain of bits."""
    for count in (1, 2, 5, 10, 20, 50):
        yield measured(count, *gradient_of_chain(count))


def devices() -> Iterator[Point]:
    """65,536 samples in 100 dimensions, the axis of samples sharded by the costs that f returns."""
    for count in (1, 2, 4):
        mesh = Mesh(np.array(jax.devices()[:count]), ("draws",))
        spread = NamedSharding(mesh, PartitionSpec("draws"))
        key = jax.random.key(0)

        def value(params: Any, keys: Any) -> Any:
            dist = lt.Normal(params[0], jnp.exp(params[1]))
            one = lambda key: lt.expect(key, cost, dist, num_samples=65_536 // 4)
            return jnp.mean(jax.vmap(one)(keys))

        keys = jax.device_put(jax.random.split(key, 4), spread)
        params = (jnp.full(100, 0.1), jnp.zeros(100))
        compiled = jax.jit(jax.grad(value)).lower(params, keys).compile()
        yield measured(count, compiled, (params, keys))


CURVES: dict[str, Callable[[], Iterator[Point]]] = {
    "samples": samples,
    "dimensions": dimensions,
    "sites": sites,
    "devices": devices,
}


def slope(points: list[Point]) -> float:
    """Of log seconds over log size, in the upper half of the sizes."""
    upper = points[len(points) // 2 :] if len(points) > 3 else points
    x, y = (np.log([p[i] for p in upper]) for i in (0, 1))
    return float(np.polyfit(x, y, 1)[0])


def draw(curves: dict[str, list[Point]], file: str) -> None:
    """A panel per curve, log–log, the slope inside."""
    import matplotlib
    from matplotlib.figure import Figure

    style: Any = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(3.2 * len(curves), 3.0), layout="constrained")
        panels = figure.subplots(1, len(curves), squeeze=False)[0]
        for axes, (name, points) in zip(panels, curves.items()):
            x, y = [p[0] for p in points], [1e3 * p[1] for p in points]
            axes.plot(x, y, "o-", color="#4c5fa8", ms=5, mec="white")
            axes.set(xscale="log", yscale="log", xlabel=name)
            text = f"slope {slope(points):.2f}".replace("-", "−")
            axes.text(0.05, 0.93, text, transform=axes.transAxes, color="#30323d")
            axes.grid(color="#eceef1")
            axes.set_axisbelow(True)
            if len(set(x)) <= 4:
                axes.set_xticks(x, [str(v) for v in x])
                axes.minorticks_off()
        panels[0].set_ylabel("milliseconds per gradient")
        figure.savefig(file, dpi=160)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=sorted(CURVES), default=list(CURVES))
    parser.add_argument("--plot", help="write a figure here")
    arguments = parser.parse_args()
    curves = {}
    for name in arguments.only:
        print(f"{name}: {(CURVES[name].__doc__ or '').strip()}")
        points = curves[name] = []
        for point in CURVES[name]():
            points.append(point)
            print(f"{point[0]:>8,} {1e3 * point[1]:10.3f} ms {point[2]:10.2f} MB", flush=True)
        print(f"slope {slope(points):.2f}")
    if arguments.plot:
        draw(curves, arguments.plot)


if __name__ == "__main__":
    main()
