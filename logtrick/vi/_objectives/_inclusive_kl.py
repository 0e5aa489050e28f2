"""The inclusive divergence."""

from typing import ClassVar

import jax
import jax.numpy as jnp

from logtrick._core.kernel import first_order, stop
from logtrick.vi._objectives._base import Array, Objective
from logtrick.vi._objectives._renyi import at_least, log_mean_exp


class InclusiveKL(Objective):
    """KL(p ‖ q) by self-normalized weights: Σᵢ w̄ᵢ log wᵢ − log (1/n) Σᵢ wᵢ over all n draws, minimized.

    The gradient −Σᵢ w̄ᵢ ∇ log q(zᵢ) is that of reweighted wake-sleep's wake phase. Both are consistent, and biased by O(1/n):
    at few draws the gradient is short. log p enters by its normalized weights alone.

    References:
      Bornschein & Bengio (2015), "Reweighted Wake-Sleep"; Naesseth, Lindsten & Blei (2020), "Markovian Score Climbing".
    Example:
      >>> import jax.numpy as jnp
      >>> from logtrick import vi
      >>> round(vi.InclusiveKL().value(jnp.log(jnp.array([1.0, 3.0]))).item(), 4)      # ¾ log 3 − log 2
      0.1308
    """

    maximize: ClassVar[bool] = False
    reference: ClassVar[str] = "Bornschein & Bengio (2015), Reweighted Wake-Sleep."

    @property
    def num_draws(self) -> None:
        return None

    def value(self, log_weights: Array) -> Array:
        shares = jax.nn.softmax(log_weights)
        # 0 log 0 = 0: a draw that p cannot make has weight 0.
        logs = jnp.where(shares == 0, 0.0, log_weights)
        return shares @ logs - log_mean_exp(log_weights)

    def held(self, log_weights: Array) -> Array:
        moving = first_order("vi.InclusiveKL", jax.nn.softmax(log_weights), log_weights)
        return stop(self.value(log_weights)) + moving

    def check(self, where: str, num_draws: int) -> None:
        at_least(f"{where}: vi.InclusiveKL()", num_draws, 2)
