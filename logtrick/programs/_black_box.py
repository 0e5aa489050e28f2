"""`lt.black_box`: a host function as a cost."""

import contextlib
import contextvars
import weakref
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from logtrick._core.calls import described, in_words
from logtrick._core.compat import is_tracer
from logtrick._core.errors import BlackBoxError
from logtrick._core.kernel import refuse


class _Caller(NamedTuple):
    """The expectation, or the compiled work, that is being evaluated.

    Attributes:
      boxes: the black boxes that it has called, to find what the host raised.
      differentiating: the names of its estimators that differentiate f, to say which needs it.
    """

    boxes: list["BlackBox"]
    differentiating: tuple[str, ...]


_CALLER: contextvars.ContextVar[_Caller | None] = contextvars.ContextVar(
    "logtrick_caller", default=None
)


_FAILED: list["weakref.ref[BlackBox]"] = []  # the box whose host function failed last


class BlackBox:
    """A host function that JAX code may call; made by `lt.black_box`.

    Attributes:
      last_error: the `BlackBoxError` of the latest host call that failed, or None; what the
        function itself raised is its `__cause__`, with its traceback.
    """

    def __init__(
        self, f: Callable[..., Any], result_shape: tuple[int, ...], batched: bool, dtype: Any
    ) -> None:
        self.f, self.result_shape, self.batched, self.dtype = f, result_shape, batched, dtype
        self.name = getattr(f, "__name__", type(f).__name__)
        self.last_error: BlackBoxError | None = None

    def __repr__(self) -> str:
        return f"lt.black_box({self.name})"

    def __call__(self, *args: Any) -> jax.Array:
        caller, need = _CALLER.get(), ""
        if caller is not None:
            if self not in caller.boxes:
                caller.boxes.append(self)
            self.last_error = None  # what fails from here on is this caller's
        if caller is not None and caller.differentiating:
            names = dict.fromkeys(f"{name}()" for name in caller.differentiating)
            need = f"{' and '.join(names)} needs a differentiable f. "
        args = jax.tree.map(jnp.asarray, args)
        message = (
            f"lt.black_box({self.name}) was differentiated, and a host function has no derivative. {need}Use an estimator that "
            "does not differentiate f, ScoreFunction() say, and jax.lax.stop_gradient on parameters that go into it."
        )
        args = refuse(args, message, TypeError)
        leaves, tree = jax.tree.flatten(args)
        ranks = [leaf.ndim for leaf in leaves]
        # the dtype of the results in JAX: 64 bits become 32 unless double precision is switched on
        dtype = jnp.asarray(np.zeros((), float if self.dtype is None else self.dtype)).dtype

        def host(*leaves: Any) -> np.ndarray:
            try:
                return self._on_host(tree, ranks, [np.asarray(leaf) for leaf in leaves], dtype)
            except BlackBoxError as error:
                self.last_error = failure = error
                _FAILED[:] = [weakref.ref(self)]
            # JAX passes on the text of this exception alone, without its cause: f's own exception says where in f it was
            # raised.
            raise failure.__cause__ or failure

        if not any(is_tracer(leaf) for leaf in leaves):
            found = self._on_host(tree, ranks, [np.asarray(leaf) for leaf in leaves], dtype)
            return jnp.asarray(found)
        shape = jax.ShapeDtypeStruct(self.result_shape, dtype)
        return jax.pure_callback(host, shape, *leaves, vmap_method="expand_dims")

    def _on_host(
        self, tree: Any, ranks: list[int], leaves: list[np.ndarray], dtype: Any
    ) -> np.ndarray:
        """All points of a batch: one call where f is batched, a loop on the host where it is not."""
        leads = [leaf.shape[: leaf.ndim - rank] for leaf, rank in zip(leaves, ranks)]
        lead = np.broadcast_shapes(*leads)
        size = int(np.prod(lead, dtype=int))

        def stacked(leaf: np.ndarray, rank: int) -> np.ndarray:
            event = leaf.shape[leaf.ndim - rank :]
            return np.broadcast_to(leaf, lead + event).reshape(size, *event)

        rows = [stacked(leaf, rank) for leaf, rank in zip(leaves, ranks)]
        if self.batched:
            result = self._checked(tree.unflatten(rows), (size, *self.result_shape))
        else:
            points = (tree.unflatten([r[i] for r in rows]) for i in range(size))
            result = np.array([self._checked(point, self.result_shape) for point in points])
        return self._rounded(result, dtype).reshape(lead + self.result_shape)

    def _checked(self, args: Any, shape: tuple[int, ...]) -> np.ndarray:
        try:
            raw = np.asarray(self.f(*args))
        except Exception as error:
            raise BlackBoxError(
                f"lt.black_box({self.name}): the host function raised {error!r}."
            ) from error
        if raw.shape != shape:
            raise BlackBoxError(
                f"lt.black_box({self.name}) returned shape {raw.shape}; result_shape={self.result_shape} with "
                f"batched={self.batched} needs {shape}. Mend the function, or the declaration."
            )
        if self.dtype is None:
            legal, need = raw.dtype.kind in "fiub", "real numbers"
        else:
            legal, need = raw.dtype == self.dtype, str(np.dtype(self.dtype))
        if not legal:
            got = str(raw.dtype)
            if raw.dtype == object:
                got = described(raw.item() if raw.size == 1 else raw)
            raise BlackBoxError(
                f"lt.black_box({self.name}) returned {got}; needs {need}. Pass dtype=…, or convert."
            )
        return raw

    def _rounded(self, raw: np.ndarray, dtype: Any) -> np.ndarray:
        """All results at once, since a check of each costs more than a cheap f."""
        with np.errstate(over="ignore"):
            result = raw.astype(dtype)
        if result.dtype.kind in "iu":
            too_large = result != raw
        else:
            too_large = np.isinf(result) & np.isfinite(raw)
        if np.any(too_large):
            raise BlackBoxError(
                f"lt.black_box({self.name}) returned {raw.max()}, too large for {dtype}. Scale it."
            )
        return result


@contextlib.contextmanager
def host_errors_surface(
    values: list[Any], differentiating: tuple[str, ...] = (), boxes: list[BlackBox] | None = None
) -> Iterator[None]:
    """An exception that the host raises while the `values` appended here are computed becomes a `BlackBoxError`.

    `differentiating` names the estimators that need a derivative of f, for the message where a
    black box has none. `boxes` are those that compiled code is known to call; those that are called
    while it is traced are added. Code that was compiled before calls boxes without being traced: of
    these the one that has failed meanwhile is found.
    """
    earlier = _last_failure()
    outer = _CALLER.get()
    called: list[BlackBox] = [] if boxes is None else boxes
    token = _CALLER.set(_Caller(called, differentiating))
    try:
        yield
        if called and not any(is_tracer(leaf) for leaf in jax.tree.leaves(values)):
            jax.block_until_ready(values)
    # a ValueError where compiled code runs again, since jax 0.7.2
    except (jax.errors.JaxRuntimeError, ValueError):
        for box in called:
            if box.last_error is not None:
                raise box.last_error from box.last_error.__cause__
        latest = _last_failure()
        if latest is not None and latest is not earlier:
            raise latest from latest.__cause__
        raise
    finally:
        _CALLER.reset(token)
        if outer is not None:
            outer.boxes.extend(box for box in called if box not in outer.boxes)


def _last_failure() -> BlackBoxError | None:
    """What the host function that failed last raised, where its black box is still there."""
    box = _FAILED[0]() if _FAILED else None
    return None if box is None else box.last_error


@in_words("lt.black_box")
def black_box(
    f: Callable[..., Any],
    *,
    result_shape: tuple[int, ...] = (),
    batched: bool = False,
    dtype: Any = None,
) -> BlackBox:
    """A host function (NumPy, a simulator) that JAX code may call: a cost for any estimator that does not differentiate it.

    Under any nest of `jax.vmap` (samples, points, a user's own) the host is called once for the
    whole batch; a function that is not batched is looped over on the host. The function should be
    deterministic. A stochastic simulator is allowed if it makes its own noise, independent from
    call to call; JAX may merge equal calls.

    Args:
      f: `f(*args) -> array` of NumPy arrays; one point, or with `batched` all points along one
        leading axis.
      result_shape: the shape of one point's result.
      batched: f takes and returns a leading axis of points.
      dtype: what f must return; without it any real numbers, rounded to JAX's default float. In JAX
        the result has this dtype, with 32 bits for 64 unless double precision is switched on.
    Returns:
      A function of arrays (pytrees of them) for use under `jax.jit`, `jax.vmap` and `lax.scan`. Its
      `last_error` is the `BlackBoxError` of the latest host call that failed, or None.
    Raises:
      TypeError: differentiated, at trace time; f is not callable.
      BlackBoxError: f raised (its exception is the `__cause__`, with its traceback), or returned
        another shape or dtype.
      JaxRuntimeError: the same inside a user's own `jax.jit`, where JAX passes on only the text of
        the host's exception, f's traceback included (as a `ValueError` where the compiled code had
        run before: JAX's issue 34083). `last_error` holds the exception itself.
    Example:
      >>> import jax, numpy as np, logtrick as lt
      >>> simulator = lt.black_box(lambda x: np.floor(np.exp(x)), batched=True)
      >>> value = lambda mu: lt.expect(jax.random.key(0), simulator, lt.Normal(mu, 0.5), num_samples=20_000)
      >>> round(value(0.0).item(), 1), round(jax.grad(value)(0.0).item(), 1)
      (0.6, 1.2)
    """
    if not callable(f):
        raise TypeError(f"lt.black_box(f=…) needs a function; got {type(f).__name__}.")
    shape = tuple(result_shape) if isinstance(result_shape, tuple | list) else (result_shape,)
    if not all(isinstance(n, int | np.integer) and n >= 0 for n in shape):
        raise TypeError(
            f"lt.black_box(result_shape=…) needs a tuple of ints; got {result_shape!r}. Pass () for a scalar."
        )
    return BlackBox(f, shape, batched, dtype)
