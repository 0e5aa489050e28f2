"""The engine: one run of a program under its estimators, vmapped over the runs, scanned over chunks.

`rest` is the suspended generator. One-point estimators are opened as their sites are reached and closed in reverse when
the costs are known, without recursion; an estimator of several points calls `rest` once, under its own vmap. Costs are
scalars grouped by the sites still to credit them, merged as sites close, so tracing and compiling are linear in the sites.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from logtrick import noise as _noise
from logtrick._core import checks, keys, meter
from logtrick._core.kernel import RUNS
from logtrick._core.runs import Runs
from logtrick.estimators import Costs
from logtrick.programs._items import Cost, Loop
from logtrick.programs._outline import LoopOutline, Outline, Running, Start, changed, check_site
from logtrick.programs._scan import close_loop, costs_of, draws_of, run_loop, wide

Array = jax.Array
Groups = dict[tuple[int, ...], Array]


def _credited(costs: Costs, site: int) -> Costs:
    """The costs seen from `site`: its own, and the others."""
    inside = {k: v for k, v in costs.mine.items() if site in k}
    return dataclasses.replace(
        costs, mine=inside, others={k: v for k, v in costs.mine.items() if site not in k}
    )


def _closed(costs: Costs, site: int) -> Costs:
    """The costs when `site` is done: left out of the groups, which merge where they are alike."""
    groups = dict(costs.others)
    for k, v in costs.mine.items():
        k = k[:-1] if k else tuple(range(site))
        groups[k] = groups[k] + v if k in groups else v
    aux = dict(costs.aux)
    own = aux.pop("own", {})
    if "adaptive" in own:
        aux["adaptive"] = (
            aux["adaptive"] + own["adaptive"] if "adaptive" in aux else own["adaptive"]
        )
    if "statistics" in own:
        aux["statistics"] = {**aux.get("statistics", {}), site: own["statistics"]}
    return Costs(groups, {}, aux, costs.evaluations)


@dataclasses.dataclass
class _Run:
    """One run of a program."""

    running: Running
    outline: Outline
    noises: list[Any]
    runs: Runs
    collect: bool
    credits: list[tuple[int, ...]] = dataclasses.field(default_factory=list)

    def resume(self, reply: Any, site: int, paid: int) -> Costs:
        """Run on from a draw `reply` to the end; the costs of what came, by the sites before it."""
        waiting, here, aux = [], [], _Collected()
        tail, done = Costs({}, {}, {}), True
        while (item := self.running.advance(reply)) is not None:
            reply = None
            if isinstance(item, Cost):
                here.append(wide(checks.scalar_cost("lt.cost", item.value)))
                continue
            if site >= len(self.outline.sites):
                raise changed("sites")
            if isinstance(item, Loop):
                reply, close = self._loop(item, site, aux)
            else:
                check_site(item, self.outline.sites[site])
                if not item.estimator.one_point:
                    tail, done = self._branch(item, site, paid + len(here)), False
                    break
                reply, close = self._point(item, site, aux)
            waiting.append((site, close))
            site += 1
        if done:
            self._finished(site, paid + len(here))
        costs = self._with(tail, here, aux, paid)
        for index, close in reversed(waiting):
            costs = _closed(close(_credited(costs, index)), index)
        return costs

    def _point(self, item: Any, site: int, aux: "_Collected") -> tuple[Any, Any]:
        """The draw of a site whose estimator evaluates one point, and how to close the site when its costs are known."""
        point = item.estimator.draw(self.noises[site], item.dist)
        aux.draws[site] = point.x
        return point.x, lambda costs: item.estimator.close(costs, point, self.runs)

    def _loop(self, item: Loop, site: int, aux: "_Collected") -> tuple[Any, Any]:
        """The reply of a loop, and how to close it."""
        plan = self.outline.sites[site]
        if not isinstance(plan, LoopOutline):
            raise changed("sites")
        reply, record = run_loop(item, plan, self.noises[site])
        aux.draws[site], aux.loop_costs[site] = draws_of(plan, record), costs_of(plan, record)
        return reply, lambda costs: close_loop(
            plan, record, costs, self.runs, self.outline.ancestors(site)
        )

    def _finished(self, sites: int, costs: int) -> None:
        if sites != len(self.outline.sites):
            raise changed("sites")
        self.credits = self.outline.credits(costs)

    def _branch(self, item: Any, site: int, paid: int) -> Costs:
        """A site whose estimator evaluates several points of the rest."""
        calls = []

        def rest(x: Any) -> Costs:
            calls.append(site)
            if len(calls) > 1:
                raise ValueError(
                    f"{type(item.estimator).__name__} called rest twice: a program runs once. Call it under one jax.vmap."
                )
            costs = self.resume(x, site + 1, paid)
            if self.collect:
                draws = {**costs.aux.get("draws", {}), site: x}
                costs = dataclasses.replace(costs, aux={**costs.aux, "draws": draws})
            return _credited(costs, site)

        out = item.estimator(self.noises[site], item.dist, rest, self.runs)
        if not calls:
            raise ValueError(
                f"{type(item.estimator).__name__} did not call rest. Call it exactly once."
            )
        return _closed(out, site)

    def _with(self, tail: Costs, here: list[Array], collected: "_Collected", paid: int) -> Costs:
        """The costs of what came after this stretch, and of the stretch itself."""
        groups, aux = dict(tail.mine), dict(tail.aux)
        for i, value in enumerate(here):
            k = self.credits[paid + i]
            groups[k] = groups[k] + value if k in groups else value
        if self.collect:
            costs = {paid + i: v for i, v in enumerate(here)}
            for name, values in {
                "draws": collected.draws,
                "costs": costs,
                "loop_costs": collected.loop_costs,
            }.items():
                aux[name] = {**aux.get(name, {}), **values}
        return Costs(groups, {}, aux, tail.evaluations)


@dataclasses.dataclass
class _Collected:
    """What `aux` shows of a stretch of a run, by site."""

    draws: dict[int, Any] = dataclasses.field(default_factory=dict)
    loop_costs: dict[int, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Block:
    """What a block of runs gives, a leading axis of runs on everything."""

    totals: Array
    aux: dict[str, Any]


jax.tree_util.register_dataclass(Block, data_fields=["totals", "aux"], meta_fields=[])


def run_block(
    begin: Start, outline: Outline, noises: list[Any], count: int, collect: bool
) -> tuple[Block, int]:
    """`count` runs from their noises (each with a leading axis of runs); also the evaluations of f per run."""
    evaluations = 0

    def one_run(index: Array, noises: list[Any]) -> Block:
        nonlocal evaluations
        costs = _Run(Running(begin()), outline, noises, Runs(index, count), collect).resume(
            None, 0, 0
        )
        evaluations = costs.evaluations
        total = functools.reduce(jnp.add, costs.mine.values())
        return Block(total, costs.aux)

    block = jax.vmap(one_run, axis_name=RUNS)(jnp.arange(count, dtype=jnp.float32), noises)
    return block, evaluations


def draw_noises(outline: Outline, key: Array, start: Any, count: int, total: int) -> list[Any]:
    """Rows start … start + count of every site's noise; alike sites in one draw, since each threefry compiles slowly."""
    base = jax.random.fold_in(key, keys.SAMPLE)
    alike: dict[Any, list[int]] = {}
    for i, site in enumerate(outline.sites):
        alike.setdefault(jax.tree.structure(site.noise), []).append(i)
    noises: list[Any] = [None] * len(outline.sites)
    for sites in alike.values():
        spec = outline.sites[sites[0]].noise
        if len(sites) == 1:
            noises[sites[0]] = _noise.rows(
                spec, jax.random.fold_in(base, sites[0]), start, count, total
            )
            continue
        site_keys = jax.vmap(lambda i: jax.random.fold_in(base, i))(jnp.array(sites, jnp.uint32))
        drawn = jax.vmap(lambda k: _noise.rows(spec, k, start, count, total))(site_keys)
        for j, i in enumerate(sites):
            noises[i] = jax.tree.map(lambda d: d[j], drawn)
    return noises


def block_sizes(count: int, chunk: int | None) -> list[int]:
    """The runs of each block; a remainder of one joins the block before it, since one run leaves none out."""
    if chunk is None or chunk >= count:
        return [count]
    full, rest = divmod(count, chunk)
    if rest == 1 and chunk > 1:
        return [chunk] * (full - 1) + [chunk + 1]
    return [chunk] * full + [rest] * (rest > 0)


def run_all(
    key: Array, begin: Start, outline: Outline, count: int, chunk: int | None, collect: bool
) -> Block:
    """All runs, in chunks: the same rows of noise whatever the chunks; a remainder of one joins the chunk before it."""
    evaluations = 0

    def block(start: Any, size: int) -> Block:
        nonlocal evaluations
        noises = draw_noises(outline, key, start, size, count)
        result, evaluations = run_block(begin, outline, noises, size, collect)
        return result

    if chunk is None or chunk >= count:
        result = block(0, count)
    else:
        *whole, last = block_sizes(count, chunk)
        result = _scan_blocks(block, len(whole), chunk, last)
    meter.report(evaluations * count, result.totals)
    return result


def _scan_blocks(block: Any, full: int, chunk: int, rest: int) -> Block:
    """`full` blocks of `chunk` runs in a scan of bounded memory, then one of `rest`."""
    if rest == chunk:
        full, rest = full + 1, 0
    parts = []
    if full:
        body = jax.checkpoint(lambda s: block(s, chunk), prevent_cse=False)
        starts = jnp.arange(full, dtype=jnp.uint32) * jnp.uint32(chunk)
        _, stacked = lax.scan(lambda carry, s: (carry, body(s)), None, starts)
        parts.append(jax.tree.map(lambda a: a.reshape(full * chunk, *a.shape[2:]), stacked))
    if rest:
        parts.append(block(full * chunk, rest))
    return parts[0] if len(parts) == 1 else jax.tree.map(lambda *a: jnp.concatenate(a), *parts)
