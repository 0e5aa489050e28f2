"""Modes that a fit of discrete and continuous variables has missed: walks over both."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from logtrick.vi._engines._curvature import newton
from logtrick.vi._engines._density import Density, generator
from logtrick.vi._engines._gaussian import Gaussian
from logtrick.vi._engines._lbfgs import Ascent
from logtrick.vi._engines._natural_newton import antithetic, finite_draws
from logtrick.vi._families._blocks import Blocks
from logtrick.vi._guide import Guide
from logtrick.vi._missed_states import rows_of, tempered
from logtrick.vi._modes import MissedMode, far_apart, moments
from logtrick.vi._target import Target

_LANES = 32  # a quarter from draws of q, the others from outside
_ROUNDS, _SWEEPS, _NEIGHBORS = 6, 8, 8
_POOL = 1024
_WEIGHED = 8  # ends of walks whose mass is computed
_HEAVY = 3.0  # a state is missed by q where its mass is above e³ times what q gives it
_NATS = 3.0  # missed states matter whose mass is no more than this below that of what q has
_DRAWS = 128


class _Joint:
    """The target, whose gradient is 0 in the discrete variables here, so that no ascent moves them."""

    differentiable = True

    def __init__(self, log_density: Callable[[Any], Any], q: Guide) -> None:
        self.target = Target(log_density, q)
        self.dim, self.dtype = self.target.dim, self.target.dtype
        self.discrete = np.concatenate([np.full(v.size, v.discrete) for v in q.layout.variables])
        at = q.layout.constrain
        self.log_q = jax.jit(jax.vmap(lambda u: discrete_log_prob(q, at(u))))

    def value_and_grad(self, rows: Any) -> tuple[Any, Any]:
        values, gradients = self.target.value_and_grad(rows)
        return values, np.where(self.discrete, 0.0, gradients)


class _Slice:
    """The density of the continuous variables at one state of the discrete ones."""

    differentiable = True

    def __init__(self, joint: _Joint, row: np.ndarray) -> None:
        self.joint, self.row, self.dtype = joint, row, joint.dtype
        self.moving = ~joint.discrete
        self.dim = int(self.moving.sum())

    def value_and_grad(self, points: np.ndarray) -> tuple[Any, Any]:
        rows = np.repeat(self.row[None], len(points), axis=0).astype(self.dtype)
        rows[:, self.moving] = points
        values, gradients = self.joint.value_and_grad(rows)
        return values, np.asarray(gradients)[:, self.moving]


def discrete_log_prob(q: Guide, z: Any) -> jax.Array:
    """log q of the discrete blocks of a draw alone."""
    if not isinstance(q, Blocks):
        return q.log_prob(z) if q.discrete else jnp.zeros(())
    terms = [discrete_log_prob(part, z[name]) for name, part in q.parts.items()]
    return sum(terms[1:], terms[0])


def missed_mixed(
    key: jax.Array, log_density: Callable[[Any], Any], q: Guide, elbo: float, bound: float
) -> tuple[bool, list[MissedMode]]:
    """Search for modes of discrete and continuous variables that q has missed: whether it was possible, and the heaviest.

    It needs gradients, and a q each of whose blocks is discrete or continuous.

    Walks start at draws of q, and at uniform states with continuous values from q widened and from N(0, I) and N(0, 3² I). They
    alternate between the best of single changes of the discrete variables and L-BFGS in the continuous ones. Where a walk ends,
    Laplace's approximation of the continuous variables gives the mass of the state: it is missed where that is above e³ times
    what q gives the state, or where its continuous part is far from q. The walks from q say what the masses are to be
    compared with, since a single state has a small share of the mass where there are many.

    The arguments are those of `missed_states`.
    """
    joint = _Joint(log_density, q)
    if not _separable(q) or joint.target.calls_host:
        return False, []
    rng, density = generator(key), Density(joint)
    draws = rows_of(q, key, _POOL)
    uniform = rows_of(tempered(q, 0.0), jax.random.fold_in(key, 1), _POOL)
    pool = np.where(joint.discrete, uniform, draws)
    rows = _walk(density, rng, _starts(joint, rng, draws, pool), pool)
    return True, _judged(joint, rng, rows, draws, elbo, bound)


def _separable(q: Guide) -> bool:
    """Whether every block of q is either discrete or continuous, so that the discrete ones have a probability of their own."""
    if isinstance(q, Blocks):
        return all(_separable(part) for part in q.parts.values())
    return len({v.discrete for v in q.layout.variables}) == 1


def _starts(
    joint: _Joint, rng: np.random.Generator, draws: np.ndarray, pool: np.ndarray
) -> np.ndarray:
    quarter = _LANES // 4
    starts = pool[:_LANES].copy()
    starts[:quarter] = draws[:quarter]
    center, spread = draws.mean(0), draws.std(0)
    noise = rng.standard_normal((_LANES, joint.dim))
    wide = center + 3 * spread * noise
    wide[2 * quarter : 3 * quarter] = noise[2 * quarter : 3 * quarter]
    wide[3 * quarter :] = 3 * noise[3 * quarter :]
    moved = ~joint.discrete & (np.arange(_LANES) >= quarter)[:, None]
    return np.where(moved, wide, starts)


def _walk(
    density: Density, rng: np.random.Generator, rows: np.ndarray, pool: np.ndarray
) -> np.ndarray:
    """Uphill in turns: single changes of discrete entries, and L-BFGS in the others."""
    entries = np.flatnonzero(density.target.discrete)
    best = np.full(len(rows), -np.inf)
    for _ in range(_ROUNDS):
        ascent = Ascent(density, rows, tolerance=0.1).run()
        rows, values = ascent.points, ascent.values.copy()
        for _ in range(_SWEEPS):
            around = np.stack([_changed(rng, entries, pool, rows) for _ in range(_NEIGHBORS)])
            found = density(around.reshape(-1, density.dim))[0].reshape(_NEIGHBORS, len(rows))
            best_around = around[found.argmax(0), np.arange(len(rows))]
            gained = found.max(0) > values
            rows = np.where(gained[:, None], best_around, rows)
            values = np.where(gained, found.max(0), values)
        if not (values > best + 0.1).any():
            break
        best = values
    return Ascent(density, rows, tolerance=0.1).run().points


def _changed(
    rng: np.random.Generator, entries: np.ndarray, pool: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """Each row with one discrete entry as a uniform draw has it."""
    changed, each = rows.copy(), np.arange(len(rows))
    entry = rng.choice(entries, len(rows))
    changed[each, entry] = pool[rng.integers(0, len(pool), len(rows)), entry]
    return changed


def _judged(
    joint: _Joint,
    rng: np.random.Generator,
    rows: np.ndarray,
    draws: np.ndarray,
    elbo: float,
    bound: float,
) -> list[MissedMode]:
    moving = ~joint.discrete
    q = moments(draws[:, moving])
    values = Density(joint).log_density(rows)
    log_q = np.asarray(joint.log_q(rows.astype(joint.dtype)), np.float64)
    known, missed = [elbo - 20.0], []
    seen: list[np.ndarray] = []
    for lane in np.argsort(-values):
        row = rows[lane]
        near = [other for other in seen if np.allclose(other, row, atol=0.05, rtol=0.05)]
        if near or len(seen) == _WEIGHED or not np.isfinite(values[lane]):
            continue
        seen.append(row)
        density = Density(_Slice(joint, row))
        value, gradient = density(row[None, moving])
        standard = Gaussian(np.zeros(density.dim), np.eye(density.dim))
        mode = newton(density, row[moving], float(value[0]), gradient[0], standard)
        noise = antithetic(rng, _DRAWS, density.dim)
        mass = finite_draws(density, mode.laplace, noise).elbo
        heavy = mass - log_q[lane] > bound + _HEAVY
        if heavy or far_apart(mode.laplace, q, draws[:, moving]):
            where, stddev = row.copy(), np.zeros(joint.dim)
            where[moving], stddev[moving] = mode.point, mode.laplace.stddev()
            missed.append(MissedMode(where, stddev, mass, mass - elbo))
        else:
            known.append(mass)
    missed = [mode for mode in missed if mode.elbo > max(known) - _NATS]
    return sorted(missed, key=lambda mode: -mode.elbo)[:1]
