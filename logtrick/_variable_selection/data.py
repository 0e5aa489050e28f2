"""A regression problem from a delimited text file: the dialect is detected, columns are judged, and all is said."""

import csv
import io
import itertools
import re
import statistics
from pathlib import Path

import numpy as np

from logtrick._variable_selection.cells import DATE, MISSING, decimal_sign, number
from logtrick._variable_selection.table import Options, Table, TableError

# In this order: a text in one encoding, or separated by one sign, seldom passes for one by an earlier one.
_ENCODINGS = ("UTF-8", "Windows-1252", "Latin-1", "UTF-16", "UTF-16-BE", "UTF-32")
_SEPARATORS = {"\t": "tab", ";": "';'", "|": "'|'", ",": "','", " ": "spaces"}
# A column whose variance is left to this by those before it is collinear: float32 is right to 1e-4 nats above.
COLLINEAR = 1e-8

Words = list[str]
Rows = list[Words]
Columns = dict[str, np.ndarray]


def read(path: str, target: str, options: Options = Options()) -> Table:  # noqa: B008  # frozen
    """The regression problem in a file, whatever its dialect; else a `TableError` that names all that was noticed."""
    assumed: Words = []
    changes: Words = []
    try:
        separator, rows = _rows(_text(path, assumed), target, options.separator, assumed)
        names, rows = _names(rows, target, options, assumed)
        cells = _columns(names, rows, changes)
        unknown = ", ".join(sorted({target, *options.columns, *options.drop} - set(cells)))
        if unknown:
            known = ", ".join(f"{name} ({''.join(cells[name][:1])} …)" for name in cells)
            raise TableError(f"no column is called {unknown} ({assumed[-1]}). There are {known}.")
        wanted = {target, *(options.columns or cells)} - set(options.drop)
        chosen = {name: column for name, column in cells.items() if name in wanted}
        sample = [cell for column in chosen.values() for cell in column[:1000]]
        decimal = options.decimal or decimal_sign(sample, separator)
        assumed.append("decimal comma" if decimal == "," else "decimal point")
        columns = _independent(_complete(chosen, target, decimal, changes), target, changes)
    except TableError as error:
        noticed = f" Noticed: {'; '.join(changes)}." if changes else ""
        raise TableError(f"--data {path}: {error}{noticed}") from None
    response = columns.pop(target)
    predictors = np.column_stack(list(columns.values()))
    said = tuple(assumed), tuple(changes)
    return Table(tuple(columns), target, predictors, response, path, len(cells[target]), *said)


def _text(path: str, assumed: Words) -> str:
    """The text of a file, whatever its encoding."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise TableError(f"cannot be read ({error.strerror}). Give the path of a file.") from None
    for encoding in _ENCODINGS:
        text = data.decode(encoding, "replace").removeprefix("\ufeff")
        if re.search("[\r\n]", text) and not re.search("[\0\ufffd]", text):
            assumed.append(f"{encoding} text")
            return text
    raise TableError("the file is empty, or no text. Save a workbook or an archive as CSV text.")


def _rows(text: str, target: str, given: str | None, assumed: Words) -> tuple[str, Rows]:
    """The lines as cells, by the separator that makes most lines alike (nine of ten are enough) and the target a cell."""
    csv.field_size_limit(2**31 - 1)  # by a wrong separator, a long line is one cell
    text = re.sub("^# +", "#", text, flags=re.MULTILINE)
    splits = {}
    for separator in given or _SEPARATORS:
        spaced = text.replace("\t", " ") if separator == " " else text
        lines = io.StringIO(spaced, newline=None)
        reader = csv.reader(lines, delimiter=separator, skipinitialspace=True)
        splits[separator] = [[cell.strip() for cell in cells] for cells in reader]

    def regularity(rows: Rows) -> tuple[float, bool, int]:
        lengths = [len(cells) for cells in rows if any(cells)]
        usual = statistics.mode(lengths or [0])
        share = lengths.count(usual) / len(lengths) if usual > 1 else 0.0
        numbers = [cell for cells in rows[:200] for cell in cells if number(cell, ",") is not None]
        return min(share, 0.9), any(target in cells for cells in rows), len(numbers)

    best = max(splits, key=lambda separator: regularity(splits[separator]))
    if text.count('"') % 2 and "\n" in "".join(splits[best][-1]):
        raise TableError('a quote is never closed. Look for a single " and remove it.')
    assumed.append(f"separated by {_SEPARATORS.get(best, repr(best))}")
    return best, splits[best]


def _names(rows: Rows, target: str, options: Options, assumed: Words) -> tuple[Words, Rows]:
    """The line of names, with the target in it, above all rows and perhaps behind a #, and the rows; else made names."""
    usual = statistics.mode([len(cells) for cells in rows if any(cells)] or [1])
    numbered = [f"c{i + 1}" for i in range(usual)]
    names = list(options.columns) if len(options.columns) == usual else numbered
    where = f"no line of names, columns called {names[0]} … {names[-1]}"
    below = rows
    for i, cells in enumerate(rows if options.header else []):
        found = [" ".join(cell.split()) for cell in cells]
        first = [name.lstrip("# ") or name for name in found[:1]]
        plain = first == found[:1]
        found[:1] = first
        full = 2 * sum(map(bool, found)) > len(found)  # a title fills one cell
        if full and target in found and (plain or len(found) == usual):
            place = "in line" if plain else "behind the # of line"
            names, where, below = found, f"names {place} {i + 1}", rows[i + 1 :]
        if full and plain and len(found) == usual:  # the names, or a row below them
            break
    assumed.append(where)
    return names, below


def _columns(names: Words, rows: Rows, changes: Words) -> dict[str, Words]:
    """The cells by column, without row labels and without rows that have more cells than there are names."""
    rows = [cells for cells in rows if len(cells) > 1]  # the others are titles and comments
    if 2 * sum(any(cells[len(names) :]) for cells in rows) > len(rows):
        names = ["", *names]  # R gives its row labels no name
    long = [cells for cells in rows if any(cells[len(names) :])]
    if long:
        changes.append(f"rows with too many cells left out: {len(long)} ({','.join(long[0])[:40]})")
    rows = [cells for cells in rows if not any(cells[len(names) :])]
    if not rows:
        raise TableError("the file is empty, or no line fits the names. Give the --separator.")
    columns: dict[str, Words] = {}
    for i, (name, *cells) in enumerate(itertools.zip_longest(names, *rows, fillvalue=""), 1):
        if i == 1 and name in ("", "Unnamed: 0"):
            changes.append("first column left out: no name, taken for row labels")
        elif name or any(cells):  # else a separator ends the lines
            new = name or f"c{i}"
            while new in columns:
                new += f"_{i}"
            if new != name:
                changes.append(f"column {i} called {new!r}, since {name!r} is no name of its own")
            columns[new] = cells
    return columns


def _complete(cells: dict[str, Words], target: str, decimal: str, changes: Words) -> Columns:
    """The columns of numbers, in the rows where all of them are known."""
    columns = {}
    for name, column in cells.items():
        values, note = _judged(column, decimal)
        share = np.mean(np.isnan(values))
        if share > 0.5 and (name != target or share == 1):
            lacking = f"{share:.0%} of its values are missing"
            note = f"left out ({note if note and share == 1 else lacking})"
        else:
            columns[name] = values
        if note:
            changes.append(f"{name}: {note}")
    if target not in columns:
        raise TableError(f"--target {target}: not a column of numbers. Give one.")
    missing = np.isnan(list(columns.values()))
    full = ~missing.any(axis=0)
    if not full.all():
        gaps = ", ".join(f"{name} {n}" for name, n in zip(columns, missing.sum(axis=1)) if n)
        changes.append(f"{np.sum(~full)} of {full.size} rows left out for missing values ({gaps})")
    return {name: values[full] for name, values in columns.items()}


def _judged(column: Words, decimal: str) -> tuple[np.ndarray, str]:
    """A column as numbers, nan where there is none, and what there is to say about it."""
    codes = {cell: number(cell, decimal) for cell in column if not MISSING.fullmatch(cell)}
    known = [cell for cell in column if cell in codes]
    texts = [cell for cell in known if codes[cell] is None]
    note = ""
    if len(texts) > 0.1 * len(known):
        if sum(map(bool, map(DATE.fullmatch, known))) > 0.9 * len(known):
            codes, note = {}, "dates, not numeric"
        elif len(codes) == 2:
            zero, one = sorted(codes, key=str.lower)
            codes, note = {zero: 0.0, one: 1.0}, f"coded {zero} = 0, {one} = 1"
        else:
            codes, note = {}, f"text, not numeric; different values: {len(codes)}"
    elif texts:
        note = f"{len(texts)} taken as missing, not numeric ({texts[0]!r} for one)"
    return np.array([codes.get(cell) for cell in column], float), note


def _independent(columns: Columns, target: str, changes: Words) -> Columns:
    """The columns, standardized, that vary beyond the linear combinations of the predictors before them."""
    num_rows = len(columns[target])
    if num_rows < 3:
        raise TableError(f"too few complete rows ({num_rows}). Give more, or --drop columns.")
    kept: Columns = {}
    basis = np.zeros((num_rows, 0))  # orthonormal, of the predictors that are kept
    for name, values in [(target, columns.pop(target)), *columns.items()]:
        scaled = values / max(np.abs(values).max(), 1e-300)  # no square under- or overflows
        centered = scaled - scaled.mean()
        deviation = np.sqrt(np.mean(centered**2))
        column = centered / (deviation if deviation > 1e-12 else np.inf)
        rest = column - basis @ (basis.T @ column)
        rest -= basis @ (basis.T @ rest)  # twice, since once leaves the rounding
        if np.mean(rest**2) > COLLINEAR:
            kept[name] = column
            if name != target and len(kept) < num_rows:
                basis = np.column_stack([basis, rest / np.linalg.norm(rest)])
            continue
        if name == target:
            raise TableError(f"--target {target}: the column is constant. Give another.")
        matrix = np.column_stack([0 * column, *list(kept.values())[1:]])  # the target has no weight
        weights = np.linalg.lstsq(matrix, column, rcond=None)[0]
        used = ", ".join(other for other, weight in zip(kept, weights) if abs(weight) > 1e-4)
        reason = f"a linear function of {used}" if used else "constant"
        changes.append(f"{name}: left out ({reason})")
    if not 1 < len(kept) < num_rows:
        left = f"{num_rows} rows and {len(kept) - 1} predictors are left"
        raise TableError(f"{left}; p ≥ 1 predictors need p + 2 rows. Give more rows, or others.")
    return kept
