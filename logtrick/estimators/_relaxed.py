"""What relaxations share: a temperature, and points whose value is a draw and whose derivative is another function's."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from logtrick._core import checks
from logtrick._core.kernel import first_order

Array = jax.Array


def positive_scalar(where: str, name: str, value: Any) -> Any:
    """Check that an argument is one positive finite number.

    Args:
      where: the class of the argument, for the message.
      name: the argument's name, for the message.
      value: the number; a traced one that is not positive becomes nan.
    Returns:
      The number.
    Raises:
      ValueError: it is not a scalar, or a concrete number that is not positive and finite.
    Example:
      >>> import logtrick as lt
      >>> lt.estimators.positive_scalar("Mine", "temperature", 0.5)
      0.5
    """
    checks.numbers(where, name, value)
    if np.shape(value) != ():
        raise ValueError(
            f"{where}({name}=…) needs a scalar; got shape {np.shape(value)}. Pass one number."
        )
    return checks.require(
        where, name, value, lambda v: (v > 0) & (v < np.inf), "a positive finite number"
    )


def straight_through(name: str, x: Array, target: Array) -> Array:
    """`x` with the derivative of `target`, to first order only; the second derivative raises in the name of `name`."""
    flat = jax.vmap(lambda t: first_order(name, jnp.ones_like(t), t))(target.reshape(-1))
    return x + flat.reshape(x.shape).astype(x.dtype)
