"""The evidence lower bound."""

from typing import ClassVar

from logtrick.vi._objectives._base import Array, Objective


class ELBO(Objective):
    """The evidence lower bound: E_q[log w] = log Z − KL(q ‖ p), w = p̃/q.

    References:
      Jordan, Ghahramani, Jaakkola & Saul (1999); Ranganath, Gerrish & Blei (2014), "Black Box Variational Inference".
    Example:
      >>> import jax, jax.numpy as jnp
      >>> from logtrick import vi
      >>> q = vi.MeanFieldNormal(like=0.0)
      >>> log_density = lambda z: -0.5 * z**2                                # Z = √2π, and q is the posterior
      >>> round(-vi.loss(jax.random.key(0), log_density, q, num_samples=1).item(), 4)
      0.9189
    """

    linear: ClassVar[bool] = True
    reference: ClassVar[str] = "Ranganath, Gerrish & Blei (2014), Black Box Variational Inference."

    def value(self, log_weights: Array) -> Array:
        return log_weights[0]
