"""Foreign objects taken apart: into arrays and structure, and into a base distribution and the bijectors after it."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from logtrick._core.module import Module, static

Array = jax.Array


class _Array:
    """Marks where an array leaf was taken out of a structure."""

    def __repr__(self) -> str:
        return "*"


ARRAY = _Array()


def apart(tree: Any) -> tuple[tuple[Any, ...], tuple[Any, tuple[Any, ...]]]:
    """The array leaves of `tree`, and its structure with the leaves that are no arrays."""
    leaves, structure = jax.tree.flatten(tree)
    arrays = tuple(jnp.asarray(leaf) for leaf in leaves if _is_array(leaf))
    return arrays, (structure, tuple(ARRAY if _is_array(leaf) else leaf for leaf in leaves))


def together(leaves: tuple[Any, ...], structure: Any) -> Any:
    """The tree that `apart` took apart."""
    tree, others = structure
    arrays = iter(leaves)
    return jax.tree.unflatten(tree, [next(arrays) if other is ARRAY else other for other in others])


def _is_array(leaf: Any) -> bool:
    # Python numbers of a foreign tree are structure (a rank, an exponent), also under a transformation.
    return isinstance(leaf, jax.Array | np.ndarray | np.generic)


def is_parameter(leaf: Any) -> bool:
    """Whether a derivative may be taken in `leaf`."""
    return isinstance(leaf, jax.Array | np.ndarray) and bool(
        jnp.issubdtype(leaf.dtype, jnp.inexact)
    )


@dataclasses.dataclass(frozen=True)
class Library:
    """How a library applies one of its bijectors to one draw."""

    forward: Callable[[Any, Any], Any]
    inverse: Callable[[Any, Any], Any]
    log_det: Callable[[Any, Any], Any]
    is_onto: Callable[[Any], bool]


class ForeignSteps(Module):
    """Bijectors of another library, in the order in which they act: the chart of a foreign draw's coordinates."""

    leaves: tuple[Any, ...]
    structure: Any = static()
    library: Library = static(default=None)

    @property
    def steps(self) -> Any:
        """The foreign bijectors."""
        return together(self.leaves, self.structure)

    def forward(self, x: Any) -> Any:
        """The value that the coordinates make."""
        with jax.numpy_rank_promotion("allow"):
            for step in self.steps:
                x = self.library.forward(step, x)
        return x

    def inverse(self, y: Any) -> Any:
        """The coordinates of a value; nan outside of the image, where some libraries give the nearest inside."""
        x = y
        with jax.numpy_rank_promotion("allow"):
            for step in reversed(self.steps):
                x = self.library.inverse(step, x)
        near = jnp.abs(self.forward(x) - y) <= 1e-3 * (1 + jnp.abs(y))
        return jnp.where(near, x, jnp.nan)


@dataclasses.dataclass(frozen=True)
class Pushed:
    """A foreign distribution as a base whose draws go through bijectors.

    Attributes:
      sample, log_prob: of the base.
      whole_space: whether the base's support is all of Rⁿ.
      steps: the bijectors, in the order in which they act.
    """

    library: Library
    sample: Callable[[Array], Any]
    log_prob: Callable[[Any], Any]
    whole_space: bool
    steps: tuple[Any, ...]

    def forward(self, x: Any, start: int, stop: int) -> Any:
        for step in self.steps[start:stop]:
            x = self.library.forward(step, x)
        return x

    def chart(self, first: int) -> ForeignSteps:
        return ForeignSteps(*apart(self.steps[first:]), self.library)

    def first_undone(self, fixed: bool) -> int | None:
        """The first of the last steps that a draw's coordinates undo; None where there is no edge to round onto.

        Undone are steps without parameters, and those that move the support, in which derivatives are refused (not where
        the caller declares that it stands still).
        """
        whole_space = self.whole_space
        undone = []
        for step in self.steps:
            whole_space = whole_space and self.library.is_onto(step)
            without = not any(is_parameter(leaf) for leaf in jax.tree.leaves(step))
            undone.append(without or not (whole_space or fixed))
        first = len(self.steps)
        while first and undone[first - 1]:
            first -= 1
        return None if whole_space or first == len(self.steps) else first
