"""The first messages of a process come in many threads at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_AT_ONCE = """
import threading
from concurrent.futures import ThreadPoolExecutor
from integrations.wechat_pay import v2

start = threading.Barrier(8)

def use(number):
    start.wait()
    return v2._cipher(b"k" * 32) if number % 2 else v2._signatures()

with ThreadPoolExecutor(8) as pool:
    list(pool.map(use, range(8)))
"""


def test_the_library_is_imported_by_one_thread_at_a_time() -> None:
    root = Path(__file__).parents[3]
    command = [sys.executable, "-W", "ignore", "-c", _AT_ONCE]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
