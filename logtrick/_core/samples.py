"""The samples of an expectation, seen from inside one of them, and the vmap over them.

A sample is identified by its position among all samples of its expectation, whatever the chunks; an
element of a plate by its position in the plate; a step of a loop by its number. A nested expectation
folds those of all enclosing samples, elements and steps into its key, so that its randomness is
another one in each of them.
"""

import contextlib
import contextvars
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from logtrick._core import keys
from logtrick._core.jaxprs import inner_jaxprs
from logtrick._core.kernel import as_inexact, sample_index, sample_sum, stop
from logtrick._core.module import Module, static

Array = jax.Array


class SampleAxis:
    """The name of a vmapped axis of samples or elements, compared by identity: JAX's caches of traced functions depend on it.

    Attributes:
      purpose: folded into the keys of nested expectations; not that of `StepAxis`, so that an element and a step of the
        same number have different noise.
      start: the position of its first sample among all samples; traced inside a scan over chunks.
      shared: whether it is the axis of every unchunked expectation at its depth of nesting.
    """

    purpose = keys.NESTED

    def __init__(self, start: Any = 0, shared: bool = False) -> None:
        self.start = start
        self.shared = shared

    def __repr__(self) -> str:
        return "logtrick.samples"

    def position(self) -> Array:
        """The position of this sample among all samples, a uint32."""
        index = sample_index(self)
        if isinstance(self.start, int) and self.start == 0:
            return index
        return jnp.asarray(self.start, jnp.uint32) + index


class StepAxis:
    """One step of a loop, in the list of what encloses a nested expectation; see `in_step`.

    Attributes:
      purpose: as of `SampleAxis`.
      number: which step it is, a uint32, traced; None in an abstract run, where an equation marks
        the place of the number.
      name: the name of the vmapped axis under which JAX's caches keep what is traced inside.
    """

    purpose = keys.NESTED_STEP

    def __init__(self, number: Array | None) -> None:
        self.number = number
        self.name = SampleAxis()

    def __repr__(self) -> str:
        return "logtrick.step"

    def position(self) -> Array:
        """The number of the step."""
        return sample_index(self) if self.number is None else self.number


@functools.cache
def _step_at(depth: int) -> StepAxis:
    """One mark for every abstract step at the same depth of nesting, so that the caches find what is traced inside."""
    return StepAxis(None)


@functools.cache
def _axis_at(depth: int) -> SampleAxis:
    """One axis for every expectation or plate at the same depth of nesting, so that the caches find what is traced inside."""
    return SampleAxis(shared=True)


_ENCLOSING: contextvars.ContextVar[tuple[SampleAxis | StepAxis, ...]] = contextvars.ContextVar(
    "logtrick_enclosing_samples", default=()
)


def nesting() -> int:
    """How many expectations, plates and loops the caller is inside of."""
    return len(_ENCLOSING.get())


def axis_here() -> SampleAxis:
    """The axis over which `over_samples`, called here, maps the samples of an unchunked expectation."""
    return _axis_at(nesting())


@contextlib.contextmanager
def enclosed(axis: SampleAxis | StepAxis) -> Iterator[None]:
    """Inside, expectations are nested in the samples, elements or step of `axis`."""
    token = _ENCLOSING.set((*_ENCLOSING.get(), axis))
    try:
        yield
    finally:
        _ENCLOSING.reset(token)


def own_key(key: Array) -> Array:
    """`key` for an expectation or program that may be nested: each enclosing sample, element or step has its own."""
    for axis in _ENCLOSING.get():
        key = keys.fold_in(keys.fold_in(key, axis.purpose), axis.position())
    return key


class Runs(Module):
    """The samples of an expectation, seen from one of them: what a baseline computes its means over.

    Attributes:
      index: this sample's position on the axis, as a float.
      count: how many samples share the axis: the chunk's, where there are chunks.
      axis: the name of the vmapped axis.
      block: how many consecutive samples depend on each other through the sampling plan of this
        site.
    """

    index: Any
    count: int = static()
    axis: SampleAxis = static()
    block: int = static(default=1)

    def sum(self, x: Any) -> Array:
        """The sum of (stopped) `x` over the samples."""
        return sample_sum(x, self.index, self.axis)

    def sum_of_others(self, x: Any) -> Array:
        """The sum of (stopped) `x` over the samples that are independent of this one: those of the other blocks.

        Not by subtraction: in float32 a large term of this sample would leave its rounding in a
        small sum of the others.
        """
        return sample_sum(x, self.index, self.axis, self.block, others=True)

    def leave_one_out(self, x: Any) -> Array:
        """The mean of (stopped) `x` over the samples that are independent of this one."""
        mean = _jitted_mean_of_others if self.axis.shared else _mean_of_others
        return mean(self, x)


def _mean_of_others(runs: Runs, x: Any) -> Array:
    # Relative to the mean of all: the sum of numbers that have a large part in common loses their differences to its
    # rounding, which would then be noise in every baseline (50 % of the gradient for f = 10⁸ + 8 x in float32).
    x = stop(as_inexact(x))
    mean = runs.sum(x) / runs.count
    mean = jnp.where(jnp.isfinite(mean), mean, jnp.zeros((), mean.dtype))
    rest = x - mean
    own = rest if runs.block == 1 else sample_sum(rest, runs.index, runs.axis, runs.block)
    return mean + (runs.sum(rest) - own) / (runs.count - runs.block)


# One compiled call where it is called eagerly. Not for the axis of a chunk: it would be a new entry in JAX's cache each time.
_jitted_mean_of_others = jax.jit(_mean_of_others, inline=True)


def over_samples(one_sample: Callable[..., Any], count: int, *rows: Any, start: Any = 0) -> Any:
    """`one_sample(runs, *row)` for `count` samples, vmapped.

    Args:
      one_sample: a function of `Runs`, the samples seen from one of them, and of its row of each of `rows`.
      count: how many samples.
      rows: pytrees with a leading axis of samples.
      start: the position of the first sample among all, traced where this is one of many chunks.
    """
    shared = isinstance(start, int) and start == 0
    axis = axis_here() if shared else SampleAxis(start)
    index = jnp.arange(count, dtype=jnp.float32)
    run = lambda i, *row: one_sample(Runs(i, count, axis), *row)
    try:
        with enclosed(axis):
            return jax.vmap(run, axis_name=axis)(index, *rows)
    finally:
        if not shared:
            axis.start = 0  # no traced value outlives its trace


def over_elements(element: Callable[..., Any], *rows: Any, count: int | None = None) -> Any:
    """`element(*row)` for each of the elements, vmapped; expectations inside have noise of their own in each of them.

    Args:
      element: a function of its row of each of `rows`.
      rows: pytrees with a leading axis of elements.
      count: how many, where `rows` may have no arrays.
    """
    axis = axis_here()
    with enclosed(axis):
        return jax.vmap(element, axis_name=axis, axis_size=count)(*rows)


def in_step(number: Array, run: Callable[[], Any]) -> Any:
    """`run()` as one step of a loop: expectations inside have noise of their own in each step.

    The name of the step is a new one each time, so that nothing traced inside is found in JAX's
    caches later: a user's jitted function that contains an expectation depends on the number of the
    step, which is not among its arguments. Tracing without the caches is slow, so a loop calls this
    only where `depends_on_step` says that it has to.

    Args:
      number: which step it is, a uint32, traced.
      run: the step.
    """
    axis = StepAxis(number)
    try:
        return _named(axis, run)
    finally:
        axis.number = None  # no traced value outlives its trace


def in_abstract_step(run: Callable[[], Any]) -> Any:
    """`run()` as an abstract step of a loop: `depends_on_step` reads in its jaxpr whether expectations are inside."""
    return _named(_step_at(nesting()), run)


def _named(axis: StepAxis, run: Callable[[], Any]) -> Any:
    """`run()` as the step that `axis` stands for."""
    with enclosed(axis):
        return under_name(axis.name, run)


def under_name(name: SampleAxis, run: Callable[[], Any]) -> Any:
    """`run()` inside a vmap that maps nothing and whose axis has a name: JAX's caches of traced functions depend on it."""
    named = jax.vmap(lambda _: run(), out_axes=None, axis_name=name)
    return named(np.zeros(1, np.float32))


def depends_on_step(jaxpr: Any) -> bool:
    """Whether anything in the jaxpr of an abstract run depends on the number of a step."""
    for eqn in jaxpr.eqns:
        if isinstance(eqn.params.get("axis"), StepAxis):
            return True
        if any(map(depends_on_step, inner_jaxprs(eqn))):
            return True
    return False


def standard_error(values: Array) -> Array:
    """The standard error of the mean of independent `values`, shape (n,); nan for a single one."""
    n = values.shape[0]
    if n < 2:
        return jnp.full((), jnp.nan, values.dtype)
    away = values - jnp.mean(values)
    largest = jnp.max(jnp.abs(away))  # the squares of numbers like 1e30 are out of float32's range
    largest = jnp.where(largest == 0, 1.0, largest).astype(values.dtype)
    return largest * jnp.sqrt(jnp.mean((away / largest) ** 2)) / math.sqrt(n - 1)
