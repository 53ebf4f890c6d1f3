"""The image builds and starts, and the compose file means what the Compose specification says."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.task import QUEUES
from tests.tooling.dockerfile import build, instructions
from workers.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"


def compose() -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return data


def clean_checkout(folder: Path) -> Path:
    """What a clone would hold, as far as .dockerignore lets it into the build."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    allowed = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    for name in listing.stdout.splitlines():
        if Path(name).parts[0] in allowed and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def test_the_compose_file_follows_the_compose_specification() -> None:
    subprocess.run(
        [
            sys.executable,
            "-m",
            "check_jsonschema",
            "--builtin-schema",
            "vendor.compose-spec",
            COMPOSE,
        ],
        check=True,
        capture_output=True,
    )


def test_a_compose_file_with_an_unknown_key_is_refused(tmp_path: Path) -> None:
    wrong = tmp_path / "docker-compose.yml"
    wrong.write_text(COMPOSE.read_text().replace("command:", "comand:"))
    check = subprocess.run(
        [
            sys.executable,
            "-m",
            "check_jsonschema",
            "--builtin-schema",
            "vendor.compose-spec",
            wrong,
        ],
        check=False,
        capture_output=True,
    )
    assert check.returncode == 1


def test_every_queue_has_workers_of_its_own() -> None:
    commands = [service.get("command", [""]) for service in compose()["services"].values()]
    assert sorted(command for command in commands if command[0] == "worker") == sorted(
        ["worker", "--queues", queue] for queue in QUEUES
    )


def test_every_setting_of_the_compose_file_exists() -> None:
    names = {f"ZJJ_{name.upper()}" for name in Settings.model_fields}
    for service in compose()["services"].values():
        given = {name for name in service.get("environment", {}) if name.startswith("ZJJ_")}
        assert given <= names


def test_only_workers_reach_the_outside() -> None:
    data = compose()
    assert data["networks"]["inside"]["internal"] is True
    outside = {name for name, it in data["services"].items() if "outside" in it["networks"]}
    assert outside == {name for name in data["services"] if name.startswith("worker-")}


def test_nothing_listens_beyond_this_host() -> None:
    published = [port for it in compose()["services"].values() for port in it.get("ports", [])]
    assert published == ["127.0.0.1:8000:8000"]


def test_the_compose_file_holds_no_secret() -> None:
    for service in compose()["services"].values():
        for name, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|KEY", name):
                assert value.startswith("${"), name
            assert not re.search(r"://[^/@:]*:(?!\$)[^/@]*@", value), name


def test_the_image_does_not_run_as_root() -> None:
    last = [text for name, text in instructions(ROOT / "Dockerfile") if name == "USER"][-1]
    assert last.split(":")[0] not in {"root", "0"}


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_image_builds_from_a_clean_checkout_and_starts(tmp_path: Path) -> None:
    context = clean_checkout(tmp_path / "context")
    image = build(ROOT / "Dockerfile", context, tmp_path / "docker", PIP_NO_CACHE_DIR="0")
    assert "zjj" in image.run()
    image.run("db", "migrate", ZJJ_DATABASE_URL=f"sqlite:///{tmp_path / 'zjj.db'}")
    policy = "import integrations.policy as it; print(it.load_policy().version)"
    assert image.execute("python", "-c", policy).strip()
    assert sorted(path.name for path in image.inside(".").iterdir()) == [".venv"]
