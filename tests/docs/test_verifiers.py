"""The verifiers of docs/webhooks.md, each run in its own language against real signatures."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import pytest

from integrations.backend.signature import sign
from integrations.policy import load_policy
from models.webhooks import SigningKey
from tasks.announcements import EventType
from tests.docs.pages import Page, table

PAGE = Page("docs/webhooks.md")
NEW, OLD, OTHER = (SigningKey(name * 8, name.encode() * 32) for name in "nox")
BODY = b'{"type":"job.settled","data":{"verdict":"match"}}'


def _cases() -> dict[str, tuple[Mapping[str, str], bytes, bool]]:
    """Headers, body, and whether whoever holds ``NEW`` should believe it."""
    now = int(time.time())
    good = sign([NEW], "0" * 32, now, BODY)
    return {
        "signed": (good, BODY, True),
        "rotated, ours first": (sign([NEW, OLD], "0" * 32, now, BODY), BODY, True),
        "rotated, ours last": (sign([OLD, NEW], "0" * 32, now, BODY), BODY, True),
        "odd bytes": (sign([NEW], "0" * 32, now, b"\x00\xff\xfe"), b"\x00\xff\xfe", True),
        "another's": (sign([OTHER], "0" * 32, now, BODY), BODY, False),
        "changed body": (good, BODY + b" ", False),
        "changed id": (good | {"webhook-id": "1" * 32}, BODY, False),
        "changed time": (good | {"webhook-timestamp": str(now + 1)}, BODY, False),
        "old": (sign([NEW], "0" * 32, now - 400, BODY), BODY, False),
        "early": (sign([NEW], "0" * 32, now + 400, BODY), BODY, False),
        "odd time": (good | {"webhook-timestamp": f"{now}x"}, BODY, False),
        "no time": ({k: v for k, v in good.items() if k != "webhook-timestamp"}, BODY, False),
        "no signature": ({k: v for k, v in good.items() if k != "webhook-signature"}, BODY, False),
        "no headers": ({}, BODY, False),
        "another scheme": (
            good | {"webhook-signature": good["webhook-signature"].replace("v1,", "v2,")},
            BODY,
            False,
        ),
    }


# Each main reads lines of headers (JSON) and body (base64), and says true or false to each.
_PYTHON_MAIN = """
import json, sys
for line in sys.stdin:
    headers, body = line.split("\\t")
    print("true" if verify(json.loads(headers), base64.b64decode(body), sys.argv[1]) else "false")
"""
_NODE_MAIN = """
for (const line of require("node:fs").readFileSync(0, "utf8").trim().split("\\n")) {
  const [headers, body] = line.split("\\t");
  console.log(verify(JSON.parse(headers), Buffer.from(body, "base64"), process.argv[2]));
}
"""
_PHP_MAIN = """
while ($line = fgets(STDIN)) {
    [$headers, $body] = explode("\\t", trim($line));
    $said = verify(json_decode($headers, true), base64_decode($body), $argv[1]);
    echo $said ? "true\\n" : "false\\n";
}
"""
_JAVA_MAIN = """
class Main {
    public static void main(String[] arguments) throws Exception {
        for (String line : new String(System.in.readAllBytes()).trim().split("\\n")) {
            String[] parts = line.split("\\t");
            Map<String, String> headers = new java.util.HashMap<>();
            java.util.regex.Matcher pairs =
                    java.util.regex.Pattern.compile("\\"([^\\"]*)\\": \\"([^\\"]*)\\"").matcher(parts[0]);
            while (pairs.find()) {
                headers.put(pairs.group(1), pairs.group(2));
            }
            byte[] body = Base64.getDecoder().decode(parts[1]);
            System.out.println(Webhooks.verify(headers, body, arguments[0]));
        }
    }
}
"""


def _program(language: str, folder: Path) -> list[str]:
    """The page's block as a program, and how to run it."""
    (block,) = [each.text for each in PAGE.blocks if each.language == language]
    if language == "java":
        # The first class of a single source file is the one that is run.
        imports, class_, rest = block.partition("final class")
        text = imports + _JAVA_MAIN + class_ + rest
    else:
        text = (
            block + {"python": _PYTHON_MAIN, "javascript": _NODE_MAIN, "php": _PHP_MAIN}[language]
        )
    name, command = {
        "python": ("verify.py", [sys.executable, "-W", "error"]),
        "java": ("Main.java", ["java"]),
        "javascript": ("verify.js", ["node"]),
        "php": ("verify.php", ["php"]),
    }[language]
    (folder / name).write_text(text, encoding="utf-8")
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]}, which docs/webhooks.md is for, is not installed")
    return [*command, str(folder / name)]


@pytest.mark.parametrize("language", ["python", "java", "php", "javascript"])
def test_the_verifier_believes_what_is_signed_and_fresh_and_nothing_else(
    language: str, tmp_path: Path
) -> None:
    command = _program(language, tmp_path)
    cases = _cases()
    lines = [
        f"{json.dumps(dict(headers))}\t{base64.b64encode(body).decode()}\n"
        for headers, body, _ in cases.values()
    ]
    secret = "whsec_" + base64.b64encode(NEW.key).decode()
    done = subprocess.run(
        [*command, secret],
        input="".join(lines),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = dict(zip(cases, done.stdout.split(), strict=True))
    assert said == {name: str(good).lower() for name, (*_, good) in cases.items()}


def test_the_page_lists_each_event_and_each_field_that_can_leave() -> None:
    rows = [row for row in table(PAGE.section("What arrives")) if "." in row[0]]
    events = {name.strip("` ") for row in rows for name in row[0].split(",")}
    fields = {name.strip("` ") for row in rows for name in row[1].split(",")} - {"nothing"}
    entry = load_policy().operations["backend.webhook"]
    assert events == set(get_args(EventType))
    assert fields == {name.removeprefix("data.") for name in entry.fields if "." in name}


def test_the_page_lists_each_header_that_is_signed() -> None:
    rows = [row[0].strip("`") for row in table(PAGE.section("What arrives"))]
    entry = load_policy().operations["backend.webhook"]
    assert {row for row in rows if row.startswith("webhook-")} == {
        name for name, header in entry.headers.items() if header.signed
    }
