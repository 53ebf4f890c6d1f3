"""``python -m integrations.sandbox``: serve the sandbox until a signal comes."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from integrations.sandbox.app import create_sandbox
from integrations.sandbox.callbacks import CallbackPlan
from integrations.sandbox.config import SandboxConfig
from integrations.sandbox.merchants import TillKeys, use_till_keys
from integrations.sandbox.server import HOST, listen, make_server

if TYPE_CHECKING:
    from collections.abc import Sequence


_SETTINGS = (
    "latency_ms",
    "limits",
    "delivery_seconds",
    "receipt_url",
    "face_callback_url",
    "callbacks",
)


def main(words: Sequence[str] | None = None) -> None:
    """Parse the arguments (the command line's, if none are given), listen, tell the port, serve."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))
    parser = _parser()
    arguments = parser.parse_args(words)
    config = SandboxConfig()
    try:
        if arguments.config is not None:
            config = SandboxConfig.model_validate_json(arguments.config.read_bytes())
    except (OSError, ValidationError) as error:
        parser.error(f"{arguments.config} cannot be used: {error}")
    try:
        if arguments.till_keys is not None:
            use_till_keys(TillKeys.load(arguments.till_keys.read_text(encoding="ascii")))
    except (OSError, ValueError) as error:
        parser.error(f"{arguments.till_keys} cannot be used: {error}")
    given = {name: value for name in _SETTINGS if (value := getattr(arguments, name)) is not None}
    try:
        config = SandboxConfig.model_validate(config.model_dump() | given)
    except ValidationError as error:
        parser.error(str(error))
    try:
        listener = listen(arguments.port)
    except OSError as error:
        parser.error(f"cannot listen on {HOST}:{arguments.port}: {error.strerror}")
    # The socket listens already, so whoever reads the port may connect at once.
    port = listener.getsockname()[1]
    if arguments.port_file is not None:
        unfinished = arguments.port_file.with_suffix(".tmp")
        unfinished.write_text(str(port), encoding="ascii")
        unfinished.replace(arguments.port_file)
    if arguments.ready_fd is not None:
        with os.fdopen(arguments.ready_fd, "w", encoding="ascii") as ready:
            ready.write(f"{port}\n")
    sys.stdout.write(f"sandbox http://{HOST}:{port}\n")
    sys.stdout.flush()
    make_server(create_sandbox(config)).run(sockets=[listener])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m integrations.sandbox", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one (default)")
    parser.add_argument("--port-file", type=Path, help="write the port there")
    parser.add_argument("--ready-fd", type=int, help="write the port to this open descriptor")
    parser.add_argument("--config", type=Path, help="JSON of integrations.sandbox.SandboxConfig")
    parser.add_argument("--latency-ms", type=float, help="milliseconds before each reply")
    parser.add_argument("--delivery-seconds", type=float, help="how long a text travels, about")
    parser.add_argument("--receipt-url", help="push delivery receipts there, on this machine")
    parser.add_argument("--face-callback-url", help="call there, on this machine, about faces")
    parser.add_argument("--till-keys", type=Path, help="keys of the payment providers, kept")
    parser.add_argument(
        "--callbacks",
        type=CallbackPlan.model_validate_json,
        metavar="JSON",
        help="where payment callbacks go, on this machine: integrations.sandbox.callbacks",
    )
    parser.add_argument(
        "--limits",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="the provider's limits per number",
    )
    return parser


if __name__ == "__main__":
    main()
