"""What a program yields: draws, costs, loops over time, plates of independent elements, keys."""

import contextvars
from collections.abc import Callable, Generator
from typing import Any

import jax
import numpy as np

from logtrick._core import checks
from logtrick._core.calls import described, in_words
from logtrick._core.compat import is_key
from logtrick._core.samples import SampleAxis, under_name
from logtrick._core.show import short
from logtrick.baselines import Baseline
from logtrick.distributions import Distribution
from logtrick.estimators import Estimator, ScoreFunction

Program = Callable[..., Generator[Any, Any, Any]]
# One object for all sites: so it is known to be the estimator that the abstract run saw.
_DEFAULT = ScoreFunction()

# The statements that the running program has made. At its end one of them that was not yielded is an error.
MADE: contextvars.ContextVar[list["Statement"] | None] = contextvars.ContextVar(
    "logtrick_made", default=None
)


class Statement:
    """Base of what a program yields; using a statement as a number raises an error that says so."""

    called = "sample"
    yielded = False

    def read(self, reader: Any) -> Any:
        """Call the reader's method for this kind of statement; what it returns is the reply to the program."""
        raise NotImplementedError

    def __repr__(self) -> str:
        fields = (
            f"{name}={short(x)}"
            for name, x in vars(self).items()
            if x is not None and name != "yielded"
        )
        return f"lt.{self.called}({', '.join(fields)})"

    def _unyielded(self, *_: Any) -> Any:
        raise TypeError(
            f"lt.{self.called}(…) was not yielded. Write `x = yield lt.{self.called}(…)`."
        )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # what Python, copy and NumPy look for
            raise AttributeError(name)
        return self._unyielded()

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = (
        _unyielded
    )
    __pow__ = __rpow__ = __matmul__ = __rmatmul__ = __neg__ = __abs__ = __getitem__ = __iter__ = (
        _unyielded
    )
    __lt__ = __le__ = __gt__ = __ge__ = __float__ = __int__ = __bool__ = _unyielded


class Sample(Statement):
    """A draw at a site: its distribution, its estimator, its name."""

    def __init__(self, dist: Distribution, estimator: Estimator, name: str | None) -> None:
        replace = _REPLACE.get()
        self.dist = dist
        self.estimator = estimator if replace is None else replace(dist, estimator)
        self.name = name

    def read(self, reader: Any) -> Any:
        return reader.sample(self)


Replace = Callable[[Distribution, Estimator], Estimator]
_REPLACE: contextvars.ContextVar[Replace | None] = contextvars.ContextVar(
    "logtrick_replaced_estimators", default=None
)


def with_estimators(by: Replace, run: Callable[[], jax.Array]) -> jax.Array:
    """`run()`, in which every site has the estimator `by(dist, own)` in the place of its own.

    JAX keeps the traces of jitted functions, and one that `run` calls may have been traced before, with its own estimators.
    So `run` is traced under a name that is new in each call, on which these caches depend: nothing is found there, and
    nothing that is traced inside is found later.

    Args:
      by: gives the estimator of a site; what it raises comes out of `run`.
      run: returns an array.
    """
    token = _REPLACE.set(by)
    try:
        return under_name(SampleAxis(), run)
    finally:
        _REPLACE.reset(token)


class Cost(Statement):
    """A cost and its name."""

    called = "cost"

    def __init__(self, value: Any, name: str | None) -> None:
        self.value, self.name = value, name

    def read(self, reader: Any) -> Any:
        return reader.cost(self)


class WholeCost(Cost):
    """What the function of `lt.expect` returned: a cost, or a tuple of costs."""

    def read(self, reader: Any) -> Any:
        return reader.whole_cost(self)


def whole_cost(value: Any) -> WholeCost:
    """What the function of `lt.expect` returned, checked."""
    if isinstance(value, tuple):
        if not value:
            raise ValueError(
                "f must return a scalar or a tuple of scalars; got an empty tuple. Return a number."
            )
        return WholeCost(tuple(checks.scalar_cost("f", c) for c in value), None)
    return WholeCost(checks.scalar_cost("f", value), None)


class Loop(Statement):
    """A loop over time: its step, the carry that it starts from, what it runs over."""

    called = "scan"

    def __init__(
        self,
        step: Program,
        carry: Any,
        xs: Any,
        length: int,
        name: str | None,
        remat: bool,
    ) -> None:
        self.step, self.carry, self.xs = step, carry, xs
        self.length, self.name, self.remat = length, name, remat

    def read(self, reader: Any) -> Any:
        return reader.loop(self)


class Plate(Statement):
    """Independent elements: the program of one of them, what they run over, how many there are and how many are used."""

    called = "plate"

    def __init__(
        self,
        step: Program,
        xs: Any,
        length: int,
        name: str | None,
        subsample: int | None,
        stand_in: Callable[[Any], Any] | None = None,
    ) -> None:
        self.step, self.xs, self.length = step, xs, length
        self.name, self.subsample, self.stand_in = name, subsample, stand_in

    def read(self, reader: Any) -> Any:
        return reader.plate(self)


class FreshKey(Statement):
    """A PRNG key of each sample's own."""

    called = "fresh_key"
    name = None

    def read(self, reader: Any) -> Any:
        return reader.fresh_key(self)


def made(statement: Any) -> Any:
    """Record a new statement of the program that is running."""
    ledger = MADE.get()
    if ledger is not None:
        ledger.append(statement)
    return statement


@in_words("lt.sample")
def sample(
    dist: Distribution, estimator: Estimator | None = None, name: str | None = None
) -> Sample:
    """A draw, to be yielded by a program: `x = yield lt.sample(dist, estimator)`.

    Args:
      dist: the distribution of ONE draw; its parameters may depend on earlier draws.
      estimator: how its gradient is estimated; by default `lt.ScoreFunction()`.
      name: the key under which `aux` reports the site; by default its index.
    Returns:
      What the program yields; the yield's value is the draw.
    Raises:
      TypeError: no distribution, no estimator, or a name that is no string.
    Example:
      >>> import jax, logtrick as lt
      >>> def program(logit):
      ...     a = yield lt.sample(lt.Bernoulli(logit), lt.Enumerate())
      ...     b = yield lt.sample(lt.Bernoulli(2.0 * a), lt.Enumerate())
      ...     yield lt.cost(b)
      >>> round(lt.expect_program(jax.random.key(0), program, 0.0, num_samples=1).item(), 4)   # ½·½ + ½·σ(2)
      0.6904
    """
    estimator = _DEFAULT if estimator is None else estimator
    check_distribution("lt.sample", dist)
    check_estimator("lt.sample", estimator)
    check_name("lt.sample", name)
    return made(Sample(dist, estimator, name))


@in_words("lt.cost")
def cost(value: Any, name: str | None = None) -> Cost:
    """A cost, to be yielded by a program: `yield lt.cost(value)`. The expectation is that of the sum of all costs.

    Args:
      value: a real scalar.
      name: the key under which `aux` reports it; by default its index.
    Returns:
      What the program yields.
    Raises:
      TypeError: a name that is no string.
    Example:
      >>> import logtrick as lt
      >>> lt.cost(1.0, name="energy").name
      'energy'
    """
    check_name("lt.cost", name)
    return made(Cost(value, name))


@in_words("lt.fresh_key")
def fresh_key() -> FreshKey:
    """A PRNG key, to be yielded by a program: `key = yield lt.fresh_key()`.

    Each sample gets a key of its own (in a loop each step, in a plate each element), for a cost
    that is itself random, such as a nested `lt.expect`. Draws that are made from it by hand have no
    score: yield `lt.sample` for draws that depend on parameters.

    Returns:
      What the program yields; the yield's value is a typed key.
    Example:
      >>> import jax, logtrick as lt
      >>> def program(mu):
      ...     x = yield lt.sample(lt.Normal(mu, 1.0))
      ...     key = yield lt.fresh_key()
      ...     yield lt.cost(x + jax.random.normal(key))        # a noisy measurement
      >>> value, aux = lt.expect_program(jax.random.key(0), program, 0.0, num_samples=10_000, has_aux=True)
      >>> round(aux.costs[0].std().item(), 1)                  # exact: √2
      1.4
    """
    return made(FreshKey())


def common_length(where: str, of: str, xs: Any, length: Any, least: int) -> int:
    """How many elements or steps there are: the leading axis that all leaves of `xs` have, or `length`."""
    sizes = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(xs)}
    if length is not None:
        sizes.add((checks.positive_int(where, "length", length, least),))
    if len(sizes) != 1 or () in sizes:
        raise ValueError(
            f"{where}(xs=…) needs one leading axis of {of} on every leaf, or length=…; got {sorted(sizes)}. Stack the {of}."
        )
    ((count,),) = sizes
    if count < least:
        raise ValueError(f"{where}(xs=…) needs at least {least} of the {of}; got {count}.")
    return count


def check_distribution(where: str, dist: Any) -> None:
    if isinstance(dist, Distribution):
        return
    if isinstance(dist, type) and issubclass(dist, Distribution):
        raise TypeError(
            f"{where}(dist=…) needs a distribution; got {described(dist)}. Call it with its parameters."
        )
    got = described(dist)
    advice = "Pass lt.Normal(loc, scale), a family made by lt.distribution called with its parameters, or an adapter's"
    if is_key(dist) and where == "lt.sample":
        advice = "lt.sample(dist) takes no key: the samples' noise is lt.expect_program's"
    elif isinstance(dist, str) and where == "lt.sample":
        advice = f"The distribution comes first: lt.sample(dist, name={dist!r})"
    raise TypeError(f"{where}(dist=…) needs a distribution; got {got}. {advice}.")


def check_estimator(where: str, estimator: Any) -> None:
    if isinstance(estimator, type) and issubclass(estimator, Estimator):
        raise TypeError(
            f"{where}(estimator=…) needs an instance; got the class. Write {estimator.__name__}()."
        )
    if not isinstance(estimator, Estimator):
        raise TypeError(
            f"{where}(estimator=…) needs an estimator; got {described(estimator)}. {_for_estimator(where, estimator)}."
        )


def _for_estimator(where: str, given: Any) -> str:
    """What was meant by what is no estimator."""
    if isinstance(given, Baseline):
        return f"Pass lt.ScoreFunction({type(given).__name__}(…))"
    if isinstance(given, str) and where == "lt.sample":
        return f"A name goes by name={given!r}"
    return "Pass lt.ScoreFunction(), say"


def check_name(where: str, name: Any) -> None:
    if name is not None and not isinstance(name, str):
        raise TypeError(
            f'{where}(name=…) needs a string; got {type(name).__name__} {name!r}. Pass name="z", say.'
        )
