"""``zjj payments``: money that does not fit, and what a person has made of it."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from pydantic import TypeAdapter
from rich.console import Console

from models.clock import utc_now
from models.database import writing
from models.errors import NotFound
from models.payments.mismatches import MismatchView, list_mismatches, resolve_mismatch
from workers.cli.filters import AsJson, Reason, actor, opened
from workers.cli.language import say_in as t
from workers.cli.tables import make_table
from workers.replays import checked_reason

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True, help=t("Payments that need a person.", "需要人工处理的支付。")
)


@app.command(
    "mismatches",
    help=t("What does not fit, and waits for a person.", "与预期不符、等待人工处理的款项。"),
)
def mismatches(
    resolved: Annotated[
        bool, typer.Option("--resolved", help=t("Those already dealt with.", "已处理的。"))
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List them; amounts are yuan, and fen with --json."""
    with opened() as entrance, entrance.engine.connect() as connection:
        found = list_mismatches(connection, resolved=resolved)
    if as_json:
        typer.echo(TypeAdapter(list[MismatchView]).dump_json(found, indent=2).decode())
        return
    table = make_table(
        "Id",
        t("Reason", "原因"),
        t("Channel", "渠道"),
        t("Order", "订单"),
        t("Refund", "退款"),
        t("Expected", "应为"),
        t("Received", "实为"),
        t("Since", "时间"),
    )
    for each in found:
        table.add_row(
            each.id,
            each.reason,
            each.channel,
            each.order_no or "-",
            each.refund_no or "-",
            _yuan(each.expected),
            _yuan(each.received),
            f"{each.at:%Y-%m-%d %H:%M}",
        )
    Console(highlight=False).print(table)


@app.command(
    "resolve",
    help=t(
        "Note that a person has dealt with one; nobody is told 'paid' by it.",
        "记录人工处理结果；不会因此通知“已支付”。",
    ),
)
def resolve(
    mismatch_id: Annotated[str, typer.Argument(help=t("Its id.", "编号。"))],
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Resolve one, with a reason; it goes on record.

    Raises:
        NotFound: There is no such mismatch that waits.
    """
    why = checked_reason(reason)
    with opened() as entrance, writing(entrance.engine) as connection:
        if not resolve_mismatch(connection, mismatch_id, actor=actor(), reason=why, now=utc_now()):
            raise NotFound(t("no such mismatch waits", "没有待处理的该编号"))
    if as_json:
        document = {"id": mismatch_id, "resolved": True}
        typer.echo(TypeAdapter(dict[str, Any]).dump_json(document).decode())
    else:
        typer.echo(f"{mismatch_id}: " + t("resolved", "已处理"))


def _yuan(fen: int | None) -> str:
    return "-" if fen is None else f"{fen // 100}.{fen % 100:02d}"
