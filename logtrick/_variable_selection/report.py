"""What the job prints."""

import math
import textwrap

import numpy as np

from logtrick._variable_selection.fit import Fitted, reasons
from logtrick._variable_selection.guides import GUIDES
from logtrick._variable_selection.job import Result
from logtrick._variable_selection.model import MAX_ENUMERATED, Model, Posterior
from logtrick._variable_selection.race import OTHER, SHIFTED, RacePoint, Row, other_constant
from logtrick._variable_selection.table import Table

WIDTH = 100

# An inclusion probability this far from the exact one is pointed at.
_OFF = 0.1


def problem(table: Table) -> str:
    """The problem, in two lines, and how the file was read."""
    count = _num_models(len(table.names))
    lines = [
        table.question,
        f"A posterior over {count} linear models (g-prior, inclusion ½), fitted by the log-derivative trick alone.",
    ]
    if table.assumed:
        lines += [
            "",
            _wrap(f"Read {table.path} as {', '.join(table.assumed)}: {table.num_read:,} rows."),
        ]
    lines += [_wrap(f"  {change}", "    ") for change in table.changes]
    return "\n".join(lines)


def _num_models(num_predictors: int) -> str:
    if num_predictors < 24:
        return f"{2**num_predictors:,}"
    return f"2^{num_predictors} ({10 ** (num_predictors * math.log10(2) % 1):.1f}e{int(num_predictors * math.log10(2))})"


def evidence(posterior: Posterior | None, fits: list[Fitted]) -> str:
    """The ELBOs beside the exact log evidence."""
    lines = ["Evidence, in nats relative to the model without predictors"]
    if posterior is None:
        lines.append(
            f"  {'exact log evidence':<21}{'–':>10}   more than {MAX_ENUMERATED} predictors: not enumerated"
        )
    else:
        lines.append(f"  {'exact log evidence':<21}{posterior.log_evidence:10.3f}")
    for fit in fits:
        worth = fit.worth
        if posterior is None:
            note = f"ELBO ± {worth.standard_error:.3f}, by Monte Carlo"
        else:
            below = max(0.0, posterior.log_evidence - worth.elbo)
            note = f"ELBO, by enumeration, {below:.3f} below"
        lines.append(f"  {fit.guide.name + ' guide':<21}{worth.elbo:10.3f}   {note}")
    return "\n".join(lines)


def fits_in_words(model: Model, fits: list[Fitted]) -> str:
    """Whether each fit has converged, and its verdict, in sentences."""
    return "\n".join(_wrap(f"{_convergence(fit)} {_verdict(model, fit)}") for fit in fits)


def _convergence(fit: Fitted) -> str:
    words = (
        f"The {fit.guide.name} guide, {len(fit.history):,} steps of {fit.guide.num_samples} draws"
    )
    if fit.guide.containing is not None:
        words += f" from the fitted {GUIDES[0].name} guide"
    words += f": {fit.convergence}."
    return words + " The start is reported in its place." if fit.kept else words


def _verdict(model: Model, fit: Fitted) -> str:
    report = fit.worth.report
    words = f"Its verdict by {report.num_draws:,} draws of its own (vi.diagnose): {report.verdict}"
    why = reasons(model, fit.worth)
    return f"{words}, because {'; '.join(why)}." if why else f"{words}."


def inclusions(model: Model, posterior: Posterior | None, fits: list[Fitted]) -> str:
    """The inclusion probabilities of the guides beside the exact ones; what is far off carries a mark."""
    exact = None if posterior is None else posterior.inclusion
    width = max(10, *(len(name) for name in model.names)) + 2
    heads = ["exact"] * (exact is not None) + [fit.guide.name for fit in fits]
    lines = [
        "Inclusion probabilities",
        "  " + " " * width + "".join(f"{head:>15} " for head in heads),
    ]
    for j, name in enumerate(model.names):
        cells = [] if exact is None else [f"{exact[j]:15.3f} "]
        for fit in fits:
            off = exact is not None and abs(fit.worth.inclusion[j] - exact[j]) > _OFF
            cells.append(f"{fit.worth.inclusion[j]:15.3f}{'*' if off else ' '}")
        lines.append(f"  {name:<{width}}" + "".join(cells))
    return "\n".join(line.rstrip() for line in lines)


def explanation(model: Model, posterior: Posterior | None, fits: list[Fitted]) -> str:
    """In words: how far each guide is from the exact posterior, and why."""
    if posterior is None:
        return _wrap(
            f"There is no exact column: {_num_models(model.num_predictors)} models are too many to enumerate (the limit is "
            f"{MAX_ENUMERATED} predictors). The ELBO is a lower bound of the log evidence: the higher is the nearer."
        )
    return "\n".join([_best(model, posterior), *(_words(model, posterior, fit) for fit in fits)])


def _best(model: Model, posterior: Posterior) -> str:
    listed = ", ".join(
        f"{model.described(chosen)} ({probability:.2f})"
        for chosen, probability in posterior.best(4)
    )
    return _wrap(f"Most probable models: {listed}.")


def _words(model: Model, posterior: Posterior, fit: Fitted) -> str:
    error = np.abs(fit.worth.inclusion - posterior.inclusion)
    worst = int(np.argmax(error))
    off = [j for j in range(len(error)) if error[j] > _OFF]
    if not off:
        return _wrap(
            f"The {fit.guide.name} guide: every inclusion within {error[worst]:.3f} of the exact one."
        )
    names = model.names
    apart = (
        f"The {fit.guide.name} guide is off (*) at {_listed([names[j] for j in off])}: {names[worst]} is "
        f"{fit.worth.inclusion[worst]:.2f}, exact {posterior.inclusion[worst]:.2f}."
    )
    if fit.guide.containing is not None or len(off) < 2:
        return _wrap(apart + " More steps or draws, or another --seed, may bring it nearer.")
    return _wrap(f"{apart} {_limit(model, posterior, off)}")


def _limit(model: Model, posterior: Posterior, off: list[int]) -> str:
    """Why a product of Bernoullis is off at several predictors."""
    names = model.names
    a, b = _extreme(model.correlation, off)
    c, d = _extreme(posterior.correlation, off)
    together = "or" if posterior.correlation[c, d] < 0 else "with"
    return (
        "That is a limit of this guide, not of its gradients: these predictors are correlated "
        f"({names[a]} with {names[b]}: {model.correlation[a, b]:.2f}) and stand in for one another, "
        f"so their inclusions depend on each other ({names[c]} with {names[d]}: {posterior.correlation[c, d]:.2f}). "
        f"A product of Bernoullis cannot say “{names[c]} {together} {names[d]}”: it settles on one explanation."
    )


def _extreme(correlation: np.ndarray, among: list[int]) -> tuple[int, int]:
    """The most correlated pair."""
    pairs = [(i, j) for i in among for j in among if i < j]
    return max(pairs, key=lambda pair: abs(correlation[pair]))


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _wrap(text: str, indent: str = "") -> str:
    return textwrap.fill(
        text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def race(model: Model, points: list[RacePoint], num_replicates: int) -> str:
    """The tables of the race, and what they show."""
    parts = [
        f"The race: the gradient of the independent guide's ELBO, {num_replicates:,} gradients each\n"
        f"(bias z: the largest |z| of a coordinate; variance: summed over the coordinates; evaluations: of f)",
        *map(_table, points),
        *(
            f"{row.name} is refused: {row.error}"
            for row in points[0].rows.values()
            if row.error is not None
        ),
    ]
    words = (
        "f is known up to a constant: it is taken relative to the model without predictors; “other constant” takes it "
        f"relative to the full model: f changes by {-other_constant(model):+.1f} nats. {_dependence(points)}"
    )
    if not model.enumerable:
        words += f" Enumerate is left out, and with it the exact gradient: more than {MAX_ENUMERATED} predictors."
    return "\n\n".join([*parts, _wrap(words)])


def _dependence(points: list[RacePoint]) -> str:
    """What the constant does to each variance, in numbers."""
    changes = {}
    for name in SHIFTED:
        pairs = [(point.rows[name], point.rows[name + OTHER], point.where) for point in points]
        changes[name] = ", ".join(f"{a.variance:.3g} → {b.variance:.3g} {at}" for a, b, at in pairs)
    return (
        f"Plain REINFORCE's variance depends on that arbitrary constant ({changes['no baseline']}); leave-one-out's "
        f"does not ({changes['leave-one-out']})."
    )


def _table(point: RacePoint) -> str:
    """Bias, variance and cost of each estimator; what is exact says so, and so does what is refused."""
    heads = ("bias z", "variance", "evaluations", "variance × evaluations")
    width = max(map(len, point.rows)) + 4
    lines = []
    for name, cells in [
        (point.where, heads),
        *((f"  {n}", _cells(r)) for n, r in point.rows.items()),
    ]:
        aligned = [f"{cell:>{len(head) + 3}}" for head, cell in zip(heads, cells)]
        lines.append(f"{name:<{width}}{''.join(aligned)}")
    return "\n".join(lines)


def _cells(row: Row) -> tuple[str, ...]:
    if row.error is not None:
        return ("refused",)
    evaluations = f"{row.evaluations:,}"
    if row.exact:
        return "exact", "0", evaluations, "0"
    z = "–" if row.bias_z is None else f"{row.bias_z:.1f}"
    return z, f"{row.variance:,.3g}", evaluations, f"{row.variance_x_evaluations:,.3g}"


def results(result: Result) -> str:
    """All that is known when the job is done."""
    model, posterior, fits = result.model, result.posterior, result.fits
    parts = [
        evidence(posterior, fits),
        fits_in_words(model, fits),
        inclusions(model, posterior, fits),
        explanation(model, posterior, fits),
        race(model, result.race, result.num_replicates),
    ]
    return "\n\n".join(parts)
