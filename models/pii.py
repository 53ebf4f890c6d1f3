"""Types for personal data that keep their mouth shut.

A value is validated when it is made and never shows itself: ``repr``, ``str`` and ``format``
give the type only, it is neither picklable nor JSON-serialisable, and its text comes out through
:func:`reveal` alone, which three places may call: the gate while it serialises an admitted
request, the seal, and the pseudonym (``tests/models/test_pii.py`` keeps that list).

Categories are keys of the Fideslang taxonomy (ethyca/fideslang, data categories).
"""

from __future__ import annotations

import datetime as dt
import re
import unicodedata
from typing import Any, ClassVar, NoReturn, Self

import phonenumbers
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import PydanticCustomError, core_schema
from stdnum.cn import ric
from stdnum.exceptions import ValidationError as StdnumError

from models.clock import BEIJING
from models.errors import InvalidValue

__all__ = [
    "PERSONAL_TYPES",
    "DeviceInfo",
    "IdNumber",
    "LoginToken",
    "OpenId",
    "Personal",
    "Phone",
    "PushToken",
    "RealName",
    "VerificationCode",
    "reveal",
]

_OLDEST_AGE = 150


class Personal:
    """A value about a person, or a secret that acts for one.

    Raises:
        InvalidValue: The text cannot be such a value; the message gives the reason, not the text.
    """

    __slots__ = ("__value",)

    category: ClassVar[str]
    """Fideslang data category."""
    json_schema: ClassVar[dict[str, Any]] = {"type": "string"}
    """How the value looks in OpenAPI."""

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            raise InvalidValue("must be text")
        object.__setattr__(self, "_Personal__value", self._parse(text))

    @classmethod
    def _parse(cls, text: str) -> str:
        raise NotImplementedError

    def mask(self) -> str:
        """What a person who is allowed to look may see, for example ``164****1234``."""
        return "*" * 6

    def __setattr__(self, _name: str, _value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} does not change")

    def __delattr__(self, _name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} does not change")

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and reveal(self) == reveal(other)

    def __hash__(self) -> int:
        return hash((type(self), reveal(self)))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        raise TypeError(f"{type(self).__name__} is personal data and is never pickled")

    def __reduce__(self) -> NoReturn:
        self.__reduce_ex__(None)

    def __getstate__(self) -> NoReturn:
        self.__reduce_ex__(None)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: object, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        def build(value: Any) -> Personal:
            if isinstance(value, cls):
                return value
            try:
                return cls(value)
            except InvalidValue as error:
                raise PydanticCustomError(
                    "invalid_value", "{reason}", {"reason": error.message}
                ) from None

        return core_schema.no_info_plain_validator_function(build)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return dict(cls.json_schema)


def reveal(value: Personal) -> str:
    """The text itself. Only the gate, the seal and the pseudonym may ask."""
    text: str = object.__getattribute__(value, "_Personal__value")
    return text


class Phone(Personal):
    """A mainland mobile number, kept as 11 digits.

    Accepts ``+86``, ``0086`` and ``86`` in front, spaces and hyphens between. The shape is
    ``1[3-9]`` and nine digits; no prefix table, because blocks are assigned without notice and
    the provider is the one who knows (Aliyun: ``isv.MOBILE_NUMBER_ILLEGAL``).
    """

    __slots__ = ()
    category = "user.contact.phone_number"
    json_schema: ClassVar[dict[str, Any]] = {
        "type": "string",
        "description": "Mainland mobile number; +86, 0086, 86, spaces and hyphens are understood.",
        "pattern": r"^(?:(?:\+|00)?86[ -]?)?1[3-9](?:[ -]?[0-9]){9}$",
        "maxLength": 32,
        "examples": ["16400001234"],
    }

    _CANONICAL = re.compile(r"1[3-9][0-9]{9}")
    _TYPED = re.compile(r"\+?[0-9][0-9 -]{5,30}")
    _PREFIXED = re.compile(r"(?:\+|00)?86(1[3-9][0-9]{9})")

    @classmethod
    def _parse(cls, text: str) -> str:
        if cls._CANONICAL.fullmatch(text):
            return text
        if not cls._TYPED.fullmatch(text):
            if any(character.isdecimal() and not character.isascii() for character in text):
                raise InvalidValue("must be written in the digits 0 to 9, not in full-width ones")
            raise InvalidValue("is not a phone number")
        digits = text.replace(" ", "").replace("-", "")
        if cls._CANONICAL.fullmatch(digits):
            return digits
        if match := cls._PREFIXED.fullmatch(digits):
            return match[1]
        raise InvalidValue(cls._why_not(digits))

    @staticmethod
    def _why_not(digits: str) -> str:
        """Tell a foreign number from a mistyped one."""
        international = "+" + digits[2:] if digits.startswith("00") else digits
        try:
            number = phonenumbers.parse(international, "CN")
        except phonenumbers.NumberParseException:
            return "is not a phone number"
        if number.country_code != 86:
            return "is not a mainland China number; only +86 is served"
        return "is not a mainland mobile number (11 digits, 13 to 19 in front)"

    def mask(self) -> str:
        """``164****1234``."""
        text = reveal(self)
        return f"{text[:3]}****{text[-4:]}"


class VerificationCode(Personal):
    """A one-time code of 4 to 6 digits (Aliyun: variables of code templates)."""

    __slots__ = ()
    category = "user.authorization.credentials"
    json_schema: ClassVar[dict[str, Any]] = {
        "type": "string",
        "pattern": "^[0-9]{4,6}$",
        "minLength": 4,
        "maxLength": 6,
        "examples": ["246810"],
    }

    @classmethod
    def _parse(cls, text: str) -> str:
        if not re.fullmatch(r"[0-9]{4,6}", text):
            raise InvalidValue("must be 4 to 6 digits")
        return text

    @property
    def length(self) -> int:
        """How many digits; they stay inside."""
        return len(reveal(self))


class IdNumber(Personal):
    """A citizen identity number of 18 characters (GB 11643-1999), ``X`` in upper case.

    Check digit and birth date are checked; the division code is not, because divisions change.
    """

    __slots__ = ()
    category = "user.government_id.national_identification_number"
    json_schema: ClassVar[dict[str, Any]] = {
        "type": "string",
        "description": "18 characters: 17 digits, then the check digit or X (GB 11643-1999).",
        "format": "gb11643",
    }

    @classmethod
    def _parse(cls, text: str) -> str:
        if not re.fullmatch(r"[0-9]{17}[0-9Xx]", text):
            raise InvalidValue("must be 17 digits and a digit or X")
        text = text.upper()
        if ric.calc_check_digit(text) != text[-1]:
            raise InvalidValue("has a wrong check digit")
        try:
            born = ric.get_birth_date(text)
        except StdnumError:
            raise InvalidValue("has an impossible birth date") from None
        today = dt.datetime.now(BEIJING).date()
        if born > today or today.year - born.year > _OLDEST_AGE:
            raise InvalidValue("has an impossible birth date")
        return text

    def age_on(self, day: dt.date) -> int:
        """Completed years on ``day``; computed here so that the birth date stays inside."""
        born = ric.get_birth_date(reveal(self))
        return day.year - born.year - ((day.month, day.day) < (born.month, born.day))

    def mask(self) -> str:
        """First and last character."""
        text = reveal(self)
        return f"{text[0]}{'*' * 16}{text[-1]}"


class RealName(Personal):
    """A person's name as on the identity card: Han characters and ``·``, 2 to 30 long."""

    __slots__ = ()
    category = "user.name"
    _DOTS = "•‧・･．∙⋅"
    """What keyboards have for the middle dot of a card."""
    _HAN = "[\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U000323af]"
    json_schema: ClassVar[dict[str, Any]] = {
        "type": "string",
        "description": "As on the identity card: Han characters, with · between parts.",
        "pattern": f"^{_HAN}(?:[·{_DOTS}]?{_HAN})+$",
        "minLength": 2,
        "maxLength": 30,
        "examples": ["张三"],
    }

    _SHAPE = re.compile(rf"{_HAN}(?:{_HAN}|·(?!·|$)){{1,29}}")

    @classmethod
    def _parse(cls, text: str) -> str:
        text = unicodedata.normalize("NFC", text)
        for dot in cls._DOTS:
            text = text.replace(dot, "·")
        if not cls._SHAPE.fullmatch(text):
            raise InvalidValue("must be 2 to 30 Han characters, with · between parts")
        return text

    def mask(self) -> str:
        """The first character."""
        text = reveal(self)
        return text[0] + "*" * (len(text) - 1)


class _Token(Personal):
    __slots__ = ()
    _SHAPE: ClassVar[re.Pattern[str]]

    @classmethod
    def _parse(cls, text: str) -> str:
        if not cls._SHAPE.fullmatch(text):
            raise InvalidValue("has a character or a length that such an identifier never has")
        return text


class OpenId(_Token):
    """A WeChat user's identifier within one app."""

    __slots__ = ()
    category = "user.unique_id.pseudonymous"
    _SHAPE = re.compile(r"[A-Za-z0-9_-]{20,64}")


class PushToken(_Token):
    """A device's push address: JPush registration id or HMS token."""

    __slots__ = ()
    category = "user.device.device_id"
    _SHAPE = re.compile(r"[A-Za-z0-9_:.-]{8,4096}")


class LoginToken(_Token):
    """A one-click login token: a bearer credential, single use."""

    __slots__ = ()
    category = "user.authorization.credentials"
    json_schema: ClassVar[dict[str, Any]] = {
        "type": "string",
        "description": "What the phone's SDK was given when the person agreed; works once.",
        "pattern": "^[!-~]{8,4096}$",
        "minLength": 8,
        "maxLength": 4096,
    }
    _SHAPE = re.compile(r"[\x21-\x7e]{8,4096}")


class DeviceInfo(_Token):
    """What a phone's SDK says about the phone, as JSON text; only face verification takes it."""

    __slots__ = ()
    category = "user.device.telemetry"
    _SHAPE = re.compile(r"\{[\x20-\x7e]{0,4094}\}")


PERSONAL_TYPES: tuple[type[Personal], ...] = (
    Phone,
    RealName,
    IdNumber,
    OpenId,
    PushToken,
    LoginToken,
    VerificationCode,
    DeviceInfo,
)
