"""The base class of objectives: functions of log-weights."""

import abc
from typing import Any, ClassVar

import jax

from logtrick._core.calls import described
from logtrick._core.module import Module

Array = jax.Array


class Objective(Module, abstract=True):
    """A function φ of the log-weights log wᵢ = log p(zᵢ) − log q(zᵢ) of k draws zᵢ ∼ q; the target is E[φ].

    An objective knows the model and the guide by their log-weights alone, so that a shift of log p by a constant
    shifts φ, or leaves it alone, and never changes a gradient. An objective of your own is a subclass with `value`.
    Write φ so that it is twice differentiable in the log-weights, symmetric in them, and stays finite for log-weights of
    any size: normalize by their log-mean-exp, never exponentiate them as they are.

    Attributes:
      num_draws: k, the draws of one value of φ; None for all the draws there are, one value.
      maximize: whether φ is a bound to be maximized; otherwise a divergence to be minimized.
      linear: φ is linear in the log-weights (the ELBO), so that the direct term through log q has mean 0.

    Example:
      >>> import jax, jax.numpy as jnp, logtrick as lt
      >>> from logtrick import vi
      >>> class JensenShannon(vi.Objective):                  # k draws, weights normalized among them
      ...     maximize = False
      ...     num_draws = 16
      ...     def value(self, log_weights):
      ...         log_r = log_weights - (jax.nn.logsumexp(log_weights) - jnp.log(log_weights.size))
      ...         r = jnp.exp(log_r)                          # p/q with p normalized
      ...         return 0.5 * jnp.mean(r * log_r - (1 + r) * (jax.nn.softplus(log_r) - jnp.log(2.0)))
      >>> q = vi.MeanFieldNormal(like=0.0, scale=2.0)
      >>> log_density = lambda z: -0.5 * z**2 - 300.0         # not normalized
      >>> loss = vi.loss(jax.random.key(0), log_density, q, objective=JensenShannon(), num_samples=1000)
      >>> round(loss.item(), 2)
      0.09
    """

    maximize: ClassVar[bool] = True
    linear: ClassVar[bool] = False
    reference: ClassVar[str] = ""

    @property
    def num_draws(self) -> int | None:
        """k, the draws of one value; None for all the draws there are."""
        return 1

    @abc.abstractmethod
    def value(self, log_weights: Array) -> Array:
        """φ of k log-weights, shape (k,) to shape ()."""

    def held(self, log_weights: Array) -> Array:
        """φ for draws that are held constant, its derivative the gradient's estimate through log q alone.

        Raises:
          NotImplementedError: the objective has no such form.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no form whose derivative goes through log q alone. Use vi.ELBO(), say."
        )

    def check(self, where: str, num_draws: int) -> None:
        """Raise where `num_draws` log-weights are too few."""


def check_objective(where: str, objective: Any) -> None:
    """Refuse what is no objective."""
    if not isinstance(objective, Objective):
        raise TypeError(
            f"{where}(objective=…) needs an objective; got {described(objective)}. Pass vi.ELBO(), say."
        )


def has_held_form(objective: Objective) -> bool:
    """Whether an objective can be differentiated through log q alone."""
    return type(objective).held is not Objective.held
