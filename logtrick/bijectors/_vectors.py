"""Bijectors of vectors: ascending, on the simplex, permuted."""

import jax.numpy as jnp
import numpy as np
from jax import lax

from logtrick._core.module import assign, static
from logtrick._core.smooth import log_sigmoid
from logtrick.bijectors._base import Array, Bijector, Shape
from logtrick.supports import Ordered as OrderedSupport, Simplex, Support, Unknown


class Ordered(Bijector):
    """y₀ = x₀, yₖ = yₖ₋₁ + e^(xₖ): ascending vectors; log det = Σ_{k ≥ 1} xₖ. On the last axis.

    Example:
      >>> import jax.numpy as jnp
      >>> from logtrick.bijectors import Ordered
      >>> Ordered().forward(jnp.array([-1.0, 0.0, 0.0])).tolist()
      [-1.0, 0.0, 1.0]
    """

    def forward(self, x: Array) -> Array:
        return jnp.cumsum(jnp.concatenate([x[..., :1], jnp.exp(x[..., 1:])], axis=-1), axis=-1)

    def inverse(self, y: Array) -> Array:
        return jnp.concatenate([y[..., :1], jnp.log(jnp.diff(y, axis=-1))], axis=-1)

    def log_det(self, x: Array) -> Array:
        return jnp.sum(x[..., 1:])

    def inside(self, y: Array) -> Array:
        return jnp.all(jnp.isfinite(y)) & jnp.all(jnp.diff(y, axis=-1) > 0)

    def image(self, support: Support) -> Support:
        return OrderedSupport() if support.whole_space else Unknown()


class StickBreaking(Bijector):
    """R^(K−1) to the simplex of K: yₖ = zₖ Π_{j<k} (1 − zⱼ), zₖ = σ(xₖ − log(K − 1 − k)); x = 0 is the center.

    On the last axis, in log space, so that no entry's logarithm is lost; log det is that of the first K − 1 entries.

    Example:
      >>> import jax.numpy as jnp
      >>> from logtrick.bijectors import StickBreaking
      >>> StickBreaking().forward(jnp.zeros(3)).round(4).tolist()
      [0.25, 0.25, 0.25, 0.25]
    """

    def forward(self, x: Array) -> Array:
        logit, left = _sticks(x)
        log_y = jnp.concatenate([log_sigmoid(logit), jnp.zeros_like(x[..., :1])], axis=-1) + left
        return jnp.exp(log_y)

    def inverse(self, y: Array) -> Array:
        left = lax.cumsum(y, axis=y.ndim - 1, reverse=True)[..., 1:]
        return jnp.log(y[..., :-1]) - jnp.log(left) - _offsets(y.shape[-1] - 1, y)

    def log_det(self, x: Array) -> Array:
        logit, left = _sticks(x)
        return jnp.sum(log_sigmoid(logit) + log_sigmoid(-logit) + left[..., :-1])

    def inside(self, y: Array) -> Array:
        slack = 8 * y.shape[-1] * jnp.finfo(y.dtype).eps
        return jnp.all(y > 0) & jnp.all(jnp.abs(jnp.sum(y, axis=-1) - 1) <= slack)

    def image(self, support: Support) -> Support:
        return Simplex() if support.whole_space else Unknown()

    def forward_shape(self, shape: Shape) -> Shape:
        return (*shape[:-1], shape[-1] + 1)

    def inverse_shape(self, shape: Shape) -> Shape:
        return (*shape[:-1], shape[-1] - 1)


def _offsets(count: int, like: Array) -> Array:
    offsets = -jnp.log(jnp.arange(count, 0, -1, dtype=like.dtype))
    return offsets.reshape((1,) * (like.ndim - 1) + (count,))


def _sticks(x: Array) -> tuple[Array, Array]:
    """The logits of the fractions broken off, and the log of what is left before each, and at the end."""
    logit = x + _offsets(x.shape[-1], x)
    left = jnp.cumsum(log_sigmoid(-logit), axis=-1)
    return logit, jnp.concatenate([jnp.zeros_like(x[..., :1]), left], axis=-1)


class Permute(Bijector):
    """y = x[order] on the last axis; log det = 0.

    Args:
      order: a static permutation of 0 … D − 1.
    Raises:
      ValueError: `order` is no permutation.
    Example:
      >>> import jax.numpy as jnp
      >>> from logtrick.bijectors import Permute
      >>> Permute((2, 0, 1)).forward(jnp.array([10.0, 20.0, 30.0])).tolist()
      [30.0, 10.0, 20.0]
    """

    order: tuple[int, ...] = static()

    def __post_init__(self) -> None:
        order = tuple(int(i) for i in self.order)
        if sorted(order) != list(range(len(order))):
            raise ValueError(
                f"Permute(order=…) needs a permutation of 0 … {len(order) - 1}; got {order}."
            )
        assign(self, order=order)

    def forward(self, x: Array) -> Array:
        return x[..., np.array(self.order)]

    def inverse(self, y: Array) -> Array:
        return y[..., np.argsort(self.order)]

    def log_det(self, x: Array) -> Array:
        return jnp.zeros((), x.dtype)

    def image(self, support: Support) -> Support:
        return support if support.whole_space else Unknown()
