"""How jobs look on a terminal: what happened, what left, under which clause; never a value."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from models.disclosures import Verdict
from models.jobs import DisclosureView, JobView
from models.states import State
from workers.cli.language import say_in as t
from workers.cli.tables import make_table

__all__ = ["print_job", "state_name"]

_COLOURS = {
    State.SUCCEEDED: "green",
    State.FAILED: "red",
    State.UNKNOWN: "yellow",
    State.EXPIRED: "yellow",
}


def state_name(state: State) -> str:
    """The state, with its Chinese name beside it for Chinese readers."""
    names = {
        State.SCHEDULED: "已定时",
        State.QUEUED: "排队中",
        State.RUNNING: "执行中",
        State.RETRYING: "待重试",
        State.SUCCEEDED: "成功",
        State.FAILED: "失败",
        State.UNKNOWN: "结果未知",
        State.EXPIRED: "已过期",
        State.CANCELLED: "已取消",
    }
    return t(state.value, f"{state.value} {names[state]}")


def print_job(console: Console, job: JobView, masks: Mapping[str, str] | None = None) -> None:
    """One job: its state, its attempts, and an account of every disclosure.

    Args:
        masks: What it still holds of a person, masked, by field.
    """
    facts = Table.grid(padding=(0, 2))
    colour = _COLOURS.get(job.state, "cyan")
    facts.add_row(t("Job", "任务"), job.id)
    facts.add_row(t("Kind", "类型"), f"{job.kind} ({job.queue}, {job.backend})")
    facts.add_row(t("State", "状态"), f"[bold {colour}]{state_name(job.state)}[/]")
    if job.reason:
        facts.add_row(t("Reason", "原因"), job.reason)
    facts.add_row(t("Enqueued (UTC)", "入队（UTC）"), f"{job.created_at:%Y-%m-%d %H:%M:%S}")
    if job.settled_at:
        took = (job.settled_at - job.created_at).total_seconds() * 1000
        facts.add_row(t("Enqueue to settle", "入队到完成"), f"{took:.0f} ms")
    else:
        facts.add_row(t("Due (UTC)", "应执行（UTC）"), f"{job.run_at:%Y-%m-%d %H:%M:%S}")
        if job.expires_at:
            expires = f"{job.expires_at:%Y-%m-%d %H:%M:%S}"
            facts.add_row(t("Expires (UTC)", "过期（UTC）"), expires)
    if masks:
        held = ", ".join(f"{name} {mask}" for name, mask in masks.items())
        facts.add_row(t("Still holds", "仍保存"), held)
    for name, value in job.result.items():
        facts.add_row(name, str(value))
    console.print(facts)
    console.print(_timeline(job))
    for disclosure in job.disclosures:
        console.print(_disclosure(disclosure))


def _timeline(job: JobView) -> Table:
    table = make_table(
        t("At (UTC)", "时间（UTC）"),
        t("After", "经过"),
        t("What", "事件"),
        t("Code", "代码"),
        t("Provider's code", "服务商代码"),
        t("ms", "毫秒"),
        title=t("Timeline", "时间线"),
    )
    events = [(job.created_at, (t("enqueued", "入队"), job.backend, "", ""))]
    for attempt in job.attempts:
        number = t(f"attempt {attempt.number}", f"第 {attempt.number} 次")
        what = f"{number}{t(' (not counted)', '（不计）') if not attempt.counted else ''}: {attempt.event}"
        facts = (what, attempt.code or "", attempt.provider_code or "")
        events.append((attempt.ended_at, (*facts, f"{attempt.milliseconds:.1f}")))
    events += [
        (audit.at, (f"{audit.action} ({audit.actor})", audit.reason, "", ""))
        for audit in job.interventions
    ]
    for at, row in sorted(events, key=lambda event: event[0]):
        after = (at - job.created_at).total_seconds()
        table.add_row(f"{at:%H:%M:%S}", f"{after:.3f} s", *row)
    return table


def _disclosure(disclosure: DisclosureView) -> Table:
    left = disclosure.verdict is Verdict.ADMITTED
    what = (
        t("What left the building", "对外提供的信息")
        if left
        else t("What the gate refused", "被拦截的请求")
    )
    when = t(f"attempt {disclosure.attempt}", f"第 {disclosure.attempt} 次")
    table = Table(
        title=f"{what} ({when}, {disclosure.at:%H:%M:%S} UTC)",
        title_justify="left",
        show_header=False,
    )
    table.add_column(style="dim")
    table.add_column()
    table.add_row(t("Recipient", "接收方"), f"{disclosure.recipient} ({disclosure.host})")
    table.add_row(t("Operation", "操作"), disclosure.operation)
    table.add_row(t("Categories", "信息类别"), ", ".join(disclosure.categories) or "-")
    table.add_row(t("Purpose", "目的"), disclosure.purpose)
    table.add_row(
        t("Clause", "条款"), ", ".join(disclosure.clauses) + f" · {disclosure.policy_version}"
    )
    table.add_row(
        t("Stripped (stayed inside)", "已剔除（未提供）"), ", ".join(disclosure.stripped) or "-"
    )
    if disclosure.reason:
        table.add_row(t("Refused because", "拦截原因"), disclosure.reason)
    if disclosure.result:
        took = f" · {disclosure.milliseconds:.1f} ms" if disclosure.milliseconds else ""
        table.add_row(
            t("Result", "结果"), f"{disclosure.result} {disclosure.provider_code or ''}{took}"
        )
    return table
