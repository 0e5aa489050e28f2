"""The processes of one fit agree between compiled calls: JAX needs the same calls, in the same order, in all of them.

Their clocks and their signals differ: without agreement one process would take nine steps where another takes eight, or would
end the fit while the others wait for it forever.
"""

import dataclasses
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

_NOBODY = np.int32(2**31 - 1)
_LONGEST = 512  # bytes of a status and its reason


@dataclasses.dataclass(frozen=True)
class Agreed:
    """What all processes do next.

    Attributes:
      steps: how many steps are next: the fewest that a process proposed.
      visit: whether the listeners are visited: yes if one process wants it.
      status, reason: why the fit ends, by the first process that wants to end it; None where it goes on.
      process: the number of that process.
    """

    steps: int
    visit: bool
    status: str | None = None
    reason: str = ""
    process: int = 0


class Processes:
    """The processes whose devices a fit's mesh has.

    Attributes:
      several: whether there are more than this one.
      writes: whether this process is the one that writes to files and screens: the first.
    """

    def __init__(self, mesh: Mesh | None) -> None:
        devices = [] if mesh is None else list(mesh.devices.flat)
        owners = {device.process_index for device in devices}
        self.several = len(owners) > 1
        self.writes = not self.several or jax.process_index() == min(owners)
        if self.several:
            flat = Mesh(np.array(devices), ("all",))
            self._spread = NamedSharding(flat, PartitionSpec("all"))
            everywhere = NamedSharding(flat, PartitionSpec())
            self._smallest = jax.jit(lambda rows: rows.min(0), out_shardings=everywhere)

    def agree(self, count: int, visit: bool, status: str | None, reason: str) -> Agreed:
        """Exchange what this process proposes; every process calls this at the same place of its fit."""
        if not self.several:
            return Agreed(count, visit, status, reason)
        me = _NOBODY if status is None else np.int32(jax.process_index())
        count, not_visit, first = map(int, self._least([count, not visit, me]))
        if first == _NOBODY:
            return Agreed(count, not not_visit)
        text = np.full(_LONGEST, 255)
        if first == me:
            raw = f"{status}\n{reason}".encode()[:_LONGEST]
            text[:] = 0
            text[: len(raw)] = list(raw)
        status, reason = (
            bytes(self._least(text)).rstrip(b"\0").decode(errors="ignore").split("\n", 1)
        )
        return Agreed(count, not not_visit, status, reason, first)

    def _least(self, numbers: Any) -> list[int]:
        """The smallest of every number over all processes."""
        row = np.asarray(numbers, np.int32)[None]
        shape = (self._spread.mesh.size, row.shape[1])
        rows = jax.make_array_from_callback(shape, self._spread, lambda _: row)
        return np.asarray(self._smallest(rows).addressable_data(0)).tolist()
