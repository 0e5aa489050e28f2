"""`python -m logtrick vi`: fit a named posterior by the defaults, beside its reference."""

import argparse
import difflib
import importlib.util
import json
import pathlib
import sys
import time
from collections.abc import Sequence
from typing import Any, NoReturn

import jax
import numpy as np

from logtrick._core.keys import key as seeded
from logtrick.vi._diagnose import diagnose
from logtrick.vi._fit import fit
from logtrick.vi._posteriors import POSTERIORS, Posterior
from logtrick.vi._verdict import Report


class _Parser(argparse.ArgumentParser):
    """Errors in one line, exit status 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status: 0, or 1 where the verdict is "do not trust".

    Args:
      arguments: what stands after `python -m logtrick vi`; None for those of the process.
    Returns:
      The exit status.
    """
    options = _parser().parse_args(arguments)
    if options.list:
        for name, posterior in POSTERIORS.items():
            print(f"{name:<24}{posterior.about}")
        return 0
    wrong = _wrong(options)
    if wrong is not None:
        print(f"python -m logtrick vi: error: {wrong}", file=sys.stderr)
        return 2
    return _run(POSTERIORS[options.posterior], options)


def _wrong(options: argparse.Namespace) -> str | None:
    """What is wrong with the options, found before the fit; None where nothing is."""
    if options.posterior not in POSTERIORS:
        near = difflib.get_close_matches(options.posterior, POSTERIORS, 1)
        hint = f" Did you mean {near[0]}?" if near else ""
        return f"no posterior {options.posterior!r}; there are {', '.join(POSTERIORS)}.{hint}"
    if options.seed < 0:
        return f"--seed needs a non-negative integer; got {options.seed}."
    if options.plot and importlib.util.find_spec("matplotlib") is None:
        return '--plot needs matplotlib. Install it by `pip install "logtrick[plot]"`.'
    for file in (options.plot, options.json):
        if file and not pathlib.Path(file).resolve().parent.is_dir():
            return f"there is no folder for {file}."
    return None


def _parser() -> _Parser:
    parser = _Parser(
        "python -m logtrick vi",
        description="Fit a posterior by variational inference with the defaults; print the verdict beside the reference.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "posterior",
        nargs="?",
        default="eight-schools",
        help="the posterior's name (default: eight-schools)",
    )
    parser.add_argument("--list", action="store_true", help="list the posteriors")
    parser.add_argument("--seed", type=int, default=0, help="a non-negative integer (default: 0)")
    parser.add_argument("--mean-field", action="store_true", help="independent normals")
    parser.add_argument("--plot", metavar="FILE.png", help="write a figure (extra `plot`)")
    parser.add_argument("--json", metavar="FILE", help="write the numbers")
    return parser


def _run(posterior: Posterior, options: argparse.Namespace) -> int:
    key_fit, key_report = jax.random.split(seeded(options.seed))
    log_density, q0 = posterior.make(options.mean_field)
    began = time.perf_counter()
    fitted = fit(key_fit, log_density, q0)
    seconds = time.perf_counter() - began
    report = diagnose(key_report, log_density, fitted.q)
    print(
        f"{posterior.about}\n{type(q0).__name__}, {fitted.status}, {seconds:.1f} s, compilation included\n"
    )
    rows = _rows(posterior, fitted.q)
    if rows:
        print(_table(rows))
    if posterior.log_evidence is not None:
        print(f"\nlog evidence of the reference  {posterior.log_evidence:.2f}")
    print(report)
    if options.plot:
        report.plot().savefig(options.plot)
    if options.json:
        _write(options.json, options, rows, report, seconds)
    return 1 if report.verdict == "do not trust" else 0


def _rows(posterior: Posterior, q: Any) -> list[dict[str, Any]]:
    """A row for each variable of the reference: the fit's mean and standard deviation beside it."""
    mean, deviation = q.mean(), q.stddev()
    rows = []
    for name, (expected, spread) in posterior.reference.items():
        found, sd = np.ravel(mean[name])[0], np.ravel(deviation[name])[0]
        row = {"variable": name, "mean": float(found), "sd": float(sd)}
        rows.append({**row, "reference mean": expected, "reference sd": spread})
    return rows


def _table(rows: list[dict[str, Any]]) -> str:
    head = ("variable", "mean", "sd", "reference mean", "reference sd")
    lines = ["".join(name.rjust(16) for name in head)]
    for row in rows:
        numbers = (row[name] for name in head[1:])
        lines.append(row["variable"].rjust(16) + "".join(f"{x:16.2f}" for x in numbers))
    return "\n".join(lines)


def _write(
    path: str,
    options: argparse.Namespace,
    rows: list[dict[str, Any]],
    report: Report,
    seconds: float,
) -> None:
    found = {
        "posterior": options.posterior,
        "seed": options.seed,
        "seconds": seconds,
        "variables": rows,
        "elbo": float(report.elbo),
        "elbo_se": float(report.elbo_se),
        "verdict": report.verdict,
        "reasons": list(report.reasons),
    }
    with open(path, "w", encoding="utf-8") as file:
        json.dump(found, file, indent=2)
