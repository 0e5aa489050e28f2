"""What the statements of a program leave behind for `aux`, none of it a cost to be differentiated."""

import dataclasses
from typing import Any

import jax


@dataclasses.dataclass(frozen=True)
class Record:
    """What one site leaves: its draw, its costs, what its statistics advance by; of a loop or plate, lists like its items."""

    draw: Any = None
    costs: Any = None
    observed: Any = None


@dataclasses.dataclass(frozen=True)
class Records:
    """What a program leaves.

    Attributes:
      sites: by the position of each site.
      costs: by the position of each cost outside of loops and plates.
      reply: what an element of a plate returned.
    """

    sites: dict[int, Record] = dataclasses.field(default_factory=dict)
    costs: dict[int, Any] = dataclasses.field(default_factory=dict)
    reply: Any = None

    def with_site(self, site: int, record: Record) -> "Records":
        return dataclasses.replace(self, sites={**self.sites, site: record})

    def with_costs(self, costs: dict[int, Any]) -> "Records":
        return dataclasses.replace(self, costs={**self.costs, **costs})


jax.tree_util.register_dataclass(Record, data_fields=["draw", "costs", "observed"], meta_fields=[])
jax.tree_util.register_dataclass(Records, data_fields=["sites", "costs", "reply"], meta_fields=[])
