"""What a process that others wait for asks of the interpreter."""

from __future__ import annotations

import gc
import sys

__all__ = ["spare_what_stays", "take_short_turns"]

_TURN_SECONDS = 0.0005


def take_short_turns() -> None:
    """Have threads take turns every half millisecond instead of every five.

    A request or a job passes through half a dozen threads (the loop, one that verifies, the writer),
    and none of them should wait for another one that computes.
    """
    sys.setswitchinterval(_TURN_SECONDS)


def spare_what_stays() -> None:
    """Have the garbage collector leave alone whatever exists now.

    To be called once all is loaded: a full collection goes over every object there is and stops all
    threads meanwhile, a tenth of a second for the modules, routes and models of a gateway.
    """
    gc.collect()
    gc.freeze()
