"""`lt.eligibility_trace`: value and gradient of a loop of unknown length, by forward accumulation.

Let s_t be the score of step t's draws, c_t the costs of step t and z_t = Σ_{u≤t} s_u. Then
Σ_t (Σ_{u≥t} c_u) s_t = Σ_t c_t z_t: the left side needs the costs to come, the right side is summed
while the loop runs. A baseline that is affine in the costs to come, b(c) = b(0) + A c, is
subtracted likewise: b(0) at its draw's own step, A c_t at every later step, multiplied with the
trace of the draws that have this baseline. Leave-one-out thereby subtracts the other samples' costs
of the same step.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from logtrick import noise as _noise
from logtrick._core import checks, keys, meter
from logtrick._core.calls import in_words
from logtrick._core.errors import DerivativeOrderError
from logtrick._core.kernel import refuse
from logtrick._core.keys import as_key
from logtrick._core.mesh import varying
from logtrick._core.module import Module
from logtrick._core.samples import own_key, standard_error
from logtrick.eligibility._loop import ORDER, loop_of, run
from logtrick.eligibility._step import WHERE
from logtrick.programs import Program

Array = jax.Array


class TraceAux(Module):
    """What `lt.eligibility_trace` gives beside its value.

    Attributes:
      standard_error: of the value, over the samples, in the units of the costs; nan for one sample.
      num_steps: of each sample, shape (num_samples,).
      carry: the last carry of each sample, a leading axis of samples.

    Example:
      >>> import jax, logtrick as lt
      >>> def toss(tail, logit):
      ...     tail = 1 - (yield lt.sample(lt.Bernoulli(logit)))
      ...     yield lt.cost(1.0)
      ...     return tail
      >>> (_, aux), _ = lt.eligibility_trace(jax.random.key(0), lambda tail: tail > 0, toss, 1.0, 0.0, has_aux=True)
      >>> aux.num_steps.shape, aux.carry.max().item()
      ((16,), 0.0)
    """

    standard_error: Array
    num_steps: Array
    carry: Any


@in_words("lt.eligibility_trace")
def eligibility_trace(
    key: Any,
    cond: Callable[[Any], Any],
    step: Program,
    carry: Any,
    params: Any,
    *,
    num_samples: int = 16,
    decay: Any = 1.0,
    has_aux: bool = False,
) -> Any:
    """The expected costs of a loop of unknown length, and their gradient, in memory independent of the number of steps.

    `while cond(carry): carry = step(carry, params)`, with draws and costs in the step, as in
    `lt.scan`; the number of steps may depend on the draws. Nothing is differentiated in reverse
    through time: with the trace z of the scores so far,

        z ← β z + ∇ log p_t,    gradient ← gradient + (c_t − b_t) z + ∇c_t,

    which for β = 1 is reward-to-go credit, Σ_t Σ_{u≥t} (c_u − b_u) ∇log p_t + ∇c_t, unbiased; b_t
    is the other samples' mean cost of the same step (`LeaveOneOut`; a sample that has ended has
    cost 0). β < 1 is GPOMDP's estimator: BIASED toward the costs that follow soon, with less
    variance. To discount, multiply the costs by a factor that the carry holds. First order only.
    Memory: num_samples × (carry + a trace like `params` for each kind of baseline); where the carry
    itself varies with `params` (a recurrent state, a pathwise draw), also
    num_samples × carry × params for that derivative.

    Args:
      key: a typed key.
      cond: `cond(carry) -> bool`, whether a sample goes on.
      step: a generator function `step(carry, params)` that yields `lt.sample` and `lt.cost` and
        returns the next carry. Estimators of one point (`ScoreFunction`, `Pathwise`, …), with
        `NoBaseline`, `ConstantBaseline` or `LeaveOneOut`.
      carry: the first carry of every sample, a pytree. Its own dependence on the parameters is not
        part of the gradient.
      params: θ, a pytree of float arrays. The gradient is with respect to the argument of the step.
      num_samples: n ≥ 1 samples; n ≥ 2 with leave-one-out. All of them take steps together until
        the last one has ended.
      decay: β in [0, 1], shape (), dimensionless.
      has_aux: also return a `TraceAux`.
    Returns:
      `(value, gradient)`, shape () and a pytree like `params`; with `has_aux`, `((value, aux),
      gradient)`.
    Raises:
      DerivativeOrderError: the result, or anything that it is made of, is differentiated.
      ValueError: a step without draws or costs, one with an `lt.scan`, an estimator or baseline
        that needs the costs to come.
      TypeError: a carry that changes its shape or dtype, a `cond` that does not return a truth
        value, `params` that are not floats.
    References:
      Baxter & Bartlett (2001), "Infinite-Horizon Policy-Gradient Estimation", JAIR 15 (GPOMDP);
      Sutton & Barto (2018), "Reinforcement Learning", chapter 13; Williams & Zipser (1989) for the
      derivative of the carry.
    Example:
      >>> import jax, logtrick as lt
      >>> def toss(tail, logit):                               # until the first head: a geometric distribution
      ...     head = yield lt.sample(lt.Bernoulli(logit))
      ...     yield lt.cost(1.0)
      ...     return 1 - head
      >>> value, gradient = lt.eligibility_trace(
      ...     jax.random.key(0), lambda tail: tail > 0, toss, 1.0, 0.0, num_samples=50_000)
      >>> round(value.item(), 1), round(gradient.item(), 1)    # exact: 1/p and −(1 − p)/p at p = ½
      (2.0, -1.0)
    """
    key = own_key(as_key(key))
    n = checks.positive_int(WHERE, "num_samples", num_samples)
    checks.differentiable(WHERE, params)
    beta = checks.require(
        WHERE,
        "decay",
        jnp.asarray(decay, float),
        lambda b: (b >= 0) & (b <= 1),
        "a number in [0, 1]",
    )
    carry, params, beta = refuse(
        jax.tree.map(jnp.asarray, (carry, params, beta)), ORDER, DerivativeOrderError
    )
    loop = loop_of(cond, step, carry, params, n, varying(key))
    meter.report_biased(type(s.estimator).__name__ for s in loop.sites if not s.estimator.unbiased)
    base = jax.random.fold_in(key, keys.SAMPLE)

    def noises(t: Array) -> list[Any]:
        at = [jax.random.fold_in(jax.random.fold_in(base, i), t) for i in range(len(loop.sites))]
        return [_noise.rows(site.noise, k, 0, n, n) for site, k in zip(loop.sites, at)]

    end = run(loop, noises, beta)
    value = jnp.mean(end.values)
    gradient = jax.tree.map(lambda g, p: g.astype(p.dtype), end.gradient, params)
    if not has_aux:
        return value, gradient
    return (value, TraceAux(standard_error(end.values), end.num_steps, end.carry)), gradient
