"""Bits and one-hot rows from noisy logits: how noise added to logits makes a discrete draw, and its relaxation."""

import abc
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from logtrick._core.kernel import stop
from logtrick._core.module import Module
from logtrick._core.smooth import log_sigmoid, softplus
from logtrick.noise import interior

Array = jax.Array


class NoisyLogits(Module, abstract=True):
    """The noise model behind bits and one-hot rows: a draw is `hard(z)`, z = logits + noise, and y = `relaxed(z, τ)` its
    continuous relaxation.

    Attributes:
      binary: draws are independent bits, P(x = 1) = σ(logits); else independent one-hot rows, softmax(logits).
    """

    binary: ClassVar[bool] = False

    @abc.abstractmethod
    def mean(self, logits: Array) -> Array:
        """E[x], shaped like x."""

    @abc.abstractmethod
    def perturbed(self, logits: Array, uniform: Array) -> Array:
        """z: the normalized logits plus the noise that `uniform` makes."""

    @abc.abstractmethod
    def hard(self, z: Array) -> Array:
        """The draw, held constant."""

    @abc.abstractmethod
    def relaxed(self, z: Array, temperature: Any) -> Array:
        """The relaxation of `hard(z)`: its limit as the temperature goes to 0."""

    @abc.abstractmethod
    def slope(self, at: Array, logits: Array) -> Array:
        """J(q) · logits with q = `at` held constant, J(q) = diag q − q qᵀ: linear in the logits. J(E x) is the derivative
        of E x, J(y)/τ that of the relaxation y."""

    @abc.abstractmethod
    def free(self, uniform: Array) -> Array:
        """The noise ε that `conditional` needs, free of parameters."""

    @abc.abstractmethod
    def conditional(self, logits: Array, x: Array, noise: Array) -> Array:
        """z given that hard(z) = x, differentiable in the logits at fixed ε."""

    @abc.abstractmethod
    def coupled(self, logits: Array, x: Array, z: Array) -> Array:
        """The ε (held constant) with which `conditional` gives `z` back."""

    @abc.abstractmethod
    def changes(self, x: Array) -> Array:
        """Every x that differs from `x` in one coordinate (one row), stacked: (coordinates · changes, *shape)."""

    @abc.abstractmethod
    def local_log_probs(self, logits: Array, x: Array) -> Array:
        """log p of each coordinate's value in `x`, then in its `changes`: (coordinates, 1 + changes)."""


class NoisyBits(NoisyLogits):
    """Bits: z = logit + logistic noise, x = 1[z > 0], y = σ(z/τ).

    With s = 2x − 1 and ε = logit(v), the conditional z = s · softplus(s ε + softplus(s logit)): Tucker et al. (2017),
    v′ = v p + (1 − p) or v (1 − p), without the differences that cancel.

    Example:
      >>> import logtrick as lt
      >>> lt.distributions.NoisyBits().mean(0.0).item()
      0.5
    """

    binary: ClassVar[bool] = True

    def mean(self, logits: Array) -> Array:
        return jax.nn.sigmoid(logits)

    def perturbed(self, logits: Array, uniform: Array) -> Array:
        return logits + self.free(uniform)

    def hard(self, z: Array) -> Array:
        return stop((z > 0).astype(z.dtype))

    def relaxed(self, z: Array, temperature: Any) -> Array:
        return jax.nn.sigmoid(z / temperature)

    def slope(self, at: Array, logits: Array) -> Array:
        return stop(at * (1 - at)) * logits

    def free(self, uniform: Array) -> Array:
        u = interior(uniform)
        return jnp.log(u) - jnp.log1p(-u)

    def conditional(self, logits: Array, x: Array, noise: Array) -> Array:
        sign = 2 * x - 1
        # the softplus of both signs, which a vmap over samples computes once
        odds = jnp.where(x == 1, softplus(logits), softplus(-logits))
        return sign * softplus(sign * noise + odds)

    def coupled(self, logits: Array, x: Array, z: Array) -> Array:
        sign = 2 * x - 1
        inverse = jnp.abs(z) + jnp.log(-jnp.expm1(-jnp.abs(z)))  # of the softplus
        return stop(sign * (inverse - softplus(sign * logits)))

    def changes(self, x: Array) -> Array:
        flips = jnp.eye(x.size, dtype=x.dtype).reshape(x.size, *x.shape)
        return jnp.abs(x[None] - flips)

    def local_log_probs(self, logits: Array, x: Array) -> Array:
        odds = ((2 * x - 1) * logits).reshape(-1)
        return jnp.stack([log_sigmoid(odds), log_sigmoid(-odds)], axis=1)


class NoisyRows(NoisyLogits):
    """One-hot rows: z = log p + Gumbel noise, x = one-hot(argmax z), y = softmax(z/τ).

    With ε = log E, E exponential: z_k = −log E_k at the one of x, −log(E_j/p_j + E_k) elsewhere: Tucker et al. (2017);
    Maddison, Tarlow & Minka (2014).

    Example:
      >>> import jax.numpy as jnp, logtrick as lt
      >>> rows = lt.distributions.NoisyRows()
      >>> z = rows.perturbed(jnp.zeros((1, 3)), jnp.array([[0.9, 0.2, 0.4]]))
      >>> rows.hard(z).tolist(), rows.relaxed(z, 0.1).round(2).tolist()
      ([[1.0, 0.0, 0.0]], [[1.0, 0.0, 0.0]])
    """

    def mean(self, logits: Array) -> Array:
        return jax.nn.softmax(logits, axis=-1)

    def perturbed(self, logits: Array, uniform: Array) -> Array:
        return jax.nn.log_softmax(logits, axis=-1) - self.free(uniform)

    def hard(self, z: Array) -> Array:
        return stop(jax.nn.one_hot(jnp.argmax(z, axis=-1), z.shape[-1], dtype=z.dtype))

    def relaxed(self, z: Array, temperature: Any) -> Array:
        return jax.nn.softmax(z / temperature, axis=-1)

    def slope(self, at: Array, logits: Array) -> Array:
        at = stop(at)
        finite = jnp.where(logits == -jnp.inf, 0.0, logits)  # q = 0 there
        return at * (finite - jnp.sum(at * finite, axis=-1, keepdims=True))

    def free(self, uniform: Array) -> Array:
        return jnp.log(-jnp.log(interior(uniform)))

    def conditional(self, logits: Array, x: Array, noise: Array) -> Array:
        first = jnp.sum(jnp.where(x == 1, noise, 0.0), axis=-1, keepdims=True)
        log_p = jax.nn.log_softmax(logits, axis=-1)
        return -jnp.where(x == 1, noise, jnp.logaddexp(noise - log_p, first))

    def coupled(self, logits: Array, x: Array, z: Array) -> Array:
        highest = jnp.max(z, axis=-1, keepdims=True)
        below = jnp.where(x == 1, -1.0, z - highest)
        later = jax.nn.log_softmax(logits, axis=-1) - z + jnp.log(-jnp.expm1(below))
        return stop(jnp.where(x == 1, -z, later))

    def changes(self, x: Array) -> Array:
        size = x.shape[-1]
        rows = x.size // size
        flat = x.reshape(rows, size)
        # Row r, change c: the class c + 1 places on.
        moved = flat[:, (np.arange(size) - np.arange(1, size)[:, None]) % size]
        here = jnp.eye(rows, dtype=bool)[:, None, :, None]
        points = jnp.where(here, moved[:, :, None, :], flat[None, None])
        return points.reshape(rows * (size - 1), *x.shape)

    def local_log_probs(self, logits: Array, x: Array) -> Array:
        size = x.shape[-1]
        log_p = jax.nn.log_softmax(logits, axis=-1).reshape(-1, size)
        own = jnp.argmax(x.reshape(-1, size), axis=-1)
        places = (own[:, None] + jnp.arange(size)[None, :]) % size
        return jnp.take_along_axis(log_p, places, axis=1)
