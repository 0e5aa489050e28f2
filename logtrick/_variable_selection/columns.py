"""From cells to numbers: every column is judged, and one diagnosis says all that was done."""

import collections
import dataclasses

import numpy as np

from logtrick._variable_selection.cells import decimal_sign, is_date, is_missing, number
from logtrick._variable_selection.options import Options, TableError
from logtrick._variable_selection.sheet import Sheet

# A column with at least this share of numbers is numeric, its other texts are missing values.
_MOSTLY = 0.9
# A column with at most this share of missing values costs rows, with more it is left out itself.
_MISSING = 0.5
# What stands for every model: enough names, not a page of them.
_SHOWN = 30


@dataclasses.dataclass(frozen=True)
class Numbers:
    """A complete numeric table.

    Attributes:
      names: of the columns.
      values: shape (rows, columns), float64, finite.
      assumed: how the file was read, in words.
      changes: what was left out or coded, in words.
      num_read: the rows of the file.
    """

    names: list[str]
    values: np.ndarray
    assumed: list[str]
    changes: list[str]
    num_read: int


@dataclasses.dataclass(frozen=True)
class _Column:
    """One column as numbers (nan where missing), or why it cannot be one; `note` is what a reader should know."""

    values: np.ndarray | None
    note: str


def to_numbers(sheet: Sheet, target: str, options: Options, path: str) -> Numbers:
    """The columns that are numbers or can be coded as such, in the rows where all of them are known.

    Raises:
      TableError: a column that was asked for does not exist, or the target is no number.
    """
    chosen = _chosen(sheet, target, options, path)
    cells = {name: [row[sheet.names.index(name)] for _, row in sheet.rows] for name in chosen}
    sample = [cell for column in cells.values() for cell in column[:1000]]
    decimal = options.decimal or decimal_sign(sample, sheet.separator)
    lines = [line for line, _ in sheet.rows]
    columns = {name: _column(column, lines, decimal) for name, column in cells.items()}
    changes = sheet.changes + [f"{name}: {c.note}" for name, c in columns.items() if c.note]
    unusable = columns[target].values is None
    kept = {name: c.values for name, c in columns.items() if c.values is not None}
    table = np.column_stack(list(kept.values())) if kept else np.empty((len(lines), 0))
    names = list(kept)
    names, table = _drop_sparse(names, table, target, changes)
    table = _complete(names, table, changes)
    if unusable:
        raise TableError(
            f"--target {target}: not a column of numbers ({_why(columns[target].note)}). "
            f"Give one. {diagnosis(changes)}".strip()
        )
    sign = "decimal comma" if decimal == "," else "decimal point"
    assumed = [*sheet.assumed[:2], sign, *sheet.assumed[2:]]
    return Numbers(names, table, assumed, changes, len(lines))


def _why(note: str) -> str:
    """Why a column was left out: what stands in the parentheses of its note."""
    return note.removeprefix("left out (").removesuffix(")")


def diagnosis(changes: list[str]) -> str:
    """All that was changed, in one line."""
    return f"Noticed: {'; '.join(changes)}." if changes else ""


def _chosen(sheet: Sheet, target: str, options: Options, path: str) -> list[str]:
    """The columns to look at, in the file's order."""
    wanted = {
        "--target": [target],
        "--columns": list(options.columns),
        "--drop": list(options.drop),
    }
    for option, names in wanted.items():
        for name in names:
            if name not in sheet.names:
                raise TableError(f"{option} {name}: {path} has no such column. {_listing(sheet)}")
    if target in options.drop:
        raise TableError(f"--drop {target}: that is the target. Drop others.")
    only = {*options.columns, target} if options.columns else set(sheet.names)
    return [name for name in sheet.names if name in only - set(options.drop)]


def _listing(sheet: Sheet) -> str:
    names = ", ".join(sheet.names[:_SHOWN])
    if len(sheet.names) > _SHOWN:
        names += f" and {len(sheet.names) - _SHOWN} more"
    if sheet.named:
        return f"Its columns are {names}."
    return (
        f"No header (line of names) was found in it, so its columns are called {names}. "
        "Name them with --columns, or give one of these."
    )


def _column(cells: list[str], lines: list[int], decimal: str) -> _Column:
    distinct = dict.fromkeys(cells)
    known = [cell for cell in distinct if not is_missing(cell)]
    parsed = {cell: value for cell in known if (value := number(cell, decimal)) is not None}
    count = collections.Counter(cells)
    present, numeric = sum(count[cell] for cell in known), sum(count[cell] for cell in parsed)
    if not present:
        return _Column(None, "left out (no values)")
    if numeric >= _MOSTLY * present:
        odd = [i for i, cell in enumerate(cells) if cell not in parsed and not is_missing(cell)]
        note = (
            ""
            if not odd
            else f"{len(odd)} taken as missing, not numeric ({cells[odd[0]]!r} in line {lines[odd[0]]})"
        )
        return _Column(_coded(cells, parsed), note)
    if sum(count[cell] for cell in known if is_date(cell)) >= _MOSTLY * present:
        return _Column(None, "left out (dates, not numeric)")
    if len(known) == 2:
        low, high = sorted(known, key=str.lower)
        return _Column(_coded(cells, {low: 0.0, high: 1.0}), f"coded {low} = 0, {high} = 1")
    if len(known) == 1:
        return _Column(None, f"left out (always {known[0]!r})")
    return _Column(None, f"left out (text, not numeric: {len(known)} different values)")


def _coded(cells: list[str], codes: dict[str, float]) -> np.ndarray:
    return np.array([codes.get(cell, np.nan) for cell in cells])


def _drop_sparse(
    names: list[str], table: np.ndarray, target: str, changes: list[str]
) -> tuple[list[str], np.ndarray]:
    """Without the columns in which more values are missing than known."""
    missing = np.sum(np.isnan(table), axis=0) / max(1, len(table))
    sparse = [j for j, name in enumerate(names) if missing[j] > _MISSING and name != target]
    changes += [
        f"{names[j]}: left out ({missing[j]:.0%} of its values are missing)" for j in sparse
    ]
    return [name for j, name in enumerate(names) if j not in sparse], np.delete(table, sparse, 1)


def _complete(names: list[str], table: np.ndarray, changes: list[str]) -> np.ndarray:
    """The rows without a missing value."""
    missing = np.isnan(table)
    complete = ~missing.any(axis=1)
    if not complete.all():
        where = ", ".join(f"{name} {n:,}" for name, n in zip(names, missing.sum(axis=0)) if n)
        changes.append(
            f"{np.sum(~complete):,} of {len(table):,} rows left out for missing values ({where})"
        )
    return table[complete]
