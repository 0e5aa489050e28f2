"""`lt.expect_given`: the expectation from draws made elsewhere."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from logtrick._core import checks
from logtrick._core.calls import described, in_words
from logtrick._core.kernel import detached, first_order, magic_box, stop, wide
from logtrick._core.module import Module
from logtrick._core.samples import Runs, over_elements, over_samples
from logtrick.baselines import LeaveOneOut, ScalarBaseline
from logtrick.distributions import Distribution
from logtrick.estimators import nan_unless_finite
from logtrick.programs import host_errors_surface

Array = jax.Array
_WHERE = "lt.expect_given"


class GivenAux(Module):
    """What `lt.expect_given` gives beside its value.

    Attributes:
      standard_error: of the value, in the units of f, the autocorrelation of chains taken into
        account; nan for a single draw.
      effective_sample_size: (Σ w)² / Σ w² by the weights, divided by the autocorrelation time.
      autocorrelation_time: τ = 1 + 2 Σ ρ_t of the weighted costs (Geyer's initial monotone sequence
        over all chains); 1 where the draws are independent.
      clipped: the fraction of weights that were clipped; above 0 the estimate is biased.
      costs: f of each draw, summed if it is a tuple, axes as those of the draws.

    Example:
      >>> import jax, logtrick as lt
      >>> x = jax.random.normal(jax.random.key(0), (4, 100))           # 4 chains of 100 draws
      >>> _, aux = lt.expect_given(x, lambda x: x, lt.Normal(0.0, 1.0), num_chains=4, has_aux=True)
      >>> aux.costs.shape
      (4, 100)
    """

    standard_error: Array
    effective_sample_size: Array
    autocorrelation_time: Array
    clipped: Array
    costs: Array


@in_words("lt.expect_given")
def expect_given(
    samples: Any,
    f: Callable[[Any], Any],
    dist: Any,
    *,
    log_weights: Any = None,
    normalized: bool = True,
    baseline: ScalarBaseline = LeaveOneOut(),  # noqa: B008  # frozen
    num_chains: int | None = None,
    max_weight: float | None = None,
    has_aux: bool = False,
) -> Any:
    """The expectation E_{x∼p_θ}[f(x, θ)] from given draws: replay, off-policy, MCMC; its derivative likewise.

    With `normalized=True`, and weights wᵢ = p_θ(xᵢ) / r(xᵢ) of draws from r, held constant (1 for
    draws from p_θ), the estimate is

        (1/n) Σᵢ wᵢ [fᵢ box(log p_θ(xᵢ)) + bᵢ (1 − box(log p_θ(xᵢ)))],

    unbiased at every order, with b the leave-one-out mean of w f (over whole chains, where there
    are chains). With `normalized=False`, log p_θ and the log-weights may lack any constant, log Z(θ)
    included: with w̄ᵢ = wᵢ / Σ w and f̄ = Σ w̄ᵢ fᵢ,

        value f̄,    gradient Σᵢ w̄ᵢ (fᵢ − f̄) ∇log p̃_θ(xᵢ) / (1 − Σ w̄²) + Σᵢ w̄ᵢ ∇fᵢ :

    centered, so that ∇log Z cancels exactly. It is unbiased for independent draws of equal weight;
    with weights (self-normalized) or chains it is consistent, with a bias of order 1/n: chains of
    equal weight and autocorrelation time τ give on average (n − τ)/(n − 1) of the gradient. Only
    the first derivative is right; the second one raises.

    Args:
      samples: draws, a pytree with a leading axis (n,), or (chains, draws) with `num_chains`; held
        constant.
      f: `f(x) -> scalar` cost of one draw, or a tuple of costs, which are summed.
      dist: p_θ, a distribution, or a function `x -> log p_θ(x)` of one draw.
      log_weights: log p_θ(x) − log r(x) of each draw, axes as those of the draws; held constant. A
        draw of weight 0 adds nothing; a draw of positive weight where log p_θ is not finite makes
        the gradient nan.
      normalized: log p_θ and the weights lack no constant.
      baseline: b, from the weighted costs of the draws (of the chains); not used where
        `normalized=False`, which centers the costs itself.
      num_chains: the draws are those of this many independent Markov chains.
      max_weight: clip weights (over their mean, where not normalized) to this: BIASED, less
        variance.
      has_aux: also return a `GivenAux`.
    Returns:
      The estimate, shape (), in the units of f; with `has_aux`, `(estimate, aux)`.
    Raises:
      ValueError: too few draws or chains, axes that do not fit, a cost or log-prob that is no
        scalar.
      TypeError: `dist` is neither a distribution nor a function.
      DerivativeOrderError: a second derivative with `normalized=False`.
    References:
      Owen (2013), "Monte Carlo theory, methods and examples", chapter 9; Geyer (1992), "Practical
      Markov Chain Monte Carlo"; Becca & Sorella (2017), "Quantum Monte Carlo Approaches for
      Correlated Systems" (the covariance form).
    Example:
      >>> import jax, jax.numpy as jnp, logtrick as lt
      >>> x = jax.random.normal(jax.random.key(0), (100_000,))
      >>> log_p = lambda a: lambda x: -0.5 * a * x**2                       # N(0, 1/a) without its constant
      >>> variance = lambda a: lt.expect_given(x, lambda x: x**2, log_p(a), normalized=False)
      >>> round(variance(1.0).item(), 1), round(jax.grad(variance)(1.0).item(), 1)     # exact: 1/a and −1/a²
      (1.0, -1.0)
    """
    log_prob = _log_prob_of(dist)
    samples = detached(jax.tree.map(_as_draws, samples))
    blocks, lead = _blocked(samples, num_chains)
    _check(lead, log_weights, normalized, baseline, num_chains, max_weight)

    def one(x: Any, absent: Array) -> tuple[Array, Array]:
        value = f(x)
        parts = value if isinstance(value, tuple) and value else (value,)
        costs = [_wide(checks.scalar_cost("f", part)) for part in parts]
        lp, parameters = log_prob(x)
        lp = _wide(checks.scalar_log_prob(_WHERE, lp))
        # Weight 0 means p_θ(x) = 0, where ∇p = p ∇log p is 0. A draw of positive weight that p_θ cannot make is a mistake.
        return sum(costs[1:], costs[0]), nan_unless_finite(jnp.where(absent, 0.0, lp), parameters)

    shape = jax.tree.leaves(blocks)[0].shape[:2]
    given = (
        None
        if log_weights is None
        else stop(_wide(checks.numbers(_WHERE, "log_weights", log_weights))).reshape(shape)
    )
    absent = jnp.zeros(shape, bool) if given is None else given == -jnp.inf
    of_block = lambda draws, absent: over_elements(one, draws, absent)
    results: list[Any] = []
    with host_errors_surface(results):
        costs, log_probs = over_elements(of_block, blocks, absent)
        results.append(costs)
    log_w = jnp.zeros_like(costs) if given is None else given
    if normalized:
        weights, clipped = _clip(jnp.exp(log_w), max_weight)
        # for the effective sample size: from the log-weights, which do not overflow where the weights do
        clipped_log_w = log_w if max_weight is None else jnp.minimum(log_w, jnp.log(max_weight))
        shares = jax.nn.softmax(clipped_log_w, axis=None)
        value = _scored(weights, costs, log_probs, baseline)
    else:
        relative, clipped = _clip(jax.nn.softmax(log_w, axis=None) * log_w.size, max_weight)
        weights = relative / jnp.mean(relative)
        shares = weights / weights.size
        value = _centered(weights / weights.size, costs, log_probs)
    if not has_aux:
        return value
    return value, detached(_aux(weights, shares, costs, normalized, clipped, lead))


def _wide(x: Array) -> Array:
    """Costs, log-probs and weights are summed in at least float32."""
    return x.astype(wide(x.dtype))


def _log_prob_of(dist: Any) -> Callable[[Any], tuple[Any, Any]]:
    """A function of a draw that gives its log-prob, and the parameters on which the log-prob depends."""
    if isinstance(dist, Distribution):
        held = dist.fixed_support()
        return lambda x: (held.log_prob(x), dist)
    if callable(dist):

        def of_function(x: Any) -> tuple[Any, Any]:
            converted, outside = jax.closure_convert(dist, x)
            return converted(x, *outside), outside

        return of_function
    raise TypeError(
        f"{_WHERE}(dist=…) needs a distribution, or a function x -> log p(x); got {type(dist).__name__}. Pass lt.Normal(…)."
    )


def _as_draws(leaf: Any) -> Array:
    if callable(leaf):
        raise TypeError(
            f"{_WHERE}(samples=…) needs arrays of draws; got {described(leaf)}. The order is (samples, f, dist)."
        )
    return checks.array(_WHERE, "samples", leaf)


def _blocked(samples: Any, num_chains: int | None) -> tuple[Any, tuple[int, ...]]:
    """The draws with axes (blocks, draws within a block), and the leading axes that they came with.

    A block is a chain; where there are no chains, a single draw.
    """
    axes = 1 if num_chains is None else 2
    shapes = {leaf.shape[:axes] for leaf in jax.tree.leaves(samples)}
    if len(shapes) != 1 or len(lead := shapes.pop()) != axes:
        need = "(n,)" if num_chains is None else "(chains, draws)"
        raise ValueError(
            f"{_WHERE}(samples=…) needs the same leading axes {need} on every leaf; got shapes "
            f"{[leaf.shape for leaf in jax.tree.leaves(samples)]}. Stack the draws, jnp.stack(draws)."
        )
    if num_chains is not None:
        if lead[0] != num_chains:
            raise ValueError(
                f"{_WHERE}(num_chains={num_chains}) needs draws with leading axes (chains, draws); got {lead}."
            )
        return samples, lead
    return jax.tree.map(lambda a: a[:, None], samples), lead


def _check(
    lead: Any, log_weights: Any, normalized: bool, baseline: Any, num_chains: Any, max_weight: Any
) -> None:
    if log_weights is not None and jnp.shape(log_weights) != lead:
        raise ValueError(
            f"{_WHERE}(log_weights=…) needs one for each draw, shape {lead}; got {jnp.shape(log_weights)}."
        )
    if max_weight is not None and not max_weight > 0:
        raise ValueError(f"{_WHERE}(max_weight=…) needs a positive number; got {max_weight}.")
    if not isinstance(baseline, ScalarBaseline) or baseline.adaptive:
        raise TypeError(
            f"{_WHERE}(baseline=…) needs a baseline that is one number per sample; got {baseline!r}."
        )
    if normalized:
        have, least = lead[0], baseline.least_samples
        what = "draws" if num_chains is None else "chains"
        need = type(baseline).__name__
        advice = "Pass more, or baseline=lt.NoBaseline()."
    else:
        have, least, what = math.prod(lead), 2, "draws"
        need = "the form that is not normalized"
        advice = "Pass more."
    if have < least:
        raise ValueError(f"{_WHERE}: {need} needs at least {least} {what}; got {have}. {advice}")


def _clip(weights: Array, max_weight: float | None) -> tuple[Array, Array]:
    if max_weight is None:
        return weights, jnp.zeros(())
    return jnp.minimum(weights, max_weight), jnp.mean(weights > max_weight)


def _scored(weights: Array, costs: Array, log_probs: Array, baseline: ScalarBaseline) -> Array:
    """The score function under fixed weights; the baseline from the other blocks."""
    count = costs.shape[0]

    def block(runs: Runs, w: Array, c: Array, lp: Array) -> Array:
        box = magic_box(lp)
        b = baseline.value(stop(jnp.mean(w * c)), runs)
        zero = 0.0 if b is None else stop(b) * (1 - box)
        return jnp.mean(w * (c * box + zero))

    return jnp.mean(over_samples(block, count, weights, costs, log_probs))


def _centered(weights: Array, costs: Array, log_probs: Array) -> Array:
    """The covariance form, for weights that sum to 1 and log densities up to a constant."""
    value = jnp.sum(weights * costs)
    # the costs not held constant: a parameter of f has a mixed derivative with those of p_θ
    centered = weights * (costs - value) / (1 - jnp.sum(weights**2))
    score = first_order("lt.expect_given(normalized=False)", centered, log_probs)
    return value + score.astype(value.dtype)


def _aux(
    weights: Array,
    shares: Array,
    costs: Array,
    normalized: bool,
    clipped: Array,
    lead: tuple[int, ...],
) -> GivenAux:
    size = weights.size
    mean = jnp.sum(weights * costs) / size
    terms = weights * costs if normalized else weights * (costs - mean)
    terms = terms - jnp.mean(terms)
    largest = jnp.max(jnp.abs(terms))  # squares of numbers like 1e20 are out of float32's range
    largest = jnp.where(largest == 0, 1.0, largest)
    terms = terms / largest
    if terms.shape[1] == 1:  # independent draws, or chains of a single draw
        tau = jnp.ones(())
        spread = jnp.sum((terms - jnp.mean(terms)) ** 2) / (size - 1)  # nan for a single draw
    else:
        tau, spread = _autocorrelation(terms)
    error = largest * jnp.sqrt(spread * tau / size)
    effective = 1 / jnp.sum(shares**2) / tau
    return GivenAux(error, effective, tau, clipped, costs.reshape(lead))


def _autocorrelation(y: Array) -> tuple[Array, Array]:
    """(τ, variance) of stationary chains y, shape (chains, draws), by Geyer's initial monotone sequence.

    The spread of the chains' means counts as correlation.
    """
    chains, draws = y.shape
    centered = y - y.mean(1, keepdims=True)
    spectrum = jnp.abs(jnp.fft.rfft(centered, 2 * draws, axis=1)) ** 2
    covariance = jnp.fft.irfft(spectrum, 2 * draws, axis=1)[:, :draws].mean(0) / draws
    within = covariance[0] * draws / (draws - 1)
    between = jnp.var(y.mean(1), ddof=1) if chains > 1 else jnp.zeros(())
    total = covariance[0] + between
    rho = 1 - (within - covariance) / jnp.where(total > 0, total, 1.0)
    rho = rho.at[0].set(1.0)[: draws - draws % 2].reshape(-1, 2).sum(1)
    positive = jnp.cumprod(rho > 0)
    tau = -1 + 2 * jnp.sum(jnp.where(positive > 0, jax.lax.cummin(rho), 0.0))
    return jnp.maximum(tau, 1 / jnp.log(draws * chains + 1.0)).astype(y.dtype), total
