"""What `expect` tells a collector while it is traced: evaluations of f, and which estimators are biased."""

import contextlib
import contextvars
from collections.abc import Iterable, Iterator


class Counts(list[int]):
    """The evaluations of every `expect` traced, one entry each; `biased` names its estimators that are declared biased."""

    def __init__(self) -> None:
        super().__init__()
        self.biased: list[str] = []


_COUNTS: contextvars.ContextVar[Counts | None] = contextvars.ContextVar(
    "logtrick_evaluations", default=None
)


@contextlib.contextmanager
def evaluations_counted() -> Iterator[Counts]:
    """Collect the evaluations (points × runs) of every `expect` traced inside."""
    counts = Counts()
    token = _COUNTS.set(counts)
    try:
        yield counts
    finally:
        _COUNTS.reset(token)


def report(evaluations: int) -> None:
    """Called by `expect` while it is traced, when it is known how often f was evaluated."""
    counts = _COUNTS.get()
    if counts is not None:
        counts.append(evaluations)


def report_biased(names: Iterable[str]) -> None:
    """Called by `expect` with its estimators that are declared biased."""
    counts = _COUNTS.get()
    if counts is not None:
        counts.biased += [name for name in names if name not in counts.biased]
