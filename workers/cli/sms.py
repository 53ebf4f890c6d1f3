"""``zjj sms``: how texts fare, and what they say."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, get_args

import typer
from pydantic import TypeAdapter
from rich.console import Console

from integrations.aliyun.wordings import load_wordings
from models.clock import utc_now
from models.deliveries import DeliveryFigures, delivery_figures
from tasks.sms_code import Scene
from workers.cli.filters import AsJson, opened
from workers.cli.language import say_in as t
from workers.cli.tables import make_table
from workers.published import open_policy
from workers.settings import load_settings

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help=t("Text messages.", "短信。"))


@app.command(
    "deliveries",
    help=t("Delivery rate and time by road and scene.", "各通道、各场景的送达率与送达时间。"),
)
def deliveries(
    hours: Annotated[
        float, typer.Option(min=0.01, help=t("Look back so far.", "统计最近多少小时。"))
    ] = 24.0,
    as_json: AsJson = False,
) -> None:
    """Show the figures of texts that providers have accepted."""
    since = utc_now() - dt.timedelta(hours=hours)
    with opened() as entrance, entrance.engine.connect() as connection:
        figures = delivery_figures(connection, since=since)
    if as_json:
        typer.echo(TypeAdapter(list[DeliveryFigures]).dump_json(figures, indent=2).decode())
        return
    table = make_table(
        t("Road", "通道"),
        t("Scene", "场景"),
        t("Accepted", "已受理"),
        t("Delivered", "已送达"),
        t("Undelivered", "未送达"),
        t("Unreported", "无回执"),
        t("Rate", "送达率"),
        t("Median", "中位"),
        t("95 %", "95 %"),
        t("Why not", "未送达原因"),
    )
    for one in figures:
        table.add_row(
            one.road,
            one.scene,
            *(str(n) for n in (one.accepted, one.delivered, one.undelivered, one.unreported)),
            "-" if one.rate is None else f"{one.rate:.1%}",
            _seconds(one.median_seconds),
            _seconds(one.p95_seconds),
            ", ".join(f"{reason} {number}" for reason, number in one.reasons.items()) or "-",
        )
    Console(highlight=False).print(table)


@app.command(
    "wordings", help=t("What each scene's text says on each road.", "各通道、各场景的短信文案。")
)
def wordings(as_json: AsJson = False) -> None:
    """Show the reviewed wordings, checked as at start."""
    settings = load_settings()
    found = load_wordings(open_policy(settings), get_args(Scene), settings.sms_wordings)
    if as_json:
        typer.echo(TypeAdapter(Any).dump_json(found, indent=2).decode())
        return
    table = make_table(t("Road", "通道"), t("Scene", "场景"), t("Wording", "文案"))
    for road, texts in found.items():
        for scene, text in texts.items():
            table.add_row(road, scene, text.wording)
    Console(highlight=False).print(table)


def _seconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.0f} s"
