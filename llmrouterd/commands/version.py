"""`llmrouter version [--sbom]`: what is running, made from what.

Owns: the version line, where the parts list is found, and where the commit is found: written down by
zipapp.sh, or asked of git.
Refuses to know: trio. The line names its version without loading it.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from llmrouter import __version__

if TYPE_CHECKING:
    import argparse

# What zipapp.sh packs and what decides how: a change in another file makes no build "-dirty".
BUILT_FROM = "llmrouter.py formats llmrouterd contrib/vendor.lock zipapp.sh LICENSE"


def run(args: argparse.Namespace) -> int:
    print(parts_list() if args.sbom else version_line(), end="" if args.sbom else "\n")
    return 0


def parts_list() -> str:
    """The one that was written when this was packed; else what is installed."""
    from llmrouterd.commands import sbom

    try:
        built = importlib.import_module("_build")
        loader = built.__spec__ and built.__spec__.loader
        packed = Path(str(built.__file__)).with_name(sbom.NAME)
        return str(loader.get_data(str(packed)).decode("utf-8"))  # type: ignore[union-attr]
    except (ModuleNotFoundError, AttributeError, OSError):
        made_from = commit()
        known = "" if made_from == "unknown" else made_from.partition(",")[0]
        python = sys.version.split()[0]
        return sbom.document(__version__, known, python, sbom.installed())


def version_line() -> str:
    python = sys.version.split()[0]
    return (
        f"llmrouter {__version__} ({commit()}) python {python}"
        f" trio {version_of('trio')} h11 {version_of('h11')}"
    )


def version_of(name: str) -> str:
    """A package's version from its METADATA: importing trio for it would take a quarter second."""
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "missing"


def commit() -> str:
    """`a1b2c3d, 2026-11-23`: what zipapp.sh wrote down, else what git says, else "unknown"."""
    try:
        built = importlib.import_module("_build")
        return f"{built.COMMIT}, {built.DATE}" if built.DATE else str(built.COMMIT)
    except (ModuleNotFoundError, AttributeError):  # or somebody else's module of that name
        return commit_of_checkout(Path(__file__).resolve().parents[2])


def commit_of_checkout(here: Path) -> str:
    # Only a .git of its own: this directory may lie in the checkout of something else.
    described = (
        git(here, "log", "-1", "--format=%H %cs").split() if (here / ".git").exists() else []
    )
    if len(described) != 2:
        return "unknown"
    dirty = "-dirty" if git(here, "status", "--porcelain", "--", *BUILT_FROM.split()) else ""
    return f"{described[0][:7]}{dirty}, {described[1]}"


def git(here: Path, *words: str) -> str:
    """What git prints, or nothing where it is missing, refuses or hangs."""
    import subprocess

    command = ["git", "--no-optional-locks", "-C", str(here), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
