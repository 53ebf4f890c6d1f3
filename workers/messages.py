"""What travels through Redis: a job id, and nothing else.

The keys are those of dramatiq's Redis broker (``dispatch.lua`` of dramatiq 2.2); a test holds
them against the installed version.
"""

from __future__ import annotations

import re

from dramatiq import DecodeError, Message, MessageProxy

from models.identifiers import new_id

__all__ = [
    "ACTOR",
    "NAMESPACE",
    "RING_SCRIPT",
    "job_id_of",
    "message_for",
    "queue_keys",
    "read_message",
    "wake_key",
]

NAMESPACE = "{zjj}"
"""Hash-tagged, so that a Redis Cluster keeps a queue's keys together."""

ACTOR = "run_job"

_LARGEST_MESSAGE = 2048
_JOB_ID = re.compile(r"[0-9a-f]{32}")

RING_SCRIPT = """
local wake = KEYS[3]
for i = 1, #ARGV, 2 do
    redis.call('hset', KEYS[2], ARGV[i], ARGV[i + 1])
    redis.call('rpush', KEYS[1], ARGV[i])
end
if redis.call('llen', wake) < 4 then
    redis.call('rpush', wake, '1')
end
return redis.call('llen', KEYS[1])
"""
"""Enqueue messages as dramatiq does, and wake one waiting consumer."""


def queue_keys(queue: str) -> list[str]:
    """Redis keys of a queue: the list of message ids, their contents, the wake tokens."""
    return [f"{NAMESPACE}:{queue}", f"{NAMESPACE}:{queue}.msgs", wake_key(queue)]


def wake_key(queue: str) -> str:
    """The list that idle consumers of a queue block on."""
    return f"{NAMESPACE}:wake:{queue}"


def message_for(job_id: str, queue: str) -> tuple[str, bytes]:
    """A Redis message id and the encoded message."""
    redis_id = new_id()
    message: Message[None] = Message(
        queue_name=queue,
        actor_name=ACTOR,
        args=(job_id,),
        kwargs={},
        options={"redis_message_id": redis_id},
    )
    return redis_id, message.encode()


def read_message(data: bytes) -> Message[None] | None:
    """The message, or None for anything that we would not have written ourselves."""
    if len(data) > _LARGEST_MESSAGE:
        return None
    try:
        message: Message[None] = Message.decode(data)
        return message if _is_ours(message) else None
    except (DecodeError, TypeError, KeyError, AttributeError):
        return None


def job_id_of(message: Message[None] | MessageProxy) -> str | None:
    """The job id that a message carries."""
    args = message.args
    job_id: object = args[0] if len(args) == 1 and message.kwargs == {} else None
    return job_id if isinstance(job_id, str) and _JOB_ID.fullmatch(job_id) else None


def _is_ours(message: Message[None]) -> bool:
    return (
        message.actor_name == ACTOR
        and set(message.options) == {"redis_message_id"}
        and job_id_of(message) is not None
    )
