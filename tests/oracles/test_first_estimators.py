"""The oracle rows of the score function with constant, leave-one-out and no baseline, of pathwise and of enumeration."""

import re

import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt
from tests.oracles.problems import ROWS, check, problem

FAMILIES = (
    "normal/",
    "poisson/",
    "exponential/",
    "gamma/",
    "beta/",
    "mvn/iso",
    "bern/",
    "bernD4/",
    "cat5/",
    "ts200/",
    "kool/",
)
KINDS = re.compile(
    r"(sf|sf_mean_baseline|sf_opt_baseline|pathwise|implicit|enumerate|r?loo\d+|rstar|reinforce|rloo/k\d+)$"
)
IDS = [i for i in ROWS if i.startswith(FAMILIES) and KINDS.search(i)]


def estimator(row, p):
    kind = KINDS.search(row["id"])[1]
    if kind in ("sf", "reinforce"):
        return lt.ScoreFunction(lt.NoBaseline())
    if kind in ("sf_mean_baseline", "rstar"):
        return lt.ScoreFunction(lt.ConstantBaseline(jnp.asarray(p.mean_cost(), float)))
    if kind == "sf_opt_baseline":
        return lt.ScoreFunction(
            lt.ConstantBaseline(jnp.asarray(np.squeeze(p.best_constant()), float))
        )
    if kind in ("pathwise", "implicit"):
        return lt.Pathwise()
    return lt.Enumerate() if kind == "enumerate" else lt.ScoreFunction()


@pytest.mark.parametrize("name", IDS)
def test_row(name):
    row = ROWS[name]
    p = problem(row)
    draws = p.gradients(estimator(row, p), max(1, row["n_samples"]), row.get("suggested_M") or 1000)
    check(row, draws)


@pytest.mark.parametrize(
    "name",
    ["bernD4/poly/sf_opt_baseline_per_coordinate", "cat5/quad/sf_opt_baseline_per_coordinate"],
)
def test_row_per_coordinate(name):
    """Each coordinate under its own best constant."""
    row = ROWS[name]
    p = problem(row)
    best = p.best_constant()
    columns = []
    for i, b in enumerate(best):
        draws = p.gradients(
            lt.ScoreFunction(lt.ConstantBaseline(jnp.asarray(b, float))),
            1,
            row["suggested_M"],
            seed=i,
        )
        columns.append(draws[:, i])
    check(row, np.stack(columns, 1))


@pytest.mark.parametrize("name", [i for i in ROWS if i.startswith("baseline_identity/")])
def test_baseline_identity(name):
    row = ROWS[name]
    b = jnp.asarray(float(name.rsplit("_b", 1)[1]))
    base = problem(ROWS["normal/quad_k0/mu/sf"])
    check(row, base.gradients(lt.ScoreFunction(lt.ConstantBaseline(b)), 1, row["suggested_M"]))


def test_a_wrong_gradient_fails_a_row():
    """The check sees 0.98 g, −g and 0."""
    row = ROWS["normal/quad_k0/mu/loo8"]
    draws = problem(row).gradients(lt.ScoreFunction(), 8, row["suggested_M"])
    check(row, draws)
    for wrong in (0.98 * draws, -draws, 0 * draws):
        with pytest.raises(AssertionError):
            check(row, wrong)


@pytest.mark.parametrize("name", ["ts200/theta.5/disarm", "ts200/theta.7/disarm"])
def test_disarm_in_two_hundred_dimensions(name):
    row = ROWS[name]
    check(row, problem(row).gradients(lt.DisARM(), 1, row["suggested_M"]))
