"""What estimators need of a distribution and of the cost: one class for each need, compared with what the family declares."""

from typing import Any

from logtrick.distributions import Distribution


class Need:
    """Base of the needs: a class that tells whether a distribution meets it. A new need is a subclass.

    Attributes:
      words: what is needed, an adjective of "distribution" in the message of `refusal`.

    Example:
      >>> import logtrick as lt
      >>> lt.estimators.FiniteSupport.met_by(lt.Poisson(2.0)), lt.estimators.FiniteSupport.met_by(lt.Bernoulli(0.0))
      (False, True)
    """

    words = ""

    @classmethod
    def met_by(cls, dist: Distribution) -> bool:
        """Whether `dist` declares what is needed."""
        return True

    @classmethod
    def refusal(cls, family: str) -> str:
        """What is needed, and what `family` lacks: the middle of an error message."""
        return f"needs a {cls.words} distribution; {family} is not"


class FiniteSupport(Need):
    """The support can be enumerated.

    Example:
      >>> import logtrick as lt
      >>> lt.estimators.FiniteSupport in lt.Enumerate().needs
      True
    """

    words = "finite"

    @classmethod
    def met_by(cls, dist: Distribution) -> bool:
        return dist.enumeration is not None


class Reparameterized(Need):
    """A derivative along the path of the draw is right.

    Example:
      >>> import logtrick as lt
      >>> lt.estimators.Reparameterized.met_by(lt.Normal(0.0, 1.0))
      True
    """

    words = "reparameterized"

    @classmethod
    def met_by(cls, dist: Distribution) -> bool:
        return dist.reparameterized


class Bits(Need):
    """The draws are independent bits.

    Example:
      >>> import logtrick as lt
      >>> lt.estimators.Bits.met_by(lt.Categorical([0.0, 1.0]))
      False
    """

    words = "Bernoulli"

    @classmethod
    def met_by(cls, dist: Distribution) -> bool:
        return dist.noisy_logits is not None and dist.noisy_logits.binary


class BitsOrOneHot(Need):
    """The draws are independent bits or one-hot rows.

    Example:
      >>> import logtrick as lt
      >>> lt.estimators.BitsOrOneHot.met_by(lt.OneHotCategorical([0.0, 1.0]))
      True
    """

    words = "Bernoulli or one-hot"

    @classmethod
    def met_by(cls, dist: Distribution) -> bool:
        return dist.noisy_logits is not None


class DifferentiableCost(Need):
    """The cost is differentiated in the draw: it must be smooth there, and no host function.

    Example:
      >>> import logtrick as lt
      >>> lt.estimators.DifferentiableCost in lt.Pathwise().needs
      True
    """


def check_needs(estimator: Any, dist: Distribution) -> None:
    """Compare what the estimator needs with what the distribution declares.

    Args:
      estimator: the estimator.
      dist: the distribution.
    Raises:
      ValueError: the distribution does not offer it; the message names estimators that are legal.
    Example:
      >>> import logtrick as lt
      >>> try:
      ...     lt.estimators.check_needs(lt.Pathwise(), lt.Poisson(2.0))
      ... except ValueError as error:
      ...     print(error)
      Pathwise() needs a reparameterized distribution; Poisson is not. Use ScoreFunction().
    """
    name, family = type(estimator).__name__, type(dist).__name__.lstrip("_")
    for need in sorted(estimator.needs, key=lambda need: need.__name__):
        if not need.met_by(dist):
            raise ValueError(f"{name}() {need.refusal(family)}. Use {alternative(dist)}.")


def alternative(dist: Distribution) -> str:
    """Name estimators that are legal for a distribution, whatever the cost.

    Args:
      dist: a distribution.
    Returns:
      Their names, as words of a message.
    Example:
      >>> import logtrick as lt
      >>> lt.estimators.alternative(lt.Bernoulli(0.0))
      'ScoreFunction() or Enumerate()'
    """
    if dist.moving_support and dist.reparameterized:
        return "Pathwise()"
    if dist.enumeration is not None:
        return "ScoreFunction() or Enumerate()"
    return "ScoreFunction() or Pathwise()" if dist.reparameterized else "ScoreFunction()"


def require_needs(cls: type) -> None:
    """Check, when a class is defined, that its attribute `needs` holds subclasses of `Need` and nothing else.

    Args:
      cls: the class; what it inherits has been checked before.
    Raises:
      TypeError: `needs` holds something else.
    Example:
      >>> import logtrick as lt
      >>> class Mine:
      ...     needs = frozenset({"finite"})
      >>> try:
      ...     lt.estimators.require_needs(Mine)
      ... except TypeError as error:
      ...     print(error)
      Mine.needs holds 'finite', which is no need. Use subclasses of lt.estimators.Need.
    """
    declared = vars(cls).get("needs", ())
    if isinstance(declared, property):  # computed from parts, as of a combination
        return
    for need in declared:
        if not (isinstance(need, type) and issubclass(need, Need)):
            raise TypeError(
                f"{cls.__name__}.needs holds {need!r}, which is no need. Use subclasses of lt.estimators.Need."
            )
