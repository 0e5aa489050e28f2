"""Build the API pages: `python .github/site.py [folder]` (extra `docs`).

Every public name is on exactly one page, that of its layer; the first page lists the names in groups. The build fails on
a warning and on a name that is missing.
"""

import importlib
import pathlib
import re
import sys
import warnings
from types import ModuleType

import pdoc
import pdoc.doc_pyi
import pdoc.render

import logtrick

# The groups of the first page: heading, and the packages whose names stand under it.
GROUPS = {
    "Expectations and programs": ("expectations", "programs", "eligibility", "scoring"),
    "Estimators": ("estimators",),
    "Baselines and control variates": ("baselines",),
    "Sampling plans": ("plans",),
    "Distributions": ("distributions", "bijectors", "supports", "noise", "adapters"),
    "Training": ("training",),
    "Diagnostics and tests": ("diagnostics", "testing"),
    "Variational inference": ("vi",),
    "Reinforcement learning": ("rl",),
}
# Of `programs`, the engine's own package, only this is for users.
OF_PROGRAMS = (
    "black_box",
    "cost",
    "explain",
    "Explanation",
    "fresh_key",
    "plate",
    "sample",
    "scan",
)
# jax.jaxlib._jax.Array and jax._src.mesh.Mesh are jax.Array and jax.Mesh to users.
PRIVATE_MODULE = re.compile(
    r'(?:<span class="n">jaxlib</span><span class="o">\.</span><span class="n">_jax</span>'
    r'|<span class="n">_src</span>(?:<span class="o">\.</span><span class="n">[a-z_]+</span>)+)<span class="o">\.</span>'
)
TEMPLATES = pathlib.Path(__file__).parent / "site-templates"


def public_names(package: ModuleType) -> list[str]:
    """The names that a package exports."""
    if package.__name__ == "logtrick.programs":
        return list(OF_PROGRAMS)
    return [
        name
        for name in getattr(
            package, "__all__", vars(package)
        )  # of packages that import on first use
        if not name.startswith("_")
        and not isinstance(value := getattr(package, name), ModuleType)
        and getattr(value, "__module__", package.__name__).startswith("logtrick")
    ]


def first_sentence(value: object) -> str:
    """What a name is, in one line."""
    text = " ".join((value.__doc__ or "").split("\n\n")[0].split())
    return text.split(". ")[0].removesuffix(".")


def first_page(packages: dict[str, ModuleType]) -> str:
    """The package's docstring and the names in groups, each linked to the page of its layer."""
    lines = [logtrick.__doc__ or "", ""]
    for heading, members in GROUPS.items():
        lines += [f"## {heading}", ""]
        for member in members:
            package = packages[member]
            lines += [
                f"**[`logtrick.{member}`](logtrick/{member}.html)**: {first_sentence(package)}",
                "",
            ]
            for name in public_names(package):
                value = getattr(package, name)
                is_flat = name in logtrick.__all__ and getattr(logtrick, name) is value
                prefix = "lt" if is_flat else f"lt.{member}"
                link = f"[`{prefix}.{name}`](logtrick/{member}.html#{name})"
                lines.append(f"- {link}: {first_sentence(value)}")
            lines.append("")
    return "\n".join([*lines, "## Building blocks and errors", ""])


def build(folder: pathlib.Path) -> int:
    """Write the pages; the number of names on them."""
    packages = {
        member: importlib.import_module(f"logtrick.{member}")
        for members in GROUPS.values()
        for member in members
    }
    homes = {
        id(getattr(package, name))
        for package in packages.values()
        for name in public_names(package)
    }
    logtrick.__doc__ = first_page(packages)
    blocks = [
        name
        for name in logtrick.__all__
        if name not in packages and id(getattr(logtrick, name)) not in homes
    ]
    logtrick.__all__ = blocks
    expected = {"logtrick": blocks}
    for member, package in packages.items():
        package.__all__ = expected[f"logtrick/{member}"] = public_names(package)
    # the docstring of the stub, which is for the package itself, would replace the first page
    pdoc.doc_pyi.include_typeinfo_from_stub_files = lambda module: None
    pdoc.render.configure(docformat="google", template_directory=TEMPLATES)
    pdoc.pdoc(
        "logtrick",
        *(f"logtrick.{member}" for member in packages),
        r"!logtrick\.(.*\.)?_.*",
        output_directory=folder,
    )
    for page, names in expected.items():
        file = folder / f"{page}.html"
        text = PRIVATE_MODULE.sub("", file.read_text())
        file.write_text(text)
        missing = [name for name in names if f'id="{name}"' not in text]
        if missing:
            raise SystemExit(f"{file} lacks {', '.join(missing)}")
    return sum(len(names) for names in expected.values())


if __name__ == "__main__":
    warnings.simplefilter("error", UserWarning)
    target = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "site")
    print(f"{build(target)} names in {target}")
