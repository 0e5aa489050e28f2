"""The memory of a fit's state, and what to do where it was short."""

from typing import Any

import jax


def suggest_chunks(where: str, error: BaseException) -> None:
    """Say what helps where memory was short."""
    if "RESOURCE_EXHAUSTED" in str(error):
        error.add_note(
            f"{where}: the step does not fit into memory. Pass chunk_size=… to lt.expect, which bounds the memory of its "
            "draws, or use fewer samples or a smaller batch_size."
        )


def size_in_bytes(tree: Any) -> int:
    """The bytes of all arrays of `tree`."""
    return sum(x.nbytes for x in jax.tree.leaves(tree))
