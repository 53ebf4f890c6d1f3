"""``zjj jobs replay`` and ``cancel``: what operators do about many jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from models.errors import InvalidValue, NotFound
from models.job_search import JobFilter
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
    given,
    job_filter,
    opened,
)
from workers.cli.language import say_in as t
from workers.cli.show import state_name
from workers.cli.tables import record, terminal
from workers.replays import UNKNOWN_OUTCOME, Plan, Refusal

__all__ = ["cancel", "replay"]

_NAMED = 10
"""So many refused jobs are named for each reason; --json names more."""

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
        elif wanted != JobFilter() or everything or dry_run or even_if_sent:
            raise InvalidValue(
                t(
                    "--resume goes on with what was chosen then; choose nothing beside it",
                    "--resume 继续当时选定的任务，不能再加其他选择",
                )
            )
        elif replays.find(resume) is None:
            raise NotFound(t("there is no such replay", "没有该批次"))
        if dry_run:
            plan = replays.plan(wanted, even_if_sent=even_if_sent)
            _json(Plan, plan) if as_json else _print_plan(plan)
            return
        batch = resume or replays.begin(
            wanted, actor=actor(), reason=given(reason), even_if_sent=even_if_sent
        )
        errors = terminal(errors=True)
        errors.print(t(f"Replay {batch}", f"批次 {batch}"))
        pending = replays.verdicts(batch).get(None, 0)
        try:
            with _progress(errors) as progress:
                bar = progress.add_task(t("Replaying", "重放"), total=pending)
                verdicts = replays.run(
                    batch,
                    per_second=per_second,
                    on_progress=lambda more: progress.advance(bar, more),
                )
        except BaseException:
            # Ctrl-C, or a database that went away: nothing of it is lost or done twice.
            go_on = f"zjj jobs replay --resume {batch}"
            said = t(f"Interrupted. Go on with: {go_on}", f"已中断，继续：{go_on}")
            errors.print(said, soft_wrap=True)
            raise
        refusals = replays.refusals(batch)
    refused = {str(name): count for name, count in verdicts.items() if name != REPLAYED}
    replayed = verdicts.get(REPLAYED, 0)
    if as_json:
        document = {"replay": batch, "replayed": replayed, "refused": refused}
        _json(dict[str, Any], {**document, "refusals": refusals})
    else:
        typer.echo(t(f"{replayed} replayed", f"已重放 {replayed} 个"))
        _print_refusals(refused, refusals)
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
        cancelled = entrance.desk.cancel(wanted, actor=actor(), reason=given(reason))
        left = {
            job_id: None if (view := entrance.service.find(job_id)) is None else view.state
            for job_id in wanted.ids
            if job_id not in cancelled
        }
    if as_json:
        _json(dict[str, Any], {"cancelled": cancelled, "left": left})
    else:
        typer.echo(t(f"{len(cancelled)} cancelled", f"已取消 {len(cancelled)} 个"))
        for job_id, state in left.items():
            said = t("there is no such job", "没有该任务") if state is None else state_name(state)
            typer.echo(t(f"  {job_id} is left: {said}", f"  {job_id} 未取消：{said}"))
    if left:
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


def _print_plan(plan: Plan) -> None:
    console = terminal()
    console.print(
        t(
            f"{plan.replayable} would be replayed under policy {plan.policy_version}.",
            f"将按政策 {plan.policy_version} 重放 {plan.replayable} 个任务。",
        )
    )
    for leaving, jobs in plan.leaving:
        console.print(
            record(
                t(f"  {jobs} × to {leaving.recipient}", f"  {jobs} × 提供给 {leaving.recipient}"),
                [
                    (t("  Categories", "  信息类别"), ", ".join(leaving.categories) or "-"),
                    (t("  Operation", "  操作"), leaving.operation),
                    (t("  Purpose", "  目的"), leaving.purpose),
                    (t("  Clause", "  条款"), ", ".join(leaving.clauses)),
                ],
            )
        )
    _print_refusals(plan.refused, plan.refusals)


def _print_refusals(refused: Mapping[str, int], refusals: Sequence[Refusal]) -> None:
    for why, jobs in refused.items():
        hint = t(
            " (--even-if-sent takes a second message upon you)", "（--even-if-sent 则可能重复发送）"
        )
        hint = hint if why == UNKNOWN_OUTCOME else ""
        typer.echo(t(f"{jobs} refused: {why}{hint}", f"拒绝 {jobs} 个：{why}{hint}"))
        named = [each.job_id for each in refusals if each.reason == why][:_NAMED]
        for job_id in named:
            typer.echo(f"  {job_id}")
        if len(named) < jobs:
            typer.echo(t(f"  and {jobs - len(named)} more", f"  另有 {jobs - len(named)} 个"))
