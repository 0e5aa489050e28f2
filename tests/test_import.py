"""`import logtrick`: no optional package, no array, hardly more time than what it stands on."""

import functools
import inspect
import os
import pathlib
import pydoc
import re
import shutil
import subprocess
import sys

import pytest

import logtrick as lt
from logtrick._pointers import POINTERS
from tests.test_architecture import LAYERS

OPTIONAL = ("numpyro", "distrax", "tensorflow_probability", "flowjax", "equinox", "flax", "haiku", "blackjax", "scipy.stats",
            "matplotlib", "tqdm", "arviz", "tensorboardX")  # fmt: skip

MODULES = tuple(sorted(name for name in LAYERS if not name.startswith("_")))


def python(code: str, **variables: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", **variables}
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=environment,
        capture_output=True,
        text=True,
    )


def run(code: str, **variables: str) -> str:
    done = python(code, **variables)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def failing(code: str) -> str:
    done = python(code)
    assert done.returncode != 0
    return done.stderr


def test_imports_no_optional_package():
    code = f"import jax, optax, sys; before = set(sys.modules); from logtrick import *; new = set(sys.modules) - before\n" \
           f"print([name for name in {OPTIONAL!r} if name in new])"  # fmt: skip
    assert run(code) == "[]"


def test_allocates_no_array():
    assert run("import jax; from logtrick import *; print(len(jax.live_arrays()))") == "0"


def test_import_time(tmp_path):
    """Seconds of the processor, which other work on the machine hardly changes: the quickest of five, in turns.

    With stored byte code, which `pip install` writes for every package: the first of the five stores it.
    """
    clock = "import time; import {}; print(time.process_time())"
    stored = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path)}
    base, ours = zip(
        *(
            (float(run(clock.format(m), **stored)) for m in ("jax, optax", "jax, optax, logtrick"))
            for _ in range(5)
        )
    )
    assert min(ours) / min(base) < 1.3, (base, ours)


def modules_after(code: str) -> list[str]:
    listed = f"import sys; {code}; print(*[m for m in sys.modules if m.startswith('logtrick.')])"
    return run(listed).split()


def test_names_are_imported_on_first_use():
    assert modules_after("import logtrick") == ["logtrick._lazy"]
    same = (
        "import logtrick as lt; print(lt.Normal is lt.distributions.Normal, 'Normal' in vars(lt))"
    )
    assert run(same) == "True True"


def test_what_every_expectation_needs_is_imported_with_the_package_where_jax_is_there():
    before = set(modules_after("import jax, logtrick"))
    assert set(modules_after("import jax, logtrick as lt; lt.expect")) == before
    assert {"logtrick.expectations._expect", "logtrick.estimators._score_function"} <= before


def test_an_expectation_imports_no_family_and_no_estimator_that_it_does_not_use():
    imported = modules_after("import logtrick as lt; lt.expect")
    assert "logtrick.estimators._score_function" in imported
    unused = ("distributions._beta", "distributions._mixture", "estimators._rebar", "baselines._optimal", "bijectors._to",
              "plans._sobol_numbers", "expectations._given", "programs._explain")  # fmt: skip
    for module in unused:
        assert f"logtrick.{module}" not in imported, module


def test_an_unknown_name_of_a_package_is_told_the_nearest():
    with pytest.raises(
        AttributeError, match=r"'logtrick.estimators' .* 'Pathwse': use lt\.estimators\.Pathwise"
    ):
        lt.estimators.Pathwse  # noqa: B018  # the look-up is the test


def test_an_unknown_name_is_an_attribute_error_that_offers_the_nearest():
    with pytest.raises(AttributeError, match="module 'logtrick' has no attribute 'Norml'"):
        lt.Norml  # noqa: B018  # the look-up is the test
    with pytest.raises(ImportError, match="cannot import name 'Norml'"):
        from logtrick import Norml  # noqa: F401  # as above
    assert "Did you mean: 'Normal'" in failing("import logtrick; logtrick.Norml")


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("REINFORCE", r"use lt\.ScoreFunction\(\), with lt\.NoBaseline\(\)"),
        ("RLOO", r"use lt\.ScoreFunction\(\), whose default baseline is lt\.LeaveOneOut\(\)"),
        ("elbo", r"use lt\.expect\(key, lambda x: log_joint\(x\) - q\.log_prob\(x\), q\)"),
        ("VIMCO", r"use lt\.vi\.VIMCO"),
        ("DiCE", r"use lt\.expect, right at every order, or lt\.magic_box"),
        ("Gaussian", r"use lt\.Normal\(loc, scale\)"),
        ("NVIL", r"use lt\.ScoreFunction\(lt\.LearnedBaseline"),
    ],
)
def test_names_of_other_libraries_are_told_what_to_use(name, advice):
    with pytest.raises(
        AttributeError, match=f"module 'logtrick' has no attribute '{name}': {advice}"
    ):
        getattr(lt, name)
    assert not hasattr(lt, name)


def test_what_a_pointer_names_is_there_and_the_pointed_name_is_not():
    assert [name for name in POINTERS if name in lt.__all__] == []
    for advice in POINTERS.values():
        for path in re.findall(r"lt\.([A-Za-z_.]*\w)", advice):
            first, *rest = path.split(".")
            assert first in lt.__all__, advice
            functools.reduce(getattr, rest, getattr(lt, first))


def test_from_a_zip(tmp_path):
    packed = shutil.make_archive(
        str(tmp_path / "packed"), "zip", pathlib.Path(lt.__file__).parents[1], "logtrick"
    )
    code = f"import sys; sys.path.insert(0, {packed!r}); import logtrick as lt; print(lt.__file__, lt.Normal.__name__)"
    assert run(code) == f"{pathlib.Path(packed) / 'logtrick' / '__init__.py'} Normal"


def test_every_public_name_is_there():
    assert set(lt.__all__) == set(dir(lt))
    assert [name for name in lt.__all__ if getattr(lt, name) is None] == []
    assert {name for name in lt.__all__ if inspect.ismodule(getattr(lt, name))} == set(MODULES)


EACH_FIRST = """
import importlib, sys, jax, optax
for module in {modules!r}:
    for name in [n for n in sys.modules if n.split(".")[0] == "logtrick"]:
        del sys.modules[name]
    try:
        importlib.import_module("logtrick." + module)
    except ImportError as error:
        print(module, error)
"""


def test_each_module_can_be_imported_first():
    """No circle that only one order of imports hides: names are imported in the user's order. One process for all."""
    assert run(EACH_FIRST.format(modules=("_core", *MODULES))) == ""


def test_help_shows_public_names_and_our_members_only():
    """Types as users write them, without the module that a class happens to stand in; no plumbing of dataclasses."""
    shown = str(inspect.signature(lt.expect))
    assert "f: Callable[[Any], Any], dist: lt.Distribution, *, estimator: lt.Estimator = " in shown
    assert "optimizer: optax.GradientTransformation" in str(inspect.signature(lt.minimize))
    assert str(inspect.signature(lt.vi.fit)).endswith("-> vi.Fit")
    assert str(inspect.signature(lt.ScoreFunction)).startswith("(baseline: lt.Baseline = Leave")
    text = pydoc.plain(pydoc.render_doc(lt.Normal))
    members = text.split("Method resolution order")[1].split("builtins.object")[1]
    assert "log_prob(self, x: Any) -> jax.Array" in members
    called = pydoc.plain(pydoc.render_doc(lt.ScoreFunction))
    assert "__init__(self, baseline: lt.Baseline = " in called
    for plumbing in (
        "__dataclass",
        "__abstractmethods__",
        "__match_args__",
        "__setattr__",
        "__annotations__",
        "_src",
        "jaxlib",
    ):
        assert plumbing not in members
    for name in lt.__all__:
        thing = getattr(lt, name)
        error = inspect.isclass(thing) and issubclass(thing, Exception)
        if (inspect.isfunction(thing) or inspect.isclass(thing)) and not error:
            assert "logtrick." not in str(inspect.signature(thing)), name
    # the source is still found, which a changed __module__ would prevent
    assert inspect.getsource(lt.Normal).startswith("class Normal(")
