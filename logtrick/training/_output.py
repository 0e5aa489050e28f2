"""Writing to a stream whose other end may be gone: output can never end a fit."""

from typing import Any


def write(stream: Any, text: str) -> bool:
    """Write and flush `text`; returns whether that worked.

    A closed pipe, a full disk, a closed or missing stream are no reason to lose a fit. A character that the stream's
    encoding does not have is written as "?".
    """
    if stream is None:
        return False
    try:
        encoding = getattr(stream, "encoding", None) or "utf-8"
        stream.write(text.encode(encoding, "replace").decode(encoding))
        stream.flush()
    except (OSError, ValueError, LookupError, AttributeError):
        return False
    return True


def is_terminal(stream: Any) -> bool:
    """Whether a line on `stream` can be redrawn."""
    try:
        return bool(stream.isatty())
    except (OSError, ValueError, AttributeError):
        return False
