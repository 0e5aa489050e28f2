"""The samples of a program: their noise, a vmap over the samples of a chunk, a scan over chunks."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from logtrick import noise as _noise
from logtrick._core import keys, meter
from logtrick._core.module import holds_user_code
from logtrick._core.samples import Runs, over_samples
from logtrick.programs._begin import Begin
from logtrick.programs._closing import Context, close_stretch, total_of
from logtrick.programs._infos import Structure
from logtrick.programs._opening import open_stretch
from logtrick.programs._waiting import Record, sum_of
from logtrick.programs._walk import Running

Array = jax.Array
# Numbers of a site. All samples at once are the quickest up to a million numbers or so (benchmarks/goals.py), since a chunk's
# noise is drawn twice in reverse mode; beyond that, chunks that fit into a processor's cache are, in bounded memory.
SMALLEST_IN_CHUNKS = 2**20
NUMBERS_OF_A_CHUNK = 2**17


@dataclasses.dataclass(frozen=True)
class Block:
    """What a block of samples gives, a leading axis of samples on everything.

    Attributes:
      totals: the costs, summed, with the derivatives of the estimate. (From `run_all` without `collect`, in chunks, one
        entry for each chunk.)
      losses: the adaptive losses, summed; None where nothing learns.
      records: what the statements leave, by their positions; None where it is not wanted.
    """

    totals: Array
    losses: Array | None
    records: dict[int, Record] | None


jax.tree_util.register_dataclass(Block, data_fields=["totals", "losses", "records"], meta_fields=[])


def run_block(
    begin: Begin,
    structure: Structure,
    noises: list[Any],
    count: int,
    collect: bool,
    start: Any = 0,
) -> tuple[Block, int]:
    """`count` samples from their noises (each with a leading axis of samples); also the evaluations of f per sample."""
    evaluations = 0

    def one_sample(runs: Runs, noises: list[Any]) -> Block:
        nonlocal evaluations
        context = Context(structure, runs, collect)
        costs = close_stretch(context, open_stretch(Running(begin()), context, noises))
        evaluations = costs.evaluations * structure.largest_table()
        total = sum_of(total_of(costs))
        if total is None:
            total = jnp.zeros(())
        return Block(total, costs.later_losses, costs.records)

    return over_samples(one_sample, count, noises, start=start), evaluations


def draw_noises(structure: Structure, key: Array, start: Any, count: int, total: int) -> list[Any]:
    """Rows start … start + count of every site's noise; alike sites in one draw, since each threefry compiles slowly."""
    specs = [site.noise for site in structure.sites]
    if _noise.is_injected() and sum(site.random for site in structure.sites) > 1:
        raise ValueError(
            "lt.noise.injected(…) gives the noise of one random site; got a program of several, which would get the same numbers."
        )
    if _noise.is_injected() or holds_user_code(specs):
        return _draw_all(specs, key, start, None, count, total)
    if isinstance(start, int):
        return _draw_all_jitted(specs, key, None, start, count, total)
    return _draw_all_jitted(specs, key, start, None, count, total)


def _draw_all(
    specs: list[Any], key: Array, traced_start: Any, start: Any, count: int, total: int
) -> list[Any]:
    """Rows of the noises `specs`; the first row has the number `start`, or `traced_start` where that is None."""
    start = traced_start if start is None else start
    base, seed = keys.fold_in(key, keys.SAMPLE), jax.random.key_data(key)[0]
    alike: dict[Any, list[int]] = {}
    for i, spec in enumerate(specs):
        alike.setdefault(jax.tree.structure(spec), []).append(i)
    noises: list[Any] = [None] * len(specs)
    for group in alike.values():
        spec = specs[group[0]]
        if len(group) == 1:
            site_key = keys.fold_in(base, group[0])
            noises[group[0]] = _noise.rows(spec, site_key, start, count, total, seed)
            continue
        site_keys = jax.vmap(lambda i: keys.fold_in(base, i))(jnp.array(group, jnp.uint32))
        drawn = jax.vmap(lambda k: _noise.rows(spec, k, start, count, total, seed))(site_keys)
        for j, i in enumerate(group):
            noises[i] = jax.tree.map(lambda d: d[j], drawn)
    return noises


# Called eagerly, one compiled call. (Injected noise is no argument, and a user's noise may read what is none.)
_draw_all_jitted = jax.jit(_draw_all, static_argnums=(3, 4, 5), inline=True)


def block_sizes(count: int, chunk: int | None) -> list[int]:
    """The samples of each block; a remainder of one joins the block before it, since one sample leaves none out."""
    if chunk is None or chunk >= count:
        return [count]
    full, rest = divmod(count, chunk)
    if rest == 1 and chunk > 1:
        return [chunk] * (full - 1) + [chunk + 1]
    return [chunk] * full + [rest] * (rest > 0)


def automatic_chunk(structure: Structure, count: int, devices: int) -> int | None:
    """The samples of a chunk where the caller gives no `chunk_size`: None for all, or as many as make 2¹⁷ numbers per site.

    Somewhat fewer, down to half as many, where all chunks are then of one size: a last chunk of another one is compiled, too.

    Args:
      structure: the program's.
      count: how many samples there are.
      devices: over how many devices they are sharded.
    """
    size = max([1, *(site.size for site in structure.sites)])
    blocks = [block for _, block in structure.blocks]
    if count * size < SMALLEST_IN_CHUNKS * devices or None in blocks:
        return None
    multiple = math.lcm(devices, *(block or 1 for block in blocks))
    chunk = max(NUMBERS_OF_A_CHUNK * devices // size, 16)
    chunk = math.ceil(chunk / multiple) * multiple
    if chunk >= count or count % multiple:
        return None
    even = (fewer for fewer in range(chunk, chunk // 2, -multiple) if count % fewer == 0)
    return next(even, chunk)


def run_all(
    key: Array,
    begin: Begin,
    structure: Structure,
    count: int,
    chunk: int | None,
    collect: bool,
    place: Any = None,
) -> Block:
    """All samples, in chunks; the rows of noise do not depend on the chunks.

    Args:
      place: a function that places the noises of a block on devices; None leaves them.
    """
    evaluations = 0

    def block(start: Any, size: int) -> Block:
        nonlocal evaluations
        noises = draw_noises(structure, key, start, size, count)
        if place is not None:
            noises = place(noises)
        result, evaluations = run_block(begin, structure, noises, size, collect, start)
        return result

    def mean_of_block(start: Any, size: int) -> Block:
        result = block(start, size)
        if collect or place is not None or result.totals.dtype.itemsize < 4:
            return result
        # One number for each chunk instead of one for each sample: nobody asks for more, and the memory would grow with the
        # samples. Weighted, so that the mean over chunks is the mean over samples, whatever the size of the last one.
        # (Not over a mesh, where each chunk would be a sum over the devices, nor in 16 bits, where it would be rounded.)
        weight = size * (len(whole) + 1) / count
        return dataclasses.replace(result, totals=weight * jnp.mean(result.totals)[None])

    if chunk is None or chunk >= count:
        result = block(0, count)
    else:
        *whole, last = block_sizes(count, chunk)
        result = scan_blocks(mean_of_block, len(whole), chunk, last)
    meter.report(evaluations * count, result.totals)
    return result


def scan_blocks(block: Any, full: int, chunk: int, rest: int) -> Any:
    """`full` blocks of `chunk` samples in a scan of bounded memory, then one of `rest`."""
    if rest == chunk:
        full, rest = full + 1, 0
    parts = []
    if full:
        body = jax.checkpoint(lambda s: block(s, chunk), prevent_cse=False)
        starts = jnp.arange(full, dtype=jnp.uint32) * jnp.uint32(chunk)
        _, stacked = lax.scan(lambda carry, s: (carry, body(s)), None, starts)
        joined = lambda a: a.reshape(full * a.shape[1], *a.shape[2:])
        parts.append(jax.tree.map(joined, stacked))
    if rest:
        parts.append(block(full * chunk, rest))
    return parts[0] if len(parts) == 1 else jax.tree.map(lambda *a: jnp.concatenate(a), *parts)
