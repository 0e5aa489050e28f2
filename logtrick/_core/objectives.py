"""Checks of an objective and of its arguments, before JAX or Python refuse them in their words."""

import inspect
from typing import Any

import jax
import numpy as np

from logtrick._core.calls import described
from logtrick._core.compat import is_key

_KEYS = ("key", "rng", "rng_key", "prng_key", "seed")


def check_swapped(where: str, key: Any, params: Any) -> None:
    """Keys come first.

    Args:
      where: the public function, for the message.
      key: what was given as key.
      params: what was given as parameters.
    Raises:
      TypeError: the two are swapped, or the objective stands where the key belongs.
    """
    call = f"{where}(key, objective, params, …)"
    if is_key(params) and not is_key(key):
        raise TypeError(
            f"{where} got a key as params, and {described(key)} as key. Keys come first: {call}."
        )
    if callable(key):
        raise TypeError(
            f"{where}(key=…) needs a PRNG key; got {described(key)}. Keys come first: {call}."
        )


def check_objective(where: str, objective: Any, has_data: bool, name: str = "objective") -> None:
    """The objective is a function of the right arguments, in the right order.

    Args:
      where: the public function, for the message.
      objective: what was given; callable.
      has_data: whether it is called with a batch of data.
      name: how the message names it.
    Raises:
      TypeError: it takes other arguments, or the key first.
    """
    wanted = "(params, key, batch)" if has_data else "(params, key)"
    try:
        signature = inspect.signature(objective)
    except (TypeError, ValueError):  # a built-in function
        return
    got = f"{where}({name}=…) is called with {wanted}; got a function of {signature}"
    try:
        signature.bind(*(None,) * (3 if has_data else 2))
    except TypeError:
        hint = "The key may stay unused."
        if has_data:
            hint = "Its third argument is the batch of data."
        elif sum(p.default is p.empty for p in signature.parameters.values()) > 2:
            hint = "A third argument is a batch: pass data=…, or close over what it needs."
        raise TypeError(f"{got}. {hint}") from None
    first, second = list(signature.parameters)[:2] if len(signature.parameters) > 1 else ("", "")
    if first in _KEYS and second not in _KEYS:
        raise TypeError(f"{got}. The parameters come first in an objective.")


def value_and_aux(where: str, out: Any) -> tuple[Any, Any]:
    """What an objective returned, as (value, aux); aux is None where it returned the value alone.

    Args:
      where: the public function, for the message.
      out: what the objective returned.
    Raises:
      ValueError: it returned two numbers, of which the second would be lost.
    """
    if not (isinstance(out, tuple) and len(out) == 2):
        return out, None
    value, aux = out
    if isinstance(aux, jax.Array | np.ndarray | np.generic | float | int) and not np.ndim(aux):
        raise ValueError(
            f'{where}: the objective returned two numbers. Return their sum, or (value, {{"name": number}}) to record the '
            "second in the history."
        )
    return value, aux
