"""The command line of the main job of `python -m logtrick`."""

import argparse
import dataclasses
import importlib.util
import json
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TextIO

import logtrick as lt
from logtrick._variable_selection import data, job, numbers, report
from logtrick._variable_selection.guides import GUIDES, Guide
from logtrick._variable_selection.table import Options, Table, TableError

_DESCRIPTION = (
    "Bayesian variable selection by the log-derivative trick: two guides are fitted to the posterior over which "
    "predictors belong in a regression, beside the exact answer, and gradient estimators race. Without options, on "
    "Efron et al.'s diabetes data."
)
_SEPARATORS = {"tab": "\t", "\\t": "\t", "space": " ", "comma": ",", "semicolon": ";"}
_DECIMALS = {"point": ".", "comma": ",", ".": ".", ",": ","}


class _Parser(argparse.ArgumentParser):
    """Errors in one line, exit status 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {' '.join(message.split())}\n")


def _parser(epilog: str | None) -> _Parser:
    parser = _Parser(
        "python -m logtrick",
        description=textwrap.fill(_DESCRIPTION, 79),
        epilog=epilog,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--seed",
        type=_at_least(0),
        default=0,
        help="a non-negative integer of any size (default: 0)",
    )
    parser.add_argument(
        "--steps", type=_at_least(1), metavar="N", help="optimizer steps of each guide's fit"
    )
    parser.add_argument(
        "--draws",
        type=_at_least(2),
        metavar="N",
        help="draws per step, at least 2: the baseline of each is the mean of the others",
    )
    parser.add_argument(
        "--plot", metavar="FILE.png", help="write a figure of the fit and the race (extra `plot`)"
    )
    parser.add_argument("--json", metavar="FILE", help="write the numbers")
    parser.add_argument("--version", action="version", version=f"logtrick {lt.__version__}")
    _add_table_options(parser)
    return parser


def _add_table_options(parser: _Parser) -> None:
    table = parser.add_argument_group(
        "your own table",
        "How the file is written is detected, and said; these options override it.",
    )
    table.add_argument("--data", metavar="FILE.csv", help="a delimited text file, one row a line")
    table.add_argument(
        "--target", metavar="COLUMN", help="the column of --data to be predicted from the others"
    )
    table.add_argument(
        "--columns",
        type=_names,
        default=(),
        metavar="A,B,C",
        help="use only these predictors; in a file without a line of names, the names of all its columns",
    )
    table.add_argument(
        "--drop", type=_names, default=(), metavar="A,B", help="leave out these columns"
    )
    table.add_argument(
        "--separator",
        type=_separator,
        metavar="SIGN",
        help="between cells: one character, or tab, space, comma, semicolon",
    )
    table.add_argument("--decimal", choices=_DECIMALS, help="the decimal sign")
    table.add_argument(
        "--no-header", action="store_true", help="the file has no line of column names"
    )
    table.add_argument(
        "--strict",
        action="store_true",
        help="refuse a table with missing values, text, dates, constant or collinear columns",
    )


def _at_least(least: int) -> Callable[[str], int]:
    """A type of arguments: integers from `least` on."""

    def integer(text: str) -> int:
        if not (text.isascii() and text.isdigit() and int(text) >= least):
            raise argparse.ArgumentTypeError(f"needs an integer from {least} on; got {text!r}")
        return int(text)

    return integer


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _separator(text: str) -> str:
    sign = _SEPARATORS.get(text, text)
    if len(sign) != 1 or sign in '"\r\n':
        raise argparse.ArgumentTypeError(
            f"needs one character, or tab, space, comma or semicolon; got {text!r}"
        )
    return sign


def _table(parser: _Parser, options: argparse.Namespace) -> Table:
    """The user's table, or the shipped one."""
    fixed = Options(
        separator=options.separator,
        decimal=_DECIMALS.get(options.decimal),
        header=not options.no_header,
        columns=options.columns,
        drop=options.drop,
    )
    if (options.data is None) != (options.target is None):
        parser.error("--data FILE.csv and --target COLUMN go together; only one is given")
    if options.data is None:
        if options.strict or fixed != Options():
            parser.error(
                "--columns, --drop, --separator, --decimal, --no-header and --strict need --data"
            )
        return job.diabetes()
    if options.target in options.drop:
        parser.error(f"--drop {options.target}: that is the target. Drop others")
    table = data.read(options.data, options.target, fixed)
    if options.strict and table.changes:
        noticed = "; ".join(table.changes)
        parser.error(
            f"--data {table.path}: --strict refuses what would be left out or coded: {noticed}"
        )
    return table


def _guides(options: argparse.Namespace) -> tuple[Guide, ...]:
    changed = {"num_steps": options.steps, "num_samples": options.draws}
    given = {name: value for name, value in changed.items() if value is not None}
    return tuple(dataclasses.replace(guide, **given) for guide in GUIDES)


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
            found = numbers.as_json(result, vars(options))
            Path(options.json).write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
            print(f"Wrote {options.json}")
        if options.plot is not None:
            from logtrick._variable_selection import figure

            figure.save(result, options.plot)
            print(f"Wrote {options.plot}")
    except OSError as error:
        parser.error(f"an output cannot be written ({error})")


def main(arguments: Sequence[str] | None = None, epilog: str | None = None) -> int:
    """Run the job; the exit status."""
    for stream in (sys.stdout, sys.stderr):
        _never_fail(stream)
    parser = _parser(epilog)
    options = parser.parse_args(arguments)
    _check_outputs(parser, options)
    try:
        table = _table(parser, options)
    except TableError as error:
        parser.error(str(error))
    print(report.problem(table), end="\n\n", flush=True)
    try:
        result = job.run(table, lt.key(options.seed), sys.stderr, guides=_guides(options))
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    except lt.NonFiniteError as error:
        parser.error(str(error))
    print(report.results(result))
    _write(parser, options, result)
    return 0


def _never_fail(stream: TextIO | None) -> None:
    """Letters that the terminal's encoding lacks become question marks, not an error."""
    reconfigure: Any = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")
