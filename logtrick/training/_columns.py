"""The history on the host while a fit runs: arrays with one entry for each step, filled call by call."""

from typing import Any

import jax
import numpy as np

from logtrick.training._history import FLAGS, NUMBERS, History


class Columns:
    """What the steps of a fit left behind.

    Attributes:
      num_steps: the steps of the whole fit, for all of which there is memory.
      filled: how many of them are recorded.
    """

    def __init__(self, num_steps: int) -> None:
        self.num_steps, self.filled = num_steps, 0
        real = jax.dtypes.canonicalize_dtype(float)
        self._arrays = {name: np.zeros(num_steps, real) for name in NUMBERS}
        self._arrays |= {name: np.zeros(num_steps, bool) for name in FLAGS}
        self._metrics: dict[str, np.ndarray] = {}

    def append(self, part: History, count: int) -> None:
        """Take in the first `count` steps of `part`."""
        new = slice(self.filled, self.filled + count)
        for name, array in self._arrays.items():
            array[new] = getattr(part, name)[:count]
        for name, column in part.metrics.items():
            if name not in self._metrics:
                self._metrics[name] = np.zeros(self.num_steps, column.dtype)
                self._metrics[name][: self.filled] = np.nan  # the steps before a fit was resumed
            self._metrics[name][new] = column[:count]
        for name in self._metrics.keys() - part.metrics.keys():
            self._metrics[name][new] = np.nan
        self.filled += count

    def history(self, steps: int, series: dict[str, Any]) -> History:
        """The first `steps` steps, as views."""
        columns = {name: array[:steps] for name, array in self._arrays.items()}
        metrics = {name: array[:steps] for name, array in self._metrics.items()}
        return History(**columns, metrics=metrics, series=series)
