"""Packages that only some of tagscale needs, and the extras of tagscale that bring them."""

import re
from importlib.metadata import PackageNotFoundError, requires

# The extras that users install, and what for; the others are parts of these.
EXTRAS = {
    "serve": "tagging and serving need",
    "main": "a study needs",
    "pipelines": "Kubeflow needs",
    "s3": "object storage needs",
    "export": "an export needs",
}


def remedy(module: str | None) -> str | None:
    """How to install what could not be imported; None for what no extra of tagscale brings.

    Args:
        module: dotted name, as in `ModuleNotFoundError.name`

    >>> remedy("optuna.study")
    "optuna is not installed. `pip install 'tagscale[main]'` brings what a study needs."
    >>> remedy("tagscale.nonsense")
    """
    package = (module or "").partition(".")[0]
    fitting = [extra for extra in EXTRAS if any(_is_of(package, name) for name in _packages(extra))]
    ways = [f"`pip install 'tagscale[{extra}]'` brings what {EXTRAS[extra]}" for extra in fitting]
    return f"{package} is not installed. {', '.join(ways)}." if ways else None


def _packages(extra: str) -> set[str]:
    """Names of the packages that an extra brings, those of the extras in it among them."""
    with_extras: set[str] = set()
    for line in _requirements():
        if f'extra == "{extra}"' not in line:
            continue
        name, inner = re.match(r"([\w.-]+)(?:\[([\w,-]+)\])?", line).groups()  # type: ignore[union-attr]
        with_extras |= {name} if name != "tagscale" else set().union(*map(_packages, (inner or "").split(",")))
    return with_extras


def _requirements() -> list[str]:
    try:
        return requires("tagscale") or []
    except PackageNotFoundError:
        return []


def _is_of(module: str, package: str) -> bool:
    """Whether a package has the module of this name: ruamel is of ruamel.yaml, great_expectations has a hyphen."""
    words = re.split(r"[._-]+", package.lower())
    return module.lower().split("_") in (words, words[:1])
