"""From the arguments of a fit to its result: checks, the compiled program, the run."""

import logging
import pathlib
from types import SimpleNamespace
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


def fit(where: str, sign: int, call: SimpleNamespace) -> FitResult[Any]:
    """Check the arguments, find the compiled program, and run it.

    Args:
      where: the public function, for messages.
      sign: 1 to minimize, −1 to maximize.
      call: the arguments of `lt.minimize`, by name.
    """
    check_swapped(where, call.key, call.params)
    key = as_key(call.key)
    call.num_steps, call.chunk = arguments.check_counts(
        where, call.num_steps, call.chunk, call.average
    )
    arguments.check_functions(where, call.objective, call.optimizer)
    arguments.check_options(
        where, call.freeze_guard, callback=call.callback, evaluate=call.evaluate
    )
    mesh = automatic_mesh(where, call.mesh)
    params = arguments.arrays(where, call.params)
    feed, data, host = placed(where, call.data, call.batch_size, key, mesh)
    _say_of_double_precision(where, params=call.params, data=call.data)
    check_objective(where, call.objective, feed.source != "none")
    task = Task(
        where=where,
        objective=call.objective,
        optimizer=optax.with_extra_args_support(call.optimizer),
        sign=sign,
        limit=arguments.limit(where, call.nonfinite),
        feed=feed,
        freeze_guard=call.freeze_guard,
        average=call.average,
        evaluate=call.evaluate,
        mesh=mesh,
        functions=tuple(functions_in(jax.tree.structure(params))),
    )
    program = PROGRAMS.find(task)
    others = _listeners(where, call)
    saver = _checkpoint(where, call.checkpoint, call.resume)
    params, key_data = _mesh.put_replicated(mesh, (params, jax.random.key_data(key)))
    position = feed.position(host or data)
    state = program.begin(params, key_data, position, key_impl=jax.random.key_impl(key))
    if program.traced or any(is_tracer(leaf) for leaf in jax.tree.leaves((state, data))):
        arguments.refuse_host(where, others, saver, host)
        return _traced(program, state, data, call.num_steps)
    if host is not None:
        data = HostBatches(host, mesh, where, call.chunk)
    return Run(program, state, data, call.num_steps, call.chunk, others, saver)()


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


def _listeners(where: str, call: SimpleNamespace) -> list[Listener]:
    """The given listeners, and those that `stop`, `callback` and `progress` stand for."""
    found = arguments.listeners(where, call.listeners, call.stop)
    if call.callback is not None:
        found.append(Callback(call.callback))
    bar = progress_listener(where, call.progress)
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
