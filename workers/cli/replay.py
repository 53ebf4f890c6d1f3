"""``zjj jobs list``, ``replay`` and ``cancel``: what operators do about many jobs."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from pydantic import TypeAdapter
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from models.errors import InvalidValue
from models.job_search import JobFilter, JobSummary
from models.replays import REPLAYED
from workers.cli.exits import ENDED_BADLY
from workers.cli.filters import (
    AsJson,
    Backend,
    Code,
    Kind,
    PhoneOption,
    Queue,
    Reason,
    Recipient,
    Since,
    States,
    Until,
    actor,
    job_filter,
    opened,
)
from workers.cli.language import say_in as t
from workers.cli.show import state_name
from workers.replays import Plan

__all__ = ["cancel", "list_jobs", "replay"]

_Ids = Annotated[
    list[str] | None, typer.Argument(metavar="[ID…]", help=t("Ids of jobs.", "任务编号。"))
]
_All = Annotated[
    bool,
    typer.Option(
        "--all",
        help=t(
            "Every job that the options match; without options, every job.",
            "选项匹配的全部任务；无选项则为所有任务。",
        ),
    ),
]


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
        _json(list[JobSummary], found)
        return
    console = Console(highlight=False)
    console.print(_table(found))
    if len(found) == limit:
        console.print(t(f"More: --before {found[-1].id}", f"更多：--before {found[-1].id}"))


def replay(  # noqa: PLR0913, PLR0917 - one for each option
    ids: _Ids = None,
    everything: _All = False,
    kind: Kind = None,
    states: States = None,
    queue: Queue = None,
    backend: Backend = None,
    code: Code = None,
    recipient: Recipient = None,
    phone: PhoneOption = None,
    since: Since = None,
    until: Until = None,
    reason: Reason = "",
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help=t("Only say what would happen.", "只说明将会发生什么。")),
    ] = False,
    even_if_sent: Annotated[
        bool,
        typer.Option(
            "--even-if-sent",
            help=t(
                "Unknown outcomes too, although somebody may be reached twice.",
                "包括结果未知的任务，对方可能收到两次。",
            ),
        ),
    ] = False,
    resume: Annotated[
        str | None, typer.Option(help=t("Go on with the replay of this id.", "继续该编号的批次。"))
    ] = None,
    per_second: Annotated[
        float,
        typer.Option(
            min=0.01, max=10_000, help=t("At most so many jobs a second.", "每秒最多重放的任务数。")
        ),
    ] = 20.0,
    as_json: AsJson = False,
) -> None:
    """Send settled jobs on their way again, under today's policy.

    Exits with 1 if a job was refused.
    """
    with opened() as entrance:
        replays = entrance.desk.replays
        wanted = job_filter(
            entrance.pseudonyms,
            ids=ids,
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
        if resume is None:
            _need_choice(wanted, everything=everything)
        if dry_run:
            plan = replays.plan(wanted, even_if_sent=even_if_sent)
            _json(Plan, plan) if as_json else _print_plan(plan)
            return
        batch = resume or replays.begin(
            wanted, actor=actor(), reason=reason, even_if_sent=even_if_sent
        )
        errors = Console(stderr=True, highlight=False)
        errors.print(
            t(
                f"Replay {batch}; if it is interrupted: zjj jobs replay --resume {batch}",
                f"批次 {batch}；若中断：zjj jobs replay --resume {batch}",
            )
        )
        pending = replays.verdicts(batch).get(None, 0)
        with _progress(errors) as progress:
            bar = progress.add_task(t("Replaying", "重放"), total=pending)
            verdicts = replays.run(
                batch,
                per_second=per_second,
                on_progress=lambda more: progress.advance(bar, more),
            )
    refused = {str(name): count for name, count in verdicts.items() if name != REPLAYED}
    replayed = verdicts.get(REPLAYED, 0)
    if as_json:
        _json(dict, {"replay": batch, "replayed": replayed, "refused": refused})
    else:
        _print_verdicts(replayed, refused)
    if refused:
        raise typer.Exit(ENDED_BADLY)


def cancel(  # noqa: PLR0913, PLR0917 - one for each option
    ids: _Ids = None,
    everything: _All = False,
    kind: Kind = None,
    states: States = None,
    queue: Queue = None,
    backend: Backend = None,
    code: Code = None,
    recipient: Recipient = None,
    phone: PhoneOption = None,
    since: Since = None,
    until: Until = None,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Cancel jobs that wait, and erase their payloads.

    Exits with 1 if a job named by its id could not be cancelled.
    """
    with opened() as entrance:
        wanted = job_filter(
            entrance.pseudonyms,
            ids=ids,
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
        _need_choice(wanted, everything=everything)
        cancelled = entrance.desk.cancel(wanted, actor=actor(), reason=reason)
    if as_json:
        _json(dict, {"cancelled": cancelled})
    else:
        typer.echo(t(f"{len(cancelled)} cancelled", f"已取消 {len(cancelled)} 个"))
    if len(cancelled) < len(wanted.ids):
        raise typer.Exit(ENDED_BADLY)


def _need_choice(wanted: JobFilter, *, everything: bool) -> None:
    if wanted == JobFilter() and not everything:
        raise InvalidValue(
            t("name jobs, filter them, or say --all", "请指定任务编号、筛选条件或 --all")
        )


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
    )


def _json(kind: Any, document: object) -> None:
    typer.echo(TypeAdapter(kind).dump_json(document, indent=2).decode())


def _table(found: list[JobSummary]) -> Table:
    table = Table()
    for heading in (
        t("Job", "任务"),
        t("Kind", "类型"),
        t("State", "状态"),
        t("Reason", "原因"),
        t("Provider's code", "服务商代码"),
        t("Attempts", "次数"),
        t("Backend", "后端"),
        t("Created (UTC)", "创建时间（UTC）"),
    ):
        table.add_column(heading, overflow="fold")
    for job in found:
        table.add_row(
            job.id,
            job.kind,
            state_name(job.state),
            job.reason or "",
            job.provider_code or "",
            str(job.attempts),
            job.backend,
            f"{job.created_at:%Y-%m-%d %H:%M:%S}",
        )
    return table


def _print_plan(plan: Plan) -> None:
    console = Console(highlight=False)
    console.print(
        t(
            f"{plan.replayable} would be replayed under policy {plan.policy_version}.",
            f"将按政策 {plan.policy_version} 重放 {plan.replayable} 个任务。",
        )
    )
    for leaving, jobs in plan.leaving:
        console.print(
            f"  {jobs} × {leaving.recipient}: {', '.join(leaving.categories)} "
            f"({leaving.operation}, {leaving.purpose}, {', '.join(leaving.clauses)})"
        )
    for why, jobs in plan.refused.items():
        console.print(t(f"  {jobs} refused: {why}", f"  拒绝 {jobs} 个：{why}"))


def _print_verdicts(replayed: int, refused: dict[str, int]) -> None:
    typer.echo(t(f"{replayed} replayed", f"已重放 {replayed} 个"))
    for why, jobs in refused.items():
        typer.echo(t(f"{jobs} refused: {why}", f"拒绝 {jobs} 个：{why}"))
