"""The ELBO on fixed draws as a deterministic function, maximized by optax's L-BFGS."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import Partial

from logtrick._core.module import static
from logtrick.vi._engines._base import Engine, EngineResult, traced
from logtrick.vi._engines._density import Density
from logtrick.vi._engines._gaussian import Gaussian, composed, triangular
from logtrick.vi._engines._laplace import Laplace
from logtrick.vi._engines._natural_newton import antithetic

Array = jax.Array


class FixedDraws(Engine):
    """Sample average approximation: the ELBO on n fixed draws, a deterministic function, maximized by `optax.lbfgs`.

    The parameters are a mean and, for a mean-field q0, log standard deviations, else a triangular factor, in the coordinates
    that the starting Gaussian whitens. A full-rank Gaussian overfits draws fewer than a multiple of d.

    A mean-field q underestimates standard deviations. Linear response corrects them: the covariance of z is the block for the
    mean of the inverse Hessian of −ELBO at the optimum, exact where p is Gaussian.

    The result's `report` has, for a mean-field q0, `linear_response_covariance` (d, d) and `linear_response_stddev` (d,).

    Args:
      num_draws: n, antithetic.
      max_steps: of L-BFGS.
      tolerance: of the gradient's norm.
      start: the engine whose result is the first q; None starts from q0.
    References:
      Giordano, Ingram & Broderick (2024), "Black Box Variational Inference with a Deterministic Objective: Faster, More Accurate,
      and Even More Black Box"; Burroni, Domke & Sheldon (2024), "Sample Average Approximation for Black-Box VI".
    Example:
      >>> import jax, jax.numpy as jnp, numpy as np
      >>> from logtrick import vi
      >>> precision = jnp.linalg.inv(jnp.array([[1.0, 0.9], [0.9, 1.0]]))
      >>> target = vi.Target(lambda z: -0.5 * z @ precision @ z, vi.MeanFieldNormal(like=jnp.zeros(2)))
      >>> fit = vi.FixedDraws(64).run(jax.random.key(0), target, vi.Gaussian(np.zeros(2), np.ones(2)))
      >>> fit.gaussian.stddev().round(2).tolist(), fit.report["linear_response_stddev"].round(2).tolist()
      ([0.44, 0.44], [1.0, 1.0])
    """

    num_draws: int = static(default=256)
    max_steps: int = static(default=200)
    tolerance: float = static(default=1e-5)
    start: Engine | None = Laplace()

    def solve(self, density: Density, rng: np.random.Generator, q0: Gaussian) -> EngineResult:
        first = q0
        if self.start is not None:
            first = self.start.solve(density, rng, q0).gaussian
        spent = density.evaluations
        dtype = jax.dtypes.canonicalize_dtype(float)
        noise = jnp.asarray(antithetic(rng, self.num_draws, first.dim), dtype)
        outer = Gaussian(*(jnp.asarray(a, dtype) for a in first))
        steps = self.max_steps
        if density.budget is not None:
            steps = max(1, min(steps, (density.budget - spent) // (2 * self.num_draws)))
        log_density = density.target.log_density
        if not isinstance(log_density, Partial):
            log_density = Partial(log_density)
        fitted, elbo, count, calls, norm = _solved(log_density, outer, noise, steps, self.tolerance)
        gaussian = composed(first, _inner(fitted, outer).host())
        evaluations = spent + int(calls) * self.num_draws
        report: dict[str, Any] = {"steps": int(count), "gradient_norm": float(norm)}
        if first.mean_field:
            covariance = np.asarray(_response(log_density, fitted, outer, noise), np.float64)
            covariance = first.scale[:, None] * covariance * first.scale
            report["linear_response_covariance"] = covariance
            report["linear_response_stddev"] = np.sqrt(np.maximum(np.diag(covariance), 0.0))
            evaluations += 2 * first.dim * self.num_draws
        else:
            gaussian = Gaussian(gaussian.mean, triangular(gaussian.scale))
        if not np.isfinite(float(elbo)):
            return EngineResult(first, "failed", evaluations, traced([]), report)
        status = "converged" if float(norm) <= 100 * self.tolerance else "not converged"
        trace = traced([(evaluations, float(elbo))])
        return EngineResult(gaussian, status, evaluations, trace, report)


def _inner(parameters: Array, outer: Gaussian) -> Gaussian:
    """The Gaussian in the coordinates that `outer` whitens: means, log standard deviations, below the diagonal."""
    dim = outer.dim
    mean, logs = parameters[:dim], parameters[dim : 2 * dim]
    if outer.mean_field:
        return Gaussian(mean, jnp.exp(logs))
    scale = jnp.diag(jnp.exp(logs)).at[jnp.tril_indices(dim, -1)].set(parameters[2 * dim :])
    return Gaussian(mean, scale)


def _loss(log_density: Partial, parameters: Array, outer: Gaussian, noise: Array) -> Array:
    """−ELBO."""
    dim = outer.dim
    draws = outer.push(_inner(parameters, outer).push(noise))
    scale = outer.scale if outer.mean_field else jnp.diagonal(jnp.linalg.qr(outer.scale)[1])
    constant = jnp.sum(jnp.log(jnp.abs(scale))) + 0.5 * dim * (1 + np.log(2 * np.pi))
    log_det = jnp.sum(parameters[dim : 2 * dim])
    return -jnp.mean(jax.vmap(log_density)(draws)) - log_det - constant


@jax.jit
def _solved(
    log_density: Partial, outer: Gaussian, noise: Array, steps: Any, tolerance: Any
) -> tuple[Array, Array, Array, Array, Array]:
    """Parameters, ELBO, steps, evaluations of the loss and the gradient's norm at the optimum."""

    def loss(parameters: Array) -> Array:
        return _loss(log_density, parameters, outer, noise)

    optimizer = optax.lbfgs()
    value_and_grad = optax.value_and_grad_from_state(loss)
    size = 2 * outer.dim
    if not outer.mean_field:
        size += outer.dim * (outer.dim - 1) // 2
    start = jnp.zeros(size, noise.dtype)

    def advance(carry: Any) -> Any:
        parameters, state, step, calls, _ = carry
        value, gradient = value_and_grad(parameters, state=state)
        updates, state = optimizer.update(
            gradient, state, parameters, value=value, grad=gradient, value_fn=loss
        )
        parameters = optax.apply_updates(parameters, updates)
        searched = state[-1].info.num_linesearch_steps
        norm = jnp.linalg.norm(optax.tree.get(state, "grad"))
        return parameters, state, step + 1, calls + searched + 1, norm

    def going(carry: Any) -> Array:
        return (carry[2] < steps) & (carry[4] > tolerance)

    zero, far = jnp.zeros((), int), jnp.full((), jnp.inf, noise.dtype)
    carry = (start, optimizer.init(start), zero, zero, far)
    parameters, _, step, calls, norm = jax.lax.while_loop(going, advance, carry)
    return parameters, -loss(parameters), step, calls, norm


@jax.jit
def _response(log_density: Partial, parameters: Array, outer: Gaussian, noise: Array) -> Array:
    """The mean's block of the inverse Hessian of −ELBO."""
    hessian = jax.hessian(lambda p: _loss(log_density, p, outer, noise))(parameters)
    return jnp.linalg.inv(hessian)[: outer.dim, : outer.dim]
