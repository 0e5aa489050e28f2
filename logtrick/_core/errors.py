"""The named refusals. Every one is a `TypeError` or a `ValueError` where it is raised at trace time.

This file does not import JAX, so that what writes checkpoints can be imported without it.
"""

from typing import Any


class UnaccountedRandomnessError(TypeError):
    """A draw whose gradient no estimator accounts for was differentiated.

    Raised while differentiating through `dist.sample(key)` of a family that is not reparameterized.
    Without this error the gradient through the draw would be zero, silently. Use `lt.expect(key, f, dist)`,
    or `jax.lax.stop_gradient` on the parameters where a zero gradient is intended.

    Example:
      >>> import jax, logtrick as lt
      >>> jax.grad(lambda logit: lt.Bernoulli(logit).sample(jax.random.key(0)))(0.3)
      Traceback (most recent call last):
      ...
      logtrick._core.errors.UnaccountedRandomnessError: Bernoulli.sample was differentiated, ...
    """


class DerivativeOrderError(TypeError):
    """A derivative was taken whose order is higher than the estimator's `max_order`.

    Example:
      >>> import logtrick as lt
      >>> issubclass(lt.DerivativeOrderError, TypeError)
      True
    """


class NonFiniteError(ValueError):
    """Too many consecutive training steps had a value or a gradient that is not finite.

    The message names the step, the leaf of the parameters and whether the value itself was finite.

    Attributes:
      result: what the fit had until then, a `FitResult`; None outside of fits.

    Example:
      >>> import logtrick as lt
      >>> issubclass(lt.NonFiniteError, ValueError)
      True
    """

    result: Any = None


class BlackBoxError(RuntimeError):
    """A host function in `lt.black_box` raised, or returned another shape or dtype than declared.

    The host's own exception, with its traceback, is the `__cause__`.

    Example:
      >>> import logtrick as lt
      >>> issubclass(lt.BlackBoxError, RuntimeError)
      True
    """


class CheckpointError(RuntimeError):
    """A checkpoint cannot be written, or what was read is not the state that was asked for.

    Attributes:
      path: the file or the folder.
      reason: what is wrong with it.

    Example:
      >>> import logtrick as lt
      >>> print(lt.CheckpointError("runs/a", "has no checkpoints."))
      runs/a: has no checkpoints.
    """

    def __init__(self, path: Any, reason: str) -> None:
        super().__init__(str(path), reason)
        self.path = str(path)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"
