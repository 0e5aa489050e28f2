"""The command line of `python -m logtrick`."""

import argparse
import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, TextIO

import logtrick as lt
from logtrick._variable_selection import data, job, report

_DESCRIPTION = (
    "Bayesian variable selection by the log-derivative trick: two guides are fitted to the posterior over which "
    "predictors belong in a regression, beside the exact answer, and gradient estimators race. Without options, on "
    "Efron et al.'s diabetes data."
)


class _Parser(argparse.ArgumentParser):
    """Errors in one line, exit status 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")


def _parser() -> _Parser:
    parser = _Parser("python -m logtrick", description=_DESCRIPTION, allow_abbrev=False)
    parser.add_argument(
        "--seed", type=_seed, default=0, help="a non-negative integer of any size (default: 0)"
    )
    parser.add_argument(
        "--plot", metavar="FILE.png", help="write a figure of the fit and the race (extra `plot`)"
    )
    parser.add_argument("--json", metavar="FILE", help="write the numbers")
    parser.add_argument(
        "--data",
        metavar="FILE.csv",
        help="your own regression table: a line of names, then numbers",
    )
    parser.add_argument(
        "--target", metavar="COLUMN", help="the column of --data to be predicted from the others"
    )
    parser.add_argument("--version", action="version", version=f"logtrick {lt.__version__}")
    return parser


def _seed(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"needs a non-negative integer; got {text!r}")
    return int(text)


def _table(parser: _Parser, options: argparse.Namespace) -> data.Table:
    if (options.data is None) != (options.target is None):
        given, missing = (
            ("--data", "--target COLUMN")
            if options.target is None
            else ("--target", "--data FILE.csv")
        )
        parser.error(f"{given} needs {missing} beside it")
    return data.diabetes() if options.data is None else data.read(options.data, options.target)


def _check_outputs(parser: _Parser, options: argparse.Namespace) -> None:
    """What would fail after the fit fails before it."""
    for option in ("plot", "json"):
        path = getattr(options, option)
        if path is not None and (Path(path).is_dir() or not Path(path).absolute().parent.is_dir()):
            parser.error(
                f"--{option} {path}: no file can be written there. Give a path in a folder that exists"
            )
    if options.plot is None:
        return
    if Path(options.plot).suffix.lower() != ".png":
        parser.error(f"--plot {options.plot}: writes PNG. Give a name that ends in .png")
    if importlib.util.find_spec("matplotlib") is None:
        parser.error("--plot needs matplotlib. Install the extra: pip install 'logtrick[plot]'")


def _write(parser: _Parser, options: argparse.Namespace, result: job.Result) -> None:
    try:
        if options.json is not None:
            Path(options.json).write_text(
                json.dumps(as_json(result), indent=2) + "\n", encoding="utf-8"
            )
            print(f"Wrote {options.json}")
        if options.plot is not None:
            from logtrick._variable_selection import figure

            figure.save(result, options.plot)
            print(f"Wrote {options.plot}")
    except OSError as error:
        parser.error(f"{error.filename}: cannot be written ({error.strerror})")


def as_json(result: job.Result) -> dict[str, Any]:
    """The numbers of the job; null where there is none."""
    names, posterior = result.model.names, result.posterior
    return {
        "log_evidence": None if posterior is None else posterior.log_evidence,
        "guides": {
            fit.guide.name: {
                "elbo": fit.elbo,
                "elbo_standard_error": fit.standard_error,
                "inclusion": dict(zip(names, fit.inclusion.tolist())),
            }
            for fit in result.fits
        },
        "exact_inclusion": None
        if posterior is None
        else dict(zip(names, posterior.inclusion.tolist())),
        "race": {heat.where: heat.numbers for heat in result.race},
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job; the exit status."""
    for stream in (sys.stdout, sys.stderr):
        _never_fail(stream)
    parser = _parser()
    options = parser.parse_args(arguments)
    _check_outputs(parser, options)
    try:
        table = _table(parser, options)
    except data.TableError as error:
        parser.error(str(error))
    print(report.problem(table), end="\n\n", flush=True)
    try:
        result = job.run(table, lt.key(options.seed), sys.stderr)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    except lt.NonFiniteError as error:
        parser.error(" ".join(str(error).split()))
    print(report.results(result))
    _write(parser, options, result)
    return 0


def _never_fail(stream: TextIO) -> None:
    """Letters that the terminal's encoding lacks become question marks, not an error."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")
