"""The error for an unknown keyword of a family, which names the right one."""

import difflib
import functools
import inspect
from collections.abc import Callable
from typing import Any

_KNOWN_AS = {
    "probs": ("prob", "p", "probability", "probabilities", "pvals", "success_prob"),
    "logits": ("logit", "log_odds", "log_probs", "log_weights", "scores", "weights"),
    "loc": ("mean", "mu", "location", "median", "x0"),
    "scale": ("std", "stddev", "sigma", "sd", "scale_diag", "b", "gamma"),
    "scale_tril": ("covariance", "covariance_matrix", "cov", "cholesky", "tril", "L"),
    "rate": ("lam", "lambda_", "intensity", "beta", "inverse_scale", "mu"),
    "concentration": ("alpha", "a", "shape", "concentration1"),
    "a": ("alpha", "concentration1", "concentration"),
    "b": ("beta", "concentration0"),
    "total_count": ("n", "trials", "num_trials", "r", "total"),
    "df": ("nu", "degrees_of_freedom", "dof"),
    "low": ("minval", "a", "min", "lower"),
    "high": ("maxval", "b", "max", "upper"),
    "components": ("distributions", "component_distribution", "components_distribution", "parts"),
    "parts": ("distributions", "components"),
    "base": ("distribution", "base_dist", "base_distribution"),
    "bijector": ("transform", "transforms", "bijection"),
    "length": ("k", "top_k", "num_places", "n"),
}


def naming_the_right_keyword(init: Callable[..., None]) -> Callable[..., None]:
    """`init`, whose error for a keyword that it does not have names the one that is meant."""
    parameters = list(inspect.signature(init).parameters.values())[1:]
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return init
    accepted = [p.name for p in parameters]

    @functools.wraps(init)
    def checked(self: Any, *args: Any, **kwargs: Any) -> None:
        for name in kwargs:
            if name not in accepted:
                raise TypeError(_message(type(self).__name__, name, accepted))
        init(self, *args, **kwargs)

    return checked


def _message(family: str, name: str, accepted: list[str]) -> str:
    shown = [each for each in accepted if each not in ("by_probs", "static_count")]
    meant = [each for each in shown if name in _KNOWN_AS.get(each, ())]
    meant = meant or difflib.get_close_matches(name, shown, 1)
    advice = f"Pass {meant[0]}=…" if meant else "Pass these"
    return f"{family}({name}=…) is no parameter; it has {', '.join(shown)}. {advice}."
