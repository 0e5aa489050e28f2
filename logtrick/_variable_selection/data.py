"""A regression table: read, checked, standardized. The diabetes table ships with the package."""

import csv
import dataclasses
import math
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import numpy as np

# A column whose variance is left to 1e-8 by the columns before it is called collinear: the elimination in float32 is
# right to 1e-4 nats well beyond that.
COLLINEAR = 1e-8


class TableError(ValueError):
    """A regression table that cannot be used; the message is one line and says what to do."""


@dataclasses.dataclass(frozen=True)
class Table:
    """A regression problem, standardized: every column has mean 0 and mean square 1.

    Attributes:
      names: the predictors' names.
      target: the target's name.
      predictors: shape (rows, predictors), float64.
      response: shape (rows,), float64.
      about: the problem in one line, for the reader.
    """

    names: tuple[str, ...]
    target: str
    predictors: np.ndarray
    response: np.ndarray
    about: str

    @property
    def num_rows(self) -> int:
        return self.predictors.shape[0]


def diabetes() -> Table:
    """The data of Efron, Hastie, Johnstone & Tibshirani (2004), "Least Angle Regression": 442 patients."""
    text = resources.files(__package__).joinpath("diabetes.csv").read_text(encoding="utf-8")
    about = (
        "Which of {predictors} measurements of {rows} diabetes patients predict the disease a year later "
        "(Efron et al. 2004)?"
    )
    return _table(text, "diabetes.csv", "target", about)


def read(path: str, target: str) -> Table:
    """A table from a CSV file: a line of names, then numbers.

    Raises:
      TableError: the file or the target column is missing, a cell is not a finite number, a column is constant or a
        linear combination of others, there are too few rows.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise TableError(f"--data {path}: no such file. Give the path of a CSV file.") from None
    except UnicodeDecodeError:
        raise TableError(f"--data {path}: not a UTF-8 text file. Give a CSV file.") from None
    except OSError as error:
        raise TableError(
            f"--data {path}: cannot be read ({error.strerror}). Give the path of a CSV file."
        ) from None
    return _table(
        text,
        path,
        target,
        "Which of {predictors} predictors of {target!r} belong in the model ({rows} rows)?",
    )


def _table(text: str, path: str, target: str, about: str) -> Table:
    names, values = _parse(text, f"--data {path}")
    if target not in names:
        raise TableError(
            f"--target {target}: {path} has no such column. Its columns are {', '.join(names)}."
        )
    if len(names) < 2:
        raise TableError(
            f"--data {path}: only the column {target!r}, no predictor. Give more columns, separated by commas."
        )
    standardized = _standardize(values, names, path)
    chosen = names.index(target)
    predictors, response = np.delete(standardized, chosen, axis=1), standardized[:, chosen]
    others = tuple(name for name in names if name != target)
    _check_rank(predictors, others, path)
    about = about.format(predictors=len(others), rows=len(values), target=target)
    return Table(others, target, predictors, response, about)


def _parse(text: str, where: str) -> tuple[list[str], np.ndarray]:
    rows = _rows(text)
    _, names = next(rows, (0, []))
    names = [name.strip() for name in names]
    if not names:
        raise TableError(
            f"{where}: the file is empty. Give a line of column names, then one line a row."
        )
    for i, name in enumerate(names):
        if not name or name in names[:i]:
            got = f"the name {name!r} again" if name else "no name"
            raise TableError(f"{where}: column {i + 1} has {got}. Rename it.")
    values = []
    for line, cells in rows:
        if len(cells) != len(names):
            raise TableError(
                f"{where}: line {line} has {len(cells)} cells, the header {len(names)}. Mend that line."
            )
        values.append([_number(cell, name, line, where) for cell, name in zip(cells, names)])
    return names, np.array(values, np.float64).reshape(len(values), len(names))


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """The lines that hold cells, with their numbers; comment lines (#) and blank lines are not rows."""
    reader = csv.reader(text.splitlines())
    for cells in reader:
        if any(cell.strip() for cell in cells) and not cells[0].lstrip().startswith("#"):
            yield reader.line_num, cells


def _number(cell: str, name: str, line: int, where: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        got = f"{cell.strip()!r}, not numeric" if cell.strip() else "empty"
        raise TableError(
            f"{where}: column {name!r}, line {line} is {got}. Code it as a number, or leave out the column or the row."
        ) from None
    if not math.isfinite(value):
        raise TableError(
            f"{where}: column {name!r}, line {line} is {cell.strip()}. Fill it in, or leave out the row."
        )
    return value


def _standardize(values: np.ndarray, names: list[str], path: str) -> np.ndarray:
    least = len(names) + 1
    if len(values) < least:
        raise TableError(
            f"--data {path}: {len(values)} rows are too few for {len(names) - 1} predictors; the full model needs "
            f"{least}. Give more rows, or fewer columns."
        )
    # scaled by the largest entry first, so that no square over- or underflows
    largest = np.max(np.abs(values), axis=0)
    scaled = values / np.where(largest > 0, largest, 1.0)
    centered = scaled - scaled.mean(axis=0)
    scale = np.sqrt(np.mean(centered**2, axis=0))
    for name, deviation in zip(names, scale):
        if deviation < 1e-12:
            raise TableError(f"--data {path}: column {name!r} is constant. Leave it out.")
    return centered / scale


def _check_rank(predictors: np.ndarray, names: tuple[str, ...], path: str) -> None:
    """Every predictor varies beyond the linear combinations of those before it."""
    for j in range(1, len(names)):
        before, column = predictors[:, :j], predictors[:, j]
        weights = np.linalg.lstsq(before, column, rcond=None)[0]
        if np.mean((column - before @ weights) ** 2) < COLLINEAR:
            others = ", ".join(repr(name) for name, w in zip(names, weights) if abs(w) > 1e-4)
            raise TableError(
                f"--data {path}: column {names[j]!r} is collinear: a linear combination of {others}. Leave one out."
            )
