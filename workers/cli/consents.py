"""``zjj privacy consents``, ``restrict``, ``lift`` and ``erase``: what people agree to and forbid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated

import orjson
import typer
from rich.console import Console

from models.consents import RestrictionReason, consents_of, restrictions_of
from models.people import Forgotten
from workers.cli.exits import ENDED_BADLY
from workers.cli.filters import AsJson, Reason, actor, opened, say
from workers.cli.language import say_in as t
from workers.cli.people import BackendOfUser, PhoneAsked, UserAsked, asked_person
from workers.cli.tables import make_table
from workers.consents import Objection

__all__ = ["add_commands", "rows_by_table"]

_OPERATOR = "operator"
"""Imposes what operators restrict by phone."""


def add_commands(app: typer.Typer) -> None:
    """Put the commands into the group ``privacy``."""
    app.command(
        "consents",
        help=t(
            "What a person has agreed to, and what they have forbidden.",
            "某人的同意、撤回与限制处理记录。",
        ),
    )(consents)
    app.command(
        "restrict",
        help=t(
            "Let nothing more about a person leave, but for legal duties (PIPL 44, 46, 47); what "
            "waits is cancelled and erased.",
            "限制处理：除法定义务外不再对外提供此人信息，等待中的任务取消并清除。",
        ),
    )(restrict)
    app.command("lift", help=t("Lift a restriction.", "解除限制处理。"))(lift)
    app.command(
        "erase",
        help=t(
            "Forget a person (PIPL 47): jobs with their payloads, codes, deliveries, verdicts. The "
            "account of what left stays, without values.",
            "删除某人的信息：任务及其内容、验证码、送达记录、核验结论；不含具体内容的对外提供台账予以保留。",
        ),
    )(erase)


def consents(
    phone: PhoneAsked = None,
    user: UserAsked = None,
    backend: BackendOfUser = None,
    as_json: AsJson = False,
) -> None:
    """List one person's consents and restrictions."""
    person = asked_person(phone, user, backend)
    with opened() as entrance, entrance.engine.connect() as connection:
        people = [person.pseudonym(entrance.pseudonyms)]
        agreed = consents_of(connection, people)
        forbidden = restrictions_of(connection, people)
    if as_json:
        typer.echo(orjson.dumps({"consents": agreed, "restrictions": forbidden}))
        return
    table = make_table(
        t("Backend", "后端"),
        t("Name", "编号"),
        t("Kind", "类型"),
        t("For", "目的或原因"),
        t("Since (UTC)", "起（UTC）"),
        t("Until (UTC)", "止（UTC）"),
    )
    for given in agreed:
        times = (given.granted_at, given.withdrawn_at)
        table.add_row(given.backend, given.ref, given.kind, given.purpose, *map(_time, times))
    for imposed in forbidden:
        times = (imposed.since, imposed.lifted_at)
        kind = t("restriction", "限制处理")
        table.add_row(imposed.backend, imposed.id, kind, imposed.reason, *map(_time, times))
    if table.rows:
        Console(highlight=False).print(table)
    else:
        typer.echo(t("Nothing is recorded.", "没有记录。"))


def restrict(
    reason: Annotated[
        RestrictionReason,
        typer.Option(
            help=t(
                "objection (PIPL 44), disputed (46), erasure or retention (47).",
                "objection 拒绝、disputed 有争议、erasure 待删除、retention 仅保存。",
            )
        ),
    ],
    phone: PhoneAsked = None,
    user: UserAsked = None,
    backend: BackendOfUser = None,
    as_json: AsJson = False,
) -> None:
    """Restrict a person."""
    person = asked_person(phone, user, backend)
    objection = Objection(phone=person.phone, user=person.user, reason=reason.value)
    with opened() as entrance:
        stopped = entrance.consents.restrict(
            objection, backend=person.backend or _OPERATOR, actor=actor()
        )
    assert stopped.restriction is not None  # noqa: S101 - restrict makes one
    if as_json:
        told = {"id": stopped.restriction.id, "cancelled": stopped.cancelled}
        typer.echo(orjson.dumps(told))
        return
    typer.echo(
        t(
            f"Restricted; {stopped.cancelled} cancelled. "
            f"To lift it: zjj privacy lift {stopped.restriction.id}",
            f"已限制，取消 {stopped.cancelled} 个任务。解除：zjj privacy lift {stopped.restriction.id}",
        )
    )


def lift(
    restriction: Annotated[str, typer.Argument(metavar="ID", help=t("Its id.", "限制编号。"))],
    as_json: AsJson = False,
) -> None:
    """Lift a restriction, whoever imposed it."""
    with opened() as entrance:
        entrance.consents.lift(restriction, backend=None, actor=actor())
    say(t("Lifted.", "已解除。"), as_json=as_json, id=restriction, lifted=True)


def erase(
    reason: Reason,
    phone: PhoneAsked = None,
    user: UserAsked = None,
    backend: BackendOfUser = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help=t("Only say what it would come to.", "只显示结果，不实际删除。")
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Erase a person.

    Exits with 1 if something of theirs is still on its way and must be erased another time.
    """
    person = asked_person(phone, user, backend)
    with opened() as entrance:
        erased = entrance.erasure.erase(
            person.pseudonym(entrance.pseudonyms), actor=actor(), reason=reason, dry_run=dry_run
        )
    if as_json:
        typer.echo(orjson.dumps({"dry_run": dry_run} | asdict(erased)))
    else:
        _print_erased(erased, dry_run=dry_run)
    if erased.unfinished:
        raise typer.Exit(ENDED_BADLY)


def _print_erased(erased: Forgotten, *, dry_run: bool) -> None:
    if not erased.forgotten:
        typer.echo(t("There is nothing to erase.", "没有可删除的记录。"))
    elif dry_run:
        typer.echo(t("Would be erased: ", "将删除：") + rows_by_table(erased.forgotten))
    else:
        typer.echo(t("Erased: ", "已删除：") + rows_by_table(erased.forgotten))
    if erased.kept:
        typer.echo(
            t(
                "Kept without values, to account for it: ",
                "依法留存以备说明（不含具体内容）：",
            )
            + rows_by_table(erased.kept)
        )
    if erased.unfinished:
        typer.echo(
            t(
                f"{erased.unfinished} jobs are still on their way: erase again in a minute.",
                f"另有 {erased.unfinished} 个任务尚未结束，请稍后再次执行。",
            )
        )


def rows_by_table(rows: Mapping[str, int]) -> str:
    """Numbers of rows, in a line."""
    return ", ".join(f"{table} {number}" for table, number in rows.items())


def _time(instant: object) -> str:
    return "" if instant is None else f"{instant:%Y-%m-%d %H:%M:%S}"
