"""Runs the steps of a Dockerfile without Docker, in a folder instead of a container.

A stage's root is always the same folder, as its ``/`` is in Docker, so that an environment that one
stage made with absolute paths works in the next. What cannot be had in a folder is refused: a
``RUN`` with an absolute path, and any instruction that is not listed here. ``USER`` is noted only.
The base image is this Python.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

__all__ = ["Image", "build", "instructions"]


@dataclass
class Image:
    """What the steps left behind."""

    root: Path
    environment: dict[str, str]
    workdir: PurePosixPath = field(default_factory=lambda: PurePosixPath("/"))
    user: str = "root"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)

    def inside(self, path: str) -> Path:
        """Where a path of the image lies on this machine."""
        return self.root / (self.workdir / path).relative_to("/")

    def run(self, *command: str, **environment: str) -> str:
        """Start the image with a command, by default its own; returns what it printed."""
        return self.execute(*self.entrypoint, *(command or self.command), **environment)

    def execute(self, *words: str, **environment: str) -> str:
        """Run any program in the image's environment; returns what it printed.

        Raises:
            RuntimeError: It failed; its output is in the message.
        """
        environment = {**self.environment, **environment}
        program = shutil.which(words[0], path=environment["PATH"])
        if program is None:
            raise RuntimeError(f"{words[0]} is not in the image")
        done = subprocess.run(
            [program, *words[1:]],
            cwd=self.inside("."),
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{shlex.join(words)} ended with {done.returncode}:\n{done.stdout}")
        return done.stdout


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """Name and arguments of each instruction, comments gone, continued lines joined."""
    lines = [line for line in dockerfile.read_text().splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    words = (line.partition(" ") for line in joined.splitlines() if line)
    return [(name.upper(), rest.strip()) for name, _, rest in words]


def build(dockerfile: Path, context: Path, scratch: Path, **environment: str) -> Image:
    """Run every instruction; ``environment`` wins over the file's own ENV.

    Raises:
        NotImplementedError: An instruction that this file does not know.
        RuntimeError: A step failed; its output is in the message.
    """
    build = _Build(context, scratch, environment)
    for name, text in instructions(dockerfile):
        step = getattr(build, "from_" if name == "FROM" else name.lower(), None)
        if step is None:
            raise NotImplementedError(f"{name} {text}")
        step(text)
    return build.image


class _Build:
    """One method per instruction."""

    image: Image

    def __init__(self, context: Path, scratch: Path, environment: dict[str, str]) -> None:
        self._context = context
        self._scratch = scratch
        self._given = environment
        self._stage = ""
        python = scratch / "base" / "python"
        python.parent.mkdir(parents=True)
        python.symlink_to(Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}")
        ours = ("PYTHON", "VIRTUAL_ENV", "COV", "ZJJ_")
        self._base = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
        self._base["PATH"] = f"{python.parent}:{os.defpath}"

    def from_(self, text: str) -> None:
        if self._stage:
            self.image.root.rename(self._scratch / self._stage)
        self._stage = text.partition(" AS ")[2] or "final"
        self.image = Image(self._scratch / "root", {**self._base, **self._given})
        self.image.root.mkdir()

    def env(self, text: str) -> None:
        for word in shlex.split(text):
            key, _, value = word.partition("=")
            parts = [str(self.image.inside(p)) if p[:1] == "/" else p for p in value.split(":")]
            value = ":".join(parts).replace("$PATH", self.image.environment["PATH"])
            self.image.environment[key] = self._given.get(key, value)

    def workdir(self, text: str) -> None:
        self.image.workdir /= text
        self.image.inside(".").mkdir(parents=True, exist_ok=True)

    def copy(self, text: str) -> None:
        *sources, target = text.split()
        context = self._context
        if sources[0].startswith("--from="):
            context = self._scratch / sources.pop(0).removeprefix("--from=")
        place = self.image.inside(target)
        (place if target.endswith("/") else place.parent).mkdir(parents=True, exist_ok=True)
        for source in sources:
            origin = context / source.lstrip("/")
            if origin.is_dir():
                shutil.copytree(origin, place, symlinks=True, dirs_exist_ok=True)
            else:
                shutil.copy(origin, place)

    def run(self, text: str) -> None:
        if re.search(r"(^|[\s=:'\"])/", text):
            raise NotImplementedError(f"RUN with an absolute path: {text}")
        self.image.execute("sh", "-ec", text)

    def user(self, text: str) -> None:
        self.image.user = text

    def expose(self, text: str) -> None:
        pass

    def entrypoint(self, text: str) -> None:
        self.image.entrypoint = json.loads(text)

    def cmd(self, text: str) -> None:
        self.image.command = json.loads(text)
