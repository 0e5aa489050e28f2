"""Set before JAX makes its backend: several CPU devices, no silent rank promotion, compiled code kept between runs."""

import os
import pathlib

import jax
import pytest

from tests.core.x64 import double_precision

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    jax.config.update(
        "jax_compilation_cache_dir", str(pathlib.Path(__file__).parents[1] / ".jax_cache")
    )
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


@pytest.fixture
def x64():
    """Double precision for one test."""
    with double_precision():
        yield
