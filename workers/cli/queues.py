"""``zjj queues``: what waits, and what is to be left alone for a while."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from pydantic import TypeAdapter
from rich.console import Console

from models.errors import NotFound
from models.pauses import Pause
from workers.cli.filters import AsJson, Reason, actor, opened
from workers.cli.language import say_in as t
from workers.cli.tables import make_table
from workers.desk import Queues

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True, help=t("Queues and recipients: pause, resume.", "队列与接收方。")
)

_Name = Annotated[
    str, typer.Argument(help=t("A queue, or a recipient of the policy.", "队列名或接收方。"))
]


@app.command("list", help=t("What waits, what is paused, what fails.", "等待、暂停与故障情况。"))
def list_queues(as_json: AsJson = False) -> None:
    """Show all queues, and recipients that are paused or failing."""
    with opened() as entrance:
        found = entrance.desk.queues()
    if as_json:
        typer.echo(TypeAdapter(Queues).dump_json(found, indent=2).decode())
        return
    table = make_table(t("Name", "名称"), t("Jobs", "任务"), t("State", "状态"))
    for queue in found.queues:
        said = ", ".join(f"{count} {state}" for state, count in queue.jobs.items())
        table.add_row(queue.queue, said or "-", _paused(queue.paused))
    for recipient in found.recipients:
        resting = recipient.resting_until
        said = _paused(recipient.paused)
        if resting is not None:
            said += t(f"; resting until {resting:%H:%M:%S}", f"；熔断至 {resting:%H:%M:%S}")
        table.add_row(recipient.recipient, "", said)
    for alarm in found.alarms:
        table.add_row(
            t(f"alarm: {alarm.scope}", f"警报：{alarm.scope}"),
            t(f"{alarm.refused} new numbers refused", f"已拒绝新号码 {alarm.refused} 个"),
            t(
                f"since {alarm.since:%H:%M:%S}, until {alarm.until:%H:%M:%S} or later",
                f"自 {alarm.since:%H:%M:%S} 起，至少到 {alarm.until:%H:%M:%S}",
            ),
        )
    Console(highlight=False).print(table)


@app.command(
    "pause",
    help=t(
        "Leave a queue's or recipient's jobs alone until resumed; lifetimes go on.",
        "暂停队列或接收方，直至恢复；任务有效期照常计算。",
    ),
)
def pause(name: _Name, reason: Reason = "", as_json: AsJson = False) -> None:
    """Pause; what is paused already stays as it is."""
    with opened() as entrance:
        changed = entrance.desk.pause(name, actor=actor(), reason=reason)
    _report(name, as_json=as_json, paused=True, changed=changed)


@app.command("resume", help=t("End a pause.", "恢复。"))
def resume(name: _Name, reason: Reason = "", as_json: AsJson = False) -> None:
    """Resume.

    Raises:
        NotFound: It was not paused.
    """
    with opened() as entrance:
        if not entrance.desk.resume(name, actor=actor(), reason=reason):
            raise NotFound(t(f"{name} is not paused", f"{name} 未暂停"))
    _report(name, as_json=as_json, paused=False, changed=True)


def _paused(pause: Pause | None) -> str:
    if pause is None:
        return t("running", "运行中")
    return t(f"paused: {pause.reason}", f"已暂停：{pause.reason}")


def _report(name: str, *, as_json: bool, paused: bool, changed: bool) -> None:
    if as_json:
        document = {"name": name, "paused": paused, "changed": changed}
        typer.echo(TypeAdapter(dict[str, Any]).dump_json(document).decode())
    else:
        typer.echo(f"{name}: " + (t("paused", "已暂停") if paused else t("running", "运行中")))
