"""The surrogate of f that a user passes: arrays in its closure are not among its parameters."""

from collections.abc import Callable
from typing import Any

import jax

from logtrick._core.kernel import refuse


def surrogate(name: str, fn: Callable[[Any, Any], Any], params: Any, x: Any) -> Any:
    """Call a user's surrogate of f, `fn(params, x)`, whose closure must not be differentiated.

    The adaptive loss trains the surrogate alone. If `fn` closed over a parameter of the model, the
    adaptive loss would move that parameter away from its gradient; a parameter of the surrogate
    that is closed over would never be trained.

    Args:
      name: the estimator's name, for the message.
      fn: the surrogate.
      params: its parameters, a pytree.
      x: one draw, or a relaxation of it.
    Returns:
      What `fn` returns.
    Raises:
      TypeError: an array that `fn` closes over is differentiated.
    Example:
      >>> import logtrick as lt
      >>> lt.estimators.surrogate("Mine", lambda w, y: w * y, 2.0, 3.0).item()
      6.0
    """
    converted, outside = jax.closure_convert(fn, params, x)
    message = (
        f"{name}(fn=…) closes over an array that is differentiated. Pass what the surrogate is to learn as {name}(fn, params); "
        "hold the rest constant: jax.lax.stop_gradient."
    )
    return converted(params, x, *refuse(outside, message, TypeError))
