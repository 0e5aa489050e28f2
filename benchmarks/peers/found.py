"""Which peers this environment has."""

import importlib
import importlib.metadata
import importlib.util
import os
import pathlib
import sys
from typing import Any

import jax

PEERS = ("numpyro", "tfp-nightly", "distrax", "blackjax", "netket", "genjax")
_MODULES = {"tfp-nightly": "tensorflow_probability"}


def has(peer: str) -> bool:
    """Whether a peer is installed here."""
    return importlib.util.find_spec(_MODULES.get(peer, peer)) is not None


def versions() -> dict[str, str]:
    """Of JAX and the peers."""
    names = ("jax", "optax", *(peer for peer in PEERS if has(peer)))
    return {name: importlib.metadata.version(name) for name in names}


def netket() -> Any:
    """NetKet, whose import turns 64-bit numbers on."""
    module = importlib.import_module("netket")
    jax.config.update("jax_enable_x64", False)
    return module


def old_optax() -> Any:
    """`optax.monte_carlo` of 0.2.6, from a folder beside this environment; None where there is none."""
    folder = pathlib.Path(
        os.environ.get("OPTAX_0_2_6", pathlib.Path(sys.prefix).parent / "optax-0.2.6")
    )
    if not folder.is_dir() or importlib.util.find_spec("chex") is None:  # which it needs
        return None
    ours = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "optax"}
    for name in ours:
        del sys.modules[name]
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module("optax").monte_carlo
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.split(".")[0] == "optax"]:
            del sys.modules[name]
        sys.modules.update(ours)
