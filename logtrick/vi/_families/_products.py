"""Products of independent discrete variables."""

from typing import Any

import jax
import jax.numpy as jnp

from logtrick._core import checks
from logtrick._core.module import assign
from logtrick.distributions import Bernoulli, Categorical, ClosedForms, Distribution, Enumeration
from logtrick.vi._flat import plain_layout
from logtrick.vi._guide import Guide

Array = jax.Array


class BernoulliProduct(Guide):
    """Independent bits, P(z = 1) = σ(logits) in every entry; the density sees them as floats 0. and 1.

    Args:
      like: a pytree of arrays or `jax.ShapeDtypeStruct`s: the shapes alone; values do not count. Left out, one vector
        like `logits`.
      logits: log odds to start from, shape () or (d,), finite; 0 unless said otherwise.
    Raises:
      ValueError: neither `like` nor `logits`; shapes that do not fit; logits that are not finite.
    Example:
      >>> import jax.numpy as jnp
      >>> from logtrick import vi
      >>> q = vi.BernoulliProduct(like=jnp.zeros(8))
      >>> q.marginals().shape, q.marginals()[0].item(), round(q.entropy().item(), 4)          # 8 log 2
      ((8,), 0.5, 5.5452)
    """

    logits: Any

    def __init__(self, like: Any = None, *, logits: Any = 0.0) -> None:
        logits = jnp.asarray(logits)
        logits = logits.astype(jnp.result_type(float, logits))
        if like is None and logits.ndim == 0:
            raise ValueError(
                "BernoulliProduct(like=…) needs the shapes of the bits; got None. Pass like=jnp.zeros(8), say."
            )
        if like is None:
            like, logits = logits, logits.ravel()
        layout = plain_layout("BernoulliProduct", like, logits.dtype)
        assign(self, logits=entries("BernoulliProduct", logits, layout.dim, ()), layout=layout)

    @property
    def base(self) -> Distribution:
        return Bernoulli(self.logits)

    @property
    def closed_forms(self) -> ClosedForms:
        return ClosedForms(self._mean, self._variance, self.base.entropy)

    @property
    def enumeration(self) -> Enumeration:
        return Enumeration(lambda: jax.vmap(self.constrain)(self.base.enumerate()))

    def constrain(self, x: Any) -> Any:
        return self.layout.unflatten(x)

    def unconstrain(self, z: Any) -> Any:
        return self.layout.flatten(z).astype(self.layout.dtype)

    def log_det(self, x: Any) -> Array:
        return jnp.zeros((), self.layout.dtype)

    def marginals(self) -> Any:
        """P(z = 1) of every bit, a pytree like a draw."""
        return self.layout.unflatten(jax.nn.sigmoid(self.logits))

    def _log_prob(self, z: Any) -> Array:
        return self.base.log_prob(self.unconstrain(z))

    def _mean(self) -> Any:
        return self.marginals()

    def _variance(self) -> Any:
        return self.layout.unflatten(self.base.variance())


class CategoricalProduct(Guide):
    """Independent categories 0 … K − 1 in every entry; the density sees them as int32.

    Args:
      like: a pytree of arrays or `jax.ShapeDtypeStruct`s: the shapes alone; values do not count.
      num_states: K ≥ 1, the same for all entries.
      logits: unnormalized log-probabilities to start from, shape (K,) or (d, K); 0 unless said otherwise.
    Raises:
      ValueError: shapes that do not fit; no possible state.
    Example:
      >>> import jax.numpy as jnp
      >>> from logtrick import vi
      >>> q = vi.CategoricalProduct(like=jnp.zeros(4, int), num_states=4)
      >>> q.marginals().shape, q.marginals()[0, 0].item(), q.sample(jax.random.key(0)).dtype.name
      ((4, 4), 0.25, 'int32')
    """

    logits: Any

    def __init__(self, like: Any, num_states: int, *, logits: Any = None) -> None:
        num_states = checks.positive_int("CategoricalProduct", "num_states", num_states)
        layout = plain_layout("CategoricalProduct", like, jnp.int32)
        logits = jnp.zeros((num_states,)) if logits is None else jnp.asarray(logits)
        logits = logits.astype(jnp.result_type(float, logits))
        value = entries("CategoricalProduct", logits, layout.dim, (num_states,))
        assign(self, logits=value, layout=layout)

    @property
    def base(self) -> Distribution:
        return Categorical(self.logits)

    @property
    def closed_forms(self) -> ClosedForms:
        return ClosedForms(self._mean, self._variance, self.base.entropy)

    @property
    def enumeration(self) -> Enumeration:
        return Enumeration(lambda: jax.vmap(self.constrain)(self.base.enumerate()))

    def constrain(self, x: Any) -> Any:
        return self.layout.unflatten(x)

    def unconstrain(self, z: Any) -> Any:
        return self.layout.flatten(z)

    def log_det(self, x: Any) -> Array:
        return jnp.zeros((), self.logits.dtype)

    def marginals(self) -> Any:
        """P(z = k) of every entry, a pytree like a draw with a last axis of states."""
        probabilities = jax.nn.softmax(self.logits, axis=-1)
        rows = zip(self.layout.variables, self.layout.split(probabilities))
        return self.layout.tree.unflatten([part.reshape(*v.shape, -1) for v, part in rows])

    def _log_prob(self, z: Any) -> Array:
        return self.base.log_prob(self.unconstrain(z))

    def _mean(self) -> Any:
        states = jnp.arange(self.logits.shape[-1], dtype=self.logits.dtype)
        return jax.tree.map(lambda p: p @ states, self.marginals())

    def _variance(self) -> Any:
        states = jnp.arange(self.logits.shape[-1], dtype=self.logits.dtype)
        return jax.tree.map(lambda p, m: p @ states**2 - m**2, self.marginals(), self._mean())


def entries(where: str, logits: Array, dim: int, event: tuple[int, ...]) -> Array:
    """Logits for every entry, shape (dim, *event)."""
    if logits.shape not in (event, (dim, *event)):
        raise ValueError(
            f"{where}(logits=…) needs shape {event} or {(dim, *event)}; got {logits.shape}. Ravel them."
        )
    return jnp.broadcast_to(logits, (dim, *event))
