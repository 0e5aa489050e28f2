"""Counting evaluations of f while tracing."""

import contextlib
import contextvars
from collections.abc import Iterator

_COUNTS: contextvars.ContextVar[list[int] | None] = contextvars.ContextVar("logtrick_evaluations", default=None)


@contextlib.contextmanager
def evaluations_counted() -> Iterator[list[int]]:
    """Collect the evaluations (points × runs) of every `expect` traced inside, one entry each."""
    counts: list[int] = []
    token = _COUNTS.set(counts)
    try:
        yield counts
    finally:
        _COUNTS.reset(token)


def report(evaluations: int) -> None:
    """Called by `expect` while it is traced."""
    counts = _COUNTS.get()
    if counts is not None:
        counts.append(evaluations)
