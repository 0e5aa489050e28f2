"""Checkpoints of a fit: written between chunks, read when the same fit is started again."""

import pathlib
import time
import warnings
from typing import Any

import jax
import numpy as np

from logtrick._core import checks
from logtrick._core.errors import CheckpointError
from logtrick._core.module import replace
from logtrick.training import _manifest
from logtrick.training._feed import digest
from logtrick.training._folder import Entry, absolute, entries
from logtrick.training._history import FLAGS, NUMBERS, History
from logtrick.training._listener import Listener
from logtrick.training._store import Store, newest_intact, read_entry


class Checkpoint(Listener):
    """Save the whole state of a fit in a folder, and go on from there: the same bits as without the interruption.

    What is saved is the `FitState`: parameters, optimizer state, averages, the data feed's position, statistics of
    estimators, the history. There are three ways to go on:

    - the same fit: call `lt.minimize` again with the same arguments; it continues from the last checkpoint;
    - more steps: the same with a larger `num_steps`;
    - the parameters only, with a new optimizer, objective or key: `lt.training.read_params(folder, params)`, passed as the
      initial parameters of a fit with another folder.

    A fit that goes on with other data of the same shape warns: at most 4,096 evenly spaced rows of each array are compared
    by their hash. (Not the batches of a function, nor arrays that are spread over several processes.)

    SIGTERM (preemption) ends such a fit after the running steps: it saves, then exits with code 143.

    Args:
      folder: a path; made if it does not exist. It is locked: only one fit at a time can use it.
      every: save at multiples of this number of steps; None saves by time.
      seconds: where `every` is None, save when so many seconds have passed since the last save.
      keep: how many checkpoints are kept.
      fallback: if the newest checkpoint is damaged, go on from the next older one that is not, with a warning.
      strict: whether a checkpoint that cannot be written (full disk) ends the fit, by a `CheckpointError` that carries
        `.result`; otherwise the fit warns, and saves again when the next checkpoint is due. Earlier checkpoints are untouched
        in either case.
    Raises:
      CheckpointError: the folder is in use or cannot be written to, or its checkpoint is damaged or of another fit.
    Example:
      >>> import jax, optax, tempfile, logtrick as lt
      >>> objective, folder = lambda p, key: (p - 3.0) ** 2, tempfile.mkdtemp()
      >>> fit = lambda steps: lt.minimize(jax.random.key(0), objective, 0.0, optax.sgd(0.25), num_steps=steps, checkpoint=folder)
      >>> fit(2).params.item(), fit(4).params.item(), len(fit(4).history.value)     # the second one takes two steps
      (2.25, 2.8125, 4)
    """

    def __init__(
        self,
        folder: str | pathlib.Path,
        every: int | None = None,
        seconds: float = 60.0,
        keep: int = 3,
        fallback: bool = False,
        strict: bool = True,
    ) -> None:
        if every is not None:
            every = checks.positive_int("lt.training.Checkpoint", "every", every)
        if not seconds > 0:
            raise ValueError(
                f"lt.training.Checkpoint(seconds=…) needs a positive number; got {seconds}. Pass 60, say."
            )
        self.folder, self.every, self.seconds = folder, every, seconds
        self.keep, self.fallback, self.strict = keep, fallback, strict
        self.resume = True  # `resume=` of the fit
        self._store: Store | None = None
        self._ready = False

    def start(self, run: Any) -> None:
        self._ready = False
        self._saved = -1  # the step of the last save
        self._last = time.monotonic()
        self._digest = digest(run.data)
        if run.writes:
            self._store = Store(self.folder, keep=self.keep)
        if self.resume:
            self._resume(run)
        self._ready = True

    def _resume(self, run: Any) -> None:
        """Go on from the newest checkpoint, if there is one; every process of the fit reads it, only the first one writes."""
        path = absolute(self.folder)
        if not path.exists() or not entries(path):
            return

        def read(entry: Entry) -> tuple[Any, dict[str, Any]]:
            extra = _manifest.from_file(entry.manifest)["extra"]
            self._check(extra, run)
            return read_entry(entry, _template(run, entry.step, extra), "")

        state, extra = newest_intact(path, None, read, self.fallback)
        if int(state.step) > run.num_steps:
            raise CheckpointError(
                self.folder,
                f"has a checkpoint of step {int(state.step)}, beyond num_steps={run.num_steps}. Pass at least as many steps, "
                "resume=False to start again, or another folder.",
            )
        self._warn_of_other_data(extra)
        run.resume(state)
        self._saved = run.step

    def _check(self, extra: dict[str, Any], run: Any) -> None:
        """Refuse the checkpoint of a fit with another function, key or data feed."""
        for name, ours in _identity(run).items():
            if extra.get(name) != ours:
                raise CheckpointError(
                    self.folder,
                    f"is of another fit: its {name} is {extra.get(name)!r}, here {ours!r}. Go on with the arguments of that "
                    "fit, pass another folder, or take its parameters alone by lt.training.read_params.",
                )

    def _warn_of_other_data(self, extra: dict[str, Any]) -> None:
        saved = extra.get("data_sha256")
        if None not in (saved, self._digest) and saved != self._digest:
            warnings.warn(
                f"{self.folder}: the fit is resumed with other data of the same shape, so that its result is that of neither. "
                "Pass another folder to begin a new fit.",
                RuntimeWarning,
                stacklevel=2,
            )

    def after_chunk(self, run: Any) -> None:
        if self.every is not None:
            due = run.step % self.every == 0
        else:
            due = time.monotonic() - self._last >= self.seconds
        if due:
            self._try_to_save(run)

    def _try_to_save(self, run: Any) -> None:
        try:
            self._save(run)
        except CheckpointError as error:
            if self.strict:
                raise
            self._last = time.monotonic()
            warnings.warn(f"{error} The fit goes on without it.", RuntimeWarning, stacklevel=2)

    def close(self, run: Any, error: BaseException | None) -> None:
        """See `Listener.close`: the end is saved too, unless the state was lost with steps that failed."""
        try:
            # A fit that could not go on from the checkpoints in the folder must not write there.
            if self._ready and run.intact and run.status != "diverged":
                self._try_to_save(run)
        finally:
            if self._store is not None:
                self._store.close()

    def _save(self, run: Any) -> None:
        if self._store is None or run.step == self._saved:
            return
        state = run.full_state()
        history = state.history
        extra = {
            **_identity(run),
            "data_sha256": self._digest,
            "status": run.status or "running",
            "metrics": sorted(history.metrics),
            "shapes": _shapes({"series": history.series, "listeners": state.listeners}),
        }
        self._store.save(run.step, state, extra)
        self._saved = run.step
        self._last = time.monotonic()


def _identity(run: Any) -> dict[str, Any]:
    """What must be the same in the fit that goes on."""
    key = np.asarray(run.state.key_data).ravel().tolist()
    return {"function": run.where, "key": key, "data": run.task.feed.description}


def _shapes(tree: Any) -> Any:
    """Nested dicts with [shape, dtype] in place of arrays, for JSON."""
    if isinstance(tree, dict):
        return {name: _shapes(x) for name, x in tree.items()}
    return [list(np.shape(tree)), str(np.asarray(tree).dtype)]


def _template(run: Any, step: int, extra: dict[str, Any]) -> Any:
    """A state of the form that was saved at `step`; its columns take no memory."""
    real = jax.dtypes.canonicalize_dtype(float)
    columns = {name: _empty((step,), real) for name in NUMBERS}
    columns |= {name: _empty((step,), bool) for name in FLAGS}
    metrics = {name: _empty((step,), real) for name in extra["metrics"]}
    kept = _from_shapes(extra["shapes"])
    history = History(**columns, metrics=metrics, series=kept["series"])
    return replace(run.state, history=history, listeners=kept["listeners"])


def _from_shapes(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {name: _from_shapes(x) for name, x in tree.items()}
    shape, dtype = tree
    return _empty(tuple(shape), np.dtype(dtype))


def _empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    return np.broadcast_to(np.zeros((), dtype), shape)
