"""The job's numbers as JSON holds them: enough to know where they came from and to make them again."""

import platform
from importlib import metadata
from typing import Any

import numpy as np

import logtrick as lt
from logtrick._variable_selection.fit import Fitted, reasons
from logtrick._variable_selection.job import Result
from logtrick._variable_selection.model import Model

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
        "guides": {fit.guide.name: _guide(result.model, fit) for fit in result.fits},
        "exact_inclusion": exact,
        "race": {
            point.where: {name: row.as_json() for name, row in point.rows.items()}
            for point in result.race
        },
    }


def _versions() -> dict[str, str]:
    packages = {package: metadata.version(package) for package in _PACKAGES}
    return {"logtrick": lt.__version__, "python": platform.python_version(), **packages}


def _guide(model: Model, fit: Fitted) -> dict[str, Any]:
    worth, report = fit.worth, fit.worth.report
    return {
        "elbo": worth.elbo,
        "elbo_standard_error": worth.standard_error,
        "status": fit.status,
        "convergence": fit.convergence,
        "steps": len(fit.history),
        "draws": fit.guide.num_samples,
        "verdict": report.verdict,
        "reasons": reasons(model, worth),
        "gap": report.gap if np.isfinite(report.gap) else None,
        "effective_draws": report.ess,
        "judged_by_draws": report.num_draws,
        "inclusion": _by_name(model.names, worth.inclusion),
    }


def _by_name(names: tuple[str, ...], values: np.ndarray) -> dict[str, float]:
    return dict(zip(names, values.tolist()))
