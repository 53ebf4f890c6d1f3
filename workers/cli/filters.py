"""Options that choose jobs, shared by the commands that list, replay and cancel them."""

from __future__ import annotations

import datetime as dt
import getpass
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter

from models.clock import utc_now
from models.database import answering
from models.errors import InvalidValue
from models.job_search import JobFilter
from models.pseudonyms import Pseudonyms
from models.states import State
from workers.cli.language import say_in as t
from workers.cli.people import asked_person
from workers.entrance import Entrance, open_entrance
from workers.settings import load_settings

__all__ = [
    "AsJson",
    "Backend",
    "Code",
    "Kind",
    "PhoneOption",
    "Queue",
    "Reason",
    "Recipient",
    "Since",
    "States",
    "Until",
    "actor",
    "given",
    "job_filter",
    "opened",
    "say",
]

AsJson = Annotated[bool, typer.Option("--json", help=t("Print JSON.", "输出 JSON。"))]
Kind = Annotated[str | None, typer.Option(help=t("Kind of job.", "任务类型。"))]
States = Annotated[
    list[State] | None, typer.Option("--state", help=t("State; may be repeated.", "状态，可重复。"))
]
Queue = Annotated[str | None, typer.Option(help=t("Queue.", "队列。"))]
Backend = Annotated[str | None, typer.Option(help=t("Who enqueued it.", "所属后端。"))]
Code = Annotated[
    str | None, typer.Option(help=t("Our reason or the provider's code.", "原因代码或服务商代码。"))
]
Recipient = Annotated[
    str | None,
    typer.Option(
        help=t("Who got, or was denied, something of it.", "得到过或被拒绝提供其信息的接收方。")
    ),
]
PhoneOption = Annotated[
    str | None,
    typer.Option(
        "--phone",
        metavar="-",
        help=t(
            "Whom it is about. Only - is accepted: it is asked for without showing it, and only a "
            "keyed digest is searched for.",
            "相关手机号：只能写 -，随后隐藏输入，仅以带密钥的摘要检索。",
        ),
    ),
]
Since = Annotated[
    str | None,
    typer.Option(
        help=t(
            "Created since: 2026-03-01T12:00 (UTC), or 90s, 30m, 2h, 7d ago.",
            "创建时间不早于：2026-03-01T12:00（UTC），或 90s、30m、2h、7d 之前。",
        )
    ),
]
Until = Annotated[str | None, typer.Option(help=t("Created before.", "创建时间早于。"))]
Reason = Annotated[
    str,
    typer.Option(
        help=t("Why, for the audit; nothing personal.", "原因，记入审计；不得含个人信息。")
    ),
]

_AGO = re.compile(r"([0-9]{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def job_filter(  # noqa: PLR0913 - one for each option
    pseudonyms: Pseudonyms,
    *,
    ids: list[str] | None = None,
    kind: str | None,
    states: list[State] | None,
    queue: str | None,
    backend: str | None,
    code: str | None,
    recipient: str | None,
    phone: str | None,
    since: str | None,
    until: str | None,
) -> JobFilter:
    """What the options mean.

    Raises:
        InvalidValue: A time or the phone cannot be read, or the phone stands on the command line;
            it is not repeated.
    """
    person = None if phone is None else asked_person(phone, None, None)
    return JobFilter(
        ids=tuple(ids or ()),
        kind=kind,
        states=tuple(states or ()),
        queue=queue,
        backend=backend,
        code=code,
        recipient=recipient,
        subject=None if person is None else person.pseudonym(pseudonyms),
        since=_moment(since, "--since"),
        until=_moment(until, "--until"),
    )


def say(text: str, *, as_json: bool, **document: object) -> None:
    """Print a short answer, for a person or for a program."""
    typer.echo(TypeAdapter(dict[str, Any]).dump_json(document).decode() if as_json else text)


def given(reason: str) -> str:
    """The reason, which is asked for by the option's name if it is missing.

    Raises:
        InvalidValue: It is.
    """
    if not reason.strip():
        raise InvalidValue(
            t("say why, for the audit: --reason", "请用 --reason 写明原因，以便记入审计")
        )
    return reason


def actor() -> str:
    """Who sits at this terminal, for the audit."""
    return f"cli:{getpass.getuser()}"[:64]


@contextmanager
def opened() -> Iterator[Entrance]:
    """The deployment's database and keys.

    Raises:
        DatabaseUnavailable: The database does not answer.
    """
    entrance = open_entrance(load_settings())
    try:
        with answering():
            yield entrance
    finally:
        entrance.close()


def _moment(text: str | None, option: str) -> dt.datetime | None:
    if text is None:
        return None
    if ago := _AGO.fullmatch(text):
        return utc_now() - dt.timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise InvalidValue(f"{option}: is neither a time nor a duration such as 2h") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
