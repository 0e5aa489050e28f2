"""`import logtrick`: no optional package, no array, hardly more time than what it stands on."""

import os
import subprocess
import sys

OPTIONAL = ("numpyro", "distrax", "tensorflow_probability", "flowjax", "equinox", "flax", "haiku", "blackjax", "scipy.stats",
            "matplotlib", "tqdm", "arviz", "tensorboardX")  # fmt: skip


def run(code: str) -> str:
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_imports_no_optional_package():
    code = f"import jax, optax, sys; before = set(sys.modules); import logtrick; new = set(sys.modules) - before\n" \
           f"print([name for name in {OPTIONAL!r} if name in new])"  # fmt: skip
    assert run(code) == "[]"


def test_allocates_no_array():
    assert run("import jax, logtrick; print(len(jax.live_arrays()))") == "0"


def test_import_time():
    """Seconds of the processor, which others' work hardly moves: the quickest of several, in turns; about 1.3 when quiet."""
    clock = "import time; import {}; print(time.process_time())"
    base, ours = zip(*((float(run(clock.format(m))) for m in ("jax, optax", "jax, optax, logtrick")) for _ in range(5)))
    assert min(ours) / min(base) < 1.6, (base, ours)


def test_what_is_imported_late_is_there():
    late = "import logtrick as lt, sys; assert 'logtrick.testing' not in sys.modules; "
    assert run(late + "print(lt.testing.__name__, lt.adapters.__name__)") == "logtrick.testing logtrick.adapters"
