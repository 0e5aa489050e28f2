"""A user's surrogate of f: what it closes over is no parameter of it."""

from collections.abc import Callable
from typing import Any

import jax

from logtrick._core.kernel import refuse


def surrogate(name: str, fn: Callable[[Any, Any], Any], params: Any, x: Any) -> Any:
    """`fn(params, x)`; what `fn` closes over must not be differentiated.

    The adaptive loss trains the surrogate alone. A parameter of the model that is closed over would be moved by it, away
    from the gradient; a parameter of the surrogate that is closed over, held constant, would never be trained.

    Raises:
      TypeError: what `fn` closes over is differentiated.
    """
    converted, outside = jax.closure_convert(fn, params, x)
    message = (
        f"{name}(fn=…) closes over an array that is differentiated. Pass what the surrogate is to learn as {name}(fn, params); "
        "hold the rest constant: jax.lax.stop_gradient."
    )
    return converted(params, x, *refuse(outside, message, TypeError))
