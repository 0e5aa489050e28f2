"""`lt.expect` and `lt.expect_program`."""

import math
from collections.abc import Callable, Generator
from typing import Any

import jax
import jax.numpy as jnp

from logtrick._core import checks, meter
from logtrick._core.kernel import detached
from logtrick._core.keys import as_key
from logtrick._core.module import Module
from logtrick._core.runs import standard_error
from logtrick.distributions import Distribution
from logtrick.estimators import Estimator, ScoreFunction
from logtrick.programs._black_box import host_errors_surface
from logtrick.programs._engine import Block, block_sizes, run_all
from logtrick.programs._items import Cost, Program, Sample, check_distribution, check_estimator
from logtrick.programs._outline import (
    CostOutline,
    Outline,
    SiteOutline,
    leaves_of,
    outline,
    single,
    start,
    unique,
)

Array = jax.Array


class Aux(Module):
    """What an expectation gives beside its value.

    Attributes:
      standard_error: of the value, over independent runs, in the units of f; 0 where nothing is random, nan for one run.
      costs: each run's costs, a leading axis of runs: like f's return for `expect`, by name for programs.
      draws: each run's draws likewise (averaged over the points of an estimator of several points).
      adaptive_loss: what the learned parts of the estimators minimise, shape (); 0 where there are none.
      estimators: by site name, the estimators with their statistics advanced by this call.

    Example:
      >>> import jax, logtrick as lt
      >>> value, aux = lt.expect(jax.random.key(0), lambda x: x, lt.Normal(2.0, 1.0), num_samples=100, has_aux=True)
      >>> aux.draws.shape, round(aux.standard_error.item(), 1)
      ((100,), 0.1)
    """

    standard_error: Array
    costs: Any
    draws: Any
    adaptive_loss: Array
    estimators: dict[Any, Estimator]

    @property
    def estimator(self) -> Estimator:
        """The only estimator.

        Raises:
          ValueError: there are several sites.
        """
        if len(self.estimators) != 1:
            raise ValueError(
                f"aux.estimator needs a single site; there are {len(self.estimators)}. Use aux.estimators."
            )
        return next(iter(self.estimators.values()))


def expect(
    key: Any,
    f: Callable[[Any], Any],
    dist: Distribution,
    *,
    estimator: Estimator = ScoreFunction(),  # noqa: B008  # frozen
    num_samples: int = 16,
    chunk_size: int | None = None,
    has_aux: bool = False,
) -> Any:
    """The expectation E_{x∼p_θ}[f(x, θ)], estimated; its derivative estimates the derivative of the expectation.

    f may depend on the parameters (the direct term is included), be discontinuous under estimators that do not
    differentiate it, and see one draw at a time. `jax.grad`, `jacfwd`, `hessian`, `vmap`, `jit` and `shard_map` of the
    result work as of any number. Put the expectation where the randomness is local: vmap an `expect` per data point
    rather than take one over the batch.

    Args:
      key: a typed key; the runs are rows of one counter-based draw, the same for any `chunk_size`.
      f: `f(x) -> scalar` cost of one draw, or a tuple of scalar costs, which are summed.
      dist: the distribution p_θ of one draw, made from the parameters to be differentiated.
      estimator: how the derivative is estimated.
      num_samples: n ≥ 1 runs; n ≥ 2 with leave-one-out; of no effect for `Enumerate`.
      chunk_size: runs in memory at a time; leave-one-out is then taken within a chunk. None for all at once.
      has_aux: also return an `Aux`.
    Returns:
      The estimate, shape (), in the units of f; with `has_aux`, `(estimate, aux)`.
    Raises:
      TypeError: no key, no distribution, no estimator, a `num_samples` that is no static int.
      ValueError: a cost or log-prob that is no scalar; an estimator that is illegal for the distribution.
    References:
      Mohamed, Rosca, Figurnov & Mnih (2020), "Monte Carlo Gradient Estimation in Machine Learning", JMLR 21(132).
    Example:
      >>> import jax, jax.numpy as jnp, logtrick as lt
      >>> f = lambda x: jnp.where(x > 0, 1.0, 0.0)                          # a step: no gradient of its own
      >>> value = lambda mu: lt.expect(jax.random.key(0), f, lt.Normal(mu, 1.0), num_samples=100_000)
      >>> round(value(0.0).item(), 2), round(jax.grad(value)(0.0).item(), 2)    # exact: ½ and 1/√(2π)
      (0.5, 0.4)
    """
    check_distribution("lt.expect", dist)
    check_estimator("lt.expect", estimator)
    several = False

    def program() -> Generator[Any, Any, None]:
        nonlocal several
        x = yield site
        value = f(x)
        several = isinstance(value, tuple)
        if several and not value:
            raise ValueError(
                "f must return a scalar or a tuple of scalars; got an empty tuple. Return a number."
            )
        for c in value if several else (value,):
            yield Cost(checks.scalar_cost("f", c), None)

    site = Sample(dist, estimator, None)
    begin = start(program, ())

    def make(num_runs: int) -> Outline:
        return single(site, num_runs, lambda costs: outline(begin, num_runs).credits(costs))

    result = _expectation("lt.expect", key, begin, make, num_samples, chunk_size, has_aux)
    if not has_aux:
        return result
    value, aux = result
    costs = tuple(aux.costs.values()) if several else aux.costs[0]
    return value, Aux(aux.standard_error, costs, aux.draws[0], aux.adaptive_loss, aux.estimators)


def expect_program(
    key: Any,
    program: Program,
    *args: Any,
    num_samples: int = 16,
    chunk_size: int | None = None,
    has_aux: bool = False,
) -> Any:
    """The expected sum of a program's costs; its derivative estimates the derivative of the expectation.

    A program is a generator function that yields its draws, `x = yield lt.sample(dist, estimator)`, and its costs,
    `yield lt.cost(value)`. Each site is credited with the costs that depend on its draw, directly or through the
    distributions of later sites, by dependency, without being told. The function is called more than once while
    tracing, so it must be re-callable.

    Args:
      key: a typed key.
      program: a generator function.
      args: its arguments.
      num_samples: n ≥ 1 independent runs; n ≥ 2 with leave-one-out.
      chunk_size: runs in memory at a time. None for all at once.
      has_aux: also return an `Aux`, its costs, draws and estimators by name (the index where there is none).
    Returns:
      The estimate, shape (); with `has_aux`, `(estimate, aux)`.
    Raises:
      TypeError: `program` is not a generator function.
      ValueError: it yields no draw, no cost, a cost that is no scalar, or an illegal estimator.
    References:
      Schulman, Heess, Weber & Abbeel (2015), "Gradient Estimation Using Stochastic Computation Graphs".
    Example:
      >>> import jax, logtrick as lt
      >>> def program(logits):
      ...     a = yield lt.sample(lt.Bernoulli(logits[0]))
      ...     b = yield lt.sample(lt.Bernoulli(logits[1] + 2.0 * a))
      ...     yield lt.cost(b)
      >>> value = lambda logits: lt.expect_program(jax.random.key(0), program, logits, num_samples=200_000)
      >>> [round(g.item(), 2) for g in jax.grad(value)(jax.numpy.zeros(2))]   # the first through b's distribution
      [0.1, 0.18]
    """
    begin = start(program, args)
    return _expectation(
        "lt.expect_program",
        key,
        begin,
        lambda runs: outline(begin, runs),
        num_samples,
        chunk_size,
        has_aux,
    )


def _expectation(
    where: str,
    key: Any,
    begin: Any,
    make_outline: Any,
    num_samples: int,
    chunk_size: int | None,
    has_aux: bool,
) -> Any:
    key = as_key(key)
    checks.positive_int(where, "num_samples", num_samples)
    if num_samples >= 2**32:
        raise ValueError(
            f"{where}(num_samples=…) needs fewer than 2**32 runs; got {num_samples}. Average several keys."
        )
    if chunk_size is not None:
        checks.positive_int(where, "chunk_size", chunk_size)
    plan = make_outline(min(block_sizes(num_samples, chunk_size)))
    sites = plan.all_sites()
    learns = [name for name, site in sites if site.estimator.adaptive]
    if learns and not has_aux:
        raise ValueError(
            f"{where}: the estimator of site {learns[0]!r} learns, and without has_aux=True it never would. Pass "
            "has_aux=True and add aux.adaptive_loss to the loss (lt.minimize does)."
        )
    _check_blocks(where, sites, num_samples, chunk_size)
    meter.report_biased(
        type(site.estimator).__name__ for _, site in sites if not site.estimator.unbiased
    )
    random = not all(site.estimator.deterministic for _, site in sites)
    results: list[Any] = []
    needing = tuple(
        type(s.estimator).__name__ for _, s in sites if "differentiable f" in s.estimator.needs
    )
    with host_errors_surface(results, needing):
        block = run_all(
            key, begin, plan, num_samples if random else 1, chunk_size if random else None, has_aux
        )
        value = jnp.mean(block.totals)
        results.append(value)
    return (value, _aux(block, plan, random)) if has_aux else value


def _check_blocks(where: str, sites: Any, num_samples: int, chunk_size: int | None) -> None:
    """No block of dependent runs is cut by the end of the runs or of a chunk."""
    for name, site in sites:
        size = site.estimator.block or 1
        for argument, count in (("num_samples", num_samples), ("chunk_size", chunk_size or 0)):
            if count % size:
                raise ValueError(
                    f"{where}({argument}=…) needs a multiple of {size}: under its plan the runs of site {name!r} depend "
                    f"on each other in blocks of {size}; got {count}. Pass {count + size - count % size}, or IID()."
                )


def _aux(block: Block, plan: Outline, random: bool) -> Aux:
    totals, blocks = block.totals, [site.estimator.block for _, site in plan.all_sites()]
    found = detached({name: value for name, value in block.aux.items() if name != "adaptive"})
    draws, loop_costs, statistics = (
        [found.get(part, {}).get(i) for i in range(len(plan.sites))]
        for part in ("draws", "loop_costs", "statistics")
    )
    paid = [(plan.cost_names[i], c) for i, c in sorted(found["costs"].items())]
    advanced = [
        site.estimator
        if s is None
        else site.estimator.advance(jax.tree.map(lambda a: jnp.mean(a, 0), s))
        for (_, site), (_, s) in zip(
            plan.all_sites(), leaves_of(plan.sites, SiteOutline, statistics)
        )
    ]
    return Aux(
        detached(
            _standard_error(block.totals, blocks) if random else jnp.zeros((), block.totals.dtype)
        ),
        _named("lt.cost", [*paid, *leaves_of(plan.sites, CostOutline, loop_costs)]),
        _named("lt.sample", list(leaves_of(plan.sites, SiteOutline, draws))),
        jnp.mean(block.aux["adaptive"]) if "adaptive" in block.aux else jnp.zeros((), totals.dtype),
        {name: estimator for (name, _), estimator in zip(plan.all_sites(), advanced)},
    )


def _standard_error(totals: Array, blocks: list[int | None]) -> Array:
    """Of the mean, over the blocks of runs that are independent of each other; nan where there are not two of them."""
    if None in blocks or totals.shape[0] < 2 * (size := math.lcm(*(b or 1 for b in blocks))):
        return jnp.full((), jnp.nan, totals.dtype)
    return standard_error(jnp.mean(totals.reshape(-1, size), 1))


def _named(where: str, pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    return dict(zip(unique(where, [name for name, _ in pairs]), [value for _, value in pairs]))
