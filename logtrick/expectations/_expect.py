"""`lt.expect` and `lt.expect_program`."""

from collections.abc import Callable, Generator
from typing import Any, Literal, cast, overload

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from logtrick import programs
from logtrick._core import meter
from logtrick._core.calls import in_words
from logtrick._core.keys import as_key
from logtrick._core.mesh import automatic_mesh
from logtrick._core.module import replace
from logtrick._core.samples import own_key
from logtrick.distributions import Distribution
from logtrick.estimators import DifferentiableCost, Estimator, ScoreFunction
from logtrick.expectations._arguments import (
    check_blocks,
    check_counts,
    memory_advice,
    takes_key,
)
from logtrick.expectations._aux import Aux, aux_of
from logtrick.programs import (
    CostInfo,
    FreshKey,
    Program,
    Sample,
    Structure,
    automatic_chunk,
    block_sizes,
    check_distribution,
    check_estimator,
    check_program_arguments,
    host_errors_surface,
    key_info,
    run_all,
    site_info,
    start,
    structure_of,
    whole_cost,
)

Array = jax.Array


@overload
def expect(
    key: Any,
    f: Callable[[Any], Any],
    dist: Distribution,
    *,
    estimator: Estimator = ScoreFunction(),  # noqa: B008  # frozen
    num_samples: int = 16,
    chunk_size: int | None = None,
    has_aux: Literal[False] = False,
    mesh: Mesh | None = None,
) -> Array: ...


@overload
def expect(
    key: Any,
    f: Callable[[Any], Any],
    dist: Distribution,
    *,
    estimator: Estimator = ScoreFunction(),  # noqa: B008  # frozen
    num_samples: int = 16,
    chunk_size: int | None = None,
    has_aux: Literal[True],
    mesh: Mesh | None = None,
) -> tuple[Array, Aux]: ...


@overload
def expect(
    key: Any,
    f: Callable[[Any], Any],
    dist: Distribution,
    *,
    estimator: Estimator = ScoreFunction(),  # noqa: B008  # frozen
    num_samples: int = 16,
    chunk_size: int | None = None,
    has_aux: bool,
    mesh: Mesh | None = None,
) -> Any: ...


@in_words("lt.expect", further=((Estimator, "estimator"), (int, "num_samples")))
def expect(
    key: Any,
    f: Callable[[Any], Any],
    dist: Distribution,
    *,
    estimator: Estimator = ScoreFunction(),  # noqa: B008  # frozen
    num_samples: int = 16,
    chunk_size: int | None = None,
    has_aux: bool = False,
    mesh: Mesh | None = None,
) -> Any:
    """The expectation E_{x∼p_θ}[f(x, θ)], estimated; its derivative estimates the derivative of the expectation.

    f sees one draw at a time. It may depend on the parameters (the direct term is included), and be
    discontinuous under estimators that do not differentiate it. `jax.grad`, `jacfwd`, `hessian`,
    `vmap`, `jit` and `shard_map` of the result work as of any number. Put the expectation where the
    randomness is local: vmap an `expect` per data point rather than take one over the batch.

    Args:
      key: a typed key; the samples are rows of one counter-based draw, the same for any
        `chunk_size`. Inside of another expectation every outer sample, every element of a plate and
        every step of a loop has noise of its own here, also where all are given the same key. But a
        constant key gives the same noise at every call: make the inner key from the outer one, or
        take `f(x, key)`.
      f: `f(x) -> scalar` cost of one draw, or a tuple of scalar costs, which are summed. With two
        required arguments, `f(x, key)`, it gets a PRNG key, another one in each sample, for a cost
        that is itself random.
      dist: the distribution p_θ of one draw, made from the parameters to be differentiated.
      estimator: how the derivative is estimated.
      num_samples: n ≥ 1 samples; n ≥ 2 with leave-one-out; of no effect for `Enumerate`.
      chunk_size: samples in memory at a time; leave-one-out is then taken within a chunk (unbiased;
        its variance grows by the factor 1 + 1/(chunk − 1)). None takes all at once below 2²⁰
        numbers per site, and chunks of 2¹⁷ numbers from there on; `chunk_size=num_samples` forces one chunk.
      has_aux: also return an `Aux`.
      mesh: shard the samples over the devices of this mesh, by JAX's own engine: the same draws on
        any layout, and gradients equal to rounding. `num_samples` (and `chunk_size`) must be
        multiples of the number of devices.
    Returns:
      The estimate, shape (), in the units of f; with `has_aux`, `(estimate, aux)`.
    Raises:
      TypeError: no key, no distribution, no estimator, a `num_samples` that is no static int.
      ValueError: a cost or log-prob that is no scalar; an estimator that is illegal for the
        distribution.
    References:
      Mohamed, Rosca, Figurnov & Mnih (2020), "Monte Carlo Gradient Estimation in Machine Learning",
      JMLR 21(132).
    Example:
      >>> import jax, jax.numpy as jnp, logtrick as lt
      >>> f = lambda x: jnp.where(x > 0, 1.0, 0.0)                          # a step: no gradient of its own
      >>> value = lambda mu: lt.expect(jax.random.key(0), f, lt.Normal(mu, 1.0), num_samples=100_000)
      >>> round(value(0.0).item(), 2), round(jax.grad(value)(0.0).item(), 2)    # exact: ½ and 1/√(2π)
      (0.5, 0.4)
    """
    check_distribution("lt.expect", dist)
    check_estimator("lt.expect", estimator)
    wants_key, of_draw = takes_key("lt.expect", f), cast(Callable[..., Any], f)

    def program() -> Generator[Any, Any, None]:
        x = yield Sample(dist, estimator, None)
        if wants_key:
            yield whole_cost(of_draw(x, (yield FreshKey())))
        else:
            yield whole_cost(f(x))

    def structure(num_samples: int) -> Structure:
        site = site_info(Sample(dist, estimator, None), 0, num_samples)
        cost = CostInfo(0)
        return Structure((site, key_info(1), cost) if wants_key else (site, cost))

    result = expectation(
        "lt.expect", key, program, structure, num_samples, chunk_size, has_aux, mesh
    )
    if not has_aux:
        return result
    value, aux = result
    return value, replace(aux, costs=aux.costs[0], draws=aux.draws[0])


@overload
def expect_program(
    key: Any,
    program: Program,
    *args: Any,
    num_samples: int = 16,
    chunk_size: int | None = None,
    has_aux: Literal[False] = False,
    mesh: Mesh | None = None,
) -> Array: ...


@overload
def expect_program(
    key: Any,
    program: Program,
    *args: Any,
    num_samples: int = 16,
    chunk_size: int | None = None,
    has_aux: Literal[True],
    mesh: Mesh | None = None,
) -> tuple[Array, Aux]: ...


@overload
def expect_program(
    key: Any,
    program: Program,
    *args: Any,
    num_samples: int = 16,
    chunk_size: int | None = None,
    has_aux: bool,
    mesh: Mesh | None = None,
) -> Any: ...


@in_words("lt.expect_program")
def expect_program(
    key: Any,
    program: Program,
    *args: Any,
    num_samples: int = 16,
    chunk_size: int | None = None,
    has_aux: bool = False,
    mesh: Mesh | None = None,
) -> Any:
    """The expected sum of a program's costs; its derivative estimates the derivative of the expectation.

    A program is a generator function that yields its draws, `x = yield lt.sample(dist, estimator)`,
    and its costs, `yield lt.cost(value)`. Each site is credited with the costs that depend on its
    draw, directly or through the distributions of later sites; the dependencies are found by
    tracing. The function is called more than once while tracing, so it must be re-callable. A
    program without draws is the sum of its costs.

    Args:
      key: a typed key.
      program: a generator function.
      args: its arguments.
      num_samples: n ≥ 1 independent samples; n ≥ 2 with leave-one-out.
      chunk_size: samples in memory at a time, as for `lt.expect`.
      has_aux: also return an `Aux`, its costs, draws and estimators by name where one was given, by
        index elsewhere.
      mesh: shard the samples over the devices of this mesh, by JAX's own engine: the same draws on
        any layout, and gradients equal to rounding. `num_samples` (and `chunk_size`) must be
        multiples of the number of devices.
    Returns:
      The estimate, shape (); with `has_aux`, `(estimate, aux)`.
    Raises:
      TypeError: `program` is not a generator function.
      ValueError: it yields no cost, a cost that is no scalar, or an illegal estimator.
    References:
      Schulman, Heess, Weber & Abbeel (2015), "Gradient Estimation Using Stochastic Computation
      Graphs".
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
    check_program_arguments("lt.expect_program", program, args)
    begin = start(program, args)
    structure = lambda num_samples: structure_of(begin, num_samples)
    return expectation(
        "lt.expect_program", key, begin, structure, num_samples, chunk_size, has_aux, mesh
    )


def expectation(
    where: str,
    key: Any,
    begin: Any,
    structure_for: Callable[[int], Structure],
    num_samples: int,
    chunk_size: int | None,
    has_aux: bool,
    mesh: Mesh | None,
) -> Any:
    """The expectation of a program whose structure is `structure_for(samples in the smallest chunk)`."""
    key = own_key(as_key(key))
    num_samples, chunk_size = check_counts(where, num_samples, chunk_size)
    mesh = automatic_mesh(where, mesh)
    together = min(block_sizes(num_samples, chunk_size))
    structure = structure_for(together)
    _check_learning(where, structure, has_aux)
    check_blocks(where, structure, num_samples, chunk_size)
    sites = structure.all_sites
    meter.report_biased(
        type(site.estimator).__name__ for _, site in sites if not site.estimator.unbiased
    )
    # of a single site the credit is known, and its structure was made without an abstract run, which the hints need
    whole = lambda: structure_of(begin, together) if structure.credit is None else structure
    meter.report_hints(lambda: programs.separable_sites(whole()))
    random = structure.random
    count, chunk = (num_samples, chunk_size) if random else (1, None)
    if random and chunk is None:
        chunk = automatic_chunk(structure, num_samples, mesh_size(mesh))
    place = None if mesh is None or not random else _placed(where, mesh, num_samples, chunk)
    results: list[Any] = []
    needing = tuple(
        type(s.estimator).__name__ for _, s in sites if DifferentiableCost in s.estimator.needs
    )
    with host_errors_surface(results, needing), memory_advice(where):
        block = run_all(key, begin, structure, count, chunk, has_aux, place)
        value = jnp.mean(block.totals)
        results.append(value)
    return (value, aux_of(block, structure, random)) if has_aux else value


def _check_learning(where: str, structure: Structure, has_aux: bool) -> None:
    """Refuse an estimator that learns without `has_aux=True`."""
    learns = [name for name, site in structure.all_sites if site.estimator.adaptive]
    if learns and not has_aux:
        raise ValueError(
            f"{where}: the estimator of site {learns[0]!r} learns, and without has_aux=True it never would. Pass "
            "has_aux=True and add aux.adaptive_loss to the loss (lt.minimize does)."
        )


def mesh_size(mesh: Mesh | None) -> int:
    """How many devices the samples are sharded over."""
    return 1 if mesh is None else mesh.size


def _placed(where: str, mesh: Mesh, num_samples: int, chunk: int | None) -> Callable[[Any], Any]:
    """A function that shards the leading axis of everything it gets over all devices of a mesh."""
    for name, count in (("num_samples", num_samples), ("chunk_size", chunk or num_samples)):
        if count % mesh.size:
            raise ValueError(
                f"{where}({name}=…) needs a multiple of the {mesh.size} devices of the mesh; got {count}. Pass "
                f"{count + mesh.size - count % mesh.size}."
            )
    sharding = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
    place = lambda x: jax.lax.with_sharding_constraint(x, sharding)
    return lambda noises: jax.tree.map(place, noises)
