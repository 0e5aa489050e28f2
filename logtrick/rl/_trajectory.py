"""The objective of one episode in surrogate form: each cost carries the boxes of the draws before it."""

import jax
import jax.numpy as jnp

from logtrick._core.kernel import magic_box, stop

Array = jax.Array


def trajectory_sum(log_probs: Array, costs: Array, baselines: Array) -> Array:
    """Σ_t c_t, whose derivative estimates ∇E[Σ_t c_t].

    With B_t = box(Σ_{s ≤ t} log p_s) it is Σ_t c_t B_t + b_t (B_{t−1} − B_t). The first term credits a draw with the
    costs of its step and of later steps. The second has the value and the expected derivatives 0 at every order if b_t
    does not depend on the draw at t or later ones.
    """
    totals = jnp.cumsum(log_probs)
    up_to = magic_box(totals)
    before = magic_box(totals - log_probs)
    return jnp.sum(costs * up_to + stop(baselines) * (before - up_to))
