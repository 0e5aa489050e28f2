"""The history on the host while a fit runs: arrays that grow, filled chunk by chunk."""

from typing import Any

import numpy as np

from logtrick.training._history import History
from logtrick.training._state import CLIPPED, SKIPPED, STOPPED, Records


class Columns:
    """What the steps of a fit left, NumPy arrays of which the first `filled` entries count."""

    def __init__(self, num_steps: int) -> None:
        self.num_steps, self.filled = num_steps, 0
        self._arrays: dict[str, np.ndarray] = {}

    def append(self, records: Records, count: int) -> None:
        """Take in the first `count` rows of what a compiled call left."""
        named = {
            "value": records.value,
            "gradient_norm": records.gradient_norm,
            "update_norm": records.update_norm,
            "flags": records.flags,
            "skipped": (records.flags & SKIPPED) != 0,
            "clipped": (records.flags & CLIPPED) != 0,
            **{f"metrics/{name}": column for name, column in records.metrics.items()},
        }
        for name, column in named.items():
            self._column(name, column.dtype)[self.filled : self.filled + count] = column[:count]
        self.filled += count

    def _column(self, name: str, dtype: Any) -> np.ndarray:
        if name not in self._arrays:
            self._arrays[name] = np.zeros(self.num_steps, dtype)
        return self._arrays[name]

    def load(self, history: History) -> None:
        """Take over the history of a fit that is resumed."""
        self.filled = len(history.value)
        flags = np.where(history.skipped, STOPPED, 0) | np.where(history.clipped, CLIPPED, 0)
        named = {
            "value": history.value,
            "gradient_norm": history.gradient_norm,
            "update_norm": history.update_norm,
            "flags": flags.astype(np.int32),
            "skipped": history.skipped,
            "clipped": history.clipped,
            **{f"metrics/{name}": column for name, column in history.metrics.items()},
        }
        for name, column in named.items():
            self._column(name, np.asarray(column).dtype)[: self.filled] = column

    def flags(self, steps: int) -> np.ndarray:
        """The flags of the first `steps` steps."""
        return self._column("flags", np.int32)[:steps]

    def history(self, steps: int, series: dict[str, Any]) -> History:
        """The first `steps` steps, as views."""
        column = lambda name, dtype=np.float32: self._column(name, dtype)[:steps]
        metrics = {
            name.removeprefix("metrics/"): array[:steps]
            for name, array in self._arrays.items()
            if name.startswith("metrics/")
        }
        return History(
            value=column("value"),
            gradient_norm=column("gradient_norm"),
            update_norm=column("update_norm"),
            skipped=column("skipped", bool),
            clipped=column("clipped", bool),
            metrics=metrics,
            series=series,
        )
