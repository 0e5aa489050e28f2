"""`lt.plate`: independent elements, each with its own sites, costs and credit.

An element is a program of its own: its sites are credited with those of its own costs that depend
on them, and not with the costs of other elements. The costs after the plate are credited to every
site that the element's reply depends on. So N elements have the variance of N separate
expectations, and trace and compile like one.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from logtrick._core import checks
from logtrick._core.calls import in_words
from logtrick._core.kernel import limited, magic_box
from logtrick._core.samples import Runs
from logtrick.programs._closing import Context, Stretch, close_stretch, total_of
from logtrick.programs._infos import PlateInfo
from logtrick.programs._statements import Plate, Program, check_name, common_length, made
from logtrick.programs._waiting import Open, Record, Settled, log_of, merged, record_of, sum_of

Array = jax.Array


@in_words("lt.plate")
def plate(
    step: Program,
    xs: Any = None,
    length: int | None = None,
    name: str | None = None,
    *,
    subsample: int | None = None,
    stand_in: Callable[[Any], Any] | None = None,
) -> Plate:
    """Independent elements, to be yielded by a program: `ys = yield lt.plate(step, xs)`.

    Like `jax.vmap`, with draws and costs inside. Every element has its own draws and costs: a site
    is credited with those costs of its own element that depend on it, and with the costs after the
    plate if the element's reply depends on it. The variance is that of as many separate
    expectations, where one site of N factors would multiply each factor's score with the costs of
    all. An `lt.expect` inside has noise of its own in every element, also under one key. Estimators
    of several points evaluate the rest of their own element only: k points in each of N elements
    are N k evaluations; what follows the plate must then not depend on their draws. Plates and
    loops nest.

    Args:
      step: a generator function `step(x)` that yields `lt.sample`, `lt.cost`, `lt.scan` or
        `lt.plate` and returns y.
      xs: what the elements run over, a pytree with a leading axis of elements.
      length: the number of elements, where `xs` has none.
      name: the first half of the names under which `aux` reports what is inside, "plate.site"; by
        default the index of the plate among the program's sites.
      subsample: use only so many of the elements, chosen anew in every sample without replacement,
        and multiply their costs by N/M. Unbiased for the sum of the elements' own costs.
      stand_in: `stand_in(ys) -> y`, a replacement of one element's y, made from the ys of the others (a leading axis
        shorter by one). The costs after the plate are evaluated once more for each element, with its y replaced, and
        the result is the element's baseline for these costs (VIMCO); the baseline of the site's estimator, over the
        samples, is taken of what is left.
    Returns:
      What the program yields; the yield's value is `ys`, a leading axis of the elements (of those
      used).
    Raises:
      TypeError: the step is no generator function.
      ValueError: no number of elements, or one that does not fit; costs after the plate that depend
        on the draws of an estimator of several points inside.
    References:
      Schulman, Heess, Weber & Abbeel (2015), "Gradient Estimation Using Stochastic Computation
      Graphs", for the credit;
      Mnih & Rezende (2016), "Variational Inference for Monte Carlo Objectives", for stand-ins.
    Example:
      >>> import jax, jax.numpy as jnp, logtrick as lt
      >>> def program(logits):
      ...     def flip(element):
      ...         logit, weight = element
      ...         bit = yield lt.sample(lt.Bernoulli(logit))
      ...         yield lt.cost(weight * bit)
      ...         return bit
      ...     bits = yield lt.plate(flip, (logits, jnp.arange(3.0)))
      >>> value = lambda logits: lt.expect_program(jax.random.key(0), program, logits, num_samples=10_000)
      >>> jax.grad(value)(jnp.zeros(3)).round(2).tolist()              # exact: ¼ (0, 1, 2)
      [0.0, 0.25, 0.5]
    """
    if not callable(step):
        raise TypeError(
            f"lt.plate(step=…) needs a generator function; got {type(step).__name__}. Write `def step(x)`."
        )
    check_name("lt.plate", name)
    count = common_length("lt.plate", "elements", xs, length, least=1)
    if subsample is not None:
        subsample = checks.positive_int("lt.plate", "subsample", subsample)
    if subsample is not None and subsample > count:
        raise ValueError(
            f"lt.plate(subsample=…) needs at most as many as there are elements, {count}; got {subsample}. Leave it out."
        )
    if stand_in is not None and (subsample or count) < 2:
        raise ValueError(
            "lt.plate(stand_in=…) needs at least 2 elements, of which one can stand in for another; got 1. Leave it out."
        )
    return made(Plate(step, xs, count, name, subsample, stand_in))


@dataclasses.dataclass(frozen=True)
class OpenPlate(Open):
    """A plate whose elements have drawn.

    Attributes:
      element: the open elements, a leading axis of elements on everything.
      planned: what the abstract run found.
      collect: whether draws and costs are recorded.
      baselines: for each element, what stands in for the costs after the plate; None for nothing.
    """

    element: Stretch
    planned: PlateInfo
    collect: bool
    baselines: Array | None = None

    def settle(self, after: Array, runs: Runs) -> Settled:
        context = Context(self.planned.element, runs, self.collect)

        def one(element: Stretch, baseline: Array | None) -> Any:
            # sites that are not weighed make their own term of what is left above the baseline
            left = after if baseline is None else after - baseline
            closed = close_stretch(context, element, left)
            return *total_of(closed), closed.weight, closed.later_losses, closed.records

        paid, zero, weight, loss, records = jax.vmap(one)(self.element, self.baselines)
        if weight is not None:
            zero = sum_of([zero, self._below(weight)])
            weight = magic_box(jnp.sum(log_of(weight)))
            for name, watched in self.limits():
                weight = limited(name, weight, watched)
        record = Record()
        if records is not None:
            record = merged(record_of([records[i] for i in range(len(self.planned.items))]))
        whole = lambda part: None if part is None else jnp.sum(part)
        return Settled(whole(paid), whole(zero), weight, whole(loss), record)

    def _below(self, weights: Array) -> Array | None:
        """The terms of value zero, one for each element, of what stands in: b (1 − box), b independent of its draws."""
        if self.baselines is None:
            return None
        terms = self.baselines.astype(weights.dtype) * (1 - weights)
        for name, watched in self.limits():
            watched = (self.baselines, watched)
            limit = lambda term, name=name, watched=watched: limited(name, term, watched)
            terms = jax.vmap(limit)(terms)
        return terms

    def paid(self) -> Array | None:
        # asked for inside of a loop only, where no site branches: there is no tail
        of_element = lambda element: sum_of(item.paid() for item in element.items)
        return jax.tree.map(jnp.sum, jax.vmap(of_element)(self.element))

    def limits(self) -> list[tuple[str, Any]]:
        return [limit for item in self.element.items for limit in item.limits()]


jax.tree_util.register_dataclass(
    OpenPlate, data_fields=["element", "baselines"], meta_fields=["planned", "collect"]
)
