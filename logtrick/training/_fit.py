"""From the arguments of a fit to its result: checks, the compiled program, the run."""

import logging
import pathlib
from typing import Any

import jax
import numpy as np
import optax

from logtrick._core.compat import is_tracer
from logtrick._core.fingerprint import functions_in
from logtrick._core.keys import as_key
from logtrick._core.mesh import automatic_mesh
from logtrick._core.objectives import check_objective, check_swapped
from logtrick.training import _arguments as arguments, _mesh
from logtrick.training._callback import Callback
from logtrick.training._checkpoint import Checkpoint
from logtrick.training._feed import HostBatches, placed
from logtrick.training._listener import Listener
from logtrick.training._program import PROGRAMS, Program
from logtrick.training._progress import progress_listener
from logtrick.training._result import FitResult
from logtrick.training._run import Run
from logtrick.training._state import FitState
from logtrick.training._step import Task

_LOG = logging.getLogger("logtrick")


def fit(
    where: str,
    sign: int,
    key: Any,
    objective: Any,
    params: Any,
    optimizer: Any,
    *,
    num_steps: Any,
    data: Any,
    batch_size: Any,
    chunk: Any,
    listeners: Any,
    callback: Any,
    progress: Any,
    checkpoint: Any,
    resume: bool,
    stop: Any,
    average: Any,
    evaluate: Any,
    nonfinite: Any,
    freeze_guard: Any,
    mesh: Any,
) -> FitResult[Any]:
    """Check the arguments, find the compiled program, and run it: `minimize` for `sign` 1, `maximize` for −1."""
    check_swapped(where, key, params)
    key = as_key(key)
    arguments.check_counts(where, num_steps, chunk, average)
    arguments.check_functions(where, objective, optimizer)
    arguments.check_options(where, freeze_guard, callback=callback, evaluate=evaluate)
    mesh = automatic_mesh(where, mesh)
    given = {"params": params, "data": data}
    params = arguments.arrays(where, params)
    feed, data, host = placed(where, data, batch_size, key, mesh)
    _say_of_double_precision(where, **given)
    check_objective(where, objective, feed.source != "none")
    task = Task(
        where=where,
        objective=objective,
        optimizer=optax.with_extra_args_support(optimizer),
        sign=sign,
        limit=arguments.limit(where, nonfinite),
        feed=feed,
        freeze_guard=freeze_guard,
        average=average,
        evaluate=evaluate,
        mesh=mesh,
        functions=tuple(functions_in(jax.tree.structure(params))),
    )
    program = PROGRAMS.find(task)
    others = _listeners(where, listeners, stop, callback, progress)
    saver = _checkpoint(where, checkpoint, resume)
    params, key_data = _mesh.put_replicated(mesh, (params, jax.random.key_data(key)))
    position = feed.position(host or data)
    state = program.begin(params, key_data, position, key_impl=jax.random.key_impl(key))
    if program.traced or any(is_tracer(leaf) for leaf in jax.tree.leaves((state, data))):
        arguments.refuse_host(where, others, saver, host)
        return _traced(program, state, data, num_steps)
    if host is not None:
        data = HostBatches(host, mesh, where, chunk)
    return Run(program, state, data, num_steps, chunk, others, saver)()


def _say_of_double_precision(where: str, **given: Any) -> None:
    """Log one line at the level INFO where NumPy's float64 becomes float32."""
    if jax.config.jax_enable_x64:  # type: ignore[attr-defined]  # made at run time
        return
    for name, tree in given.items():
        if any(getattr(x, "dtype", None) == np.float64 for x in jax.tree.leaves(tree)):
            _LOG.info(
                "%s(%s=…): float64 is computed as float32; jax.config.update('jax_enable_x64', True) keeps it.",
                where,
                name,
            )


def _listeners(
    where: str, listeners: Any, stop: Any, callback: Any, progress: Any
) -> list[Listener]:
    """The given listeners, and those that `stop`, `callback` and `progress` stand for."""
    found = arguments.listeners(where, listeners, stop)
    if callback is not None:
        found.append(Callback(callback))
    bar = progress_listener(where, progress)
    if bar is not None:
        found.append(bar)
    return found


def _checkpoint(where: str, checkpoint: Any, resume: bool) -> Checkpoint | None:
    """The listener that `checkpoint=` stands for."""
    if checkpoint is None:
        return None
    if isinstance(checkpoint, str | pathlib.Path):
        checkpoint = Checkpoint(checkpoint)
    if not isinstance(checkpoint, Checkpoint):
        raise TypeError(
            f"{where}(checkpoint=…) needs a folder or an lt.training.Checkpoint; got {type(checkpoint).__name__}. Pass the "
            "path of a folder."
        )
    checkpoint.resume = resume
    return checkpoint


def _traced(program: Program, state: FitState, data: Any, num_steps: int) -> FitResult[Any]:
    """All steps in one call, under `jax.vmap` or `jax.jit`."""
    state, rows, _ = program.whole(state, data, count=num_steps)
    history = jax.tree.map(lambda column: column[:num_steps], rows.columns().history())
    params, averaged = program.shown(state)
    return FitResult(params, averaged, history, "traced", state)
