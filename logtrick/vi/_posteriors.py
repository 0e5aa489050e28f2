"""The posteriors that `python -m logtrick vi` knows, with their references."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import cauchy, norm

from logtrick.vi._families._normal import FullRankNormal, MeanFieldNormal
from logtrick.vi._supports import positive

Array = jax.Array
_EFFECTS = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0], np.float32)
_ERRORS = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0], np.float32)


@dataclasses.dataclass(frozen=True)
class Posterior:
    """A posterior and what is known of it.

    Attributes:
      about: in a line.
      make: `make(mean_field) -> (log_density, q0)`.
      reference: by variable (its first entry), the posterior's mean and standard deviation.
      log_evidence: of the reference; None where it is not known.
    """

    about: str
    make: Callable[[bool], tuple[Callable[[Any], Array], Any]]
    reference: dict[str, tuple[float, float]]
    log_evidence: float | None = None


def _eight_schools(mean_field: bool) -> tuple[Callable[[Any], Array], Any]:
    def log_density(z: Any) -> Array:
        prior = norm.logpdf(z["mu"], 0.0, 5.0) + cauchy.logpdf(z["tau"], 0.0, 5.0) + jnp.log(2.0)
        schools = jnp.sum(norm.logpdf(z["eta"]))
        return (
            prior + schools + jnp.sum(norm.logpdf(_EFFECTS, z["mu"] + z["tau"] * z["eta"], _ERRORS))
        )

    family = MeanFieldNormal if mean_field else FullRankNormal
    like = {"mu": 0.0, "tau": 1.0, "eta": jnp.zeros(8)}
    return log_density, family(like=like, support={"tau": positive})


def _breast_cancer(mean_field: bool) -> tuple[Callable[[Any], Array], Any]:
    try:
        from sklearn.datasets import load_breast_cancer
    except ImportError as error:
        raise SystemExit(
            "python -m logtrick vi breast-cancer reads the data that scikit-learn ships: pip install scikit-learn"
        ) from error
    data, labels = load_breast_cancer(return_X_y=True)
    data = (data - data.mean(0)) / data.std(0)
    features = np.concatenate([data, np.ones((len(data), 1))], 1).astype(np.float32)
    signs = (2.0 * labels - 1.0).astype(np.float32)

    def log_density(z: Any) -> Array:
        fits = jnp.sum(jax.nn.log_sigmoid(signs * (features @ z["w"])))
        return fits + jnp.sum(norm.logpdf(z["w"]))

    family = MeanFieldNormal if mean_field else FullRankNormal
    return log_density, family(like={"w": jnp.zeros(features.shape[1])})


POSTERIORS = {
    "eight-schools": Posterior(
        "eight schools, non-centered (Rubin 1981; reference draws of posteriordb)",
        _eight_schools,
        {"mu": (4.397, 3.318), "tau": (3.598, 3.220)},
        -31.311,
    ),
    "breast-cancer": Posterior(
        "Bayesian logistic regression, breast cancer data, 569 × 31, N(0, 1) priors",
        _breast_cancer,
        {},
    ),
}
