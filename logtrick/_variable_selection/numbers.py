"""The job's numbers as JSON holds them: enough to know where they came from and to make them again."""

import platform
from importlib import metadata
from typing import Any

import numpy as np

import logtrick as lt
from logtrick._variable_selection.fit import Fitted
from logtrick._variable_selection.job import Result

_PACKAGES = ("jax", "jaxlib", "numpy", "optax")


def as_json(result: Result, options: dict[str, Any]) -> dict[str, Any]:
    """The numbers of the job; null where there is none."""
    table, posterior = result.table, result.posterior
    names = result.model.names
    exact = None if posterior is None else _by_name(names, posterior.inclusion)
    return {
        "seed": options["seed"],
        "versions": _versions(),
        "options": options,
        "data": {
            "file": table.path,
            "target": table.target,
            "predictors": list(names),
            "rows_read": table.num_read,
            "rows": table.num_rows,
            "assumed": list(table.assumed),
            "changes": list(table.changes),
        },
        "log_evidence": None if posterior is None else posterior.log_evidence,
        "guides": {fit.guide.name: _guide(names, fit) for fit in result.fits},
        "exact_inclusion": exact,
        "race": {
            point.where: {name: row.as_json() for name, row in point.rows.items()}
            for point in result.race
        },
    }


def _versions() -> dict[str, str]:
    packages = {package: metadata.version(package) for package in _PACKAGES}
    return {"logtrick": lt.__version__, "python": platform.python_version(), **packages}


def _guide(names: tuple[str, ...], fit: Fitted) -> dict[str, Any]:
    return {
        "elbo": fit.elbo,
        "elbo_standard_error": fit.standard_error,
        "status": fit.verdict.status,
        "verdict": fit.verdict.words,
        "steps": len(fit.history),
        "draws": fit.guide.num_samples,
        "inclusion": _by_name(names, fit.inclusion),
    }


def _by_name(names: tuple[str, ...], values: np.ndarray) -> dict[str, float]:
    return dict(zip(names, values.tolist()))
