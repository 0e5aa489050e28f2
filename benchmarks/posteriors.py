"""How good are `vi.fit` and `vi.diagnose` with nothing set, on 33 public posteriors?

A row is a fit: the gap (log Z − ELBO), the excess over the best full-rank Gaussian (found with 16,384 draws and a long
stochastic finish), the largest errors of means and standard deviations in reference standard deviations, gradients, seconds of
the first call (compilation included) and of a second one, k-hat, ESS and the verdict, and whether the verdict is right: a fit is
good if its gap is below 0.5 nats and its means are within 0.3 standard deviations.

`python benchmarks/posteriors.py [--only mesquite] [--seeds 3] [--refine] [--markdown FILE]`, in double precision. About
a minute a seed on two idle cores. With --refine the fits are continued by a flow (minutes).
"""

import argparse
import dataclasses
import os
import pathlib
import platform
import statistics
import time
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from posterior_models import Posterior, posteriors

from logtrick import vi

DRAWS = 16_384


@dataclasses.dataclass(frozen=True)
class Row:
    """One fit."""

    name: str
    dim: int
    seed: int
    status: str
    gap: float
    best_gap: float
    excess: float
    excess_se: float
    mean_error: float
    sd_error: float
    evaluations: int
    first_seconds: float
    second_seconds: float
    khat: float
    ess_share: float
    estimated_gap: float
    verdict: str

    @property
    def good(self) -> bool:
        """Whether the fit is good, by the reference."""
        return self.gap < 0.5 and self.mean_error < 0.3

    @property
    def right(self) -> bool:
        """Whether the verdict says so."""
        return self.good == (self.verdict == "good")


def measure(posterior: Posterior, seed: int, refine: str | None = None) -> Row:
    """Fit, compare, judge."""
    start = vi.FullRankNormal(like=posterior.like, support=posterior.support)
    key = jax.random.key(seed)
    began = time.perf_counter()
    fit = vi.fit(key, posterior.log_density, start, refine=refine)
    first = time.perf_counter() - began
    began = time.perf_counter()
    vi.fit(key, posterior.log_density, start, refine=refine)
    second = time.perf_counter() - began
    longest = vi.Pipeline(num_draws=(DRAWS,), polish_steps=4000)
    best = vi.fit(jax.random.key(99), posterior.log_density, start, optimizer=longest)
    report = vi.diagnose(jax.random.fold_in(key, 1), posterior.log_density, fit.q)
    weights, best_weights = log_weights(posterior, fit.q), log_weights(posterior, best.q)
    differences = best_weights - weights
    means, spreads = moment_errors(posterior, fit.q)
    return Row(
        posterior.name,
        posterior.dim,
        seed,
        fit.status,
        posterior.log_z - float(weights.mean()),
        posterior.log_z - float(best_weights.mean()),
        float(differences.mean()),
        float(differences.std() / np.sqrt(DRAWS)),
        means,
        spreads,
        fit.evaluations,
        first,
        second,
        report.khat,
        report.ess / report.num_draws,
        report.gap,
        report.verdict,
    )


def log_weights(posterior: Posterior, q: Any) -> np.ndarray:
    """log p − log q at draws of q; the same noise for every normal q."""
    u, log_q = q.flat_draws(jax.random.key(7), DRAWS)
    return np.asarray(vi.Target(posterior.log_density, q).batch(u) - log_q)


def moment_errors(posterior: Posterior, q: Any) -> tuple[float, float]:
    """The largest errors of q's means, in reference standard deviations, and of its standard deviations, relative."""
    quantities = jax.vmap(posterior.quantities)(q.sample(jax.random.key(8), 4 * DRAWS))
    means, spreads = [], []
    for name, (mean, spread) in posterior.moments.items():
        values = jnp.asarray(quantities[name])
        means.append(abs(float(values.mean()) - mean) / spread)
        spreads.append(abs(float(values.std()) / spread - 1))
    return max(means), max(spreads)


COLUMNS = ("posterior", "d", "seed", "status", "gap", "best", "excess", "mean err", "sd err", "gradients", "first s",
           "second s", "k-hat", "ESS/n", "gap said", "verdict")  # fmt: skip


def line(row: Row) -> str:
    """A row of the table."""
    cells = [row.name, row.dim, row.seed, row.status, f"{row.gap:.3f}", f"{row.best_gap:.3f}"]
    cells += [f"{row.excess:.4f} ± {row.excess_se:.4f}", f"{row.mean_error:.2f}"]
    cells += [f"{row.sd_error:.2f}", f"{row.evaluations:,}"]
    cells += [f"{row.first_seconds:.2f}", f"{row.second_seconds:.3f}", f"{row.khat:.2f}"]
    cells += [f"{row.ess_share:.2f}", f"{row.estimated_gap:.3f}"]
    cells += [row.verdict + ("" if row.right else " (wrong)")]
    return f"| {' | '.join(map(str, cells))} |"


CONDENSED = (
    "posterior",
    "d",
    "gap",
    "excess",
    "mean err",
    "sd err",
    "gradients",
    "first s",
    "second s",
    "verdict",
)


def condensed(rows: list[Row]) -> str:
    """One line for each posterior: the worst of the seeds, medians of gradients and seconds, and the very first call."""
    lines = [f"| {' | '.join(CONDENSED)} |", "|---" + "|--:" * 8 + "|---|"]
    for name in dict.fromkeys(row.name for row in rows):
        mine = [row for row in rows if row.name == name]
        verdicts = [row.verdict + ("" if row.right else " (wrong)") for row in mine]
        counted = [f"{verdicts.count(v)} × {v}" for v in dict.fromkeys(verdicts)]
        cells = [name, mine[0].dim, f"{max(r.gap for r in mine):.3f}"]
        cells += [f"{max(r.excess for r in mine):.4f}", f"{max(r.mean_error for r in mine):.2f}"]
        cells += [f"{max(r.sd_error for r in mine):.2f}"]
        cells += [f"{statistics.median(r.evaluations for r in mine):,.0f}"]
        cells += [f"{mine[0].first_seconds:.1f}"]
        cells += [f"{statistics.median(r.second_seconds for r in mine):.2f}"]
        cells += [verdicts[0] if len(counted) == 1 else ", ".join(counted)]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def setting() -> str:
    """The date, the versions, the machine."""
    day = time.strftime("%d %B %Y").lstrip("0")
    return f"{day}: jax {jax.__version__}, Python {platform.python_version()}, {os.cpu_count()} cores, double precision."


def summary(rows: Iterable[Row]) -> str:
    """What the table says."""
    rows = list(rows)
    regressions = [
        r.evaluations for r in rows if not any(w in r.name for w in ("eight", "hmm", "gp"))
    ]
    called = [r for r in rows if r.verdict == "good"]
    lines = [
        f"largest excess {max(r.excess for r in rows):.4f} nats",
        f"median gradients on the regressions {statistics.median(regressions or [0]):,.0f}",
        f"verdict right on {sum(r.right for r in rows)} of {len(rows)}",
        f"bad fits called good: {sum(not r.good for r in called)}",
        f"median second call {statistics.median(r.second_seconds for r in rows):.3f} s",
    ]
    return "\n".join(lines)


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--refine", action="store_true")
    parser.add_argument("--markdown", help="a file for a table of one line for each posterior")
    arguments = parser.parse_args()
    print(setting(), end="\n\n")
    print(f"| {' | '.join(COLUMNS)} |")
    print("|" + "---|" * len(COLUMNS))
    rows = []
    for posterior in posteriors(arguments.only).values():
        for seed in range(arguments.seeds):
            rows.append(measure(posterior, seed, "flow" if arguments.refine else None))
            print(line(rows[-1]), flush=True)
    print("\n" + summary(rows))
    if arguments.markdown:
        text = f"{setting()}\n\n{condensed(rows)}\n\n{summary(rows)}\n"
        pathlib.Path(arguments.markdown).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
