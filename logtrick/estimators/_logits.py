"""What estimators of bits and one-hot rows share: logits in at least float32, uniforms shaped like them."""

from typing import Any

import jax
import jax.numpy as jnp

from logtrick._core.kernel import stop
from logtrick.distributions import Distribution, NoisyLogits, widened
from logtrick.noise import Uniform

Array = jax.Array


def logits_of(dist: Distribution) -> Array:
    """The logits of a distribution that has `noisy_logits`, in at least float32.

    Args:
      dist: Bernoullis or one-hot rows.
    Returns:
      The logits, shaped like one draw.
    Example:
      >>> import jax.numpy as jnp, logtrick as lt
      >>> lt.estimators.logits_of(lt.Bernoulli(jnp.zeros(3, jnp.bfloat16))).dtype
      dtype('float32')
    """
    return widened(dist).logits  # declared by `noisy_logits`


def noisy_logits_of(dist: Distribution) -> NoisyLogits:
    """The noisy logits of a distribution: how its logits, noise and draws are connected.

    An estimator that needs `Bits` or `BitsOrOneHot` may call this function: `check_needs` has made
    sure of them.

    Args:
      dist: Bernoullis or one-hot rows.
    Returns:
      What the family declares.
    Example:
      >>> import jax.numpy as jnp, logtrick as lt
      >>> noisy = lt.estimators.noisy_logits_of(lt.Bernoulli(0.0))
      >>> noisy.binary, noisy.mean(jnp.zeros(2)).tolist()        # σ(0)
      (True, [0.5, 0.5])
    """
    assert dist.noisy_logits is not None
    return dist.noisy_logits


def uniforms(dist: Distribution, *leading: int) -> Uniform:
    """Uniform noise shaped like the logits, in as many copies as `leading` says.

    Args:
      dist: Bernoullis or one-hot rows.
      leading: the sizes of leading axes; none for a single copy.
    Returns:
      The declaration of the noise.
    Example:
      >>> import jax.numpy as jnp, logtrick as lt
      >>> lt.estimators.uniforms(lt.Bernoulli(jnp.zeros(3)), 2).shape
      (2, 3)
    """
    logits = jax.eval_shape(logits_of, dist)
    return Uniform((*leading, *logits.shape), logits.dtype)


def as_draw(x: Array, dist: Distribution) -> Array:
    """Turn an array into a draw of `dist`: held constant, in the dtype of its logits.

    Args:
      x: the values of the draw.
      dist: Bernoullis or one-hot rows.
    Returns:
      The draw.
    Example:
      >>> import jax.numpy as jnp, logtrick as lt
      >>> lt.estimators.as_draw(jnp.array([True, False]), lt.Bernoulli(jnp.zeros(2))).tolist()
      [1.0, 0.0]
    """
    return stop(x).astype(dist.logits.dtype)  # type: ignore[attr-defined]  # declared by `noisy_logits`


def hard_draw(noise: Array, dist: Distribution) -> Array:
    """The draw that uniform noise makes, held constant.

    Args:
      noise: numbers as declared by `uniforms(dist)`.
      dist: Bernoullis or one-hot rows.
    Returns:
      The draw.
    Example:
      >>> import jax.numpy as jnp, logtrick as lt
      >>> lt.estimators.hard_draw(jnp.array([0.1, 0.9]), lt.Bernoulli(jnp.zeros(2))).tolist()
      [0.0, 1.0]
    """
    noisy = noisy_logits_of(dist)
    return as_draw(noisy.hard(noisy.perturbed(logits_of(dist), noise)), dist)


def against(points: Array, coefficients: Array) -> Array:
    """Σ_k coefficients[k] points[k], over the leading axis of `points`."""
    return jnp.tensordot(coefficients.astype(points.dtype), points, 1)


def score(dist: Distribution, x: Any) -> Array:
    """∇ log p(x) with respect to the logits: x − E x.

    Args:
      dist: Bernoullis or one-hot rows.
      x: one draw.
    Returns:
      The score, shaped like the logits.
    Example:
      >>> import jax.numpy as jnp, logtrick as lt
      >>> lt.estimators.score(lt.Bernoulli(jnp.zeros(2)), jnp.array([1.0, 0.0])).tolist()
      [0.5, -0.5]
    """
    return x - noisy_logits_of(dist).mean(logits_of(dist))
