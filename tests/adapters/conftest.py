"""Foreign packages: skipped where they are not installed, their own warnings let through, their ranks promoted."""

import importlib.util
import os

import jax
import pytest

PACKAGES = {
    "from_numpyro": "numpyro", "from_numpyro_model": "numpyro", "from_distrax": "distrax", "from_flowjax": "flowjax",
    "from_tfp": "tensorflow_probability", "from_scipy": "scipy", "to_arviz": "arviz_base",
}  # fmt: skip
# Each line is one warning of one package's own code, on import or in a sampler; ours stay errors.
FOREIGN_WARNINGS = (
    "ignore:jax.core.pytype_aval_mappings is deprecated:DeprecationWarning",  # TFP's import
    "ignore:shape requires ndarray or scalar arguments:DeprecationWarning",  # TFP's uniform sampler
)


def pytest_configure(config):
    for line in FOREIGN_WARNINGS:
        config.addinivalue_line("filterwarnings", line)


def missing(package):
    """Why a test of `package` cannot run, or None."""
    if importlib.util.find_spec(package) is not None:
        return None
    return f"{package} is not installed: pip install 'logtrick[test-adapters]'"


def require(*packages):
    """Skip where a package is missing; fail where CI says that none may be."""
    for package in packages:
        reason = missing(package)
        if reason and os.environ.get("LOGTRICK_REQUIRE_FOREIGN"):
            pytest.fail(reason)
        elif reason:
            pytest.skip(reason)


def pytest_collection_modifyitems(items):
    for item in items:  # the doctests of the adapters and of vi.to_arviz need their packages too
        if isinstance(item, pytest.DoctestItem):
            reason = missing(PACKAGES.get(item.name.rsplit(".", 1)[-1], "jax"))
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True)
def foreign_code_promotes_ranks():
    with jax.numpy_rank_promotion("allow"):
        yield
