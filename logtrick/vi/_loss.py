"""`vi.loss`: an objective as a number whose derivative estimates its gradient."""

from collections.abc import Callable, Generator, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from logtrick._core import checks, meter
from logtrick._core.calls import in_words
from logtrick._core.kernel import first_order, limited
from logtrick._core.keys import as_key
from logtrick._core.samples import over_elements, own_key
from logtrick.estimators import Estimator
from logtrick.expectations import expect, expect_program
from logtrick.programs import cost
from logtrick.vi._auto import resolve
from logtrick.vi._estimators._base import Problem, WeightEstimator
from logtrick.vi._estimators._stl import STL
from logtrick.vi._families._wrapped import as_guide
from logtrick.vi._guide import Guide
from logtrick.vi._legality import cell
from logtrick.vi._objectives._base import Objective, check_objective
from logtrick.vi._objectives._elbo import ELBO
from logtrick.vi._repeated import repeated

Array = jax.Array
LogDensity = Callable[[Any], Any]


@in_words("vi.loss")
def loss(
    key: Any,
    log_density: LogDensity,
    q: Any,
    *,
    objective: Objective = ELBO(),  # noqa: B008  # frozen
    estimator: Any = "auto",
    num_samples: int = 16,
    has_aux: bool = False,
) -> Any:
    """An objective of a guide as a loss: its value estimates −(bound), its `jax.grad` in `q` estimates the gradient.

    −φ for bounds, φ for divergences, averaged over `num_samples` values of φ of k draws each. The derivative is right in the
    guide, and in parameters of the model that `log_density` closes over; to first order (a second derivative raises). Put it
    where the randomness is local: for amortized guides `jax.vmap` it over data points, each with its own key.

    Args:
      key: a typed key. Inside of an expectation every outer sample has noise of its own here, as in `lt.expect`.
      log_density: `log_density(z) -> scalar` of one pytree of variables in the constrained space; need not be normalized.
      q: a guide, or an `lt.Distribution`.
      objective: `vi.ELBO()`, `vi.IWELBO(k)`, `vi.Renyi(alpha)`, `vi.InclusiveKL()`, `vi.LogVariance()`, or a user's.
      estimator: "auto" takes by the legality table `STL`, `DReG`, `VIMCO`, leave-one-out, …; an estimator of `lt` or `vi`;
        for `Blocks` also a dict of them by block.
      num_samples: values of φ that are averaged; draws, for objectives over all the draws there are.
      has_aux: also return the `Aux` of `lt.expect`, which estimators that learn need.
    Returns:
      The loss, shape (), in nats; with `has_aux`, `(loss, aux)`.
    Raises:
      TypeError: no guide, no objective, no estimator.
      ValueError: an estimator that is illegal for the objective or the guide; a log density that is no scalar.
    References:
      Mohamed, Rosca, Figurnov & Mnih (2020), "Monte Carlo Gradient Estimation in Machine Learning".
    Example:
      >>> import jax, jax.numpy as jnp
      >>> from logtrick import vi
      >>> q = vi.MeanFieldNormal(like=jnp.zeros(2))
      >>> log_density = lambda z: -0.5 * jnp.sum((z - 1.0) ** 2)
      >>> grad = jax.grad(lambda q: vi.loss(jax.random.key(0), log_density, q))(q)
      >>> grad.loc.tolist()                                                  # STL: exact, for a shifted posterior
      [-1.0, -1.0]
    """
    key = as_key(key)
    q = as_guide("vi.loss", q)
    num_samples = checks.positive_int("vi.loss", "num_samples", num_samples)
    check_objective("vi.loss", objective)
    estimator = resolve("vi.loss", objective, q, estimator, lambda x: log_density(q.constrain(x)))
    checked = lambda z: checks.scalar_log_prob("vi: log_density", log_density(z))
    problem = Problem(checked, q, objective)
    sign = -1 if objective.maximize else 1
    groups, size = grouping("vi.loss", objective, num_samples)
    if isinstance(estimator, WeightEstimator) and not _is_site(objective, estimator):
        _check_needs(f"vi.{type(estimator).__name__}", estimator, q)
        noise = problem.noise(own_key(key), groups, size)
        values = over_elements(lambda n: estimator.surrogate(problem, n), noise)
        # a second derivative in a parameter of the guide and one of the model would be wrong, silently
        value = limited(f"vi.{type(estimator).__name__}", sign * jnp.mean(values), values)
        meter.report(groups * size, value)
        if not cell(objective, estimator).unbiased:
            meter.report_biased([type(estimator).__name__])
        if has_aux:
            raise ValueError(
                f"vi.loss(has_aux=True) needs an estimator of lt; got {type(estimator).__name__}(), which does not learn."
            )
        return value
    run = _one_draw if size == 1 else _several_draws
    found = run(key, problem, estimator, groups, size, has_aux)
    return (sign * found[0], found[1]) if has_aux else sign * found


def grouping(where: str, objective: Objective, num_samples: int) -> tuple[int, int]:
    """How many values of φ are averaged, and how many draws each of them takes."""
    k = objective.num_draws
    groups, size = (1, num_samples) if k is None else (num_samples, k)
    objective.check(where, size)
    return groups, size


def _is_site(objective: Objective, estimator: Any) -> bool:
    """Sticking the landing of a linear objective is the pathwise estimator of a site, log q held constant."""
    return isinstance(estimator, STL) and objective.linear


def _check_needs(name: str, estimator: WeightEstimator | Estimator, q: Guide) -> None:
    """Refuse a guide that lacks what the estimator needs of each draw: a site of k draws would name a distribution of k."""
    for need in estimator.needs:
        if not need.met_by(q.base):
            raise ValueError(
                f"{name}() {need.refusal(type(q).__name__)}. Use lt.ScoreFunction() or vi.VIMCO()."
            )


def site_estimators(estimator: Any) -> Any:
    """The estimators of the sites: `STL` draws as `Pathwise` does."""
    if isinstance(estimator, Mapping):
        return {name: site_estimators(e) for name, e in estimator.items()}
    return estimator.site if isinstance(estimator, STL) else estimator


def _one_draw(
    key: Array, problem: Problem, estimator: Any, groups: int, size: int, has_aux: bool
) -> Any:
    """φ of one draw: a program of the guide's sites with one cost."""
    q, objective = problem.q, problem.objective
    sites = site_estimators(estimator)
    held = q.hold(estimator) if objective.linear else q
    first_only = _guard(q) if objective.linear else None

    def phi(x: Any) -> Array:
        value = objective.value(problem.log_weight(x, held)[None])
        return value if first_only is None else value + first_only

    if not isinstance(sites, Mapping) and type(q).draw_program is Guide.draw_program:
        return expect(key, phi, q.base, estimator=sites, num_samples=groups, has_aux=has_aux)

    def program() -> Generator[Any, Any, None]:
        x = yield from q.draw_program(sites)
        yield cost(phi(x))

    return expect_program(key, program, num_samples=groups, has_aux=has_aux)


def _several_draws(
    key: Array, problem: Problem, estimator: Estimator, groups: int, size: int, has_aux: bool
) -> Any:
    """φ of k draws: one site that draws them all."""
    _check_needs(type(estimator).__name__, estimator, problem.q)

    def phi(xs: Any) -> Array:
        value = problem.objective.value(over_elements(problem.log_weight, xs))
        meter.report(size - 1, value)  # the expectation counts one evaluation, of k log-densities
        return value

    dist = repeated(problem.q.base, size)
    return expect(key, phi, dist, estimator=estimator, num_samples=groups, has_aux=has_aux)


def _guard(q: Guide) -> Array:
    """Zero, with derivative zero, whose second derivative raises: log q is held constant, which is right once."""
    parts = [first_order("vi.loss", 0.0, leaf) for leaf in jax.tree.leaves(q)]
    return sum(parts[1:], parts[0]) if parts else jnp.zeros(())


def estimator_name(estimator: Any) -> str:
    """The estimator as reports name it."""
    if isinstance(estimator, Mapping):
        return ", ".join(f"{name}: {estimator_name(e)}" for name, e in estimator.items())
    return repr(estimator)
