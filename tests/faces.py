"""The packaged policy with a clause about faces, as a later text might have it."""

from __future__ import annotations

import re
from pathlib import Path

from integrations.policy import PACKAGED

__all__ = ["ANNEX", "write_policy_with_faces"]

ANNEX = PACKAGED.with_name("annex_face_verification.toml")
_NO_LONGER_DENIED = ("face_verification = ", '"user.device.telemetry" = ')
_CLAUSE = '  { id = "一(1)7", gist = "人脸信息:经单独同意,用于验证真实身份" },\n'


def write_policy_with_faces(folder: Path) -> Path:
    """Follow the annex's own instructions; returns the file."""
    lines = PACKAGED.read_text("utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.startswith(_NO_LONGER_DENIED))
    text = re.sub(r'version = "2023-01-01\.\d+"', 'version = "2027-01-01.1"', text)
    text = text.replace('  { id = "一(2)1"', _CLAUSE + '  { id = "一(2)1"', 1)
    annex = ANNEX.read_text("utf-8").replace("clauses = []", 'clauses = ["一(1)7"]')
    file = folder / "with_a_clause.toml"
    file.write_text(f"{text}\n{annex}", "utf-8")
    return file
