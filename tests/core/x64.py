"""Double precision in a test: the context manager's place differs between versions of JAX."""

import contextlib

import jax


@contextlib.contextmanager
def double_precision():
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", before)
