"""A baseline that is a user's own function, trained beside the model."""

from collections.abc import Callable
from typing import Any, ClassVar

import jax

from logtrick._core import checks
from logtrick._core.kernel import detached, stop
from logtrick._core.module import static
from logtrick.baselines._base import Array, Baseline, Site
from logtrick.distributions import Distribution


class LearnedBaseline(Baseline):
    """An input-dependent baseline: b = fn(params), trained on Σ (f − b)² (NVIL).

    `fn` closes over whatever it should depend on: the data point, earlier draws; not the draw of
    its own site or later ones, which would bias the gradient. Its params are ordinary parameters:
    `aux.adaptive_loss` is the mean over the samples of (f − b)², and its gradient reaches only
    these params, not what fn closes over. Add it to a loss that is being minimized, and subtract it
    from one that is being maximized; `lt.minimize` and `lt.maximize` do this by themselves. The
    model's gradient is unbiased at every step of the training.

    Args:
      fn: `fn(params) -> scalar`, in the units of f.
      params: its parameters, a pytree of float arrays.
    Raises:
      ValueError: fn returns no scalar; used without `has_aux=True`.
    References:
      Mnih & Gregor (2014), "Neural Variational Inference and Learning in Belief Networks". Checked
      against tensorflow/models, `research/rebar/rebar.py` (`get_nvil_gradient`, without variance
      normalization, as here).
    Example:
      >>> import jax, jax.numpy as jnp, logtrick as lt
      >>> def episode(policy, critic):                         # actor–critic: the critic sees the state before the action
      ...     def step(state, _):
      ...         value = lt.LearnedBaseline(lambda w: w[0] + w[1] * state, critic)
      ...         action = yield lt.sample(lt.Bernoulli(policy + state), lt.ScoreFunction(value))
      ...         state = 0.5 * state + action
      ...         yield lt.cost((state - 1.0) ** 2)
      ...         return state, None
      ...     yield lt.scan(step, 0.0, length=3)
      >>> def loss(policy, critic):
      ...     value, aux = lt.expect_program(jax.random.key(0), episode, policy, critic, num_samples=1000, has_aux=True)
      ...     return value + aux.adaptive_loss
      >>> actor, critic = jax.grad(loss, (0, 1))(0.1, jnp.array([0.9, 0.0]))
      >>> round(actor.item(), 1), critic.shape                    # exact: −0.46
      (-0.5, (2,))
    """

    fn: Callable[[Any], Any] = static()
    params: Any
    adaptive: ClassVar[bool] = True
    reference: ClassVar[str] = (
        "Mnih & Gregor (2014), Neural Variational Inference and Learning in Belief Networks."
    )

    def __post_init__(self) -> None:
        if not callable(self.fn):
            raise TypeError(
                f"LearnedBaseline(fn=…) needs a function of its params; got {self.fn!r}. Write fn(params)."
            )
        checks.differentiable("LearnedBaseline", self.params)

    def look(self, x: Any, dist: Distribution) -> Array:
        """b, what fn closes over held constant."""
        converted, outside = jax.closure_convert(self.fn, self.params)
        b = converted(self.params, *detached(outside))
        return checks.scalar_cost("LearnedBaseline: fn", b)

    def term(self, site: Site) -> Array:
        return stop(site.seen).astype(site.total.dtype) * (1 - site.box)

    def adaptive_loss(self, site: Site) -> Array:
        return (site.total - site.seen) ** 2
