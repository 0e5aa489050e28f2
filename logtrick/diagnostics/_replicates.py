"""Many independent gradients of one objective, in vmapped blocks of bounded memory."""

import collections
import inspect
import time
from collections.abc import Callable, Hashable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from logtrick._core import checks, keys
from logtrick._core.calls import described
from logtrick._core.fingerprint import fingerprint, functions_in
from logtrick._core.jaxprs import largest_bytes
from logtrick._core.meter import Seen, seen_in
from logtrick._core.module import Module
from logtrick._core.objectives import check_objective, value_and_aux
from logtrick.diagnostics._moments import GradientMoments, Moments
from logtrick.expectations import expect_program
from logtrick.programs import dependencies, host_errors_surface
from logtrick.training import merge, partition

Array = jax.Array

_BLOCK_BYTES = 2**24  # of the largest intermediate array of a block


class Probe:
    """What tracing tells of an objective before it runs.

    Attributes:
      bytes: of the largest intermediate array of one gradient.
      evaluations: of f in one gradient; None where not known.
      biased: the names of the estimators that are declared biased.
      hints: what would make the variance smaller, in words.
      sampled: whether the gradient can depend on the key. Where it does not, it is no estimate.
      seconds: what tracing took.
    """

    def __init__(self, bytes: int, seen: Seen, sampled: bool, seconds: float) -> None:
        self.bytes, self.sampled, self.seconds = bytes, sampled, seconds
        self.evaluations, self.biased, self.hints = seen


class Replicator:
    """The compiled functions of one objective.

    Args:
      where: the public function's name, for messages.
      objective: `objective(params, key, *data, **options) -> value`, or `(value, aux)`.
      options: keyword arguments for it, which are part of the program.
    """

    def __init__(
        self, where: str, objective: Callable[..., Any], options: tuple[tuple[str, Any], ...] = ()
    ) -> None:
        self.where, self.objective, self.options = where, objective, dict(options)
        self.single = jax.jit(self._value_and_grad)
        self.block = jax.jit(self._block, static_argnames=("size",))
        self.compile_seconds: float | None = None  # of `single` when first called, with tracing
        self.seconds_per_gradient: float | None = None  # in the last block that ran
        self.exact: dict[int, Any] = {}  # the objective without sampling, by quadrature rule
        self.functions: list[Any] = []  # in the structure of the parameters
        self.boxes: list[Any] = []  # the black boxes that it calls, found while tracing
        self._probes: dict[Any, Probe] = {}

    def value(self, params: Any, key: Array, data: tuple[Any, ...]) -> Array:
        """The objective's value, shape ()."""
        out = self.objective(params, key, *data, **self.options)
        value, _ = value_and_aux(self.where, out)
        return checks.scalar_cost(f"{self.where}: the objective", value)

    def _value_and_grad(self, params: Any, key: Array, data: tuple[Any, ...]) -> tuple[Array, Any]:
        trained, statistics = partition(params)
        return jax.value_and_grad(
            lambda trained: self.value(merge(params, trained, statistics), key, data)
        )(trained)

    def _block(
        self, params: Any, key: Array, data: tuple[Any, ...], start: Array, size: int
    ) -> tuple[Array, Any]:
        """Replicates start … start + size; each replicate's key depends on its index alone."""
        index = start + jnp.arange(size, dtype=jnp.int32)
        return jax.vmap(lambda i: self.single(params, jax.random.fold_in(key, i), data))(index)

    def probe(self, params: Any, key: Array, data: tuple[Any, ...]) -> Probe:
        """What tracing tells: the one place where what the objective raises when traced comes out."""
        leaves, tree = jax.tree.flatten((params, data))
        kind = (tree, tuple((jnp.shape(x), jnp.result_type(x)) for x in leaves), key.dtype)
        if kind not in self._probes:
            began = time.perf_counter()
            with host_errors_surface([], boxes=self.boxes):
                jaxpr = self.single.trace(params, key, data).jaxpr
            seconds = time.perf_counter() - began
            # the value alone: what reverse mode computes anew is no further evaluation
            seen = seen_in(self.value, params, key, data)
            largest = largest_bytes(jaxpr.jaxpr.eqns)
            sampled = _reads_key(jaxpr.jaxpr, len(jax.tree.leaves(params)))
            self._probes[kind] = Probe(largest, seen, sampled, seconds)
            _remember(self)
        return self._probes[kind]

    def computed(self, params: Any, key: Array, data: tuple[Any, ...]) -> tuple[Array, Any]:
        """One value and gradient; an exception of a black box on the host comes out as `BlackBoxError`."""
        with host_errors_surface([], boxes=self.boxes):
            return jax.block_until_ready(self.single(params, key, data))

    def time_single(self, params: Any, key: Array, data: tuple[Any, ...]) -> float:
        """Seconds of one value and gradient, the compilation before it excepted."""
        if self.compile_seconds is None:
            first = self._seconds(params, key, data)
            again = self._seconds(params, key, data)
            traced = self.probe(params, key, data).seconds
            self.compile_seconds = max(first - again, 0.0) + traced
        return self._seconds(params, key, data)

    def _seconds(self, params: Any, key: Array, data: tuple[Any, ...]) -> float:
        began = time.perf_counter()
        self.computed(params, key, data)
        return time.perf_counter() - began


def _reads_key(jaxpr: Any, index: int) -> bool:
    """Whether a gradient can depend on the key, input `index` of the jaxpr, whose first output is the value."""
    label = frozenset([0])
    inputs = [label if i == index else frozenset[int]() for i in range(len(jaxpr.invars))]
    return any(found for found in dependencies(jaxpr, inputs)[1:])


_KEPT = 64
_REPLICATORS: collections.OrderedDict[Hashable, Replicator] = collections.OrderedDict()


def _remember(work: Replicator) -> None:
    """Find `work` again by the code and the data of its objective as they are now, which tracing may have changed."""
    key = (work.where, fingerprint((work.objective, *work.functions)), tuple(work.options.items()))
    _REPLICATORS[key] = work
    _REPLICATORS.move_to_end(key)
    while len(_REPLICATORS) > _KEPT:
        _REPLICATORS.popitem(last=False)


def replicator(
    where: str, objective: Any, has_data: bool, params: Any, name: str | None = None, **options: Any
) -> Replicator:
    """The compiled functions of `objective` at parameters like `params`, cached for the 64 objectives used last."""
    argument = "objective" if name is None else f"objectives[{name!r}]"
    if not callable(objective) or isinstance(objective, Module):
        raise TypeError(
            f"{where}({argument}=…) needs a function of (params, key); got {described(objective)}."
        )
    if inspect.isgeneratorfunction(objective):
        objective = _of_program(objective)
    elif not options:
        check_objective(where, objective, has_data, argument)
    given = tuple(options.items())
    functions = functions_in(jax.tree.structure(params))
    found = _REPLICATORS.get((where, fingerprint((objective, *functions)), given))
    if found is None:
        found = Replicator(where, objective, given)
        found.functions = functions
    return found


def _of_program(program: Callable[..., Any]) -> Callable[..., Any]:
    """The objective of a program: its expectation, by 16 samples where `num_samples` is not swept."""

    def objective(params: Any, key: Array, *data: Any, **options: Any) -> Array:
        return expect_program(key, program, params, *data, **options)

    return objective


def moments(
    work: Replicator, key: Array, params: Any, data: tuple[Any, ...], count: int, block: int | None
) -> tuple[Moments, GradientMoments]:
    """The moments of the value, and of the gradient's leaves, over `count` replicates."""
    base = jax.random.fold_in(key, keys.REPLICATE)
    fitting = block or max(1, _BLOCK_BYTES // work.probe(params, base, data).bytes)
    most = min(-(-count // 2), fitting)  # two blocks: the second one's time is without compilation
    # Even blocks: no more than the surplus of the last one is thrown away.
    size = -(-count // -(-count // most))
    value = Moments()
    gradient = GradientMoments(len(jax.tree.leaves(partition(params)[0])), count)
    for start in range(0, count, size):
        began = time.perf_counter()
        with host_errors_surface([], boxes=work.boxes):
            values, grads = jax.device_get(
                work.block(params, base, data, np.int32(start), size=size)
            )
        kept = min(size, count - start)
        value.add(np.asarray(values, np.float64)[:kept])
        gradient.add([np.asarray(g, np.float64)[:kept] for g in jax.tree.leaves(grads)])
        work.seconds_per_gradient = (time.perf_counter() - began) / size
    _remember(work)
    return value, gradient
