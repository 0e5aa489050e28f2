"""What a program yields: draws and costs."""

from collections.abc import Callable, Generator
from typing import Any

from logtrick.distributions import Distribution
from logtrick.estimators import Estimator, ScoreFunction

Program = Callable[..., Generator[Any, Any, Any]]


class _Yielded:
    """Base of what is to be yielded; used as a number it says so."""

    def _unyielded(self, *_: Any) -> Any:
        raise TypeError(f"lt.{type(self).__name__.lower()}(…) was not yielded. Write `x = yield lt.sample(…)`.")

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _unyielded
    __pow__ = __rpow__ = __matmul__ = __rmatmul__ = __neg__ = __abs__ = __getitem__ = __iter__ = _unyielded
    __lt__ = __le__ = __gt__ = __ge__ = __float__ = __bool__ = __jax_array__ = _unyielded


class Sample(_Yielded):
    """A draw at a site: its distribution, its estimator, its name."""

    def __init__(self, dist: Distribution, estimator: Estimator, name: str | None) -> None:
        self.dist, self.estimator, self.name = dist, estimator, name


class Cost(_Yielded):
    """A cost and its name."""

    def __init__(self, value: Any, name: str | None) -> None:
        self.value, self.name = value, name


def sample(dist: Distribution, estimator: Estimator | None = None, name: str | None = None) -> Sample:
    """A draw, to be yielded by a program: `x = yield lt.sample(dist, estimator)`.

    Args:
      dist: the distribution of ONE draw; its parameters may depend on earlier draws.
      estimator: how its gradient is estimated, `lt.ScoreFunction()` unless said otherwise.
      name: the key under which `aux` reports the site; its index unless said otherwise.
    Raises:
      TypeError: no distribution, or no estimator.
    Example:
      >>> import jax, logtrick as lt
      >>> def program(logit):
      ...     a = yield lt.sample(lt.Bernoulli(logit), lt.Enumerate())
      ...     b = yield lt.sample(lt.Bernoulli(2.0 * a), lt.Enumerate())
      ...     yield lt.cost(b)
      >>> round(lt.expect_program(jax.random.key(0), program, 0.0, num_samples=1).item(), 4)   # ½·½ + ½·σ(2)
      0.6904
    """
    estimator = ScoreFunction() if estimator is None else estimator
    check_distribution("lt.sample", dist)
    check_estimator("lt.sample", estimator)
    return Sample(dist, estimator, name)


def cost(value: Any, name: str | None = None) -> Cost:
    """A cost, to be yielded by a program: `yield lt.cost(value)`. The expectation is that of the sum of all costs.

    Args:
      value: a real scalar.
      name: the key under which `aux` reports it; its index unless said otherwise.
    Example:
      >>> import logtrick as lt
      >>> lt.cost(1.0, name="energy").name
      'energy'
    """
    return Cost(value, name)


def check_distribution(where: str, dist: Any) -> None:
    if not isinstance(dist, Distribution):
        raise TypeError(
            f"{where}(dist=…) needs a distribution; got {type(dist).__name__}. Pass lt.Normal(loc, scale), a family made "
            "by lt.distribution called with its parameters, or an adapter's."
        )


def check_estimator(where: str, estimator: Any) -> None:
    if isinstance(estimator, type) and issubclass(estimator, Estimator):
        raise TypeError(f"{where}(estimator=…) needs an instance; got the class. Write {estimator.__name__}().")
    if not isinstance(estimator, Estimator):
        raise TypeError(
            f"{where}(estimator=…) needs an estimator; got {type(estimator).__name__}. Pass lt.ScoreFunction(), say."
        )
