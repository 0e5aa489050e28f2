"""A baseline that is a user's own function, trained beside the model."""

from collections.abc import Callable
from typing import Any, ClassVar

import jax

from logtrick._core import checks
from logtrick._core.kernel import detached, stop
from logtrick._core.module import static
from logtrick.baselines._base import Array, Baseline, Site


class LearnedBaseline(Baseline):
    """An input-dependent baseline: b = fn(params), trained on Σ (f − b)² (NVIL).

    `fn` closes over whatever it should depend on: the data point, earlier draws; not the draw of its own site or later
    ones, which would bias the gradient. Its params are ordinary parameters: `aux.adaptive_loss` is the mean over the
    runs of (f − b)², and its gradient reaches only these params, not what fn closes over. Add it to a loss that is
    being minimised, subtract it from one being maximised; `lt.minimize` and `lt.maximize` do either. The model's
    gradient is unbiased at every step of the training.

    Args:
      fn: `fn(params) -> scalar`, in the units of f.
      params: its parameters, a pytree of float arrays.
    Raises:
      ValueError: fn returns no scalar; used without `has_aux=True`.
    References:
      Mnih & Gregor (2014), "Neural Variational Inference and Learning in Belief Networks". Checked against
      tensorflow/models, `research/rebar/rebar.py` (`get_nvil_gradient`, without variance normalization, as here).
    Example:
      >>> import jax, logtrick as lt
      >>> def loss(logit, b):
      ...     estimator = lt.ScoreFunction(lt.LearnedBaseline(lambda b: b, b))
      ...     value, aux = lt.expect(jax.random.key(0), lambda x: 3.0 + x, lt.Bernoulli(logit), estimator=estimator,
      ...                            num_samples=1000, has_aux=True)
      ...     return value + aux.adaptive_loss
      >>> round(jax.grad(loss, argnums=1)(0.0, 0.0).item(), 1)          # exact: 2 (b − E f) = −7
      -6.9
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

    def term(self, site: Site) -> Array:
        return stop(self._value()).astype(site.total.dtype) * (1 - site.box)

    def adaptive_loss(self, site: Site) -> Array:
        return (site.total - self._value()) ** 2

    def _value(self) -> Array:
        """b, what fn closes over held constant."""
        converted, outside = jax.closure_convert(self.fn, self.params)
        return checks.scalar_cost("LearnedBaseline: fn", converted(self.params, *detached(outside)))
