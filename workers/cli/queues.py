"""``zjj queues``: what waits, and what is to be left alone for a while."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

import typer
from pydantic import TypeAdapter

from models.clock import utc_now
from models.errors import NotFound
from models.pauses import Pause
from workers.cli.filters import AsJson, Reason, actor, given, opened, say
from workers.cli.language import say_in as t
from workers.cli.tables import make_table, terminal
from workers.desk import Queues, RecipientView

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
    now = utc_now()
    console = terminal()
    table = make_table(
        t("Queue", "队列"),
        t("Workers", "执行进程"),
        t("Jobs", "任务"),
        t("Oldest waits", "最久等待"),
        t("State", "状态"),
    )
    for queue in found.queues:
        counts = [f"{count} {state}" for state, count in queue.jobs.items()]
        counts += [f"{queue.unknown} unknown"] if queue.unknown else []
        waits = "-" if queue.oldest is None else _seconds(now - queue.oldest)
        said = ", ".join(counts) or "-"
        table.add_row(queue.queue, str(queue.workers), said, waits, _paused(queue.paused))
    console.print(table)
    for recipient in found.recipients:
        said = _paused(recipient.paused) if recipient.paused else _resting(recipient, now)
        console.print(f"{recipient.recipient}: {said}")
    for alarm in found.alarms:
        console.print(
            t(
                f"alarm: {alarm.scope}: {alarm.refused} new numbers refused since "
                f"{alarm.since:%H:%M:%S}, until {alarm.until:%H:%M:%S} or later",
                f"警报：{alarm.scope}：自 {alarm.since:%H:%M:%S} 起已拒绝新号码 "
                f"{alarm.refused} 个，至少到 {alarm.until:%H:%M:%S}",
            )
        )


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
        changed = entrance.desk.pause(name, actor=actor(), reason=given(reason))
    _report(name, as_json=as_json, paused=True, changed=changed)


@app.command("resume", help=t("End a pause.", "恢复。"))
def resume(name: _Name, reason: Reason = "", as_json: AsJson = False) -> None:
    """Resume.

    Raises:
        NotFound: It was not paused.
    """
    with opened() as entrance:
        if not entrance.desk.resume(name, actor=actor(), reason=given(reason)):
            raise NotFound(t(f"{name} is not paused", f"{name} 未暂停"))
    _report(name, as_json=as_json, paused=False, changed=True)


def _paused(pause: Pause | None) -> str:
    if pause is None:
        return t("running", "运行中")
    since = f"{pause.since:%m-%d %H:%M:%S}"
    until = "" if pause.until is None else f"{pause.until:%m-%d %H:%M:%S}"
    end = t(f", until {until}", f"，至 {until}") if until else ""
    return t(
        f"paused: {pause.reason} (by {pause.actor}, since {since} UTC{end})",
        f"已暂停：{pause.reason}（{pause.actor}，自 {since} UTC 起{end}）",
    )


def _resting(recipient: RecipientView, now: dt.datetime) -> str:
    until = recipient.resting_until
    if until is None or until <= now:
        return t("fails; the next job tries it", "故障，由下一个任务试探")
    return t(f"fails; left alone until {until:%H:%M:%S} UTC", f"故障，熔断至 {until:%H:%M:%S} UTC")


def _seconds(waited: dt.timedelta) -> str:
    return f"{max(0.0, waited.total_seconds()):.0f} s"


def _report(name: str, *, as_json: bool, paused: bool, changed: bool) -> None:
    said = t("paused", "已暂停") if paused else t("running", "运行中")
    if paused and not changed:
        said = t("was paused already, and stays as it was", "此前已暂停，保持不变")
    say(f"{name}: {said}", as_json=as_json, name=name, paused=paused, changed=changed)
