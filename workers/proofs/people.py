"""People who do not exist, each with values that occur nowhere else, and payloads about them.

Phones begin with 164 and identity numbers use division 999999, which are nobody's.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from functools import cached_property
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from stdnum.cn import ric

from integrations.sandbox.tokens import phone_behind
from models.errors import ConfigurationError
from models.pii import (
    DeviceInfo,
    IdNumber,
    LoginToken,
    OpenId,
    Personal,
    Phone,
    PushToken,
    RealName,
    VerificationCode,
)
from tasks.payload import Payload
from workers.proofs.traces import Value

__all__ = ["Person", "made_up_payload"]

_RARE = "龘靐齉爩麤灪龗吁彧骉犇猋羴鱻畾"


class Person:
    """One made-up person.

    Args:
        code: The verification code; short values are told from chance more easily when all
            people of a run share one.
    """

    def __init__(self, code: str) -> None:
        token = secrets.token_hex
        login_token = f"login{token(10)}"
        self._texts = {
            # So that what a login brings home is looked for as well.
            Phone: phone_behind(login_token),
            VerificationCode: code,
            IdNumber: _id_number(),
            RealName: "".join(secrets.choice(_RARE) for _ in range(4)),
            OpenId: f"o{token(14)}",
            PushToken: f"push{token(10)}",
            LoginToken: login_token,
            DeviceInfo: f'{{"deviceToken":"{token(10)}"}}',
        }
        self.user = f"user-{token(8)}"
        self.consent = f"agreed-{token(8)}"
        """The backend's name for what the person has agreed to; not about the person."""
        self.address = f"山东省济南市{''.join(secrets.choice(_RARE) for _ in range(5))}路7号"
        self.ip = f"192.0.2.{secrets.randbelow(100) + 100}"

    def value(self, kind: type[Personal]) -> Personal:
        """A labelled value."""
        return kind(self._texts[kind])

    def text(self, kind: type[Personal]) -> str:
        """The same, to look for."""
        return self._texts[kind]

    def held(self) -> dict[str, object]:
        """The widest object that a job could hold about the person."""
        return {
            "phone": self.value(Phone),
            "code": self.value(VerificationCode),
            "name": self.value(RealName),
            "id_number": self.value(IdNumber),
            "openid": self.value(OpenId),
            "push_token": self.value(PushToken),
            "login_token": self.value(LoginToken),
            "meta_info": self.value(DeviceInfo),
            "user": self.user,
            "address": self.address,
            "scene": "register",
            "order": {"buyer": [self.value(RealName), {"ip": self.ip}]},
        }

    @cached_property
    def values(self) -> tuple[Value, ...]:
        """Everything to look for, by the names of :meth:`held`."""
        named = {
            "phone": Phone,
            "code": VerificationCode,
            "name": RealName,
            "id_number": IdNumber,
            "openid": OpenId,
            "push_token": PushToken,
            "login_token": LoginToken,
            "meta_info": DeviceInfo,
        }
        texts = {name: self._texts[kind] for name, kind in named.items()}
        texts |= {"user": self.user, "address": self.address, "ip": self.ip}
        return tuple(Value(name, text) for name, text in texts.items())


_PLAIN: dict[Any, Callable[[Person], object]] = {
    str: lambda person: person.user,
    bool: lambda _: False,
    int: lambda _: 1,
}


def made_up_payload(kind: type[Payload], person: Person) -> Payload:
    """A payload about the person, whatever its fields are; examples stand for themselves.

    Raises:
        ConfigurationError: A field has a type for which nothing can be made up; teach it here.
    """
    values = {
        name: field.examples[0]
        if field.examples
        else _made_up(field.annotation, name, kind, person)
        for name, field in kind.model_fields.items()
    }
    return kind.model_validate(values)


def _made_up(annotation: Any, name: str, kind: type[Payload], person: Person) -> object:
    if isinstance(annotation, type) and issubclass(annotation, Personal):
        return person.value(annotation)
    if name.endswith("_ref"):
        return person.consent
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return parts[0]
    if origin in {Annotated, Union, UnionType}:
        inner = next(part for part in parts if part is not NoneType)
        return _made_up(inner, name, kind, person)
    if annotation in _PLAIN:
        return _PLAIN[annotation](person)
    raise ConfigurationError(f"nothing can be made up for {kind.__name__}.{name}")


def _id_number() -> str:
    day = f"19{70 + secrets.randbelow(30)}{secrets.randbelow(12) + 1:02d}{secrets.randbelow(28) + 1:02d}"
    head = f"999999{day}{secrets.randbelow(1000):03d}"
    return head + str(ric.calc_check_digit(head + "0"))
