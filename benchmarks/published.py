"""Do the estimators give the published figures, through the public API? Published, exact and obtained, side by side.

`python benchmarks/published.py [--only arms-toy kool …] [--markdown FILE] [--json FILE]`: twelve experiments, a few minutes
on two cores. Variances are of ONE call, over independent calls. Exit code 1 where a number is off.
"""

import argparse
import ast
import dataclasses
import importlib
import json
import pathlib
import sys
import time
from collections.abc import Callable

from experiments.row import Row

_MODULES = {
    "gaussian-atlas": "b01_gaussian_atlas",
    "arms-toy": "b02_arms_toy",
    "rebar-toy": "b03_rebar_toy",
    "titsias-shi": "b04_two_hundred_bits",
    "kool": "b05_three_bits",
    "random-walk": "b06_random_walk",
    "iwae-snr": "b07_iwae_snr",
    "logistic-regression": "b08_logistic_regression",
    "digits-vae": "b09_digits_vae",
    "rqmc": "b10_randomized_qmc",
    "reinmax-polynomial": "b11_polynomial",
    "elbo-and-bandit": "b12_elbo_and_bandit",
}


def _rows_of(module: str) -> Callable[[], list[Row]]:
    return lambda: importlib.import_module(f"experiments.{module}").rows()


FIGURES: dict[str, Callable[[], list[Row]]] = {n: _rows_of(m) for n, m in _MODULES.items()}


def about(name: str) -> str:
    """The first line of an experiment's file."""
    path = pathlib.Path(__file__).parent / "experiments" / f"{_MODULES[name]}.py"
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.splitlines()[0]


def line(row: Row) -> str:
    """One number of the printed table."""
    published = "" if row.published is None else f"{row.published:.3g}"
    bound = "≤ " if row.at_most else ""
    error = f" ± {row.error:.1g}" if row.error else ""
    mark = "" if row.right else "   <-- off"
    exact = f"{bound}{row.expected:.5g}"
    work = "" if row.work is None else f", × evaluations {row.work:.3g}"
    return (
        f"  {row.quantity:<58} {published:>10} {exact:>12} {row.obtained:>12.5g}{error}{work}{mark}"
    )


def markdown(name: str, rows: list[Row]) -> str:
    """A section of a Markdown file; without times, which are those of one machine."""
    lines = [
        f"### {about(name)}",
        "",
        "| quantity | published | exact | obtained | standard error | × evaluations | |",
        "|---|--:|--:|--:|--:|--:|---|",
    ]
    for row in rows:
        published = "" if row.published is None else f"{row.published:.3g}"
        error = f"{row.error:.1g}" if row.error else ""
        bound = "≤ " if row.at_most else ""
        work = "" if row.work is None else f"{row.work:.3g}"
        verdict = "" if row.right else "off"
        lines.append(
            f"| {row.quantity.replace('|', chr(92) + '|')} | {published} | "
            f"{bound}{row.expected:.5g} | {row.obtained:.5g} | {error} | {work} | {verdict} |"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=sorted(FIGURES), default=list(FIGURES))
    parser.add_argument("--markdown", help="write the table here too")
    parser.add_argument("--json", help="write the numbers here too")
    arguments = parser.parse_args()
    sections, told, off = [], {}, 0
    for name in arguments.only:
        print(f"\n{name}: {about(name)}")
        print(f"  {'':<58} {'published':>10} {'exact':>12} {'obtained':>12}")
        began, began_cpu = time.perf_counter(), time.process_time()
        rows = FIGURES[name]()
        seconds, cpu = time.perf_counter() - began, time.process_time() - began_cpu
        for row in rows:
            print(line(row), flush=True)
        wrong = sum(not row.right for row in rows)
        off += wrong
        print(f"  {len(rows)} numbers, {wrong} off, {seconds:.0f} s, {cpu:.0f} s of CPU")
        sections.append(markdown(name, rows))
        told[name] = [dataclasses.asdict(row) | {"right": row.right} for row in rows]
    if arguments.markdown:
        pathlib.Path(arguments.markdown).write_text("\n\n".join(sections) + "\n", encoding="utf-8")
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(told, indent=1), encoding="utf-8")
    return 1 if off else 0


if __name__ == "__main__":
    sys.exit(main())
