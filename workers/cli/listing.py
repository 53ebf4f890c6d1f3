"""``zjj jobs list``: one line for each job, never a value."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

import typer
from pydantic import TypeAdapter
from rich.table import Table

from models.clock import utc_now
from models.job_search import JobSummary
from workers.cli.filters import (
    AsJson,
    Backend,
    Code,
    Kind,
    PhoneOption,
    Queue,
    Recipient,
    Since,
    States,
    Until,
    job_filter,
    opened,
)
from workers.cli.language import say_in as t
from workers.cli.show import state_name
from workers.cli.tables import terminal

__all__ = ["list_jobs"]

_DAY = dt.timedelta(days=1)


def list_jobs(  # noqa: PLR0913, PLR0917 - one for each option
    kind: Kind = None,
    states: States = None,
    queue: Queue = None,
    backend: Backend = None,
    code: Code = None,
    recipient: Recipient = None,
    phone: PhoneOption = None,
    since: Since = None,
    until: Until = None,
    before: Annotated[
        str | None,
        typer.Option(help=t("Go on after this job's id.", "从该任务编号之后继续。")),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help=t("At most.", "最多条数。"))] = 50,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first; never a value."""
    with opened() as entrance:
        wanted = job_filter(
            entrance.pseudonyms,
            kind=kind,
            states=states,
            queue=queue,
            backend=backend,
            code=code,
            recipient=recipient,
            phone=phone,
            since=since,
            until=until,
        )
        found = entrance.desk.search(wanted, before=before, limit=limit)
    if as_json:
        typer.echo(TypeAdapter(list[JobSummary]).dump_json(found, indent=2).decode())
        return
    console = terminal()
    if not found:
        console.print(t("No job matches.", "没有符合条件的任务。"))
        return
    console.print(_table(found))
    if len(found) == limit:
        console.print(t(f"More: --before {found[-1].id}", f"更多：--before {found[-1].id}"))


def _table(found: list[JobSummary]) -> Table:
    """Made for 80 columns: an id fills nearly half of them, and must stay whole to be copied."""
    table = Table(box=None, padding=(0, 1, 0, 0))
    for heading in (
        t("Job", "任务"),
        t("Made (UTC)", "创建（UTC）"),
        t("State", "状态"),
        t("Kind", "类型"),
    ):
        table.add_column(heading, no_wrap=True)
    table.add_column(t("Reason", "原因"), overflow="fold")
    table.add_column(t("By", "后端"), overflow="fold")
    now = utc_now()
    for job in found:
        times = f" ×{job.attempts}" if job.attempts > 1 else ""
        why = " ".join(code for code in (job.reason, job.provider_code) if code)
        moment = "%H:%M:%S" if now - job.created_at < _DAY else "%m-%d %H:%M"
        table.add_row(
            job.id,
            job.created_at.strftime(moment),
            state_name(job.state) + times,
            job.kind,
            why,
            job.backend,
        )
    return table
