"""`lt.expect_tree`: the expectation of a function that returns a pytree of arrays."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from logtrick import noise as _noise
from logtrick._core import checks, keys, meter
from logtrick._core.calls import in_words
from logtrick._core.keys import as_key
from logtrick._core.samples import Runs, over_samples, own_key
from logtrick._core.watch import note_precision
from logtrick.distributions import Distribution, value_of
from logtrick.estimators import (
    Costs,
    DifferentiableCost,
    Estimator,
    ScoreFunction,
    close_limited,
    draw,
)
from logtrick.expectations._arguments import (
    check_blocks,
    check_counts,
    memory_advice,
    takes_key,
)
from logtrick.programs import (
    Sample,
    Structure,
    automatic_chunk,
    block_sizes,
    check_distribution,
    check_estimator,
    host_errors_surface,
    scan_blocks,
    site_info,
)

Array = jax.Array
_WHERE = "lt.expect_tree"
_OWN = (0,)


@in_words("lt.expect_tree", further=((int, "num_samples"),))
def expect_tree(
    key: Any,
    f: Callable[[Any], Any],
    dist: Distribution,
    *,
    estimator: Estimator = ScoreFunction(),  # noqa: B008  # frozen
    num_samples: int = 16,
    chunk_size: int | None = None,
) -> Any:
    """The expectation E_{x∼p_θ}[f(x, θ)] of an f that returns a pytree of arrays, entry by entry.

    Each entry is a cost of its own, with its own baseline, all from the same draws: the Jacobian of
    the result estimates the Jacobian of the expectation without bias. So perturbed solvers are one
    line: `f` an argmax, a sort or a shortest path, `dist` a normal or `lt.Gumbel` around its input
    (Berthet et al., 2020).

    On a CPU, jaxlib 0.10.2 (not 0.10.0, not 0.12) adds two sums over a last axis wrongly where they have
    more than 32,768 results, in any JAX program: `(x * w).sum(-1) + (y * w).sum(-1)`, x and y of shape
    (200, 1, 4), w of (1, 200, 4). The Jacobian of an expectation of several entries, vmapped over
    hundreds of keys, contains such sums. `XLA_FLAGS=--xla_cpu_experimental_ynn_fusion_type=` avoids it.

    Args:
      key: a typed key.
      f: `f(x) -> pytree of real arrays`, of one draw.
      dist: the distribution p_θ of one draw.
      estimator: how the derivatives are estimated; it must neither learn nor differentiate f by
        itself.
      num_samples: n ≥ 1 samples; n ≥ 2 with leave-one-out.
      chunk_size: samples in memory at a time, as for `lt.expect`.
    Returns:
      A pytree like f's return, floats, in its units.
    Raises:
      TypeError: no key, distribution, estimator or function; f returns something other than real
        arrays.
      ValueError: an estimator that is illegal for the distribution, learns, or differentiates f by
        itself.
    References:
      Berthet, Blondel, Teboul, Cuturi, Vert & Bach (2020), "Learning with Differentiable Perturbed
      Optimizers".
    Example:
      >>> import jax, jax.numpy as jnp, logtrick as lt
      >>> winner = lambda x: jax.nn.one_hot(jnp.argmax(x), 2)
      >>> mean = lambda t: lt.expect_tree(jax.random.key(0), winner, lt.Normal(t, 1.0), num_samples=50_000)
      >>> print(jax.jacobian(mean)(jnp.zeros(2)).round(1))             # exact: ± 1/√(4π) = 0.28
      [[ 0.3 -0.3]
       [-0.3  0.3]]
    """
    name = type(estimator).__name__
    _check(f, dist, estimator)
    key = own_key(as_key(key))
    num_samples, chunk_size = check_counts(_WHERE, num_samples, chunk_size)
    least = min(block_sizes(num_samples, chunk_size))
    structure = Structure((site_info(Sample(dist, estimator, None), 0, least),))
    check_blocks(_WHERE, structure, num_samples, chunk_size)
    meter.report_biased([] if estimator.unbiased else [name])
    count = num_samples if structure.random else 1
    chunk = chunk_size if structure.random else None
    if structure.random and chunk is None:
        chunk = automatic_chunk(structure, count, 1)
    trees: list[Any] = []
    evaluations = 0

    def one_sample(runs: Runs, noise: Any) -> Array:
        nonlocal evaluations
        points = draw(estimator, noise, dist)
        if points.centers:
            raise ValueError(
                f"{_WHERE}: {estimator!r} needs derivatives of f. Use ScoreFunction() with its own baseline."
            )
        entries = lambda x: _flat(f(x), trees)
        x = value_of(points.x)
        values = jax.vmap(entries)(x) if points.stacked else entries(x)
        evaluations = points.count

        def closed(cost: Array) -> Array:
            return close_limited(estimator, Costs({_OWN: cost}), points, runs).total_and_zero

        return jax.vmap(closed, in_axes=-1)(values)

    site_key = jax.random.fold_in(jax.random.fold_in(key, keys.SAMPLE), 0)
    spec = structure.sites[0].noise

    def block(start: Any, size: int) -> Array:
        rows = _noise.rows(spec, site_key, start, size, count)
        return over_samples(one_sample, size, rows, start=start)

    results: list[Any] = []
    needing = (name,) if DifferentiableCost in estimator.needs else ()
    with host_errors_surface(results, needing), memory_advice(_WHERE):
        if chunk is None or chunk >= count:
            values = block(0, count)
        else:
            *whole, last = block_sizes(count, chunk)
            values = scan_blocks(block, len(whole), chunk, last)
        results.append(values)
    meter.report(evaluations * count, values)
    return _unflat(jnp.mean(values, 0), trees[-1])


def _check(f: Any, dist: Any, estimator: Any) -> None:
    """Check the distribution, the estimator and the function of one draw."""
    check_distribution(_WHERE, dist)
    check_estimator(_WHERE, estimator)
    if takes_key(_WHERE, f):
        raise TypeError(
            f"{_WHERE}(f=…) is called with one draw, f(x); got a function of a draw and a key. Use lt.expect for a cost that "
            "is itself random."
        )
    if estimator.adaptive or estimator.derivatives_of_rest:
        raise ValueError(
            f"{_WHERE}(estimator=…) needs one that neither learns nor differentiates f by itself; got "
            f"{estimator!r}. Use ScoreFunction() with its own baseline, or lt.expect for each entry."
        )


def _flat(tree: Any, trees: list[Any]) -> Array:
    """The entries of f's return in one vector, shape (entries,); the structure and shapes of its leaves go into `trees`."""
    leaves, structure = jax.tree.flatten(tree)
    leaves = [checks.array(_WHERE, "what f returns", leaf) for leaf in leaves]
    for leaf in leaves:
        note_precision(leaf.dtype)
    arrays = [checks.real(_WHERE + "(f=…)", "each leaf", leaf) for leaf in leaves]
    if not arrays:
        raise TypeError(f"{_WHERE}(f=…) must return arrays; got {tree!r}. Return the array.")
    trees[:] = [(structure, [(a.shape, a.size) for a in arrays])]
    dtype = jnp.result_type(jnp.float32, *arrays)  # at least float32, for the means over samples
    return jnp.concatenate([a.astype(dtype).reshape(-1) for a in arrays])


def _unflat(vector: Array, known: Any) -> Any:
    """The pytree that `_flat` took apart."""
    structure, shapes = known
    leaves, at = [], 0
    for shape, size in shapes:
        leaves.append(vector[at : at + size].reshape(shape))
        at += size
    return jax.tree.unflatten(structure, leaves)
