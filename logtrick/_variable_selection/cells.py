"""One cell of a table as people write them: a number, a date, nothing, or a text."""

import math
import re
from collections.abc import Iterable

_NO_VALUE = (
    "na n/a #n/a <na> nan null none nil missing ? - -- – — . .. ... #div/0! #value! "
    "inf +inf -inf infinity -infinity"
)
_MISSING = frozenset(_NO_VALUE.split())
_POINT = re.compile(r"[+-]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d*)?(?:[eEdD][+-]?\d+)?")
_COMMA = re.compile(r"[+-]?(?:\d{1,3}(?:\.\d{3})+|\d+)?(?:,\d*)?(?:[eEdD][+-]?\d+)?")
_WITH_COMMA = re.compile(r"[+-]?(?:\d*|\d{1,3}(?:\.\d{3})+),\d+(?:[eE][+-]?\d+)?")
_WITH_POINT = re.compile(r"[+-]?(?:\d*|\d{1,3}(?:,\d{3})+)\.\d+(?:[eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+")
_GROUPS = re.compile(r"(?<=\d)['’ ](?=\d{3}(?!\d))")
_TIME = r"(?:[T ]+\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?\s*(?:Z|[+-]\d{2}:?\d{2}|[AaPp]\.?[Mm]\.?)?)?"
_DATE = re.compile(
    rf"(?:\d{{4}}[-/.]\d{{1,2}}(?:[-/.]\d{{1,2}})?|\d{{1,2}}[-/.]\d{{1,2}}[-/.]\d{{2,4}}"
    rf"|\d{{1,2}}[- ][A-Za-z]{{3,9}}\.?[- ]\d{{2,4}}|[A-Za-z]{{3,9}}\.? \d{{1,2}},? \d{{4}}){_TIME}"
    r"|\d{4}-?[QWM]\d{1,2}|\d{1,2}:\d{2}(?::\d{2})?(?:\s*[AaPp][Mm])?"
)


def is_missing(cell: str) -> bool:
    """Whether the cell stands for no value: blank, NA, ?, -, null and their like, or not finite."""
    return not cell or cell.lower() in _MISSING


def is_date(cell: str) -> bool:
    """Whether the cell is a date, a time or both."""
    return _DATE.fullmatch(cell) is not None


def _written_plainly(cell: str) -> str:
    """A number without the signs of money and per cent, spaces and apostrophes between thousands, and (1.5) for −1.5."""
    text = cell.replace("−", "-").replace("\u00a0", "").replace("\u202f", "").strip("$€£% ")
    if text.startswith("(") and text.endswith(")"):
        text = "-" + text[1:-1].strip("$€£% ")
    return _GROUPS.sub("", text)


def number(cell: str, decimal: str) -> float | None:
    """The number in a cell, None where there is none: thousands may be grouped, money and per cent have their sign."""
    text = _written_plainly(cell)
    pattern, group = (_POINT, ",") if decimal == "." else (_COMMA, ".")
    if not pattern.fullmatch(text) or not any(letter.isdigit() for letter in text):
        return None
    plain = text.replace(group, "").replace(decimal, ".").lower().replace("d", "e")
    try:
        value = float(plain)
    except ValueError:  # an exponent alone
        return None
    return value if math.isfinite(value) else None


def is_number(cell: str) -> bool:
    """Whether the cell is a number, by either decimal sign."""
    return number(cell, ".") is not None or number(cell, ",") is not None


def decimal_sign(cells: Iterable[str], separator: str) -> str:
    """ "," where more cells have a decimal comma than a decimal point; groups of thousands are no decimals."""
    cells = [_written_plainly(cell) for cell in cells]
    commas = [cell for cell in cells if _WITH_COMMA.fullmatch(cell)]
    points = sum(_WITH_POINT.fullmatch(cell) is not None for cell in cells)
    grouped = separator == "," and all(_THOUSANDS.fullmatch(cell) for cell in commas)
    return "," if len(commas) > points and not grouped else "."
