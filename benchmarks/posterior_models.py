"""The posteriors of `benchmarks/posteriors.py`: 33 of posteriordb, as log densities over named variables.

Each is what the Stan program says, all normalizing constants included, so that log Z is comparable.
"""

import functools
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln, logsumexp
from jax.scipy.stats import cauchy, gamma, norm

from logtrick import vi

Array = jax.Array
Variables = Mapping[str, Any]
DATA = pathlib.Path(__file__).parent / "data" / "posteriordb.json"


class Posterior(NamedTuple):
    """A posterior with its reference.

    Attributes:
      name: as posteriordb has it.
      log_density: of a dict of variables.
      like: the shapes of the variables.
      support: of the variables that are not real.
      quantities: from the variables to the quantities that have reference moments.
      log_z: the log normalizer.
      moments: by quantity, mean and standard deviation.
    """

    name: str
    log_density: Callable[[Variables], Array]
    like: dict[str, Any]
    support: dict[str, Any]
    quantities: Callable[[Variables], dict[str, Any]]
    log_z: float
    moments: dict[str, list[float]]

    @property
    def dim(self) -> int:
        """The number of coordinates."""
        return sum(int(np.size(value)) for value in self.like.values())


class Model(NamedTuple):
    """A posterior without its reference."""

    log_density: Callable[[Variables], Array]
    like: dict[str, Any]
    support: dict[str, Any]
    quantities: Callable[[Variables], dict[str, Any]]


@functools.cache
def _file() -> dict[str, Any]:
    return json.loads(DATA.read_text())


def data(name: str) -> dict[str, Any]:
    """The columns of a data set, as float arrays."""
    return {key: np.asarray(value, float) for key, value in _file()["data"][name].items()}


def posteriors(only: str = "") -> dict[str, Posterior]:
    """All posteriors whose name contains `only`, by name."""
    models = {**regressions(), **others()}
    return {
        name: Posterior(name, *models[name], known["log_z"], known["moments"])
        for name, known in _file()["posteriors"].items()
        if only in name
    }


# --- linear regressions


def _flat(_: Any) -> float:
    return 0.0


def half_cauchy(x: Any, scale: float) -> Array:
    """The log density of a Cauchy variable's absolute value."""
    return cauchy.logpdf(x, 0.0, scale) + jnp.log(2.0)


def regression(
    y: Any,
    columns: list[Any],
    *,
    names: list[str] | None = None,
    sigma_prior: Callable[[Any], Any] = _flat,
    beta_prior: Callable[[Any], Any] = _flat,
) -> Model:
    """y ∼ N(X β, σ²)."""
    y, x = jnp.asarray(y), jnp.asarray(np.stack(columns, 1).astype(float))
    names = names or [f"beta[{i + 1}]" for i in range(x.shape[1])]

    def log_density(z: Variables) -> Array:
        likelihood = norm.logpdf(y, x @ z["beta"], z["sigma"]).sum()
        return likelihood + sigma_prior(z["sigma"]) + beta_prior(z["beta"])

    def quantities(z: Variables) -> dict[str, Any]:
        return {**{n: z["beta"][i] for i, n in enumerate(names)}, "sigma": z["sigma"]}

    like = {"beta": jnp.zeros(x.shape[1]), "sigma": 1.0}
    return Model(log_density, like, {"sigma": vi.positive}, quantities)


def _standard(x: Any) -> Any:
    return (x - x.mean()) / x.std(ddof=1)


def regressions() -> dict[str, Model]:
    """28 linear regressions."""
    return {**_earnings(), **_kidiq(), **_mesquite(), **_elections(), **_synthetic()}


def _earnings() -> dict[str, Model]:
    d = data("earnings")
    earn, height, male = d["earn"], d["height"], d["male"]
    one, log_earn, z = np.ones_like(earn), np.log(earn), _standard(height)
    found = {
        "earn_height": regression(earn, [one, height]),
        "logearn_height": regression(log_earn, [one, height]),
        "log10earn_height": regression(np.log10(earn), [one, height]),
        "logearn_height_male": regression(log_earn, [one, height, male]),
        "logearn_interaction_z": regression(log_earn, [one, z, male, z * male]),
        "logearn_logheight_male": regression(log_earn, [one, np.log(height), male]),
    }
    return {f"earnings-{name}": model for name, model in found.items()}


def _kidiq() -> dict[str, Model]:
    d = data("kidiq")
    score, iq, high = d["kid_score"], d["mom_iq"], d["mom_hs"]
    one = np.ones_like(score)
    prior = functools.partial(half_cauchy, scale=2.5)
    found = {
        "kidiq-kidscore_momhs": [one, high],
        "kidiq-kidscore_momiq": [one, iq],
        "kidiq-kidscore_momhsiq": [one, high, iq],
        "kidiq-kidscore_interaction": [one, high, iq, high * iq],
    }
    models = {n: regression(score, columns, sigma_prior=prior) for n, columns in found.items()}
    d = data("kidiq_with_mom_work")
    score, iq, high, work = d["kid_score"], d["mom_iq"], d["mom_hs"], d["mom_work"]
    center, halved = lambda x: x - x.mean(), lambda x: 0.5 * _standard(x)
    found = {
        "interaction_c": [one, center(high), center(iq), center(high) * center(iq)],
        "interaction_c2": [one, high - 0.5, iq - 100, (high - 0.5) * (iq - 100)],
        "interaction_z": [one, halved(high), halved(iq), halved(high) * halved(iq)],
        "mom_work": [one, work == 2, work == 3, work == 4],
    }
    for name, columns in found.items():
        models[f"kidiq_with_mom_work-kidscore_{name}"] = regression(score, columns)
    return models


def _mesquite() -> dict[str, Model]:
    d = data("mesquite")
    plain = ("diam1", "diam2", "canopy_height", "total_height", "density")
    log = {name: np.log(d[name]) for name in (*plain, "weight")}
    group, one = d["group"], np.ones_like(d["group"])
    area, shape = log["diam1"] + log["diam2"], log["diam1"] - log["diam2"]
    volume = area + log["canopy_height"]
    height, density = log["total_height"], log["density"]
    found = {
        "logmesquite": [one, *(log[name] for name in plain), group],
        "logmesquite_logvolume": [one, volume],
        "logmesquite_logva": [one, volume, area, group],
        "logmesquite_logvash": [one, volume, area, shape, height, group],
        "logmesquite_logvas": [one, volume, area, shape, height, density, group],
    }
    models = {f"mesquite-{n}": regression(log["weight"], c) for n, c in found.items()}
    columns = [one, *(d[name] for name in plain), group]
    models["mesquite-mesquite"] = regression(d["weight"], columns)
    return models


def _elections() -> dict[str, Model]:
    models = {}
    for year in (1972, 1976, 1980, 1984, 1996):
        d = data(f"nes{year}")
        age = d["age_discrete"]
        columns = [np.ones_like(age), d["real_ideo"], d["race_adj"], age == 2, age == 3, age == 4]
        columns += [d["educ1"], d["gender"], d["income"]]
        models[f"nes{year}-nes"] = regression(d["partyid7"], columns)
    return models


def _synthetic() -> dict[str, Model]:
    models = {}
    for name in ("sblrc", "sblri"):
        d = data(name)
        models[f"{name}-blr"] = regression(
            d["y"],
            list(d["X"].T),
            sigma_prior=lambda s: norm.logpdf(s, 0.0, 10.0),
            beta_prior=lambda b: norm.logpdf(b, 0.0, 10.0).sum(),
        )
    d = data("kilpisjarvi_mod")
    means = jnp.stack([d["pmualpha"], d["pmubeta"]])
    spreads = jnp.stack([d["psalpha"], d["psbeta"]])
    models["kilpisjarvi_mod-kilpisjarvi"] = regression(
        d["y"],
        [np.ones_like(d["x"]), d["x"]],
        names=["alpha", "beta"],
        beta_prior=lambda b: norm.logpdf(b, means, spreads).sum(),
    )
    return models


# --- hierarchical models, a Gaussian process, hidden Markov models


def others() -> dict[str, Model]:
    """Five that are not regressions."""
    return {
        "eight_schools-eight_schools_noncentered": eight_schools(centered=False),
        "eight_schools-eight_schools_centered": eight_schools(centered=True),
        "gp_pois_regr-gp_regr": gaussian_process(),
        "hmm_example-hmm_example": hidden_markov(),
        "bball_drive_event_0-hmm_drive_0": basketball(),
    }


def eight_schools(centered: bool) -> Model:
    """Rubin's eight schools; the centered form is a funnel."""
    d = data("eight_schools")
    y, errors = jnp.asarray(d["y"]), jnp.asarray(d["sigma"])

    def effects(z: Variables) -> Any:
        return z["theta"] if centered else z["mu"] + z["tau"] * z["theta"]

    def log_density(z: Variables) -> Array:
        location, scale = (z["mu"], z["tau"]) if centered else (0.0, 1.0)
        schools = norm.logpdf(z["theta"], location, scale).sum()
        likelihood = norm.logpdf(y, effects(z), errors).sum()
        return schools + likelihood + norm.logpdf(z["mu"], 0.0, 5.0) + half_cauchy(z["tau"], 5.0)

    def quantities(z: Variables) -> dict[str, Any]:
        theta = effects(z)
        found = {f"theta[{i + 1}]": theta[i] for i in range(8)}
        return {**found, "mu": z["mu"], "tau": z["tau"]}

    like = {"theta": jnp.zeros(8), "mu": 0.0, "tau": 1.0}
    return Model(log_density, like, {"tau": vi.positive}, quantities)


def gaussian_process() -> Model:
    """Regression on eleven points with a squared exponential kernel."""
    d = data("gp_pois_regr")
    y, count = jnp.asarray(d["y"]), len(d["x"])
    squares = jnp.asarray((d["x"][:, None] - d["x"]) ** 2)

    def log_density(z: Variables) -> Array:
        kernel = z["alpha"] ** 2 * jnp.exp(-0.5 * squares / z["rho"] ** 2)
        root = jnp.linalg.cholesky(kernel + z["sigma"] * jnp.eye(count))
        white = jax.scipy.linalg.solve_triangular(root, y, lower=True)
        likelihood = norm.logpdf(white).sum() - jnp.log(jnp.diag(root)).sum()
        prior = gamma.logpdf(z["rho"], 25.0, scale=0.25) + norm.logpdf(z["alpha"], 0.0, 2.0)
        return likelihood + prior + norm.logpdf(z["sigma"]) + 2 * jnp.log(2.0)

    like = {"rho": 1.0, "alpha": 1.0, "sigma": 1.0}
    return Model(log_density, like, dict.fromkeys(like, vi.positive), dict)


def _forward(log_transition: Array, emissions: Array) -> Array:
    """The log likelihood of a hidden Markov chain with no initial distribution."""

    def step(alpha: Array, emission: Array) -> tuple[Array, None]:
        return logsumexp(alpha[:, None] + log_transition, 0) + emission, None

    return logsumexp(jax.lax.scan(step, emissions[0], emissions[1:])[0])


def _transition(z: Variables) -> Array:
    a, b = z["stay1"], z["stay2"]
    return jnp.log(jnp.stack([jnp.stack([a, 1 - a]), jnp.stack([b, 1 - b])]))


def hidden_markov() -> Model:
    """Two states with normal emissions of ordered means."""
    y = jnp.asarray(data("hmm_example")["y"])

    def log_density(z: Variables) -> Array:
        low, high = z["low"], z["low"] + z["step"]
        emissions = norm.logpdf(y[:, None], jnp.stack([low, high]))
        prior = norm.logpdf(low, 3.0, 1.0) + norm.logpdf(high, 10.0, 1.0)
        return _forward(_transition(z), emissions) + prior

    def quantities(z: Variables) -> dict[str, Any]:
        return {**_rows(z), "mu[1]": z["low"], "mu[2]": z["low"] + z["step"]}

    like = {"stay1": 0.5, "stay2": 0.5, "low": 1.0, "step": 1.0}
    return Model(log_density, like, _supports(like), quantities)


def _rows(z: Variables) -> dict[str, Any]:
    a, b = z["stay1"], z["stay2"]
    return {"theta1[1]": a, "theta1[2]": 1 - a, "theta2[1]": b, "theta2[2]": 1 - b}


def _supports(like: dict[str, Any]) -> dict[str, Any]:
    unit = vi.interval(0.0, 1.0)
    return {name: unit if name.startswith("stay") else vi.positive for name in like}


def basketball() -> Model:
    """Two states with exponential emissions in two channels, ordered rates."""
    d = data("bball_drive_event_0")
    u, v, alpha = jnp.asarray(d["u"]), jnp.asarray(d["v"]), d["alpha"]

    def log_beta(p: Array, a: Any) -> Array:
        constant = gammaln(a[0] + a[1]) - gammaln(a[0]) - gammaln(a[1])
        return (a[0] - 1) * jnp.log(p) + (a[1] - 1) * jnp.log1p(-p) + constant

    def rates(z: Variables) -> tuple[Array, Array]:
        phi = jnp.stack([z["phi"], z["phi"] + z["phi_step"]])
        return phi, jnp.stack([z["lam"], z["lam"] + z["lam_step"]])

    def log_density(z: Variables) -> Array:
        phi, lam = rates(z)
        emissions = jnp.log(phi) - u[:, None] * phi + jnp.log(lam) - v[:, None] * lam
        centers = jnp.asarray([0.0, 3.0])
        prior = norm.logpdf(phi, centers).sum() + norm.logpdf(lam, centers).sum()
        prior += log_beta(z["stay1"], alpha[0]) + log_beta(z["stay2"], alpha[1])
        return _forward(_transition(z), emissions) + prior

    def quantities(z: Variables) -> dict[str, Any]:
        phi, lam = rates(z)
        pairs = {"phi[1]": phi[0], "phi[2]": phi[1], "lambda[1]": lam[0], "lambda[2]": lam[1]}
        return {**_rows(z), **pairs}

    names = ("stay1", "stay2", "phi", "phi_step", "lam", "lam_step")
    like = {n: 0.5 if n.startswith("stay") else 1.0 for n in names}
    return Model(log_density, like, _supports(like), quantities)
