"""Python or NumPy met a traced value: what to say beside JAX's own words."""

import jax

# What JAX raises where Python or NumPy meets a traced value.
TRACED_ERRORS = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)


def explain_tracing(error: BaseException, fact: str) -> None:
    """Say once, beside JAX's own words, what is traced and what to write instead."""
    if not any(note.startswith("logtrick:") for note in getattr(error, "__notes__", ())):
        error.add_note(
            f"logtrick: {fact}. Write jnp.where(x > 0, a, b) or lax.cond for `if x > 0`, jnp for np, and leave out float(…) and "
            ".item(). A function that has to see numbers (NumPy, a simulator) goes in as lt.black_box(f, …)."
        )
