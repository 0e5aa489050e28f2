"""`lt.minimize` and `lt.maximize`."""

import inspect
import pathlib
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, Literal, ParamSpec, TypeVar

import optax

from logtrick.training import _arguments as arguments
from logtrick.training._average import Average
from logtrick.training._checkpoint import Checkpoint
from logtrick.training._fit import fit
from logtrick.training._listener import Listener
from logtrick.training._progress import ProgressBar, TqdmBar
from logtrick.training._result import FitResult

Params = TypeVar("Params")
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


@arguments.checked_call("lt.minimize")
def minimize(
    key: Any,
    objective: Callable[..., Any],
    params: Params,
    optimizer: optax.GradientTransformation,
    *,
    num_steps: int,
    data: Any = None,
    batch_size: int | None = None,
    chunk: int = 100,
    listeners: Sequence[Listener] = (),
    callback: Callable[[FitResult[Any]], Any] | None = None,
    progress: bool | ProgressBar | TqdmBar = False,
    checkpoint: str | pathlib.Path | Checkpoint | None = None,
    resume: bool = True,
    stop: Listener | None = None,
    average: Average | None = None,
    evaluate: Callable[[Any, Any], Any] | None = None,
    nonfinite: Literal["skip", "raise"] | int = "skip",
    freeze_guard: float | None = 1e3,
    mesh: Any = None,
) -> FitResult[Params]:
    """Minimize an objective that is estimated from random draws, by any optax optimizer, in a compiled loop.

    θ ← θ + update(∇_θ objective(θ, keyₜ)), keyₜ = fold_in(fold_in(key, t), 1): a pure function of `key`, the same bits
    whatever the `chunk`. Many steps are one call of a compiled program; in between, at least about once a second, the host
    looks at the numbers. A second call with an equal objective and optimizer and the same shapes compiles nothing. "Equal"
    means the same code and the same data behind it, so both may be made inline again. The data that the objective closes
    over, its defaults, its globals and the attributes of the object that it is bound to are compared: if they changed, the
    fit is compiled again. Changes of NumPy arrays above 16 MB in place, and of what library code refers to, are not noticed.
    Pass large data as `data`.

    Where the objective returns `(value, aux)`, `aux.adaptive_loss` is added to the loss, and the running statistics of
    estimators in `params` become those of `aux.estimators`; the optimizer does not see them. Scalars in aux (a dict, nested)
    become columns of `history.metrics`.

    A step with a value, a gradient, an update or a statistic that is not finite changes nothing and is counted. A first
    Ctrl-C ends the fit after the running steps, and the call returns the fit so far; a second one raises
    `KeyboardInterrupt`. Any exception during the fit (of a callback, of a host function) carries the fit so far as `.result`.

    Under `jax.vmap` (over keys, or initial parameters) whole fits are computed side by side, for example
    `jax.vmap(lambda k: lt.minimize(k, objective, params, optimizer, num_steps=…).params)(keys)`. There, and under
    `jax.jit`, no exception is raised for numbers that are not finite: see `history.skipped` and `state.skipped_in_a_row`.

    Args:
      key: a typed key.
      objective: `objective(params, key) -> value`, or `objective(params, key, batch)` with `data`; a real scalar, or
        `(value, aux)`. See `lt.training.with_gradient` for one that computes its own gradient, and
        `lt.training.forward_mode` for one that JAX can differentiate forward only (a `while_loop`).
      params: the initial parameters, a pytree of float arrays; it is copied, and stays usable.
      optimizer: an optax gradient transformation, without a line search.
      num_steps: how many steps, at least 1.
      data: a pytree of arrays with a common leading axis of rows; or, with `batch_size`, a function `epoch -> iterator` of
        host batches (see `lt.training.as_feed`). NumPy's float64 is computed as float32 unless `jax_enable_x64` is set; the
        logger "logtrick" says so at the level INFO.
      batch_size: rows per step, drawn without replacement in every epoch, in an order that depends on `key` and the epoch
        alone; the rows beyond the last full batch are left out, other ones in every epoch. None passes all of `data`.
      chunk: steps between visits of the callback, the progress bar and other listeners; where steps are slow, they are
        visited about once a second.
      listeners: what else the host does between chunks: `JSONLines`, `GradientNoise` and others of `lt.training`, or your
        own `Listener`.
      callback: `callback(result)`, called with the `FitResult` so far; returning True ends the fit with the status "stopped".
      progress: True for a bar (tqdm on a terminal where it is installed, else a bar of our own; plain lines in a pipe), or a
        bar of `lt.training`.
      checkpoint: a folder, or an `lt.training.Checkpoint`, in which the whole state is saved, so that a fit that was killed
        can be resumed with the same bits.
      resume: whether to go on from a checkpoint in the folder, if there is one; False starts from `params`.
      stop: a stop rule, e.g. `lt.training.Converged()`.
      average: how iterates are averaged into `averaged_params`: `lt.training.PolyakAverage(start)`,
        `lt.training.ExponentialAverage(decay)`.
      evaluate: `evaluate(opt_state, params)`, the parameters for evaluation, where the optimizer prescribes others than
        those that it moves; not needed for optax's schedule-free optimizers. These parameters are returned, averaged and
        judged by the stop rule.
      nonfinite: when steps that are not finite end the fit: "skip" after 10 of them in a row, "raise" at the first, an int n
        after n in a row. A fit that accepted no step at all also ends with the error.
      freeze_guard: a gradient whose norm is beyond this multiple of the running median of norms is scaled down to it and
        counted, since one huge gradient can freeze Adam for thousands of steps. In ordinary fits no gradient is that large.
        None switches the guard off.
      mesh: a `jax.sharding.Mesh`: the rows of batches are spread over its first axis, everything else lies on all devices.
        Every process of `jax.distributed` calls with the same arguments; the first one writes checkpoints.
    Returns:
      A `FitResult`.
    Raises:
      NonFiniteError: too many steps in a row were not finite. Its `result` is the fit so far.
      TypeError: parameters that have no gradient (integers, bools, strings, complex numbers), no optax optimizer.
      ValueError: no parameters, an objective that is no scalar, rows that do not match, an optimizer with a line search,
        an estimator that learns and is not in `params`.
      BlackBoxError: a host function of `lt.black_box` raised; its exception is the `__cause__`. (Under `jax.vmap`, and where
        the objective is jitted and was traced before, JAX's own error is raised instead.)
      CheckpointError: a checkpoint could not be written, is damaged, or is of another fit.
    Example:
      >>> import jax, optax, logtrick as lt
      >>> def objective(logit, key):
      ...     return lt.expect(key, lambda x: (x - 0.45) ** 2, lt.Bernoulli(logit), num_samples=32)
      >>> fit = lt.minimize(jax.random.key(0), objective, 0.0, optax.adam(0.1), num_steps=300)
      >>> round(jax.nn.sigmoid(fit.params).item(), 2)                   # x = 0 costs 0.2025, x = 1 0.3025
      0.0
    """
    return fit("lt.minimize", 1, SimpleNamespace(**locals()))  # its locals are its arguments


_SIGNATURE = inspect.signature(minimize)


def _with_the_signature_of(
    _: Callable[Arguments, Result],
) -> Callable[[Callable[..., Result]], Callable[Arguments, Result]]:
    """For type checkers and `help`: the decorated function takes the arguments of another."""

    def decorate(function: Callable[..., Result]) -> Callable[Arguments, Result]:
        function.__signature__ = _SIGNATURE  # type: ignore[attr-defined]  # read by inspect
        return function

    return decorate


@_with_the_signature_of(minimize)
@arguments.checked_call("lt.maximize", _SIGNATURE)
def maximize(*args: Any, **options: Any) -> Any:
    """Maximize an objective that is estimated from random draws: `minimize` of −objective, with the same arguments.

    θ ← θ + update(−∇_θ objective(θ, keyₜ)). The history, the progress line and the stop rule have the objective itself, not
    its negative; `aux.adaptive_loss` is minimized all the same.

    Args:
      args: key, objective, params, optimizer: see `minimize`.
      options: `num_steps` and all other options of `minimize`.
    Returns:
      A `FitResult`.
    Raises:
      NonFiniteError: too many steps in a row were not finite.
      TypeError: parameters that have no gradient, no optax optimizer.
      ValueError: as for `minimize`.
    Example:
      >>> import jax, optax, logtrick as lt
      >>> fit = lt.maximize(jax.random.key(0), lambda p, key: 1 - (p - 3.0) ** 2, 0.0, optax.sgd(0.25), num_steps=20)
      >>> round(fit.params.item(), 4), fit.history.value[0].item(), round(fit.history.value[-1].item(), 4)
      (3.0, -8.0, 1.0)
    """
    bound = _SIGNATURE.bind(*args, **options)
    bound.apply_defaults()
    return fit("lt.maximize", -1, SimpleNamespace(**bound.arguments))
