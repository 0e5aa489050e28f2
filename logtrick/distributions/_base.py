"""What a distribution is: one draw, a scalar log-prob, and declarations of what estimators may do with it."""

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from logtrick._core import checks, noise as _noise
from logtrick._core.kernel import as_inexact, detached, refuse
from logtrick._core.keys import as_key
from logtrick._core.module import Module, assign, replace
from logtrick._core.supports import Support

Array = jax.Array


class Distribution(Module, abstract=True):
    """A distribution over ONE draw: a frozen pytree with `sample(key)` and `log_prob(x)`.

    Every array dimension of the parameters is the event: `Normal(jnp.zeros(3), 1.0)` draws vectors of three and its
    log-prob is a scalar. Batching is `jax.vmap`. Noise stands apart from its transform: `noise_spec` declares
    parameter-free noise, `transform(noise)` is deterministic, `sample(key)` composes them. Subclasses define
    `noise_spec`, `_transform`, `_log_prob`, `event_shape`, `support`, and declare the attributes below.

    Attributes:
      reparameterized: a derivative through `transform` is the pathwise derivative; otherwise it raises.
      splits: the noise is rows of a counter-based draw, not a key a run.
      moving_support: names of the parameters that move the support; the score function refuses their derivative.
      factorized: log p is a sum of independent factors, which `log_prob_factors` gives one by one.
      opaque: its functions are a user's and may close over what is not in its leaves.

    Example:
      >>> import jax, jax.numpy as jnp, logtrick as lt
      >>> dist = lt.Normal(jnp.zeros(3), 1.0)
      >>> x = dist.sample(jax.random.key(0))
      >>> x.shape, dist.log_prob(x).shape
      ((3,), ())
    """

    reparameterized: ClassVar[bool] = False
    moving_support: ClassVar[tuple[str, ...]] = ()
    factorized: ClassVar[bool] = False
    opaque: ClassVar[bool] = False

    # --- what a family defines

    @property
    def event_shape(self) -> Any:
        """The shape of one draw; a pytree of shapes for structured draws, None where it is not declared."""
        raise NotImplementedError

    @property
    def support(self) -> Support:
        """Where draws live."""
        raise NotImplementedError

    @property
    def noise_spec(self) -> Any:
        """The parameter-free noise of one draw: a tree of `Noise`."""
        raise NotImplementedError

    def _transform(self, noise: Any) -> Any:
        raise NotImplementedError

    def _log_prob(self, x: Any) -> Array:
        raise NotImplementedError

    def _log_factors(self, x: Any) -> Array:
        raise NotImplementedError

    def _points(self) -> Any:
        """Every point of a finite support, stacked."""
        raise NotImplementedError

    # --- what everybody calls

    @property
    def splits(self) -> bool:
        """Whether noise stands apart from its transform."""
        leaves = jax.tree.leaves(self.noise_spec, is_leaf=_noise.is_noise)
        return not any(isinstance(leaf, _noise.KeyPerRun) for leaf in leaves)

    def noise(self, key: Array) -> Any:
        """The parameter-free noise of one draw."""
        return _noise.one(self.noise_spec, key)

    def transform(self, noise: Any) -> Any:
        """The draw that `noise` makes. Differentiating it is the pathwise derivative, or raises where there is none."""
        if self.reparameterized:
            return self._drawn(noise)
        return self._outside(lambda tree: refuse(tree, _unaccounted(self)), noise)

    def draw(self, noise: Any) -> Any:
        """The draw that `noise` makes, with the parameters held constant: what a score-function estimator draws."""
        return detached(self._outside(detached, noise))

    def _outside(self, change: Callable[[Any], Any], noise: Any) -> Any:
        """The draw, with `change` applied to everything it depends on besides the noise."""
        return change(self)._drawn(noise)

    def _drawn(self, noise: Any) -> Any:
        """`_transform(noise)`, worked out in at least float32 and rounded to the parameters' dtype."""
        wide = widened(self)
        if wide is self:
            return self._transform(noise)
        dtype = jnp.result_type(*jax.tree.leaves(self))
        return jax.tree.map(lambda x: x.astype(dtype) if _inexact(x) else x, wide._transform(noise))

    def sample(self, key: Any) -> Any:
        """One draw.

        Args:
          key: a typed key; keys come first.
        Returns:
          The draw, shape `event_shape`, in the parameters' dtype.
        Raises:
          UnaccountedRandomnessError: differentiated, where the family is not reparameterised.
        """
        return self.transform(self.noise(as_key(key)))

    def log_prob(self, x: Any) -> Array:
        """log p(x) of ONE draw, shape (); −inf outside the support.

        Raises:
          ValueError: `x` is not shaped like one draw.
        """
        self._check_draw("log_prob", x)
        return widened(self)._log_prob(widened(x))

    def log_prob_factors(self, x: Any) -> Array:
        """The independent terms of log p(x), one for each coordinate of the event (one-hot rows: for each row).

        Raises:
          ValueError: the family does not factorise, or `x` is not shaped like one draw.
        """
        if not self.factorized:
            raise ValueError(f"{type(self).__name__} declares no independent factors. Use log_prob.")
        self._check_draw("log_prob_factors", x)
        return widened(self)._log_factors(widened(x))

    def _check_draw(self, method: str, x: Any) -> None:
        want = self.event_shape
        shape = want if want is None else jax.tree.map(np.shape, x)
        if shape != want:
            raise ValueError(
                f"{type(self).__name__}.{method}(x=…) needs one draw, shape {want}; got {shape}. "
                "Use jax.vmap over draws."
            )

    def fixed_support(self) -> "Distribution":
        """The same distribution, refusing derivatives in the parameters that move its support.

        ∇E[f] = E[f ∇log p] holds only where the support stands still; the boundary's term is missing otherwise.
        """
        if not self.moving_support:
            return self
        name = type(self).__name__
        message = (
            f"{name}: the support moves with {', '.join(self.moving_support)}, so the score function misses the "
            f"boundary's term. Use Pathwise() with {name}, or stop_gradient on those parameters."
        )
        return replace(self, **{n: refuse(getattr(self, n), message, ValueError) for n in self.moving_support})

    def enumerate(self) -> Any:
        """Every point of the support, with a leading axis.

        Raises:
          ValueError: the support is not finite.
        """
        if not self.support.finite:
            raise ValueError(
                f"{type(self).__name__} has no finite support to enumerate. Use ScoreFunction(), or a finite family."
            )
        return self._points()


def _unaccounted(dist: Any) -> str:
    name = type(dist).__name__.lstrip("_")
    return (
        f"{name}.sample was differentiated, and its draw has no derivative: the gradient would silently be zero. Use "
        f"lt.expect(key, f, dist), which accounts for the draw, or jax.lax.stop_gradient on the parameters of {name}."
    )


def parameters(dist: Any, **named: Any) -> None:
    """Store parameters as arrays of one float dtype (their promoted own)."""
    arrays = {name: as_inexact(value) for name, value in named.items()}
    for name, value in arrays.items():
        checks.real(type(dist).__name__, name, value)
    dtype = jnp.result_type(*arrays.values())
    assign(dist, **{name: value.astype(dtype) for name, value in arrays.items()})


def positive(dist: Any, *names: str) -> None:
    """Refuse what is not a positive finite number: concrete parameters raise, traced ones become nan."""
    for name in names:
        value = checks.require(type(dist).__name__, name, getattr(dist, name), _is_positive, "positive finite numbers")
        assign(dist, **{name: value})


def finite(dist: Any, *names: str) -> None:
    """Refuse concrete numbers that are not finite. Traced ones need no help: they make draws and log p nan or ±inf."""
    for name in names:
        value = getattr(dist, name)
        if checks.concrete(value) is not None:
            checks.require(type(dist).__name__, name, value, _is_finite, "finite numbers")


def _is_positive(x: Any) -> Any:
    return (x > 0) & (x < np.inf)


def _is_finite(x: Any) -> Any:
    return (x > -np.inf) & (x < np.inf)


def broadcast_shape(dist: Any, *values: Array) -> tuple[int, ...]:
    """The common shape of the parameters, or an error that names the family."""
    try:
        return np.broadcast_shapes(*(v.shape for v in values))
    except ValueError:
        name, shapes = type(dist).__name__, ", ".join(str(v.shape) for v in values)
        raise ValueError(f"{name}: parameters of shapes {shapes} do not broadcast to one event.") from None


# Half precision: the noise is drawn, the draw worked out and log p summed in float32; only draws are rounded. (A bf16
# uniform is 1.0 once in 512 draws, and a bf16 x − loc is 0 where the score is not.)


def wide(dtype: Any) -> np.dtype:
    """`dtype`, float32 where it is a half precision."""
    return np.dtype("float32") if np.dtype(dtype).itemsize < 4 else np.dtype(dtype)


def widened(tree: Any) -> Any:
    """`tree` with half-precision leaves as float32; the same object where there are none."""
    if not any(_inexact(x) and x.dtype.itemsize < 4 for x in jax.tree.leaves(tree)):
        return tree
    return jax.tree.map(lambda x: x.astype(wide(x.dtype)) if _inexact(x) else x, tree)


def _inexact(x: Any) -> bool:
    return hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jnp.inexact)


class Factorized(Distribution, abstract=True):
    """A distribution of independent coordinates: subclasses define `_log_factors`, event-shaped."""

    factorized: ClassVar[bool] = True

    def _log_prob(self, x: Any) -> Array:
        return jnp.sum(self._log_factors(x))


def where_inside(inside: Any, log_density: Any) -> Array:
    """−inf outside the support. (`log_density` must be finite there, or its gradient is not.)"""
    return jnp.where(inside, log_density, -jnp.inf)
