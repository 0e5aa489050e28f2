"""The target of a fit: a log density over named variables, seen as one over the flat unconstrained vector."""

from collections.abc import Callable
from typing import Any

import jax
from jax.tree_util import Partial

from logtrick._core import checks
from logtrick._core.calls import constructor_in_words
from logtrick._core.fingerprint import Compiled
from logtrick._core.jaxprs import inner_jaxprs
from logtrick._core.show import show_arguments
from logtrick.vi._guide import Guide
from logtrick.vi._over_data import apart, evaluated

Array = jax.Array
LogDensity = Callable[[Any], Any]
_CALLBACKS = ("pure_callback", "io_callback")


@constructor_in_words
class Target:
    """log p̃(u) = log p(T(u)) + log |det ∂T/∂u| over the flat vector u of a guide's variables.

    Attributes:
      dim: the length d of the flat vector.
      differentiable: whether the log density can be differentiated: no host function is called in it.
      evaluations: how many points have been evaluated by `batch` and `value_and_grad`, on the host.

    Args:
      log_density: `log_density(z) -> scalar`, of one pytree of variables in the constrained space; need not be normalized.
      guide: gives the variables and their supports.
    Example:
      >>> import jax.numpy as jnp
      >>> from logtrick import vi
      >>> q = vi.MeanFieldNormal(like={"tau": 1.0}, support=vi.positive)
      >>> target = vi.Target(lambda z: -z["tau"], q)
      >>> values, gradients = target.value_and_grad(jnp.zeros((2, 1)))        # −eᵘ + u, −eᵘ + 1
      >>> values.tolist(), gradients.tolist(), target.evaluations
      ([-1.0, -1.0], [[0.0], [0.0]], 2)
    """

    __repr__ = show_arguments

    def __init__(self, log_density: LogDensity, guide: Guide) -> None:
        if not callable(log_density):
            raise TypeError(
                f"vi.Target(log_density=…) needs a function of one draw; got {type(log_density).__name__}."
            )
        self.guide = guide
        self.dim = guide.dim
        self.evaluations = 0
        bare, self._data = apart(log_density)
        self._functions = _COMPILED.find(bare, guide.layout)
        self.dtype = guide.layout.dtype
        self.names = guide.layout.names

    @property
    def log_density(self) -> Callable[[Array], Array]:
        """The function u ↦ log p̃(u), shape (), a pytree with the data as leaves. Its evaluations are not counted."""
        if self._data is None:
            return self._functions.without_data
        return Partial(self._functions.one, data=self._data)

    def batch(self, us: Array) -> Array:
        """log p̃ of every row of `us`, shape (n,)."""
        self.evaluations += us.shape[0]
        return self._functions.batch(us, self._data)

    def value_and_grad(self, us: Array) -> tuple[Array, Array]:
        """log p̃ and its gradient for every row of `us`, shapes (n,) and (n, d)."""
        self.evaluations += us.shape[0]
        return self._functions.value_and_grad(us, self._data)

    @property
    def differentiable(self) -> bool:
        """Whether all variables are continuous, and no host function is called in the log density."""
        return not self.guide.discrete and not self.calls_host

    @property
    def calls_host(self) -> bool:
        """Whether a host function is called in the log density."""
        return self._functions.calls_host(self._data)


class _Functions:
    """The compiled functions of a log density and a layout, of a flat vector and the data (None for none)."""

    def __init__(self, log_density: LogDensity, layout: Any) -> None:
        def one(u: Array, data: Any) -> Array:
            value = evaluated(log_density, layout.constrain(u), data)
            value = checks.scalar_log_prob("vi: log_density", value)
            return value.astype(u.dtype) + layout.log_det(u)

        self.one = one
        self.without_data = Partial(one, data=None)
        self.layout = layout
        self.batch = jax.jit(jax.vmap(one, (0, None)))
        self.value_and_grad = jax.jit(jax.vmap(jax.value_and_grad(one), (0, None)))
        self._calls_host: bool | None = None

    def calls_host(self, data: Any) -> bool:
        """Whether a host function is called; looked at once."""
        if self._calls_host is None:
            u = jax.ShapeDtypeStruct((self.layout.dim,), self.layout.dtype)
            self._calls_host = calls_host(self.one, u, data)
        return self._calls_host


# A second fit of an equal log density compiles nothing; one whose globals, attributes or closed-over data changed does.
_COMPILED = Compiled(_Functions)


def calls_host(function: Callable[..., Any], *args: Any) -> bool:
    """Whether `function` calls a host function elsewhere than in a function with a derivative rule of its own."""
    return _calls_host(jax.make_jaxpr(function)(*args).jaxpr)


def _calls_host(jaxpr: Any) -> bool:
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if name in _CALLBACKS:
            return True
        own_rule = name.startswith(("custom_jvp", "custom_vjp"))
        if not own_rule and any(_calls_host(inner) for inner in inner_jaxprs(equation)):
            return True
    return False
