"""A child that notices when its supervisor is gone, even one that was killed.

The supervisor holds the writing end of the child's standard input; when it ends, however it ends,
the child reads end-of-file and stops as if told to.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

__all__ = ["LIFELINE", "hold_lifeline"]

LIFELINE = "ZJJ_LIFELINE"
"""Environment variable that tells a process it has one."""


def hold_lifeline() -> None:
    """Stop this process gracefully once its supervisor is gone; does nothing without one."""
    if os.environ.get(LIFELINE):
        threading.Thread(target=_watch, name="lifeline", daemon=True).start()


def _watch() -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
