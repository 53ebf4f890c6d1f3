"""``zjj queues``: what waits, and what is to be left alone for a while."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from pydantic import TypeAdapter
from rich.console import Console
from rich.table import Table

from models.allowances import list_alarms
from models.circuits import list_circuits
from models.clock import utc_now
from models.database import writing
from models.errors import InvalidValue, NotFound
from models.pauses import Pause, Scope, list_pauses
from models.pauses import pause as begin_pause
from models.pauses import resume as end_pause
from models.upkeep import count_waiting
from tasks.task import QUEUES
from workers.cli.filters import AsJson, Reason, actor, opened
from workers.cli.language import say_in as t
from workers.published import open_policy
from workers.replays import checked_reason
from workers.settings import load_settings

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
    now = utc_now()
    with opened() as entrance, entrance.engine.connect() as connection:
        waiting = count_waiting(connection)
        pauses = {(each.scope, each.name): each for each in list_pauses(connection, now=now)}
        circuits = {each.recipient: each for each in list_circuits(connection)}
        alarms = list_alarms(connection, now=now)
    queues: list[dict[str, Any]] = []
    for name in QUEUES:
        counts = {state: count for (queue, state), count in waiting.items() if queue == name}
        queues.append({"queue": name, "jobs": counts, "paused": pauses.get((Scope.QUEUE, name))})
    paused = {name for scope, name in pauses if scope is Scope.RECIPIENT}
    failing = {name for name, circuit in circuits.items() if circuit.open_until is not None}
    recipients: list[dict[str, Any]] = [
        {
            "recipient": name,
            "paused": pauses.get((Scope.RECIPIENT, name)),
            "resting_until": circuits[name].open_until if name in failing else None,
        }
        for name in sorted(paused | failing)
    ]
    if as_json:
        document = {"queues": queues, "recipients": recipients, "alarms": alarms}
        typer.echo(TypeAdapter(dict[str, Any]).dump_json(document, indent=2).decode())
        return
    table = Table(t("Name", "名称"), t("Jobs", "任务"), t("State", "状态"))
    for queue in queues:
        said = ", ".join(f"{count} {state}" for state, count in queue["jobs"].items())
        table.add_row(queue["queue"], said or "-", _paused(queue["paused"]))
    for recipient in recipients:
        resting = recipient["resting_until"]
        said = _paused(recipient["paused"])
        if resting is not None:
            said += t(f"; resting until {resting:%H:%M:%S}", f"；熔断至 {resting:%H:%M:%S}")
        table.add_row(recipient["recipient"], "", said)
    for alarm in alarms:
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
    wanted = Pause(
        scope=_scope(name),
        name=name,
        since=utc_now(),
        until=None,
        actor=actor(),
        reason=checked_reason(reason),
    )
    with opened() as entrance, writing(entrance.engine) as connection:
        changed = begin_pause(connection, wanted)
    _report(name, as_json=as_json, paused=True, changed=changed)


@app.command("resume", help=t("End a pause.", "恢复。"))
def resume(name: _Name, reason: Reason = "", as_json: AsJson = False) -> None:
    """Resume.

    Raises:
        NotFound: It was not paused.
    """
    scope, why = _scope(name), checked_reason(reason)
    with opened() as entrance, writing(entrance.engine) as connection:
        if not end_pause(connection, scope, name, actor=actor(), reason=why, now=utc_now()):
            raise NotFound(t(f"{name} is not paused", f"{name} 未暂停"))
    _report(name, as_json=as_json, paused=False, changed=True)


def _scope(name: str) -> Scope:
    if name in QUEUES:
        return Scope.QUEUE
    if name in open_policy(load_settings()).recipients:
        return Scope.RECIPIENT
    raise InvalidValue(
        t("no such queue or recipient; queues: ", "没有该队列或接收方；队列：") + ", ".join(QUEUES)
    )


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
