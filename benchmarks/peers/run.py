"""How do the library and its peers compare on the same work? Interleaved in one process, medians of ratios.

`bash benchmarks/peers/setup.sh`, then `python benchmarks/peers/run.py [--only gradients fits vae dispatch]
[--environments build/peers] [--markdown FILE]`. Each environment runs the library, the hand-written code and the peers that
live in it; ratios are to the hand-written code of the same process. Torch peers are cited in the README, not run.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

sys.path.insert(1, str(pathlib.Path(__file__).parents[1]))  # of the workloads and timings
Line = dict[str, Any]


def gradients(rounds: int, seeds: int) -> Iterator[Line]:
    """One gradient of an expectation under a normal, by the score function."""
    import gradients as module
    import jax
    from timing import interleaved

    del seeds
    for dim, n in ((10, 1000), (100, 1000), (1000, 1000), (1000, 10_000)):
        params, key = module.start(dim), jax.random.key(1)
        calls = {}
        for name, gradient in module.contenders().items():
            if name.startswith("optax") and dim * n > 2e6:
                continue  # it makes every draw's gradient
            run = jax.jit(lambda p, k, g=gradient: g(p, k, n)).lower(params, key).compile()
            calls[name] = lambda run=run: run(params, key)
        for name, timing in interleaved(calls, "hand", rounds).items():
            yield {
                "case": f"{dim} × {n:,}",
                "name": name,
                "ratio": timing.ratio,
                "ms": 1e3 * timing.seconds,
            }


def fits(rounds: int, seeds: int) -> Iterator[Line]:
    """Whole fits of 1,000 steps, Bayesian logistic regression: second calls, and ELBOs over the seeds."""
    import fits as module
    import workloads
    from timing import interleaved

    for pathwise in (False, True):
        contenders = module.contenders(pathwise)
        ends = {
            name: [workloads.elbo(fit(seed, 1000), module.DATA) for seed in range(seeds)]
            for name, fit in contenders.items()
        }
        calls = {name: lambda fit=fit: fit(0, 1000) for name, fit in contenders.items()}
        for name, timing in interleaved(calls, "hand", min(rounds, 9), least=0.0).items():
            yield {
                "case": "pathwise" if pathwise else "score function",
                "name": name,
                "ratio": timing.ratio,
                "ms": 1e3 * timing.seconds,
                "elbo": statistics.median(ends[name]),
                "elbo low": min(ends[name]),
                "elbo high": max(ends[name]),
            }


def vae(rounds: int, seeds: int) -> Iterator[Line]:
    """Steps of a Bernoulli VAE on digits: 50 steps a call, and the ELBO after 500 steps over the seeds."""
    import vae as module
    from timing import interleaved

    for width in (32, 200):
        contenders = module.contenders()
        calls = {name: lambda fit=fit: fit(width, 0, 50) for name, fit in contenders.items()}
        ends = {
            name: [float(module.elbo(fit(width, seed, 500))) for seed in range(seeds)]
            for name, fit in contenders.items()
        }
        for name, timing in interleaved(calls, "hand", min(rounds, 9)).items():
            yield {
                "case": f"{width} latents",
                "name": name,
                "ratio": timing.ratio,
                "ms": 1e3 * timing.seconds / 50,
                "elbo": statistics.median(ends[name]),
                "elbo low": min(ends[name]),
                "elbo high": max(ends[name]),
            }


def dispatch(rounds: int, seeds: int) -> Iterator[Line]:
    """A fit of 500 steps, by how its loop is dispatched."""
    import dispatch as module
    from timing import interleaved

    del seeds
    calls = module.contenders(500)
    for name, timing in interleaved(calls, "hand, one scan", min(rounds, 9), least=0.0).items():
        yield {"case": "500 steps", "name": name, "ratio": timing.ratio, "ms": 1e3 * timing.seconds}


WORKLOADS: dict[str, Callable[[int, int], Iterator[Line]]] = {
    "gradients": gradients,
    "fits": fits,
    "vae": vae,
    "dispatch": dispatch,
}


def work(names: list[str], rounds: int, seeds: int) -> None:
    """Run workloads in this process, a JSON line per result."""
    from found import versions

    print(json.dumps({"versions": versions()}), flush=True)
    for name in names:
        for line in WORKLOADS[name](rounds, seeds):
            print(json.dumps({"workload": name, **line}), flush=True)


def markdown(lines: list[Line]) -> str:
    """A table per workload."""
    parts = []
    for name, workload in WORKLOADS.items():
        rows = [line for line in lines if line.get("workload") == name]
        if rows:
            parts += [f"### {(workload.__doc__ or '').strip()}", ""]
            parts += ["| case | | × hand | ms | ELBO | jax |", "|---|---|--:|--:|--:|--:|"]
            parts += [*map(_cells, rows), ""]
    return "\n".join(parts)


def _cells(row: Line) -> str:
    end = ""
    if "elbo" in row:
        end = f"{row['elbo']:.1f} ({row['elbo low']:.1f} … {row['elbo high']:.1f})"
    cells = [row["case"], row["name"], f"{row['ratio']:.2f}", f"{row['ms']:.3g}", end, row["jax"]]
    return f"| {' | '.join(cells)} |"


def _without_disk_cache() -> dict[str, str]:
    """The environment without a compilation cache on disk: a peer that compiles in every call shows that time."""
    return {name: value for name, value in os.environ.items() if "CACHE" not in name}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=sorted(WORKLOADS), default=list(WORKLOADS))
    parser.add_argument("--environments", default="build/peers", help="the folder of setup.sh")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--markdown", help="write the tables here too")
    parser.add_argument("--here", action="store_true", help="in this environment, JSON lines")
    arguments = parser.parse_args()
    if arguments.here:
        work(arguments.only, arguments.rounds, arguments.seeds)
        return
    pythons = sorted(pathlib.Path(arguments.environments).glob("*/bin/python"))
    if not pythons:
        sys.exit(f"{arguments.environments} holds no environments. Run benchmarks/peers/setup.sh.")
    told: list[Line] = []
    for python in pythons:
        command = [str(python), __file__, "--here", "--only", *arguments.only]
        command += ["--rounds", str(arguments.rounds), "--seeds", str(arguments.seeds)]
        jax_version = ""
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=_without_disk_cache()
        ) as process:
            assert process.stdout is not None
            for text in process.stdout:
                print(text, end="", flush=True)
                line = json.loads(text)
                jax_version = line.get("versions", {}).get("jax", jax_version)
                told.append({"jax": jax_version, **line})
    tables = markdown(told)
    print(tables)
    if arguments.markdown:
        pathlib.Path(arguments.markdown).write_text(tables + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
