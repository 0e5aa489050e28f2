"""A regression table: read, cleaned, standardized. The diabetes table ships with the package."""

import dataclasses
from importlib import resources

import numpy as np

from logtrick._variable_selection.columns import Numbers, diagnosis, to_numbers
from logtrick._variable_selection.options import Options, TableError as TableError
from logtrick._variable_selection.sheet import read_sheet

# A column whose variance is left to 1e-8 by the columns before it is called collinear: the elimination in float32 is
# right to 1e-4 nats well beyond that.
COLLINEAR = 1e-8


@dataclasses.dataclass(frozen=True)
class Table:
    """A regression problem, standardized: every column has mean 0 and mean square 1.

    Attributes:
      names: the predictors' names.
      target: the target's name.
      predictors: shape (rows, predictors), float64.
      response: shape (rows,), float64.
      about: the problem in one line, for the reader.
      path: the file.
      num_read: the rows of the file, of which `num_rows` are used; 0 if unknown.
      assumed: how the file was read, in words; empty for the shipped table.
      changes: what was left out or coded, in words.
    """

    names: tuple[str, ...]
    target: str
    predictors: np.ndarray
    response: np.ndarray
    about: str
    path: str = ""
    num_read: int = 0
    assumed: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()

    @property
    def num_rows(self) -> int:
        return self.predictors.shape[0]


def diabetes() -> Table:
    """The data of Efron, Hastie, Johnstone & Tibshirani (2004), "Least Angle Regression": 442 patients."""
    about = (
        "Which of {predictors} measurements of {rows} diabetes patients predict the disease a year later "
        "(Efron et al. 2004)?"
    )
    with resources.as_file(resources.files(__package__).joinpath("diabetes.csv")) as path:
        table = _read(str(path), "target", Options(), about)
    return dataclasses.replace(table, path="diabetes.csv (shipped)", assumed=())


def read(path: str, target: str, options: Options = Options()) -> Table:  # noqa: B008  # frozen
    """A table from a delimited text file, whatever its dialect; what was assumed and changed is in the result.

    Raises:
      TableError: the file cannot be read, has no such target, or leaves too little to fit; with `options.strict`, also
        where anything would be left out or coded. One message names everything.
    """
    about = "Which of {predictors} predictors of {target!r} belong in the model ({rows:,} rows)?"
    return _read(path, target, options, about)


def _read(path: str, target: str, options: Options, about: str) -> Table:
    sheet = read_sheet(path, options, target)
    numbers = to_numbers(sheet, target, options, path)
    changes = list(numbers.changes)
    names, columns = _varying(numbers, target, path, changes)
    names, columns = _independent(names, columns, target, changes)
    _check_size(names, numbers, path, changes)
    if options.strict and changes:
        raise TableError(
            f"--data {path}: --strict refuses what would be left out or coded: {'; '.join(changes)}."
        )
    chosen = names.index(target)
    predictors, response = np.delete(columns, chosen, axis=1), columns[:, chosen]
    others = tuple(name for name in names if name != target)
    about = about.format(predictors=len(others), rows=len(columns), target=target)
    return Table(
        others,
        target,
        predictors,
        response,
        about,
        path,
        numbers.num_read,
        tuple(numbers.assumed),
        tuple(changes),
    )


def _varying(
    numbers: Numbers, target: str, path: str, changes: list[str]
) -> tuple[list[str], np.ndarray]:
    """The columns that are not constant, standardized."""
    values = numbers.values
    if len(values) < 3:
        raise TableError(
            f"--data {path}: too few complete rows ({len(values)}). Give more rows, or leave out columns (--drop). "
            f"{diagnosis(changes)}".strip()
        )
    # scaled by the largest entry first, so that no square over- or underflows
    largest = np.max(np.abs(values), axis=0)
    scaled = values / np.where(largest > 0, largest, 1.0)
    centered = scaled - scaled.mean(axis=0)
    scale = np.sqrt(np.mean(centered**2, axis=0))
    varies = scale > 1e-12
    if not varies[numbers.names.index(target)]:
        raise TableError(
            f"--target {target}: column {target!r} is constant. Give another. {diagnosis(changes)}".strip()
        )
    changes += [f"{n}: left out (constant)" for n, vary in zip(numbers.names, varies) if not vary]
    names = [name for name, vary in zip(numbers.names, varies) if vary]
    return names, centered[:, varies] / scale[varies]


def _independent(
    names: list[str], columns: np.ndarray, target: str, changes: list[str]
) -> tuple[list[str], np.ndarray]:
    """The predictors that vary beyond the linear combinations of those before them, and the target."""
    if len(columns) <= 2:
        return names, columns
    # all inner products of the columns are those of R, which has as many rows as there are columns
    factor = np.linalg.qr(columns / np.sqrt(len(columns))).R
    kept: list[int] = []
    for j, name in enumerate(names):
        if name == target:
            continue
        before, column = factor[:, kept], factor[:, j]
        weights = np.linalg.lstsq(before, column, rcond=None)[0]
        # as many columns as rows fit everything: that is `_check_size`'s to say
        if len(kept) < len(columns) - 2 and np.sum((column - before @ weights) ** 2) < COLLINEAR:
            others = ", ".join(names[i] for i, w in zip(kept, weights) if abs(w) > 1e-4)
            alone = others in names and abs(abs(weights).max() - 1) < 1e-4
            changes.append(
                f"{name}: left out ({'repeats' if alone else 'collinear: a linear combination of'} {others})"
            )
        else:
            kept.append(j)
    kept = sorted([*kept, names.index(target)])
    return [names[j] for j in kept], columns[:, kept]


def _check_size(names: list[str], numbers: Numbers, path: str, changes: list[str]) -> None:
    num_predictors, num_rows = len(names) - 1, len(numbers.values)
    if not num_predictors:
        problem = (
            "only the target is left, no predictor. Give more columns, or another --separator."
        )
    elif num_rows < num_predictors + 2:
        problem = (
            f"{num_rows} rows are too few for {num_predictors} predictors; the full model needs "
            f"{num_predictors + 2}. Give more rows, or fewer columns (--columns, --drop)."
        )
    else:
        return
    raise TableError(f"--data {path}: {problem} {diagnosis(changes)}".strip())
