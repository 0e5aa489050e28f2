"""Rows of logits or probabilities: which are legal."""

from collections.abc import Callable
from typing import Any

import numpy as np

from logtrick._core import checks
from logtrick._core.module import assign

_SUM_TOLERANCE = 1e-2  # what rounding to 16 bits, or to two decimals, does to the sum of a row


def check_rows(dist: Any, name: str) -> None:
    """Refuse rows that are no distribution: concrete ones raise, in traced ones every entry becomes nan.

    Args:
      dist: a family whose constructor calls this.
      name: its field with the rows; they are logits, unless `dist.by_probs`.
    """
    value = getattr(dist, name)
    where = type(dist).__name__
    by_probs = getattr(dist, "by_probs", False)
    argument = "probs" if by_probs else "logits"
    legal, need = _rule(where, argument, value)
    assign(dist, **{name: checks.require(where, argument, value, legal, need)})
    if by_probs and (known := checks.concrete(value)) is not None:
        sums = np.asarray(known, np.float64).sum(-1)
        off = np.abs(sums - 1) > _SUM_TOLERANCE
        if np.any(off):
            raise ValueError(
                f"{where}(probs=…) needs rows that sum to 1; got one of sum {sums[off].ravel()[0]:.6g}. Divide by the sum, or "
                "pass logits=jnp.log(weights)."
            )


def check_known_logits(dist: Any) -> None:
    """Refuse concrete rows of `dist.logits` that are no distribution; of traced ones its log-prob has to say so."""
    where = type(dist).__name__
    checks.refuse_known(where, "logits", dist.logits, *_rule(where, "logits", dist.logits))


def _rule(where: str, argument: str, value: Any) -> tuple[Callable[[Any], Any], str]:
    """Which entries of rows are legal, and in words; refuses what has no rows."""
    if value.ndim == 0 or value.shape[-1] == 0:
        raise ValueError(
            f"{where}({argument}=…) needs shape (…, K), K at least 1; got {value.shape}. Reshape them."
        )
    if argument == "probs":
        legal = lambda p: (p >= 0) & (p < np.inf) & (p.max(-1, keepdims=True) > 0)
        return legal, "rows of non-negative numbers, not all of them 0"
    legal = lambda l: (l < np.inf) & (l.max(-1, keepdims=True) > -np.inf)
    return legal, "rows of numbers below inf, not all of them -inf"
