"""Watch the draws of one evaluation for log-probs and costs that are not finite, to name them in an error.

Nothing is left in programs that are traced while nobody watches.
"""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

_FOUND: contextvars.ContextVar[dict[str, str] | None] = contextvars.ContextVar(
    "logtrick_watched", default=None
)
_ENTRIES = 6  # of a draw that are printed


@contextlib.contextmanager
def draws_watched() -> Iterator[dict[str, str]]:
    """Collect the first log-prob ("log_prob") and the first cost ("cost") that is not finite, in words.

    What is traced inside must also run inside.
    """
    found: dict[str, str] = {}
    token = _FOUND.set(found)
    try:
        yield found
        jax.effects_barrier()
    finally:
        _FOUND.reset(token)


def watching() -> bool:
    """Whether somebody watches."""
    return _FOUND.get() is not None


def watch(what: str, number: Any, x: Any, dist: Any = None) -> None:
    """Called for every draw of an expectation.

    Args:
      what: "log_prob" or "cost".
      number: it, shape ().
      x: the draw.
      dist: its distribution, where it is to be named.
    """
    found = _FOUND.get()
    if found is None:
        return

    family = "" if dist is None else f" of {type(dist).__name__.lstrip('_')}"

    def note(number: Any, *leaves: Any) -> None:
        if not np.isfinite(number):
            draws = ", ".join(_short(np.asarray(leaf)) for leaf in leaves)
            found.setdefault(what, f"{float(number)} at the draw {draws}{family}")

    jax.debug.callback(note, number, *jax.tree.leaves(x))


def _short(x: np.ndarray) -> str:
    flat = x.ravel()
    if not x.ndim:
        return f"{x.item():.6g}"
    entries = ", ".join(f"{entry:.6g}" for entry in flat[:_ENTRIES].tolist())
    return f"[{entries}{', …' if flat.size > _ENTRIES else ''}]"
