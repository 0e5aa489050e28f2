"""Checkpoints: a state, which is any pytree, saved in a folder; damage is an error, never a wrong number."""

import pathlib
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from logtrick._core import checks
from logtrick._core.calls import in_words
from logtrick._core.errors import CheckpointError
from logtrick._version import __version__
from logtrick.training import _archive, _leaves, _manifest
from logtrick.training._folder import Entry, Folder, absolute, entries, steps
from logtrick.training._manifest import DamagedError

T = TypeVar("T")


class Store:
    """The last `keep` checkpoints of one run, in one folder.

    A checkpoint is two files, `checkpoint-<number>-step-<step>.npz` (the arrays) and `.json` (the manifest: format version,
    versions of JAX and logtrick, path, shape and dtype of every leaf, `extra`, length and SHA-256 of the arrays, and a
    checksum of its own). Both are written to temporary files, synchronized to the disk and renamed, the manifest last: a
    process that is killed, or a full disk, leaves the earlier checkpoints as they were. No pickle is written or read.

    A state is any pytree of JAX and NumPy arrays (bfloat16 and other dtypes of JAX included), typed keys, None and Python
    scalars; the structure is not saved, so reading needs a template. An array on several processes can be saved only where it
    is replicated, and by only one of them.

    The folder is locked while the store is open, by a lock that ends with the process. Use it as a context manager, or
    call `close`. `save` and `load` are not safe to call from two threads at once.

    Args:
      folder: a path; made if it does not exist. Files of other names in it are left alone.
      keep: how many checkpoints are kept, those saved last.
    Raises:
      CheckpointError: another process, or another `Store` of this one, has the folder open; or it cannot be written to.
    Example:
      >>> import jax.numpy as jnp, tempfile
      >>> from logtrick.training import Store
      >>> with tempfile.TemporaryDirectory() as folder, Store(folder, keep=2) as store:
      ...     for step in (10, 20, 30):
      ...         store.save(step, {"w": jnp.full(3, step / 10)}, {"status": "running"})
      ...     print(store.steps(), store.load(like={"w": jnp.zeros(3)}))
      [20, 30] ({'w': Array([3., 3., 3.], dtype=float32)}, {'status': 'running'})
    """

    def __init__(self, folder: str | pathlib.Path, keep: int = 3) -> None:
        keep = checks.positive_int("Store", "keep", keep)
        self._folder = Folder(absolute(folder), keep)

    @property
    def folder(self) -> pathlib.Path:
        """Where the checkpoints are, as an absolute path."""
        return self._folder.path

    def save(self, step: int, state: Any, extra: dict[str, Any] | None = None) -> None:
        """Write a checkpoint; then remove all but the last `keep`.

        Args:
          step: how many steps were done, at least 0. A step may be saved again: the later save counts.
          state: a pytree of arrays, typed keys, None and Python scalars.
          extra: further data that are no arrays: a dict that JSON does not change (no tuples, strings as keys).
        Raises:
          CheckpointError: it could not be written (full disk, no permission, …); earlier checkpoints are untouched.
          TypeError: a leaf that is none of these, or an `extra` that JSON would change.
        """
        step = checks.positive_int("Store.save", "step", step, least=0)
        extra = {} if extra is None else extra
        _manifest.check_extra(extra)
        if not isinstance(extra, dict):
            raise TypeError(f"Store.save(extra=…) needs a dict; got {type(extra).__name__}.")
        packed = _leaves.pack(state)
        manifest = {
            "format": _manifest.FORMAT,
            "step": step,
            "about": {
                "logtrick": __version__,
                "jax": jax.__version__,
                "x64": bool(jax.config.values["jax_enable_x64"]),
            },
            "leaves": packed.leaves,
            "extra": extra,
        }
        self._folder.save(step, packed.arrays, manifest)

    def steps(self) -> list[int]:
        """The steps of which there are checkpoints, damaged ones included, in the order in which they were saved."""
        return steps(self.folder)

    def load(
        self, step: int | None = None, like: Any = None, *, at: str = "", fallback: bool = False
    ) -> tuple[Any, dict[str, Any]]:
        """Read a checkpoint.

        Every leaf of the template must have been saved, with the same path, shape, dtype and generator of keys; further
        saved leaves are ignored. This, the sizes of the files and their hashes are compared before anything is allocated.

        Args:
          step: which one; None is the one saved last.
          like: the template, a pytree of the state's structure, of whose leaves only shapes, dtypes and devices are used:
            `jax.eval_shape` makes one. Where the template has NumPy arrays, NumPy arrays are returned; where it has arrays
            of JAX, arrays on the same devices.
          at: the path of a part of the state: `at=".params"` reads the field `params` into a template of the parameters.
          fallback: if the newest is damaged, take the next older one that is not, with a warning that names both.
        Returns:
          The state and `extra`.
        Raises:
          CheckpointError: there is no such checkpoint, it is damaged, or it is not of the template's form.
        """
        return _load(self.folder, step, like, at, fallback)

    def about(self, step: int | None = None) -> dict[str, Any]:
        """The checked manifest of a checkpoint: "step", "about" (versions, x64), "leaves" (paths, shapes, dtypes), "extra".

        Args:
          step: which one; None is the one saved last.
        Returns:
          What the JSON file says.
        Raises:
          CheckpointError: there is no such checkpoint, or its manifest is damaged.
        """
        return _manifest.from_file(_chosen(self.folder, step)[-1].manifest)

    def close(self) -> None:
        """Unlock the folder. What was saved can still be loaded."""
        self._folder.close()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@in_words("lt.training.read_params")
def read_params(
    folder: str | pathlib.Path,
    like: Any,
    *,
    step: int | None = None,
    at: str = ".params",
    fallback: bool = False,
) -> Any:
    """Read the parameters alone from a folder of checkpoints, to go on with a new optimizer or to use them.

    The folder is not locked, so a run that is still writing there can be looked at.

    Args:
      folder: a path that a `Store` (`checkpoint=…` of a fit) has written to.
      like: parameters of the same structure, shapes and dtypes, the initial ones, say; Python numbers count as the arrays
        that a fit makes of them.
      step: which checkpoint; None is the one saved last.
      at: where the parameters are in the state.
      fallback: if the newest is damaged, take the next older one that is not, with a warning that names both.
    Returns:
      The parameters.
    Raises:
      CheckpointError: there is no such checkpoint, it is damaged, or it is not of the template's form.
    Example:
      >>> import jax.numpy as jnp, tempfile
      >>> from typing import NamedTuple
      >>> from logtrick.training import Store, read_params
      >>> class State(NamedTuple):
      ...     params: dict
      ...     step: int
      >>> with tempfile.TemporaryDirectory() as folder, Store(folder) as store:
      ...     store.save(7, State({"w": jnp.ones(2)}, 7))
      ...     print(read_params(folder, {"w": jnp.zeros(2)}))
      {'w': Array([1., 1.], dtype=float32)}
    """

    def as_in_fit(leaf: Any) -> Any:
        is_number = type(leaf) in (bool, int, float)
        return jnp.asarray(leaf, jnp.result_type(leaf)) if is_number else leaf

    return _load(absolute(folder), step, jax.tree.map(as_in_fit, like), at, fallback)[0]


def _load(
    folder: pathlib.Path, step: int | None, like: Any, at: str, fallback: bool
) -> tuple[Any, dict[str, Any]]:
    if like is None:
        raise TypeError(
            "Store.load(like=…) needs a template of the state; got None. Pass a state of the same structure, such as the "
            "initial one."
        )
    return newest_intact(folder, step, lambda entry: read_entry(entry, like, at), fallback)


def newest_intact(
    folder: pathlib.Path, step: int | None, read: Callable[[Entry], T], fallback: bool
) -> T:
    """`read(entry)` of the newest checkpoint; with `fallback` of the newest one that is not damaged, with a warning.

    Raises:
      CheckpointError: there is no such checkpoint, or it is damaged.
    """
    damage: list[DamagedError] = []
    for entry in reversed(_chosen(folder, step)):
        try:
            found = read(entry)
        except DamagedError as error:
            if not entry.manifest.exists():
                # The run that writes here has removed it meanwhile: look again.
                return newest_intact(folder, step, read, fallback)
            if not fallback:
                raise
            damage.append(error)
            continue
        if damage:
            reasons = "; ".join(map(str, damage))
            message = f"{reasons} The checkpoint of step {entry.step} was loaded instead."
            warnings.warn(message, RuntimeWarning, stacklevel=4)
        return found
    raise CheckpointError(
        folder, f"has no checkpoint that is not damaged: {'; '.join(map(str, damage))}"
    )


def _chosen(folder: pathlib.Path, step: int | None) -> list[Entry]:
    """The checkpoints that may be read, at least one, the newest last."""
    found = entries(folder)
    if not found:
        raise CheckpointError(folder, "has no checkpoints.")
    chosen = [entry for entry in found if step is None or entry.step == step]
    if not chosen:
        saved = sorted({entry.step for entry in found})
        raise CheckpointError(folder, f"has no checkpoint of step {step}; it has {saved}.")
    return chosen


def read_entry(entry: Entry, like: Any, at: str) -> tuple[Any, dict[str, Any]]:
    """The state and `extra` of one checkpoint, compared with the template `like`."""
    manifest = _manifest.from_file(entry.manifest)
    saved, archive = manifest["leaves"], manifest["archive"]
    if manifest["step"] != entry.step or archive["name"] != entry.archive.name:
        raise DamagedError(entry.manifest, "belongs to another checkpoint: it was renamed.")
    different = _leaves.differences(saved, like, at)
    if different:
        about = ", ".join(f"{name} {value}" for name, value in manifest["about"].items())
        raise CheckpointError(entry.manifest, f"is of another state ({about}). {different}.")
    members = _leaves.wanted(saved, like, at)
    arrays = _archive.read(entry.archive, archive["bytes"], archive["sha256"], members)
    return _leaves.unpack(saved, like, at, arrays), manifest["extra"]
