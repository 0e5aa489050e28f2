"""The cells of a delimited text file: separator and header are detected, and what was assumed is said."""

import collections
import csv
import dataclasses
import io
import re

from logtrick._variable_selection.cells import is_missing, is_number
from logtrick._variable_selection.options import Options, TableError
from logtrick._variable_selection.text import read_text

# In this order: a file separated by one of these seldom has an earlier one in every line.
SEPARATORS = {"\t": "tab", ";": "';'", "|": "'|'", ",": "','", " ": "spaces"}
_SAMPLE = 200  # lines that decide the separator and whether there is a header

Rows = list[tuple[int, list[str]]]  # line number, cells


@dataclasses.dataclass(frozen=True)
class Sheet:
    """The cells of a file as text.

    Attributes:
      names: one a column, distinct.
      rows: line numbers and cells; every row has as many cells as there are names.
      separator: what stood between the cells.
      assumed: what was detected, in words.
      changes: what was left out on the way, in words.
      named: whether the file has a line of names.
    """

    names: list[str]
    rows: Rows
    separator: str
    assumed: list[str]
    changes: list[str]
    named: bool


def read_sheet(path: str, options: Options, target: str) -> Sheet:
    """The cells of the file at `path`; a first line that contains `target` is a header whatever it looks like."""
    text, encoding = read_text(path)
    separator = options.separator
    if (line := re.match(r"sep=(.)\s*\n", text)) is not None:  # Excel writes this line
        text, separator = text[line.end() :], separator or line[1]
    separator = separator or _separator(text)
    rows, comments = _rows(text, separator, path)
    if not rows:
        raise TableError(
            f"--data {path}: the file is empty. Give a line of column names, then one line a row."
        )
    width = collections.Counter(len(cells) for _, cells in rows[: 5 * _SAMPLE]).most_common(1)[0][0]
    changes: list[str] = []
    _skip_titles(rows, width, changes)
    names, where = _header(rows, comments, width, options, target)
    names, rows = _same_width(names, rows, changes)
    named, count = bool(names), len(rows[0][1]) if rows else len(names)
    if not named:
        given = options.columns if len(options.columns) == count else ()
        names = list(given) or [f"c{i + 1}" for i in range(count)]
        where = "no line of names" + (f" (columns called c1 … c{count})" if not given else "")
    names, rows = _label_column(names, rows, changes)
    names = _distinct(names, changes)
    between = SEPARATORS.get(separator, repr(separator))
    assumed = [f"{encoding} text", f"separated by {between}", where]
    return Sheet(names, rows, separator, assumed, changes, named)


def _split(text: str, separator: str) -> Rows:
    """Line numbers and cells of the lines that are not blank."""
    if separator == " ":
        text = text.replace("\t", " ")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    return [
        (reader.line_num, [cell.strip() for cell in cells])
        for cells in reader
        if any(cell.strip() for cell in cells)
    ]


def _rows(text: str, separator: str, path: str) -> tuple[Rows, Rows]:
    """The rows, and those that a # makes comments."""
    try:
        split = _split(text, separator)
    except csv.Error as error:
        raise TableError(f"--data {path}: cannot be split into cells ({error}). Mend it.") from None
    if text.count('"') % 2 and split and "\n" in split[-1][1][-1]:
        raise TableError(
            f'--data {path}: a quote is never closed. Look for a single " and remove it.'
        )
    rows = [row for row in split if not row[1][0].startswith("#")]
    if len(rows) < len(split) / 2:  # values that begin with #, not comments
        return split, []
    return rows, [row for row in split if row[1][0].startswith("#")]


def _separator(text: str) -> str:
    """The first candidate that splits the first line and gives nine lines of ten the same number of cells."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    best, most = ",", 0.0
    for separator in SEPARATORS:
        try:
            widths = [len(cells) for _, cells in _split("\n".join(lines[:_SAMPLE]), separator)]
        except csv.Error:
            continue
        width, count = collections.Counter(widths or [1]).most_common(1)[0]
        share = count / max(1, len(widths)) if width > 1 else 0.0
        if share >= 0.9 and widths[0] > 1:
            return separator
        if share > most:
            best, most = separator, share
    return best


def _skip_titles(rows: Rows, width: int, changes: list[str]) -> None:
    """Remove what stands above the table: lines with far fewer cells than most."""
    skipped = []
    while len(rows) > 1 and width > 2 and _is_title(rows[0][1], width):
        skipped.append(rows.pop(0)[0])
    if skipped:
        changes.append(
            f"lines above the table skipped ({_count(len(skipped), 'line')}, the first is line {skipped[0]})"
        )


def _is_title(cells: list[str], width: int) -> bool:
    return len(cells) < width - 1 or sum(map(bool, cells)) < max(2, min(width - 1, 3))


def _header(
    rows: Rows, comments: Rows, width: int, options: Options, target: str
) -> tuple[list[str], str]:
    """The names (empty: none) and where they stood; a header line is removed from `rows`."""
    if not options.header:
        return [], ""
    line, first = rows[0]
    if target in first or _is_header(first, [cells for _, cells in rows[1:_SAMPLE]]):
        del rows[0]
        return first, f"names in line {line}"
    before = [row for row in comments if row[0] < line]
    if not before:
        return [], ""
    line, cells = before[-1]
    if cells[0] != "#":  # "# a,b": the sign is no part of the name
        cells = [cells[0].lstrip("# "), *cells[1:]]
    elif len(cells) == width + 1:  # "# a b": a cell of its own
        cells = cells[1:]
    if len(cells) != width or all(is_number(cell) for cell in cells):
        return [], ""
    return cells, f"names in line {line}, behind a #"


def _is_header(first: list[str], body: list[list[str]]) -> bool:
    if first == ["", *map(str, range(len(first) - 1))]:  # pandas, of columns without names
        return True
    texts = [j for j, cell in enumerate(first) if not is_number(cell) and not is_missing(cell)]
    if len(texts) >= sum(map(bool, first)):
        return True
    for j in texts:  # a word above numbers
        column = [cells[j] for cells in body if j < len(cells) and not is_missing(cells[j])]
        if column and sum(map(is_number, column)) > 0.8 * len(column):
            return True
    return False


def _same_width(names: list[str], rows: Rows, changes: list[str]) -> tuple[list[str], Rows]:
    """Rows as long as the names; a shorter header lacks the name of row labels, a blank last column is no column."""
    width = (
        collections.Counter(len(cells) for _, cells in rows).most_common(1)[0][0]
        if rows
        else len(names)
    )
    blank_end = bool(rows) and all(len(cells) < width or not cells[-1] for _, cells in rows)
    if blank_end and (len(names) < width or not names[-1]):
        rows = [(line, cells[: width - 1] + cells[width:]) for line, cells in rows]
        width -= 1
    while len(names) > width and not names[-1]:
        names = names[:-1]
    names = names[:width] if blank_end else names
    if names and len(names) == width - 1:
        names = ["", *names]
    if names and len(names) > width:  # every row is short
        width = len(names)
    ragged = [(line, len(cells)) for line, cells in rows if len(cells) != width]
    if ragged:
        line, cells = ragged[0]
        changes.append(
            f"{_count(len(ragged), 'row')} left out: line {line} has {_count(cells, 'cell')} where most have {width}"
            + (", for example" if len(ragged) > 1 else "")
        )
    return names, [row for row in rows if len(row[1]) == width]


def _label_column(names: list[str], rows: Rows, changes: list[str]) -> tuple[list[str], Rows]:
    """A first column without a name holds row labels (pandas, R)."""
    if len(names) < 2 or names[0] not in ("", "Unnamed: 0"):
        return names, rows
    changes.append("first column left out: no name, taken for row labels")
    return names[1:], [(line, cells[1:]) for line, cells in rows]


def _distinct(names: list[str], changes: list[str]) -> list[str]:
    found: list[str] = []
    for i, name in enumerate(names):
        base = new = " ".join(name.split()) or f"c{i + 1}"
        number = 2
        while new in found:
            new, number = f"{base}_{number}", number + 1
        if new != name and (not name or new != base):
            changes.append(
                f"column {i + 1} called {new!r}: "
                + (f"{name!r} stands twice" if name else "no name")
            )
        found.append(new)
    return found


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
