"""A draw together with the coordinates in which it was made.

In float32 a draw may round onto the edge of its support: tanh(9) is 1, and a Gamma(0.001) underflows to 0. The log-prob of
the rounded value is infinite, and its score is nan. The sampler computed the draw from coordinates in which nothing is
rounded away (a logarithm, a logit, the draw of the base distribution); the log-prob computed from these is finite.
"""

from typing import Any

import jax

from logtrick._core.module import Module


class Draw(Module):
    """One draw as the pair of its value and of the coordinates in which it was made.

    `dist.draw(noise)` returns it for families whose draws may round onto an open edge of their support, and
    `dist.log_prob` accepts it: the result is the log-density of the value, computed from the coordinates.

    Args:
      value: the draw, which a cost function sees (`value_of`).
      coordinates: where the draw was made; value = chart.forward(coordinates). They may be a `Draw` again.
      chart: the bijector from the coordinates to the value; None where `coordinates` is a tuple of `Draw`s of the same
        value in coordinates of several kinds, as a mixture of a gamma and a beta has them.
    Example:
      >>> import jax.numpy as jnp, logtrick as lt
      >>> from logtrick.bijectors import Interval
      >>> policy = lt.Transformed(lt.Normal(0.0, 1.0), Interval(-1.0, 1.0))
      >>> draw = policy.draw(jnp.array(30.0))
      >>> draw.value.item(), draw.coordinates.item()
      (1.0, 30.0)
      >>> policy.log_prob(draw.value).item(), round(policy.log_prob(draw).item(), 1)
      (-inf, -421.6)
    """

    value: Any
    coordinates: Any
    chart: Any = None


def value_of(draw: Any) -> Any:
    """`draw`, a pytree, with every `Draw` in it replaced by its value: what a cost function sees.

    Args:
      draw: what `dist.draw(noise)` returned.
    Returns:
      A pytree without `Draw`s.
    Example:
      >>> import jax, logtrick as lt
      >>> dist = lt.Joint((lt.Gamma(2.0, 1.0), lt.Normal(0.0, 1.0)))
      >>> draw = dist.draw(dist.noise(jax.random.key(0)))
      >>> [type(part).__name__ == "Draw" for part in draw]
      [True, False]
      >>> [part.shape for part in lt.distributions.value_of(draw)]
      [(), ()]
    """
    return jax.tree.map(lambda x: x.value if is_draw(x) else x, draw, is_leaf=is_draw)


def is_draw(x: Any) -> bool:
    """Whether `x` is a `Draw`, a value with the coordinates in which it was made.

    Args:
      x: anything.
    Returns:
      True for a `Draw`, not for a pytree that holds one.
    Example:
      >>> import jax, logtrick as lt
      >>> dist = lt.Gamma(2.0, 1.0)
      >>> lt.distributions.is_draw(dist.draw(dist.noise(jax.random.key(0)))), lt.distributions.is_draw(1.0)
      (True, False)
    """
    return isinstance(x, Draw)


def charts_of(draw: Any) -> Any:
    """The charts of the `Draw`s in a pytree: (chart, charts of the coordinates) for each, None for other leaves."""
    of_one = lambda x: (x.chart, charts_of(x.coordinates)) if is_draw(x) else None
    return jax.tree.map(of_one, draw, is_leaf=is_draw)


def same_charts(draw: Any, charts: Any) -> bool:
    """Whether the coordinates in `draw` are of the kind that `charts` (as `charts_of` gives them) says."""
    return bool(jax.tree.structure(charts_of(draw)) == jax.tree.structure(charts))
