"""The locks hold what pyproject.toml asks for, by hash, and name no registry."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def entries(lock: str) -> list[str]:
    text = (ROOT / "requirements" / lock).read_text()
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)
    return text.replace("\\\n", " ").splitlines()


def pins(lock: str) -> dict[str, list[Requirement]]:
    found: dict[str, list[Requirement]] = {}
    for entry in entries(lock):
        pin = Requirement(entry.split("--hash", maxsplit=1)[0].strip())
        found.setdefault(canonicalize_name(pin.name), []).append(pin)
    return found


def asked_for(lock: str) -> list[str]:
    data = project()
    wanted: dict[str, list[str]] = {
        "build.txt": data["build-system"]["requires"],
        "run.txt": data["project"]["dependencies"],
        "dev.txt": [
            *data["project"]["dependencies"],
            *data["dependency-groups"]["bench"],
            *[line for line in data["dependency-groups"]["dev"] if isinstance(line, str)],
        ],
    }
    return wanted[lock]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_pin_has_hashes_and_no_address(lock: Path) -> None:
    assert entries(lock.name)
    assert "://" not in lock.read_text()
    for entry in entries(lock.name):
        assert re.fullmatch(
            r"[a-z0-9-]+(\[[a-z, ]+\])?==[^\s;]+( ;[^/@]+?)?(\s+--hash=sha256:[0-9a-f]{64})+",
            entry.strip(),
        ), entry


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_dependency_is_pinned_within_its_bounds(lock: Path) -> None:
    locked = pins(lock.name)
    for line in asked_for(lock.name):
        wanted = Requirement(line)
        for pin in locked[canonicalize_name(wanted.name)]:
            (version,) = pin.specifier
            assert wanted.specifier.contains(version.version), f"{line}: run `make lock`"


def test_developers_run_what_production_runs() -> None:
    developers = pins("dev.txt")
    for name, production in pins("run.txt").items():
        assert releases(production) == releases(developers[name])


def test_an_extra_that_something_locked_asks_for_is_pinned_with_its_extra() -> None:
    """Else pip looks for the newest release that has the extra, finds no hash, and gives up."""
    locked = pins("dev.txt")
    for name in locked:
        for line in importlib.metadata.requires(name) or [] if is_installed(name) else []:
            asked = Requirement(line)
            if asked.marker and not asked.marker.evaluate({"extra": ""}):
                continue
            for pin in locked.get(canonicalize_name(asked.name), []):
                assert asked.extras <= pin.extras, f"{name} asks for {line}: run `make lock`"


def releases(found: list[Requirement]) -> set[tuple[str, str]]:
    return {(str(pin.specifier), str(pin.marker)) for pin in found}


def is_installed(name: str) -> bool:
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
