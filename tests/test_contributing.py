"""The contributors' page: its table is tried in a copy of the repository, to which one of each kind is added."""

import dataclasses
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from tests.test_architecture import LAYERS

ROOT = pathlib.Path(__file__).parents[1]
PAGE = (ROOT / ".github" / "CONTRIBUTING.md").read_text()


@dataclasses.dataclass(frozen=True)
class Addition:
    """One new class.

    Attributes:
      kind: its row in the table.
      name: the class.
      source: the text of its file.
      inserted: for each touched file that is there already, the line after which a text is put, and the text.
      new_test: the text of a test file of its own, where the table asks for one.
    """

    kind: str
    name: str
    source: str
    inserted: dict[str, tuple[str, str]]
    new_test: str = ""


def listing(package: str) -> str:
    """The file with the names that a package exports."""
    return f"logtrick/{package}/__init__.pyi"


def exported(package: str, file: str, name: str) -> dict[str, tuple[str, str]]:
    """The lines that export a class from its package and from `lt`."""
    line = f"from logtrick.{package}.{file} import {name} as {name}\n"
    return {
        listing(package): ('"""\n', "\n" + line),
        "logtrick/__init__.pyi": ('"""\n', f"\nfrom logtrick.{package} import {name} as {name}\n"),
    }


ADDITIONS = (
    Addition(
        "an estimator",
        "PlainScore",
        '''"""REINFORCE without a baseline, to first order."""

import jax

from logtrick.estimators._base import Estimator
from logtrick.estimators._points import Points

stop = jax.lax.stop_gradient


class PlainScore(Estimator):
    max_order = 1
    evaluations = 1

    def draw(self, noise, dist):
        return Points(dist.draw(noise), dist)

    def close(self, costs, points, runs):
        log_prob = points.dist.log_prob(points.x)
        return costs.plus(stop(costs.total) * (log_prob - stop(log_prob)))
''',
        exported("estimators", "_plainscore", "PlainScore")
        | {
            "tests/estimators/registry.py": (
                "REGISTRY = {\n",
                '    "PlainScore": Entry(lt.PlainScore(), _FINITE, shift=False),\n',
            )
        },
    ),
    Addition(
        "a baseline",
        "HalfOfOthers",
        '''"""Half of the mean of the other samples."""

from logtrick.baselines._base import ScalarBaseline


class HalfOfOthers(ScalarBaseline):
    least_samples = 2

    def value(self, total, runs):
        return 0.5 * runs.leave_one_out(total)
''',
        exported("baselines", "_halfofothers", "HalfOfOthers")
        | {
            "tests/estimators/registry.py": (
                "REGISTRY = {\n",
                '    "HalfOfOthers": Entry(lt.ScoreFunction(lt.HalfOfOthers()), _FINITE, shift=False),\n',
            )
        },
    ),
    Addition(
        "a plan",
        "ReversedStrata",
        '''"""Strata in reversed order."""

import jax

from logtrick import noise as _noise
from logtrick.plans._plans import Plan
from logtrick.plans._quasi_random import Stratified


class ReversedStrata(Plan):
    def rows(self, spec, key, start, count, total):
        drawn = Stratified().rows(spec, key, start, count, total)
        return jax.tree.map(lambda leaf, x: leaf.reflect(x), spec, drawn, is_leaf=_noise.is_noise)
''',
        exported("plans", "_reversedstrata", "ReversedStrata")
        | {
            "tests/plans/test_plans.py": (
                "PLANS = {",
                '"ReversedStrata": lt.ReversedStrata(), ',
            )
        },
    ),
    Addition(
        "a family",
        "Logistic",
        '''"""The logistic distribution."""

import math

import jax
import jax.numpy as jnp

from logtrick.distributions._location_scale import LocationScale


class Logistic(LocationScale):
    standard_log_normalizer = 0.0
    standard_variance = math.pi**2 / 3
    standard_entropy = 2.0

    def _standard_kernel(self, z):
        return -jnp.abs(z) - 2 * jnp.log1p(jnp.exp(-jnp.abs(z)))

    def _standard_cdf(self, z):
        return jax.nn.sigmoid(z)

    def _standard_quantile(self, u):
        return jnp.log(u) - jnp.log1p(-u)
''',
        exported("distributions", "_logistic", "Logistic")
        | {
            "tests/distributions/registry.py": (
                '        bad=(((0.0, -1.0), r"Laplace\\(scale=…\\) " + POSITIVE),),\n    ),\n',
                """    Case(
        "Logistic",
        lt.Logistic,
        (a(0.5), a(2.0)),
        (a(-1.0), a(0.7)),
        lambda x, m, s: stats.logistic.logpdf(x, m, s),
        (1.0, -3.0, 1e3),
        (math.nan,),
        "number",
        lambda x, m, s: stats.logistic.cdf(x, m, s),
        bad=(((0.0, -1.0), r"Logistic\\(scale=…\\) " + POSITIVE),),
    ),
""",
            )
        },
    ),
    Addition(
        "an objective",
        "TwiceELBO",
        '''"""Twice the evidence lower bound."""

from logtrick.vi._objectives._base import Objective


class TwiceELBO(Objective):
    def value(self, log_weights):
        return 2 * log_weights[0]
''',
        {
            "logtrick/vi/__init__.py": (
                '"""\n',
                "\nfrom logtrick.vi._objectives._twiceelbo import TwiceELBO as TwiceELBO\n",
            ),
            "tests/vi/test_unbiased_discrete.py": (
                "UNBIASED = [\n",
                "    (vi.TwiceELBO(), lt.ScoreFunction(), 2),\n",
            ),
        },
    ),
    Addition(
        "a listener",
        "LastStep",
        '''"""Remember the last step."""

from logtrick.training._listener import Listener


class LastStep(Listener):
    step = 0

    def after_chunk(self, run):
        self.step = run.step
''',
        {
            "logtrick/training/__init__.py": (
                '"""\n',
                "\nfrom logtrick.training._laststep import LastStep as LastStep\n",
            )
        },
        """import jax
import optax

import logtrick as lt


def test_it_sees_the_last_step():
    last = lt.training.LastStep()
    lt.minimize(
        jax.random.key(0), lambda p, key: p**2, 1.0, optax.sgd(0.1), num_steps=5, listeners=(last,)
    )
    assert last.step == 5
""",
    ),
)
KINDS = [addition.kind for addition in ADDITIONS]


def table() -> dict[str, tuple[list[str], str]]:
    """Kind -> (files, command), from the page."""
    rows = re.findall(r"^\| (an? \w+) \| (.*) \| `(python -m pytest .*)` \|$", PAGE, re.M)
    return {kind: (re.findall(r"`([^`]+)`", files), command) for kind, files, command in rows}


def named(text: str, addition: Addition) -> str:
    return text.replace("NAME", addition.name).replace("name", addition.name.lower())


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The repository's package and tests, with all additions, each in exactly the files that the table names."""
    there = tmp_path_factory.mktemp("copy")
    for part in ("logtrick", "tests", ".github"):
        shutil.copytree(ROOT / part, there / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", there)
    for addition in ADDITIONS:
        for file in table()[addition.kind][0]:
            add(there, named(file, addition), addition)
    return there


def add(there: pathlib.Path, file: str, addition: Addition) -> None:
    """Make, or change, one file."""
    path = there / file
    if not path.exists():
        path.write_text(addition.new_test if file.startswith("tests/") else addition.source)
        return
    after, text = addition.inserted[file]
    before = path.read_text()
    assert after in before, (file, after)
    path.write_text(before.replace(after, after + text, 1))


def python(there: pathlib.Path, *arguments: str) -> str:
    """What Python prints, run in the copy."""
    environment = os.environ | {"PYTHONPATH": str(there), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=there, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_the_table_has_a_row_for_every_kind():
    assert list(table()) == KINDS


@pytest.mark.parametrize("addition", ADDITIONS, ids=KINDS)
def test_no_other_file_is_touched(addition):
    """What an addition changes, beside its own files, is what the table names."""
    files = [named(file, addition) for file in table()[addition.kind][0]]
    assert {file for file in files if (ROOT / file).exists()} == set(addition.inserted)


def test_the_floors_are_those_of_the_tests():
    floors = re.findall(r"^\| (\d+) \| (`.*?`) \|", PAGE, re.M)
    found = {name: int(floor) for floor, names in floors for name in re.findall(r"`(\w+)`", names)}
    assert found == {name: floor for name, floor in LAYERS.items() if name != "__main__"}


def test_files_that_the_page_names_are_there():
    inside = PAGE.split("## To add one")[0]
    paths = re.findall(r"`((?:tests|[a-z_]+)/[\w/]+\.py)`", inside)
    assert len(paths) > 8
    for path in paths:
        assert (ROOT / path).exists() or (ROOT / "logtrick" / path).exists(), path


def test_every_command_selects_tests_of_the_new_class(copy):
    """One collection of all commands' files; it imports the registries, which use the new classes by their exports."""
    commands = {a.name: command_of(a) for a in ADDITIONS}
    places = sorted({arguments[2] for arguments in commands.values()})
    options = ["-p", "no:xdist", "-o", "addopts=-m 'not full'", "--collect-only", "-q"]
    selected = ["-k", " or ".join(commands)]
    ids = python(copy, "-m", "pytest", *places, *selected, *options).splitlines()
    for name, arguments in commands.items():
        own = [i for i in ids if i.startswith(arguments[2]) and name.lower() in i.lower()]
        assert own, (name, ids[-5:])


def command_of(addition: Addition) -> list[str]:
    """The row's command without `python`: -m, pytest, a file or folder, and what selects tests in it."""
    return shlex.split(named(table()[addition.kind][1], addition))[1:]


@pytest.mark.full
@pytest.mark.parametrize("addition", ADDITIONS, ids=KINDS)
def test_the_command_passes(copy, addition):
    python(copy, *command_of(addition), "-p", "no:xdist", "-o", "addopts=-m 'not full' -q")
