"""What a training step watches in the expectations that it traces: 16-bit costs, and numbers that are not finite.

The objective is a user's function, so that no argument reaches the expectations in it: hence a context variable. Nothing is
left in programs that are traced while nobody watches.
"""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class _Watched(NamedTuple):
    """What was seen.

    Attributes:
      half_precision: the 16-bit dtypes among the costs.
      nonfinite: by "log_prob" and "cost" the first one that was not finite, in words; by "draw" the
        first one that a foreign sampler should not have made; None where draws are not looked at.
    """

    half_precision: list[str]
    nonfinite: dict[str, str] | None


_WATCHED: contextvars.ContextVar[_Watched | None] = contextvars.ContextVar(
    "logtrick_watched", default=None
)
_ENTRIES = 6  # of a draw that are printed


@contextlib.contextmanager
def costs_watched(nonfinite: dict[str, str] | None = None) -> Iterator[list[str]]:
    """Collect the 16-bit dtypes of the costs that are traced inside.

    A jitted function that was traced before is found in JAX's caches, unwatched. So where `nonfinite`
    is given, the caller traces under a name of its own (`samples.under_name`).

    Args:
      nonfinite: where the first log-prob ("log_prob") and the first cost ("cost") that is not
        finite, and the first impossible draw of another library ("draw"), is noted, in words, when
        what is traced inside runs; None leaves nothing in it.
    Returns:
      The dtypes.
    """
    watched = _Watched([], nonfinite)
    token = _WATCHED.set(watched)
    try:
        yield watched.half_precision
    finally:
        _WATCHED.reset(token)


def note_precision(dtype: Any) -> None:
    """Called with the dtype of every cost, before it is converted."""
    watched = _WATCHED.get()
    if watched is not None and dtype in (jnp.float16, jnp.bfloat16):
        watched.half_precision.append(str(dtype))


def watching_draws() -> bool:
    """Whether `watch` does anything here."""
    watched = _WATCHED.get()
    return watched is not None and watched.nonfinite is not None


def watch(what: str, number: Any, x: Any, dist: Any = None) -> None:
    """Called for every draw of an expectation.

    Args:
      what: "log_prob" or "cost".
      number: the log-prob or the cost, shape ().
      x: the draw.
      dist: its distribution, where it is to be named.
    """
    watched = _WATCHED.get()
    if watched is None or watched.nonfinite is None:
        return
    found, family = watched.nonfinite, ""
    if dist is not None:
        family = f" of {type(dist).__name__.lstrip('_')}"

    def note(number: Any, *leaves: Any) -> None:
        if not np.isfinite(number):
            draws = ", ".join(_short(np.asarray(leaf)) for leaf in leaves)
            found.setdefault(what, f"{float(number)} at the draw {draws}{family}")

    jax.debug.callback(note, number, *jax.tree.leaves(x))


def watch_draw(possible: Any, x: Any, family: type) -> None:
    """Called for every draw of another library.

    Args:
      possible: whether the draw is in the support of its distribution, shape ().
      x: the draw.
      family: its class there.
    """
    watched = _WATCHED.get()
    if watched is None or watched.nonfinite is None:
        return
    found = watched.nonfinite
    library = family.__module__.split(".")[0]

    def note(possible: Any, x: Any) -> None:
        if not possible:
            found.setdefault(
                "draw",
                f"{family.__name__} of {library} drew {_short(np.asarray(x))}, which its support or log_prob excludes",
            )

    jax.debug.callback(note, possible, x)


def wait_until_noted() -> None:
    """Return when everything that was watched in computations so far is noted."""
    # JAX keeps the error of a computation that failed before, where it was raised, and would raise it here each time.
    with contextlib.suppress(jax.errors.JaxRuntimeError):
        jax.effects_barrier()


def _short(x: np.ndarray) -> str:
    if not x.ndim:
        return f"{x.item():.6g}"
    flat = x.ravel()
    entries = ", ".join(f"{entry:.6g}" for entry in flat[:_ENTRIES].tolist())
    return f"[{entries}{', …' if flat.size > _ENTRIES else ''}]"
