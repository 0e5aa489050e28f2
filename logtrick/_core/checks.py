"""Argument checks. Every message says what is needed, what came, and what to do."""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from logtrick._core.calls import described
from logtrick._core.compat import is_tracer
from logtrick._core.kernel import as_array, as_inexact, is_array
from logtrick._core.watch import note_precision

Array = jax.Array


def positive_int(where: str, name: str, value: Any, least: int = 1) -> int:
    """A static int of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        got = "a traced value" if is_tracer(value) else described(value)
        raise TypeError(
            f"{where}({name}=…) needs a static positive int; got {got}. Pass a Python int."
        )
    if value < least:
        raise ValueError(f"{where}({name}=…) needs an int of at least {least}; got {value}.")
    return int(value)


def numbers(where: str, name: str, value: Any) -> Array:
    """A number or an array of numbers, as floats; what is a float already keeps its dtype."""
    try:
        found = as_inexact(_no_text(value))
    except (TypeError, ValueError):
        advice = " Call it, and pass what it returns." if callable(value) else ""
        raise TypeError(
            f"{where}({name}=…) needs a number or an array of numbers; got {described(value)}.{advice}"
        ) from None
    return real(where, name, found)


def number(where: str, name: str, value: Any) -> Array:
    """A number, as a float; an array where many of them are stacked for `jax.vmap`.

    Args:
      where: the class whose argument it is, for the message.
      name: the argument's name.
      value: what was given.
    Returns:
      The number, of its own float dtype, or of JAX's where it was a whole number.
    Raises:
      TypeError: `value` is no number, or a complex one.
    Example:
      >>> import logtrick as lt
      >>> lt.estimators.number("MovingAverage", "average", 3).item()
      3.0
    """
    if not is_array(value):
        raise TypeError(f"{where}({name}=…) needs a number; got {described(value)}. Pass 0.0, say.")
    return real(where, name, as_inexact(value))


def _no_text(value: Any) -> Any:
    """The value; a string raises, which JAX takes for the name of a dtype."""
    if isinstance(value, str):
        raise TypeError(value)
    return value


def array(where: str, name: str, value: Any) -> Array:
    """An array of numbers, from what JAX takes for one; a list of numbers too."""
    try:
        return value if isinstance(value, jax.Array) else jnp.asarray(_no_text(value))
    except (TypeError, ValueError):
        raise TypeError(f"{where}({name}=…) needs an array; got {described(value)}.") from None


def function(where: str, name: str, value: Any, call: str) -> None:
    """Raise where `value` is not a function that can be called as `call` says, such as "log_density(z)"."""
    if not callable(value) or isinstance(value, type):
        raise TypeError(f"{where}({name}=…) needs a function, {call}; got {described(value)}.")
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):  # a built-in function
        return
    try:
        signature.bind(*(None,) * (call.count(",") + 1))
    except TypeError:
        raise TypeError(
            f"{where}({name}=…) is called as {call}; got a function of {signature}. Let it take everything else from around it."
        ) from None


def scalar_log_prob(where: str, value: Any) -> Array:
    """One draw's log-prob: a real scalar."""
    if value is None or not is_array(value):
        raise ValueError(
            f"{where}: log_prob must return a number, the log density of one draw; got {described(value)}."
        )
    shape = np.shape(value)
    if shape:
        raise ValueError(
            f"{where}: log_prob must be scalar per draw, got {shape}; sum the event dimensions, e.g. jnp.sum(…)."
        )
    return real(where, "log_prob", value)


def scalar_cost(where: str, value: Any) -> Array:
    """Check that a cost is a real scalar.

    Args:
      where: the function that returned it, for the message.
      value: the cost.
    Returns:
      The cost, a float.
    Raises:
      ValueError: it is not a scalar.
      TypeError: it is complex.
    Example:
      >>> import logtrick as lt
      >>> lt.estimators.scalar_cost("f", 3).item()
      3.0
    """
    returns = "needs" if where == "lt.cost" else "must return"
    if value is None or not is_array(value):
        kinds = "a scalar" if where == "lt.cost" else "a scalar or a tuple of scalars"
        raise ValueError(
            f"{where} {returns} {kinds}; got {described(value)}. {_instead(where, value)}."
        )
    shape = np.shape(value)
    if shape:
        raise ValueError(
            f"{where} {returns} a scalar for one draw; got shape {shape}. Sum or average it; batching is jax.vmap's."
        )
    note_precision(jnp.result_type(value))
    return real(where, "the cost", value)


def _instead(where: str, value: Any) -> str:
    """What to do where `value` is no cost."""
    called = getattr(type(value), "called", None)  # a statement of a program, not yielded
    if called:
        return f"Write `x = yield lt.{called}(…)`"
    several = isinstance(value, dict | list | tuple)
    if several and where == "lt.cost":
        return "Yield an lt.cost for each number"
    if several:
        return "Return a number, or use lt.expect_tree for the expectations of several"
    return "Return a number"


def real(where: str, name: str, value: Any) -> Array:
    """A real array; ints become floats."""
    value = array(where, name, value)
    dtype = jnp.result_type(value)
    if jnp.issubdtype(dtype, jax.dtypes.extended):  # keys, which are arrays without numbers
        raise TypeError(f"{where}: {name} must be a number; got {described(value)}.")
    if jnp.issubdtype(dtype, jnp.complexfloating):
        raise TypeError(
            f"{where}: {name} must be real; got {dtype}. Take .real, or split into real and imaginary parts."
        )
    value = as_array(value)
    return value if jnp.issubdtype(dtype, jnp.floating) else value.astype(float)


def differentiable(where: str, params: Any) -> None:
    """Raise where `params` has no leaves, or a leaf that cannot carry a gradient."""
    leaves = jax.tree_util.tree_flatten_with_path(params)[0]
    if not leaves:
        raise ValueError(
            f"{where}: no trainable parameters in {params!r}. Pass a pytree with at least one float leaf."
        )
    for path, leaf in leaves:
        name = "params" + jax.tree_util.keystr(path)
        if not is_array(leaf):
            raise TypeError(
                f"{where}: {name} is {_article(type(leaf).__name__)}, which has no gradient. Close over it, or partition it away."
            )
        dtype = jnp.result_type(leaf)
        if jnp.issubdtype(dtype, jnp.complexfloating):
            raise TypeError(
                f"{where}: {name} is {dtype}; complex parameters are not supported. Split real and imaginary."
            )
        if not jnp.issubdtype(dtype, jnp.floating):
            raise TypeError(
                f"{where}: {name} is {dtype}, which has no gradient. Make it a float, close over it, or leave it out of "
                "the trainable parameters."
            )


def _article(noun: str) -> str:
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


def concrete(value: Any) -> np.ndarray | None:
    """The numbers of `value`, or None where it is traced."""
    return None if is_tracer(value) else np.asarray(value)


def require(where: str, name: str, value: Array, legal: Any, need: str) -> Array:
    """`value` where legal(value); concrete values that are not raise, traced ones become nan, never a wrong number.

    Not by `where(legal, value, nan)`: its derivative would be 0, and a draw from nan logits is a
    number again. By a divisor and not by a factor, because XLA deems a factor cheap enough to be
    recomputed for every draw.
    """
    if refuse_known(where, name, value, legal, need):
        return value
    return value / jnp.where(legal(value), jnp.ones((), value.dtype), jnp.nan)


def refuse_known(where: str, name: str, value: Array, legal: Any, need: str) -> bool:
    """Raise where the numbers of `value` are known and not legal. Whether they are known."""
    known = concrete(value)
    if known is None:
        return False
    wrong = ~np.asarray(legal(known))
    if np.any(wrong):
        raise ValueError(f"{where}({name}=…) needs {need}; got {_to_show(known, wrong)}.")
    return True


def _to_show(value: np.ndarray, wrong: np.ndarray) -> Any:
    """The illegal entry that a message shows: a nan, where there is one."""
    if not value.ndim:
        return value
    entries = value[wrong]
    if np.issubdtype(value.dtype, np.floating) and np.isnan(entries).any():
        return np.nan
    return entries[0]
