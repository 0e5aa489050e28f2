"""Lazy per-draw scores and the Fisher matrix: products and solves without the draws × parameters matrix."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from logtrick._core import checks, mesh
from logtrick._core.calls import in_words
from logtrick._core.mesh import alike, local
from logtrick._core.module import Module, static

Array = jax.Array


class Scores(Module):
    """The matrix S of scores, Sᵢ = ∇_θ log p_θ(xᵢ), one row per draw, formed only by `dense`; made by `lt.scores`.

    With `centered`, Sᵢ − mean S: what an unnormalized log density needs, since ∇log Z is that mean.

    Args:
      params: θ, a pytree of float arrays.
      samples: draws, a pytree with a leading axis (n,).
      log_prob: `log_prob(params, x) -> scalar` of one draw.
      centered: whether the mean over the draws is subtracted.
      chunk_size: draws in memory at a time; None for all at once.
    Example:
      >>> import jax.numpy as jnp, logtrick as lt
      >>> s = lt.scores(lambda mu, x: -0.5 * (x - mu) ** 2, 1.0, jnp.array([2.0, 4.0]))
      >>> s.matvec(1.0).tolist(), s.rmatvec(jnp.ones(2)).item(), s.gram().tolist()
      ([1.0, 3.0], 4.0, [[1.0, 3.0], [3.0, 9.0]])
    """

    params: Any
    samples: Any
    log_prob: Callable[[Any, Any], Any] = static()
    centered: bool = static(default=False)
    chunk_size: int | None = static(default=None)

    @property
    def count(self) -> int:
        """The number of draws."""
        return int(jax.tree.leaves(self.samples)[0].shape[0])

    def _log_probs(self, params: Any, samples: Any) -> Array:
        return jax.vmap(lambda x: checks.scalar_log_prob("lt.scores", self.log_prob(params, x)))(
            samples
        )

    def _like_params(self, v: Any) -> Any:
        """`v` in the parameters' dtypes, varying over the mesh axes of a user's `shard_map` over which these do."""
        return jax.tree.map(lambda p, t: alike(jnp.asarray(t, p.dtype), p)[0], self.params, v)

    def _center(self, u: Array) -> Array:
        return u - jnp.mean(u) if self.centered else u

    def _by_chunks(
        self, body: Callable[[Any, Any], tuple[Any, Any]], carry: Any, xs: Any
    ) -> tuple[Any, Any]:
        """A scan of `body` over chunks of draws, and once more over what is left; outputs along the axis of draws."""
        n, size = self.count, self.chunk_size or self.count
        full = n - n % size
        head = jax.tree.map(lambda a: a[:full].reshape(-1, size, *a.shape[1:]), xs)
        carry, ys = mesh.scan_varying(body, carry, head, None)
        ys = jax.tree.map(lambda a: a.reshape(full, *a.shape[2:]), ys)
        if full == n:
            return carry, ys
        carry, last = body(carry, jax.tree.map(lambda a: a[full:], xs))
        return carry, jax.tree.map(lambda a, b: jnp.concatenate([a, b]), ys, last)

    def matvec(self, v: Any) -> Array:
        """S v, shape (n,), for `v` a pytree like the parameters: one forward-mode product."""
        v = self._like_params(v)

        def chunk(carry: None, x: Any) -> tuple[None, Array]:
            return carry, jax.jvp(lambda p: self._log_probs(p, x), (self.params,), (v,))[1]

        return self._center(self._by_chunks(chunk, None, self.samples)[1])

    def rmatvec(self, u: Any) -> Any:
        """Sᵀ u, a pytree like the parameters, for `u` of shape (n,): one reverse-mode product."""
        u = jnp.asarray(u)
        if u.shape != (self.count,):
            raise ValueError(
                f"Scores.rmatvec(u=…) needs shape ({self.count},), one number per draw; got {u.shape}."
            )

        def chunk(total: Any, xs: Any) -> tuple[Any, None]:
            x, u = xs
            values, pull = jax.vjp(lambda p: self._log_probs(p, x), self.params)
            cotangent, _ = alike(u.astype(values.dtype), values)
            (part,) = pull(cotangent)
            return jax.tree.map(lambda t, g: t + g.astype(t.dtype), total, part), None

        # the chunks are added up in float32: a sum in bfloat16 stops growing at 256 times a term
        zero = _wide(jax.tree.map(jnp.zeros_like, self.params))
        total, _ = self._by_chunks(chunk, zero, (self.samples, self._center(u)))
        return self._like_params(total)

    def gram(self) -> Array:
        """S Sᵀ, shape (n, n), computed row by row: memory for n² numbers and one gradient."""
        return jax.lax.map(lambda e: self.matvec(self.rmatvec(e)), jnp.eye(self.count))

    def dense(self) -> Array:
        """S itself, shape (n, P), the parameters flattened as `ravel_pytree` does; the other methods do not form it."""
        flat, tree = ravel_pytree(self.params)
        one = jax.grad(lambda p, x: checks.scalar_log_prob("lt.scores", self.log_prob(tree(p), x)))
        rows = jax.vmap(one, (None, 0))(flat, self.samples)
        return rows - rows.mean(0, keepdims=True) if self.centered else rows


def _wide(tree: Any) -> Any:
    """The leaves in at least float32."""
    return jax.tree.map(lambda a: a.astype(jnp.promote_types(a.dtype, jnp.float32)), tree)


@in_words("lt.scores")
def scores(
    log_prob: Callable[[Any, Any], Any],
    params: Any,
    samples: Any,
    *,
    centered: bool = False,
    chunk_size: int | None = None,
) -> Scores:
    """The scores of many draws as a lazy matrix: matvec, rmatvec, gram, dense.

    Args:
      log_prob: `log_prob(params, x) -> scalar` of one draw, up to a constant where `centered`.
      params: θ, a pytree of float arrays.
      samples: draws, a pytree with a leading axis (n,).
      centered: subtract the mean over the draws.
      chunk_size: draws in memory at a time, which bounds memory; None for all at once.
    Returns:
      A `Scores`.
    Raises:
      ValueError: `log_prob` gives no scalar, `params` has no leaves, the draws have no common
        leading axis.
      TypeError: a leaf of `params` is no real float array.
    Example:
      >>> import jax.numpy as jnp, logtrick as lt
      >>> lt.scores(lambda mu, x: -0.5 * (x - mu) ** 2, 1.0, jnp.array([2.0, 4.0]), centered=True).dense().tolist()
      [[-1.0], [1.0]]
    """
    checks.differentiable("lt.scores", params)
    if chunk_size is not None:
        chunk_size = checks.positive_int("lt.scores", "chunk_size", chunk_size)
    samples = jax.tree.map(jnp.asarray, samples)
    sizes = {leaf.shape[:1] for leaf in jax.tree.leaves(samples)}
    if len(sizes) != 1 or sizes & {(), (0,)}:
        raise ValueError(
            "lt.scores(samples=…) needs one leading axis (n,) common to every leaf, n at least 1; got "
            f"{sorted(sizes)}. Stack the draws."
        )
    params = jax.tree.map(jnp.asarray, params)
    one = jax.tree.map(lambda a: a[0], samples)
    (params,) = local(
        lambda p: log_prob(p, one), params
    )  # each device's own draws, not their sum over a user's mesh
    return Scores(params, samples, log_prob, centered, chunk_size)


class Fisher(Module):
    """The (damped) Fisher matrix F = Σᵢ wᵢ Sᵢ Sᵢᵀ + λ I, formed only by `dense`; made by `lt.fisher`.

    Args:
      scores: S, as a lazy matrix.
      weights: w, shape (n,).
      damping: λ ≥ 0, shape (), in the units of the squared score.
    Example:
      >>> import jax.numpy as jnp, logtrick as lt
      >>> f = lt.fisher(lambda mu, x: -0.5 * (x - mu) ** 2, 1.0, jnp.array([2.0, 4.0]))
      >>> f.matvec(1.0).item(), f.solve(10.0).item()               # (1 + 9) / 2
      (5.0, 2.0)
    """

    scores: Scores
    weights: Array
    damping: Array

    def matvec(self, v: Any) -> Any:
        """F v, a pytree like the parameters: one forward-mode and one reverse-mode product."""
        product = self.scores.rmatvec(self.weights * self.scores.matvec(v))
        damped = jax.tree.map(lambda a, b: a + self.damping * b, product, v)
        return self.scores._like_params(damped)

    def solve(self, g: Any, *, tolerance: float = 1e-6, max_steps: int | None = None) -> Any:
        """F⁻¹ g, the natural gradient where g is the gradient, by conjugate gradients.

        Inside `jax.shard_map` it needs `check_vma=False`, as `jax.scipy.sparse.linalg.cg` does.

        Args:
          g: a pytree like the parameters.
          tolerance: the residual's norm, relative to that of g.
          max_steps: how many steps at most; by default ten times the number of parameters.
        """
        g = _wide(self.scores._like_params(g))
        product = lambda v: _wide(self.matvec(v))
        solution, _ = jax.scipy.sparse.linalg.cg(product, g, tol=tolerance, maxiter=max_steps)
        return self.scores._like_params(solution)

    def solve_by_draws(self, g: Any) -> Any:
        """F⁻¹ g through the draws × draws kernel: (g − Sᵀ √W (λ I + √W S Sᵀ √W)⁻¹ √W S g) / λ, exact for any λ > 0.

        For fewer draws than parameters: one Cholesky factor of size n.

        Raises:
          ValueError: λ = 0, which has no such form.
        """
        damping = checks.require(
            "Fisher.solve_by_draws", "damping", self.damping, lambda d: d > 0, "a positive number"
        )
        g = self.scores._like_params(g)
        root = jnp.sqrt(self.weights)
        kernel = root[:, None] * self.scores.gram() * root[None] + damping * jnp.eye(
            self.scores.count
        )
        inner = jax.scipy.linalg.solve(kernel, root * self.scores.matvec(g), assume_a="pos")
        back = self.scores.rmatvec(root * inner)
        return self.scores._like_params(jax.tree.map(lambda a, b: (a - b) / damping, g, back))

    def dense(self) -> Array:
        """F itself, shape (P, P), the parameters flattened as `ravel_pytree` does."""
        s = self.scores.dense()
        return (s * self.weights[:, None]).T @ s + self.damping * jnp.eye(s.shape[1])


@in_words("lt.fisher")
def fisher(
    log_prob: Callable[[Any, Any], Any],
    params: Any,
    samples: Any,
    *,
    weights: Any = None,
    centered: bool = False,
    damping: Any = 0.0,
    chunk_size: int | None = None,
) -> Fisher:
    """The Fisher matrix estimated from draws, as a lazy matrix: matvec, solve (natural gradients), dense.

    F = E_{x∼p_θ}[∇log p ∇log pᵀ] ≈ Σᵢ wᵢ Sᵢ Sᵢᵀ + λ I, wᵢ = 1/n unless given. With `centered`
    the log density need not be normalized (the quantum geometric tensor of variational Monte
    Carlo). A natural gradient is `lt.fisher(log_prob, params, x, damping=1e-3).solve(gradient)`.

    Args:
      log_prob: `log_prob(params, x) -> scalar` of one draw.
      params: θ, a pytree of float arrays.
      samples: draws from p_θ, a pytree with a leading axis (n,).
      weights: w, shape (n,), summing to 1.
      centered: subtract the mean score; needs equal weights.
      damping: λ ≥ 0, in the units of the squared score.
      chunk_size: draws in memory at a time.
    Returns:
      A `Fisher`.
    Raises:
      ValueError: as `lt.scores`; weights of another shape, that do not sum to 1, or with
        `centered`; a negative `damping`.
    References:
      Amari (1998), "Natural Gradient Works Efficiently in Learning"; Sorella (1998), "Green
      Function Monte Carlo with Stochastic Reconfiguration"; Chen & Heyl (2024), "Empowering deep
      neural quantum states through efficient optimization" (the draws × draws kernel).
    Example:
      >>> import jax, jax.numpy as jnp, logtrick as lt
      >>> log_prob = lambda logit, x: lt.Bernoulli(logit).log_prob(x)
      >>> x = jnp.array([1.0, 1.0, 1.0] + [0.0] * 7)                          # as many as p = 0.3 says
      >>> round(lt.fisher(log_prob, jnp.log(3 / 7), x).solve(0.525).item(), 4)     # p(1 − p) 2.5, over p(1 − p)
      2.5
    """
    s = scores(log_prob, params, samples, centered=centered, chunk_size=chunk_size)
    w = jnp.full(s.count, 1.0 / s.count) if weights is None else jnp.asarray(weights)
    if weights is not None:
        if w.shape != (s.count,) or centered:
            raise ValueError(
                f"lt.fisher(weights=…) needs shape ({s.count},), and centered=False; got {w.shape} and centered={centered}."
            )
        known = checks.concrete(w)
        if known is not None and not abs(known.sum() - 1) < 1e-3:
            raise ValueError(
                f"lt.fisher(weights=…) needs weights that sum to 1; got a sum of {known.sum():.6g}. Divide by it."
            )
    damping = checks.require(
        "lt.fisher",
        "damping",
        jnp.asarray(damping, float),
        lambda d: d >= 0,
        "a number of at least 0",
    )
    return Fisher(s, w, damping)
