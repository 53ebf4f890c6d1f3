# mypy: ignore-errors
# Its `models` and `tasks` are not ours, which is the point; a type checker sees one project only.
"""A web backend with packages named like ours. Prints what it got, and what Python loaded."""

import asyncio
import json
import sys

from tasks.registration import send_code

import models
import tasks
import zjj


async def look(job_id: str) -> str:
    """The job's state, seen by the async client."""
    async with zjj.AsyncClient() as client:
        return (await client.jobs.get(job_id)).state


def main() -> None:
    """Register one user, twice by mistake."""
    user = models.User(id="u-815", phone="16400001234")
    with zjj.Client() as client:
        first, second = send_code(client, user, "246810"), send_code(client, user, "246810")
    installed = {
        name.partition(".")[0]
        for name, module in sys.modules.items()
        if "site-packages" in (getattr(module, "__file__", None) or "")
    }
    report = {
        "jobs": [first.id, second.id],
        "repeated": [first.repeated, second.repeated],
        "state": asyncio.run(look(first.id)),
        "files": [models.__file__, tasks.__file__],
        "workers_loaded": "workers" in sys.modules,
        "installed": sorted(installed),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
