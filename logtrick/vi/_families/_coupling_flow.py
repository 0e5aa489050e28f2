"""A flow of affine couplings as a guide."""

from typing import Any

import jax
import jax.numpy as jnp

from logtrick._core import checks
from logtrick._core.keys import as_key
from logtrick._core.module import assign, replace, static
from logtrick.bijectors import Bijector, Chain
from logtrick.distributions import Distribution, Normal, Transformed
from logtrick.vi._families._framed import Framed
from logtrick.vi._families._normal import deviations, start
from logtrick.vi._flat import Layout, layout_of

Array = jax.Array


class CouplingFlow(Framed):
    """A flow of affine couplings in whitened coordinates: u = center + frame · F(ε), ε ∼ N(0, I), F = f_n ∘ … ∘ f_1.

    Each coupling scales and shifts one half of the coordinates by functions of the other half, a layer of tanh units;
    halves alternate. It starts as the identity: `vi.fit` puts center and frame at a Gaussian fit first.

    Args:
      like: a pytree of numbers or arrays in the constrained space: the shapes, and where q starts (as for `MeanFieldNormal`).
      support: a support, or a pytree of supports like `like` in which names may be left out (real).
      num_couplings: couplings, at least 1.
      width: tanh units of each, at least 1.
      scale: standard deviations to start from, shape () or (d,), in the unconstrained space.
      key: of the first layers' weights; the last layers are 0.
    Raises:
      TypeError: variables that are not floats; sizes that are no static ints.
      ValueError: names that `like` does not have; shapes that do not fit; a scale that is not positive.
    References:
      Dinh, Sohl-Dickstein & Bengio (2017), "Density Estimation Using Real NVP".
    Example:
      >>> import jax.numpy as jnp
      >>> from logtrick import vi
      >>> q = vi.CouplingFlow(like=jnp.zeros(2))
      >>> round(q.log_prob(jnp.zeros(2)).item(), 4)                           # −log 2π: it starts as a normal
      -1.8379
    """

    couplings: tuple[Any, ...]

    def __init__(
        self,
        like: Any,
        support: Any = None,
        *,
        num_couplings: int = 6,
        width: int = 32,
        scale: Any = 1.0,
        key: Any = None,
    ) -> None:
        num_couplings = checks.positive_int("CouplingFlow", "num_couplings", num_couplings)
        width = checks.positive_int("CouplingFlow", "width", width)
        layout = layout_of("CouplingFlow", like, support)
        key = jax.random.key(0) if key is None else as_key(key)
        couplings = tuple(
            coupling(jax.random.fold_in(key, i), layout.dim, width, i % 2 == 1, layout.dtype)
            for i in range(num_couplings)
        )
        assign(
            self,
            layout=layout,
            center=start("CouplingFlow", None, like, layout),
            frame=deviations("CouplingFlow", scale, layout),
            couplings=couplings,
        )

    @property
    def base(self) -> Distribution:
        zeros = jnp.zeros((self.layout.dim,), self.layout.dtype)
        return Transformed(Normal(zeros, jnp.ones_like(zeros)), Chain(self.couplings))


def flow_over(layout: Layout) -> CouplingFlow:
    """A flow over the variables of a layout, of the default size."""
    return replace(CouplingFlow(jnp.zeros((layout.dim,), layout.dtype)), layout=layout)


class AffineCoupling(Bijector):
    """y_b = x_b ⊙ e^s + t, (s, t) = functions of x_a, y_a = x_a: half of the coordinates moved by the other half.

    s = 2 tanh(raw/2), so that no coupling scales by more than e². Coordinates a are the first half, or with `flipped` the
    second.
    """

    inner: Any
    inner_bias: Any
    outer: Any
    outer_bias: Any
    flipped: bool = static(default=False)

    def forward(self, x: Array) -> Array:
        a, b = self._halves(x)
        log_scale, shift = self._functions(a)
        return self._joined(a, b * jnp.exp(log_scale) + shift)

    def inverse(self, y: Array) -> Array:
        a, b = self._halves(y)
        log_scale, shift = self._functions(a)
        return self._joined(a, (b - shift) * jnp.exp(-log_scale))

    def log_det(self, x: Array) -> Array:
        return jnp.sum(self._functions(self._halves(x)[0])[0])

    def _functions(self, a: Array) -> tuple[Array, Array]:
        hidden = jnp.tanh(self.inner @ a + self.inner_bias)
        raw, shift = jnp.split(self.outer @ hidden + self.outer_bias, 2)
        return 2 * jnp.tanh(raw / 2), shift

    def _halves(self, x: Array) -> tuple[Array, Array]:
        cut = self.inner.shape[1]
        if self.flipped:
            return x[x.shape[0] - cut :], x[: x.shape[0] - cut]
        return x[:cut], x[cut:]

    def _joined(self, a: Array, b: Array) -> Array:
        return jnp.concatenate([b, a] if self.flipped else [a, b])


def coupling(key: Array, dim: int, width: int, flipped: bool, dtype: Any) -> AffineCoupling:
    """A coupling that is the identity: random first layer, last layer 0."""
    given = dim // 2
    moved = dim - given
    inner = jax.random.normal(key, (width, given), dtype) / jnp.sqrt(max(given, 1)).astype(dtype)
    zeros = lambda *shape: jnp.zeros(shape, dtype)
    return AffineCoupling(inner, zeros(width), zeros(2 * moved, width), zeros(2 * moved), flipped)
