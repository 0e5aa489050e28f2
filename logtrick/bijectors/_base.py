"""What a bijector is: a smooth one-to-one map with the log-determinant of its Jacobian."""

import abc

import jax
import jax.numpy as jnp

from logtrick._core.module import Module
from logtrick.supports import Real, Support, Unknown

Array = jax.Array
Shape = tuple[int, ...]


class Bijector(Module, abstract=True):
    """A smooth one-to-one map of ONE array, from all of Rⁿ (unless it says otherwise) to its image.

    Subclasses define `forward`, `inverse`, `log_det`, and where it applies `inside`, `image`, `moves` and the shapes.

    Example:
      >>> import jax.numpy as jnp
      >>> from logtrick.bijectors import Exp
      >>> x = jnp.array([0.0, jnp.log(2.0)])
      >>> Exp().forward(x).tolist(), round(Exp().log_det(x).item(), 4)
      ([1.0, 2.0], 0.6931)
    """

    @abc.abstractmethod
    def forward(self, x: Array) -> Array:
        """y = T(x)."""

    @abc.abstractmethod
    def inverse(self, y: Array) -> Array:
        """x = T⁻¹(y); nan or ±inf where y is not inside the image."""

    @abc.abstractmethod
    def log_det(self, x: Array) -> Array:
        """log |det ∂T(x)/∂x|, shape (); the y are counted by their free entries."""

    def inside(self, y: Array) -> Array:
        """Whether y is in the image of Rⁿ, shape ()."""
        return jnp.all(jnp.isfinite(y))

    def image(self, support: Support) -> Support:
        """Where T(x) lives for x in `support`."""
        return Real() if support.whole_space else Unknown()

    def moves(self, support: Support) -> bool:
        """Whether the image of `support` depends on the bijector's parameters."""
        return False

    def forward_shape(self, shape: Shape) -> Shape:
        """The shape of T(x) for x of `shape`."""
        return shape

    def inverse_shape(self, shape: Shape) -> Shape:
        """The shape of T⁻¹(y) for y of `shape`."""
        return shape


def is_bijector(x: object) -> bool:
    """Whether `x` is a bijector.

    Args:
      x: any object.
    Returns:
      True for instances of `Bijector`.
    Example:
      >>> import logtrick as lt
      >>> lt.bijectors.is_bijector(lt.bijectors.Exp()), lt.bijectors.is_bijector(lambda x: x)
      (True, False)
    """
    return isinstance(x, Bijector)
