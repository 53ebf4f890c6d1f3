"""Naming a person on the command line without writing them there."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated

import typer

from models.errors import InvalidValue
from models.pii import Phone
from models.pseudonyms import Pseudonyms
from workers.cli.language import say_in as t

__all__ = ["BackendOfUser", "Person", "PhoneAsked", "UserAsked", "asked_person"]

_ASK = "-"

PhoneAsked = Annotated[
    str | None,
    typer.Option(
        "--phone",
        metavar=_ASK,
        help=t(
            "Only - is accepted: the number is then asked for without showing it (or read from "
            "standard input).",
            "只能写 -：随后隐藏输入号码（或从标准输入读取）。",
        ),
    ),
]
UserAsked = Annotated[
    str | None,
    typer.Option(
        "--user",
        metavar=_ASK,
        help=t(
            "A backend's own id for the person, asked for in the same way; needs --backend.",
            "后端自己的用户编号，同样隐藏输入；须同时写明 --backend。",
        ),
    ),
]
BackendOfUser = Annotated[
    str | None,
    typer.Option("--backend", help=t("Whose user it is.", "该用户属于哪个后端。")),
]


@dataclass(frozen=True, slots=True, repr=False)
class Person:
    """Somebody, by phone or by a backend's id."""

    phone: Phone | None
    user: str | None
    backend: str | None

    def pseudonym(self, pseudonyms: Pseudonyms) -> str:
        """The keyed digest that stands for them in the database."""
        if self.phone is not None:
            return pseudonyms.subject(self.phone)
        return pseudonyms.user(self.backend or "", self.user or "")


def asked_person(phone: str | None, user: str | None, backend: str | None) -> Person:
    """Ask for whom the options name.

    Raises:
        InvalidValue: None of them or both, a value instead of ``-``, or a user of no backend.
    """
    if (phone is None) == (user is None):
        raise InvalidValue(t("write --phone - or --user -", "请写 --phone - 或 --user -"))
    if _ASK not in {phone, user}:
        raise InvalidValue(
            t(
                "write - and type it when asked: other users of this machine can read what "
                "stands on the command line",
                "请写 - 并在提示后输入：命令行内容会被本机其他用户看到",
            )
        )
    if user is not None and backend is None:
        raise InvalidValue(t("--user needs --backend", "--user 须同时写明 --backend"))
    if phone is not None:
        return Person(Phone(_typed(t("Phone", "手机号码"))), None, None)
    return Person(None, _typed(t("User", "用户编号")), backend)


def _typed(name: str) -> str:
    if sys.stdin.isatty():
        text: str = typer.prompt(name, hide_input=True, err=True)
        return text
    return sys.stdin.readline().strip()
