"""The log-variance divergence."""

from typing import ClassVar

import jax.numpy as jnp

from logtrick.vi._objectives._base import Array, Objective
from logtrick.vi._objectives._renyi import at_least


class LogVariance(Objective):
    """Half the variance of the log-weights over all n draws (VarGrad), minimized: ½ 1/(n − 1) Σᵢ (log wᵢ − mean)².

    With the draws held constant its gradient is, draw for draw, that of −ELBO by the score function with leave-one-out:
    unbiased at any n ≥ 2 thanks to n − 1, where a population variance is short by (n − 1)/n, and 0 at n = 1.

    References:
      Richter, Boustati, Nüsken, Ruiz & Akyildiz (2020), "VarGrad: A Low-Variance Gradient Estimator for Variational
      Inference".
    Example:
      >>> import jax.numpy as jnp
      >>> from logtrick import vi
      >>> vi.LogVariance().value(jnp.array([1.0, 3.0])).item()
      1.0
    """

    maximize: ClassVar[bool] = False
    reference: ClassVar[str] = (
        "Richter, Boustati, Nüsken, Ruiz & Akyildiz (2020), VarGrad: A Low-Variance Gradient Estimator for "
        "Variational Inference."
    )

    @property
    def num_draws(self) -> None:
        return None

    def value(self, log_weights: Array) -> Array:
        return 0.5 * jnp.var(log_weights, ddof=1)

    def held(self, log_weights: Array) -> Array:
        return self.value(log_weights)

    def check(self, where: str, num_draws: int) -> None:
        at_least(f"{where}: vi.LogVariance()", num_draws, 2)
