"""One cell of a table as people write it: a number, a date, no value, or a text."""

import math
import re

MISSING = re.compile(  # no value: blank, NA, ?, -, null and their like, or not finite
    r"(?i)|#?n/?a|<na>|nan|null|none|nil|missing|\?|--?|[–—]|\.{1,3}|#(?:div/0|value)!|[+-]?inf(?:inity)?"
)
# Thousands may be grouped, but not behind a leading 0: 0,123 has a decimal comma.
_NUMBER = re.compile(
    r"[+-]?[$€£]?\s?(?:[1-9]\d{0,2}(?:[,'’\s]\d{3})+|\d+|(?=\.\d))(?:\.\d*)?"
    r"(?:[eEdD][+-]?\d+)?\s?[%$€£]?"
)
DATE = re.compile(
    r"(?i)\d{1,4}[-/. ](?:\d\d?|[a-z]{3,9}\.?)[-/. ]\d{1,4}.*|[a-z]{3,9}\.? \d\d?,? \d{4}.*"
    r"|\d{4}-?[-/.qwm]\d\d?|\d\d?:\d\d.*"
)


def number(cell: str, decimal: str) -> float | None:
    """The number in a cell, None where there is none: $1,200.50 and 12 % are numbers, (1.5) is −1.5."""
    text = re.sub(r"^([$€£]?)\((.+)\)$", r"-\1\2", cell.replace("−", "-"))
    if decimal == ",":
        text = text.translate(str.maketrans(",.", ".,"))
    if not _NUMBER.fullmatch(text):
        return None
    value = float(re.sub(r"[^\d.e+-]", "", text.lower().replace("d", "e")))
    return value if math.isfinite(value) else None


def decimal_sign(cells: list[str], separator: str) -> str:
    """The sign with which more cells are numbers; where commas separate the cells, 1,234 has thousands."""
    points, commas = (
        sum(number(cell, sign) is not None and (sign in cell or separator == ",") for cell in cells)
        for sign in ".,"
    )
    return "," if commas > points else "."
