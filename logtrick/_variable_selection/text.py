"""From bytes to text, whatever the encoding."""

import codecs
from pathlib import Path

from logtrick._variable_selection.options import TableError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_text(path: str) -> tuple[str, str]:
    """The text of a file and the name of its encoding.

    A byte-order mark decides; else UTF-16 has zero bytes in a text of Latin letters; else UTF-8, and where that fails
    the one-byte encodings of Windows and Latin-1.

    Raises:
      TableError: there is no such file, or it is no text.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise TableError(f"--data {path}: no such file. Give the path of a CSV file.") from None
    except OSError as error:
        raise TableError(
            f"--data {path}: cannot be read ({error.strerror}). Give the path of a CSV file."
        ) from None
    if data[:4] in (b"PK\x03\x04", b"\xd0\xcf\x11\xe0") or data[:2] == b"\x1f\x8b":
        raise TableError(f"--data {path}: a workbook or a compressed file. Save it as CSV text.")
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), None)
    if encoding is None and b"\0" in data[:1000]:
        encoding = "utf-16-le" if data[1:2] == b"\0" else "utf-16-be"
    for name in (encoding,) if encoding else ("utf-8", "cp1252", "latin-1"):
        try:
            text = data.decode(name)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            said = {"utf-8-sig": "UTF-8", "cp1252": "Latin-1 (Windows-1252)"}.get(
                name, name.upper()
            )
            return text, said
    raise TableError(f"--data {path}: not a text file. Give a CSV file.")
