"""`assert_unbiased`: a statistical test that owes two error rates."""

from statistics import NormalDist
from typing import Any

import jax
import numpy as np
from jax.tree_util import keystr, tree_flatten_with_path

from logtrick._core.calls import in_words

_POWER = 0.999
_LEAST = 100
_SPREAD, _ERROR = 8, 64


@in_words("lt.testing.assert_unbiased")
def assert_unbiased(
    draws: Any, truth: Any, *, resolve: float, false_alarm: float = 1e-6, scale: float | None = None
) -> None:
    """Assert that estimates have the mean `truth`, and that a bias of `resolve` would have been seen.

    Per coordinate z = (mean − truth) / (s / √n). With m coordinates the test fails where any
    |z| > z* = Φ⁻¹(1 − α/2), α = 1 − (1 − false_alarm)^(1/m) (Šidák). Its two error rates:

    - A right estimator fails with probability `false_alarm` or less, over all coordinates together (as far as the mean of
      n estimates is normal: n ≥ 100 is required; heavy tails need more).
    - A coordinate whose bias is δ = resolve · scale or more passes with probability 0.001 or less: where the estimates are too
      few or too noisy for that, (z* + Φ⁻¹(0.999)) s / √n > δ in any coordinate, the test fails as too weak.

    A coordinate that does not vary (to 8 ε of the largest estimate) must equal the truth to 64 ε of the largest number.

    Args:
      draws: independent estimates, (n, …), or a pytree of such.
      truth: their expectation, (…), a pytree alike.
      resolve: the bias that must be seen, relative to `scale`.
      false_alarm: over all coordinates.
      scale: what `resolve` is relative to; the largest |truth| of all coordinates unless said otherwise.
    Raises:
      AssertionError: biased; too weak; or not finite.
      ValueError: shapes that do not fit; a truth without numbers, or one that is not finite; a truth that is 0 everywhere,
        without `scale`.
    References:
      Šidák (1967), "Rectangular Confidence Regions for the Means of Multivariate Normal Distributions".
    Example:
      >>> import numpy as np, logtrick as lt
      >>> draws = 2.0 + np.random.default_rng(0).normal(size=(10_000, 3))
      >>> lt.testing.assert_unbiased(draws, np.full(3, 2.0), resolve=0.05)
      >>> lt.testing.assert_unbiased(draws, np.full(3, 1.9), resolve=0.05)
      Traceback (most recent call last):
      ...
      AssertionError: biased: coordinate [0] has mean 2.00792 ± 0.01 for 1.9, z = 10.8; |z| up to 5.104 passes.
    """
    names, columns, truths = _columns(draws, truth)
    if not truths or not np.all(np.isfinite(truths)):
        what = "one number at least" if not truths else "finite numbers"
        raise ValueError(f"assert_unbiased(truth=…) needs {what}; got {truth!r}.")
    scale = max(abs(t) for t in truths) if scale is None else scale
    if not scale > 0:
        raise ValueError(
            "assert_unbiased(truth=…) is 0 everywhere, so `resolve` has nothing to be relative to. Pass scale=…."
        )
    tail = NormalDist().inv_cdf
    limit = -tail(-np.expm1(np.log1p(-false_alarm) / len(truths)) / 2)
    needed = limit + tail(_POWER)
    weak = ""
    for name, x, t in zip(names, columns, truths):
        wide = x.astype(np.float64)
        n, mean, deviation = len(x), float(wide.mean()), float(wide.std(ddof=1))
        peak, epsilon = float(np.max(np.abs(x))), float(np.finfo(x.dtype).eps)
        if not np.isfinite(peak):
            raise AssertionError(
                f"not finite: coordinate {name} has {np.count_nonzero(~np.isfinite(x))} such estimates of {n}."
            )
        if deviation <= _SPREAD * epsilon * peak:
            if abs(mean - t) > _ERROR * epsilon * max(peak, scale):
                raise AssertionError(
                    f"biased: coordinate {name} is {mean:.9g} without variance; the truth is {t:.9g}."
                )
            continue
        error = deviation / n**0.5
        if n >= _LEAST and abs(mean - t) > limit * error:
            z = (mean - t) / error
            raise AssertionError(
                f"biased: coordinate {name} has mean {mean:.6g} ± {error:.2g} for {t:.6g}, z = {z:.1f}; |z| up to {limit:.3f} "
                "passes."
            )
        if n < _LEAST or needed * error > resolve * scale:
            more = max(_LEAST, int((needed * deviation / (resolve * scale)) ** 2) + 1)
            weak = weak or (
                f"too weak: {n} estimates of coordinate {name} resolve a bias of {needed * error:.2g}, not of "
                f"{resolve * scale:.2g} = {resolve} × {scale:.3g}. Take {more}."
            )
    if weak:
        raise AssertionError(weak)


def _columns(draws: Any, truth: Any) -> tuple[list[str], list[np.ndarray], list[float]]:
    """For each coordinate its name, its column of estimates, and its truth."""
    truth_leaves, tree = jax.tree.flatten(truth)
    paths, draw_tree = tree_flatten_with_path(draws)
    if tree != draw_tree:
        raise ValueError(
            f"assert_unbiased(draws=…) needs a pytree like truth, {tree}; got {draw_tree}."
        )
    names, columns, truths = [], [], []
    for (path, leaf), t in zip(paths, truth_leaves):
        x, t = np.asarray(leaf), np.asarray(t, np.float64)
        if x.shape[1:] != t.shape or x.ndim == 0 or len(x) < 2:
            raise ValueError(
                f"assert_unbiased(draws=…) needs shape (n ≥ 2, *{t.shape}); got {x.shape}."
            )
        x = x if np.issubdtype(x.dtype, np.floating) else x.astype(np.float64)
        for index in np.ndindex(t.shape):
            place = str(list(index)) if index else ""
            names.append(f"{keystr(path)}{place}" or "()")
            columns.append(x[(slice(None), *index)])
            truths.append(float(t[index]))
    return names, columns, truths
