"""What distributions say when a derivative is asked for that would be wrong."""

from typing import Any

from logtrick._core.kernel import detached, refuse


def moving_support_message(dist: Any) -> str:
    name = type(dist).__name__
    return (
        f"{name}: the support moves with {', '.join(dist.moving_support)}, so the score function misses the "
        f"boundary's term. Use Pathwise() with {name}, or stop_gradient on those parameters."
    )


def unaccounted(dist: Any) -> str:
    name = type(dist).__name__.lstrip("_")
    return (
        f"{name}.sample was differentiated, and its draw has no derivative: the gradient would silently be zero. Use "
        f"lt.expect(key, f, dist), which accounts for the draw, or jax.lax.stop_gradient on the parameters of {name}."
    )


def refused(message: str, tree: Any) -> Any:
    """`tree`, whose derivative raises: what `fixed_support` makes of parameters that move a support."""
    return refuse(tree, message, ValueError)


def held(message: str, tree: Any) -> Any:
    """`tree`, held constant: what `held_support` makes of parameters that move a support."""
    return detached(tree)
