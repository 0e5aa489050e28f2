"""Set before JAX makes its backend: several CPU devices, no silent rank promotion, compiled code kept between runs.

Most of the time of a test goes into compiling. XLA optimizes the same program, and the machine code for it is then made
the fast way, in half the time: no optimization by LLVM, loops emitted as LLVM code and not through MLIR, one LLVM module
for a program. Benchmarks and the gate run at the default settings.
"""

import gc
import os
import pathlib
import sys

import jaxlib.version

# Only up to the last version that was tried: XLA ends the process at a flag that it does not know.
if "xla_backend_optimization_level" not in os.environ.get(
    "XLA_FLAGS", ""
) and jaxlib.version.__version_info__ < (0, 11):
    os.environ["XLA_FLAGS"] = (
        os.environ.get("XLA_FLAGS", "")
        + " --xla_backend_optimization_level=0"
        + " --xla_cpu_use_fusion_emitters=false"
        + " --xla_cpu_parallel_codegen_split_count=1"
    )

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

# A pass of Python's garbage collector walks what JAX keeps of all programs so far, and by default thousands are made for a
# large file of tests.
gc.set_threshold(20_000, 20, 100)

QUICK = (
    "tests/core",
    "tests/noise",
    "tests/laws",
    "tests/estimators/test_disarm.py",
    "tests/estimators/test_double_cv.py",
    "tests/estimators/test_unordered_set.py",
    "tests/baselines/test_in_a_loop.py",
    "tests/programs/test_credit.py",
    "tests/programs/test_exact.py",
    "tests/programs/test_misuse.py",
    "tests/faults",
)


def pytest_collection_modifyitems(items):
    """What stands in QUICK, and is not marked `full`, has the marker `quick`."""
    root = pathlib.Path(__file__).parents[1]
    for item in items:
        path = item.path.relative_to(root).as_posix() if item.path.is_relative_to(root) else ""
        if path.startswith(QUICK) and item.get_closest_marker("full") is None:
            item.add_marker("quick")


@pytest.fixture
def x64():
    """Double precision for one test."""
    with double_precision():
        yield


@pytest.fixture(autouse=True)
def no_open_figures():
    """Close the figures of a test: matplotlib warns, and a warning fails, where twenty are open in one process."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
