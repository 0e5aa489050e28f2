"""`python -m logtrick bench`: compare estimators on a built-in problem, from the shell."""

import argparse
import difflib
import functools
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from logtrick._core.keys import key
from logtrick.diagnostics._autoselect import autoselect
from logtrick.diagnostics._compare import compare_estimators
from logtrick.diagnostics._comparison import Comparison
from logtrick.diagnostics._problems import ESTIMATORS, PROBLEMS, Problem, started

Objectives = Mapping[str, Callable[..., Any]]

_EPILOG = """\
The number of samples is a budget: evaluations of f per gradient, the same for every estimator.
Exit code: 0; 1 where an estimator that declares no bias shows one; 2 for a wrong argument; 130 after Ctrl-C.
Example: python -m logtrick bench arms-toy --estimators disarm,arms,loo --samples 2,4,8 --plot out.png
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
      argv: the arguments after `bench`; None takes those of the process.
    Returns:
      The exit code.
    Example:
      >>> from logtrick.diagnostics._bench import main
      >>> main(["arms-toy", "--estimators", "enumerate", "--replicates", "2", "--timings", "0", "--quiet"])
      arms-toy: one bit at p = ½, f = (b − 0.49)²
      ...
      0
    """
    arguments = _parser().parse_args(sys.argv[1:] if argv is None else list(argv))
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has what it wanted; nothing more is written at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def _run(arguments: argparse.Namespace) -> int:
    if arguments.list:
        print(_listing())
        return 0
    try:
        problem = _chosen("problem", arguments.problem, PROBLEMS)()
        arguments.samples = arguments.samples or [problem.samples]
        names = arguments.estimators or problem.estimators
        for name in names:
            _chosen("estimator", name, ESTIMATORS)
        _check_files(arguments)
        _check_figure(arguments)
    except ValueError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    print(f"{arguments.problem}: {problem.about}\n{problem.source}")
    objectives = {name: problem.objective(name) for name in names}
    comparison = _compare(problem, objectives, arguments)
    print(comparison)
    for name, slope in comparison.slopes.items():
        print(f"{name}: variance ∝ samples^{slope:.2f}")
    try:
        _save(comparison, arguments)
    except OSError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    if comparison.interrupted:
        return 130
    if all(m.error for m in comparison.measurements):
        print("bench: every estimator was refused, so nothing was measured.", file=sys.stderr)
        return 2
    if arguments.select:
        code = _select(problem, objectives, arguments)
        if code:
            return code
    wrong = [m for m in comparison.measurements if m.verdict == "biased" and not m.biased]
    return 1 if wrong else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m logtrick bench",
        description="Bias, variance and cost of gradient estimators on a built-in problem.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("problem", nargs="?", help="a name of --list")
    parser.add_argument("--list", action="store_true", help="list problems and estimators")
    parser.add_argument("--estimators", type=_names, help="names, separated by commas")
    parser.add_argument(
        "--samples", type=_counts, help="budgets, separated by commas (default: the problem's)"
    )
    parser.add_argument("--replicates", type=_count, default=2000, help="gradients (default 2000)")
    parser.add_argument("--timings", type=_natural, default=11, help="timed calls; 0 for none")
    parser.add_argument("--seed", type=_natural, default=0, help="of the draws (default 0)")
    parser.add_argument("--select", action="store_true", help="select one by sequential halving")
    parser.add_argument("--json", metavar="FILE", help="write the outcome as JSON")
    parser.add_argument("--csv", metavar="FILE", help="write the numbers as CSV")
    parser.add_argument("--markdown", metavar="FILE", help="write the table as Markdown")
    parser.add_argument("--plot", metavar="FILE", help="write a figure, PNG or PDF by its name")
    parser.add_argument(
        "--kind",
        choices=["cost", "samples", "pareto", "coordinates"],
        help="of figure; samples where several budgets are given, else cost",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress on standard error")
    return parser


def _names(text: str) -> list[str]:
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise argparse.ArgumentTypeError(
            f"needs names of --list, separated by commas; got {text!r}"
        )
    return names


def _whole(text: str, least: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise argparse.ArgumentTypeError(f"needs a whole number of at least {least}; got {text!r}")
    return number


def _natural(text: str) -> int:
    return _whole(text, 0)


def _count(text: str) -> int:
    return _whole(text, 2)


def _counts(text: str) -> list[int]:
    return list(dict.fromkeys(_whole(part, 1) for part in text.split(",")))


def _chosen(what: str, name: str | None, known: dict[str, Any]) -> Any:
    """What `name` stands for, or an error that says the nearest names."""
    if name in known:
        return known[name]
    if name is None:
        raise ValueError(f"needs a {what}: {', '.join(known)}.")
    near = difflib.get_close_matches(name.lower(), known, 3, 0.4)
    hint = f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(known)}."
    raise ValueError(f"no {what} {name!r}. {hint}")


def _check_files(arguments: argparse.Namespace) -> None:
    """Refuse files that cannot be written before anything is measured."""
    for option in ("json", "csv", "markdown", "plot"):
        file = getattr(arguments, option)
        if not file:
            continue
        folder = os.path.dirname(file) or "."
        if not os.path.isdir(folder):
            raise ValueError(f"--{option} {file}: there is no folder {folder!r}.")
        if os.path.isdir(file):
            raise ValueError(f"--{option} {file}: that is a folder. Name a file.")
        if not os.access(file if os.path.exists(file) else folder, os.W_OK):
            raise ValueError(f"--{option} {file}: it cannot be written.")


def _check_figure(arguments: argparse.Namespace) -> None:
    """Refuse a figure that cannot be drawn before anything is measured."""
    if not arguments.plot:
        return
    if arguments.kind == "samples" and len(arguments.samples) < 2:
        raise ValueError("--kind samples needs several --samples, such as 2,4,8.")
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ValueError("--plot needs matplotlib. Run pip install 'logtrick[plot]'.") from None
    known = Figure().canvas.get_supported_filetypes()
    kind = os.path.splitext(arguments.plot)[1].lstrip(".").lower()
    if kind not in known:
        raise ValueError(
            f"--plot {arguments.plot}: no kind of figure {kind!r}. Known: {', '.join(known)}."
        )


def _compare(problem: Problem, objectives: Objectives, arguments: argparse.Namespace) -> Comparison:
    params, exact = started(problem)
    return compare_estimators(
        key(arguments.seed),
        objectives,
        params,
        num_replicates=arguments.replicates,
        reference=exact,
        num_samples=arguments.samples,
        num_timings=arguments.timings,
        progress=not arguments.quiet,
    )


def _select(problem: Problem, objectives: Objectives, arguments: argparse.Namespace) -> int:
    params, exact = started(problem)
    budget = arguments.samples[-1]
    fixed = {
        name: functools.partial(objective, num_samples=budget)
        for name, objective in objectives.items()
    }
    try:
        found = autoselect(
            key(arguments.seed + 1),
            fixed,
            params,
            num_replicates=arguments.replicates * len(fixed),
            reference=exact,
            progress=not arguments.quiet,
        )
    except ValueError as error:  # none is left
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    print(found)
    return 130 if found.interrupted else 0


def _save(comparison: Comparison, arguments: argparse.Namespace) -> None:
    if arguments.json:
        comparison.to_json(arguments.json)
    if arguments.csv:
        comparison.to_csv(arguments.csv)
    if arguments.markdown:
        comparison.to_markdown(arguments.markdown)
    if arguments.plot:
        kind = arguments.kind or ("samples" if comparison.slopes else "cost")
        if kind == "samples" and not comparison.slopes:
            print("bench: no figure, since fewer than two budgets were measured.", file=sys.stderr)
            return
        comparison.plot(kind).savefig(arguments.plot, dpi=160)


def _listing() -> str:
    width = max(map(len, PROBLEMS))
    lines = ["problems:"]
    lines += [f"  {name:<{width}}  {make().about}" for name, make in PROBLEMS.items()]
    return "\n".join([*lines, "estimators:", f"  {', '.join(ESTIMATORS)}"])
