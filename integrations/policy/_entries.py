"""The published policy as data: what each table of the TOML file may say.

The file is meant to be read by a lawyer, so titles and reasons are in the policy's own language
beside stable English keys. Entries are frozen and refuse keys they do not know; what one entry
cannot see alone is checked in ``_contradictions.py``.

Categories and uses are keys of the Fideslang taxonomy (ethyca/fideslang).
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, model_validator

from integrations.minimize import minimize
from models.errors import ConfigurationError

if TYPE_CHECKING:
    from integrations.destinations import Destination
    from integrations.minimize import MinimizedRequest

__all__ = [
    "Basis",
    "Category",
    "Clause",
    "Denied",
    "Gap",
    "Header",
    "Operation",
    "OutboundField",
    "Place",
    "Policy",
    "Purpose",
    "Recipient",
    "ReplyRule",
    "UnlistedOperation",
]


class UnlistedOperation(ConfigurationError):
    """The policy in force has no such operation: this shop does not do that."""


_Value = TypeVar("_Value")
_Table = Annotated[Mapping[str, _Value], AfterValidator(MappingProxyType)]


def _compile(text: object) -> re.Pattern[str]:
    if not isinstance(text, str) or not text:
        raise ValueError("must be a regular expression")
    try:
        # ASCII: \d must not let full-width digits pass.
        return re.compile(text, re.ASCII)
    except re.error as error:
        raise ValueError(f"is not a regular expression: {error}") from None


_Pattern = Annotated[re.Pattern[str], PlainValidator(_compile)]
_Text = Annotated[str, Field(min_length=1)]
_Clause = Annotated[
    str, Field(pattern=r"^(?:前言|[一二三四五六七八](?:\([1-9]\)(?:[1-9][0-9]?|附[12])?)?)$")
]
_Host = Annotated[str, Field(pattern=r"^(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}$")]
_Key = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.]*$")]
_LeafPath = Annotated[str, Field(pattern=r"^[A-Za-z_][\w-]*(?:\.[A-Za-z_][\w-]*)*$")]
_ReplyPath = Annotated[
    str,
    # The columns of a table are named as the recipient heads them.
    Field(pattern=r"^[A-Za-z_]\w*(?:\[\])?(?:\.(?:[A-Za-z_]\w*(?:\[\])?|[^\s.\[\]]+))*$"),
]
_HeaderName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Clause(_Entry):
    """A clause of the published policy; ``一(1)4`` is chapter 一, group (1), item 4."""

    id: _Clause
    gist: _Text


class Category(_Entry):
    """A kind of personal data that some operation may send."""

    title: _Text
    sensitive: bool = False
    """Sensitive in the sense of PIPL 28: leaves only with separate consent."""
    clauses: tuple[_Clause, ...] = ()
    """Where the policy says that it is collected."""


class Basis(_Entry):
    """Why the law allows it."""

    kind: Literal["contract", "consent", "legal_duty"]
    law: _Text
    consent: Literal["none", "consent", "separate"]
    """What the person must have agreed to; ``separate`` also needs a reference at the gate."""
    pia_ref: str | None = None
    """The impact assessment (PIPL 55) that covers it."""

    @model_validator(mode="after")
    def _consent_is_asked_for(self) -> Self:
        if self.kind == "consent" and self.consent == "none":
            raise ValueError("consent must say which, where consent is the basis")
        return self


class Purpose(_Entry):
    """What something is sent for, under which clauses, on which basis."""

    title: _Text
    use: Annotated[str, Field(pattern=r"^[a-z_]+(?:\.[a-z_]+)*$")]
    """Fideslang data use."""
    clauses: Annotated[tuple[_Clause, ...], Field(min_length=1)]
    basis: Basis


class Recipient(_Entry):
    """A company, authority or audience that may receive something."""

    company: _Text
    product: _Text
    hosts: tuple[_Host, ...]
    """Empty: nothing is ever sent there by this system."""
    region: Literal["CN-mainland"]
    role: Literal["entrusted", "independent", "own", "authority", "public"]
    named_in_policy: bool
    named_as: str | None = None
    clauses: tuple[_Clause, ...] = ()
    gap: str | None = None
    note: str | None = None

    @model_validator(mode="after")
    def _named_or_explained(self) -> Self:
        if self.named_in_policy and not self.named_as:
            raise ValueError("named_as must say how the policy names it")
        if not self.named_in_policy and not self.gap:
            raise ValueError("gap must say what the policy leaves out")
        return self


class Gap(_Entry):
    """Something that the published policy should say and does not."""

    title: _Text
    clauses: tuple[_Clause, ...] = ()
    effect: _Text
    """What this system does about it."""


class Denied(_Entry):
    """Something that never happens, and why."""

    title: _Text
    reason: _Text
    clauses: tuple[_Clause, ...] = ()


class Denials(_Entry):
    """All that never happens."""

    recipients: _Table[Denied]
    purposes: _Table[Denied]
    categories: _Table[Denied]
    """A key covers everything below it: ``user.contact.address`` also the city."""
    reply_fields: _Table[Denied]
    """Names of reply fields that are never kept."""


class Place(enum.StrEnum):
    """Where in a request a field stands."""

    PATH = "path"
    """The whole of one path segment, which the operation's path names in braces."""
    QUERY = "query"
    FORM = "form"
    JSON = "json"
    XML = "xml"
    MULTIPART = "multipart"


class OutboundField(_Entry):
    """One leaf of a request: a held value, a configured one, a constant, or a signer's.

    ``from`` takes what the job holds about a person and needs a category; ``configured`` takes
    what is the same for everybody or random: merchant constants, template ids, references.
    """

    title: _Text
    held: Annotated[str | None, Field(alias="from")] = None
    configured: str | None = None
    const: str | int | bool | None = None
    signed: _Pattern | None = None
    """Made by the signer; the whole value must match."""
    category: str | None = None
    transform: Literal["raw", "number", "yuan", "sm2"] | None = None
    """How the value changes on its way out: not at all, digits to a JSON number, fen to yuan,
    encrypted for the recipient alone. A digest of a phone number is enumerable, so it counts as
    raw."""
    pattern: _Pattern | None = None
    """The whole value must match, before it is encrypted; digits are ASCII digits."""
    max: Annotated[int | None, Field(ge=1)] = None
    """Characters, before encryption."""
    required: bool = True
    place: Place | None = None
    """Overrides the operation's place."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        sources = (self.held, self.configured, self.const, self.signed)
        if sum(source is not None for source in sources) != 1:
            raise ValueError("needs exactly one of from, configured, const and signed")
        if self.const is None and ((self.pattern or self.signed) is None or self.max is None):
            raise ValueError("pattern and max must bound what is not constant")
        if self.signed is not None and self.pattern is not None:
            raise ValueError("what the signer makes is bounded by signed")
        if self.const is not None and (self.pattern or self.max or not self.required):
            raise ValueError("a constant is bounded by itself")
        if self.held and not (self.category and self.transform):
            raise ValueError("category and transform must be stated for what the job holds")
        if not self.held and (self.category or self.transform):
            raise ValueError("only what the job holds (from) may carry a category")
        return self

    @property
    def impersonal(self) -> bool:
        """Whether the category is about our own system, such as an order number."""
        return self.category is not None and self.category.startswith("system.")

    @property
    def source(self) -> str:
        """The name under which the value is handed in."""
        return self.held or self.configured or ""


class Header(_Entry):
    """A header beside the technical ones: a constant, or what the signer returns."""

    title: _Text
    const: str | None = None
    signed: _Pattern | None = None
    """Made by the signer; the whole value must match."""
    max: Annotated[int | None, Field(ge=1)] = None
    required: bool = True

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.const is None) == (self.signed is None):
            raise ValueError("needs exactly one of const and signed")
        if (self.signed is None) != (self.max is None):
            raise ValueError("max must bound what the signer makes, and only that")
        return self


class ReplyRule(_Entry):
    """What of a reply is looked at; everything else is dropped before anyone sees it."""

    form: Literal["json", "xml", "table", "zipped_table"] = "json"
    """What the body of a success is."""
    largest: Annotated[int, Field(ge=1, le=16 * 1024 * 1024)] = 256 * 1024
    """Bytes of a body; a larger answer is no answer."""
    code: str | None = None
    """Which kept field is the recipient's own result code."""
    error: str | None = None
    """Which kept field is its result code in an answer that is an error, if that is another."""
    request_id: str | None = None
    """Which kept field is the recipient's own name for the request."""
    keep: tuple[_ReplyPath, ...]
    """Kept if they look like codes; ``Rows[].Code`` keeps one field of each row, ``Ids[]`` each item
    of a list."""
    excerpts: Annotated[_Table[_Pattern], Field(default_factory=lambda: MappingProxyType({}))]
    """Of these fields only the first match of the pattern is kept."""
    personal: Annotated[
        _Table[Literal["phone", "encrypted_phone"]],
        Field(default_factory=lambda: MappingProxyType({})),
    ]
    """What the recipient tells about a person: kept labelled, apart from everything else."""
    headers: tuple[_HeaderName, ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        """Every field of the body that is kept in some way."""
        return (*self.keep, *self.excerpts, *self.personal)


class Operation(_Entry):
    """One thing that may leave, to the last field. Everything that is not listed stays."""

    name: str
    title: _Text
    recipient: str
    purpose: str
    host: _Host | Literal[""] = ""
    """Empty: the company's own server, whose address is configured where this is deployed."""
    method: Literal["GET", "POST"]
    path: (
        Annotated[str, Field(pattern=r"^/(?:[A-Za-z0-9_.-]*/)*(?:[A-Za-z0-9_.-]*|\{[a-z_]+\})$")]
        | Literal[""]
    ) = ""
    place: Place
    note: str | None = None
    fields: _Table[OutboundField]
    headers: _Table[Header]
    reply: ReplyRule

    @model_validator(mode="after")
    def _whole_address(self) -> Self:
        if bool(self.host) is not bool(self.path):
            raise ValueError("host and path belong together")
        return self

    def minimize(
        self,
        held: Mapping[str, object],
        configured: Mapping[str, str],
        destination: Destination | None = None,
    ) -> MinimizedRequest:
        """Pick this operation's fields out of a wide object; the rest stays inside.

        Args:
            held: What the job holds; its personal values stay labelled.
            configured: Merchant constants, template ids and random references.
            destination: Where to, if the policy leaves that to the deployment.

        Raises:
            InvalidValue: A required field is missing or is no text.
            ConfigurationError: ``configured`` has a name that the operation does not know.
        """
        return minimize(self, held, configured, destination)

    def at(self, destination: Destination) -> Operation:
        """The same operation at an address that the policy leaves to the deployment."""
        # The address is no text of the policy's, so it excuses no value of a person in it.
        known = {"constants": self.constants}
        address = {"host": destination.host, "path": destination.path}
        return self.model_copy(update=address | known)

    @cached_property
    def held_names(self) -> frozenset[str]:
        """Names of what the job holds that may leave."""
        return frozenset(field.held for field in self.fields.values() if field.held)

    @cached_property
    def configured_names(self) -> frozenset[str]:
        """Names of what adapters configure."""
        return frozenset(field.configured for field in self.fields.values() if field.configured)

    @cached_property
    def paths(self) -> Mapping[str, tuple[str, ...]]:
        """Each field's names from the outside in."""
        return {name: tuple(name.split(".")) for name in self.fields}

    @cached_property
    def nested(self) -> frozenset[str]:
        """Parameters whose text is JSON, because fields stand inside."""
        return frozenset(path[0] for path in self.paths.values() if len(path) > 1)

    @cached_property
    def constant_headers(self) -> Mapping[str, str]:
        """The headers that the policy fixes."""
        headers = self.headers.items()
        return {name: header.const for name, header in headers if header.const is not None}

    @cached_property
    def constants(self) -> tuple[str, ...]:
        """All text of a request that the policy alone decides."""
        fields = (field.const for field in self.fields.values())
        constant = (str(const) for const in fields if const is not None)
        return (self.path, *constant, *self.constant_headers.values())

    @cached_property
    def body(self) -> Place | None:
        """The body's format, if there is a body."""
        places = {field.place or self.place for field in self.fields.values()}
        return min(places - {Place.PATH, Place.QUERY}, default=None)

    @cached_property
    def signed_names(self) -> frozenset[str]:
        """Fields that the signer makes."""
        return frozenset(name for name, field in self.fields.items() if field.signed is not None)

    @cached_property
    def categories(self) -> tuple[str, ...]:
        """Every category that may leave, in the order of the fields."""
        return tuple(dict.fromkeys(f.category for f in self.fields.values() if f.category))


class Policy(_Entry):
    """A published privacy policy, read for machines."""

    version: Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}\.[1-9][0-9]*$")]
    """The day the published text took effect, and the number of this reading of it."""
    company: _Text
    title: _Text
    contact: _Text
    clauses: tuple[Clause, ...]
    categories: _Table[Category]
    purposes: _Table[Purpose]
    recipients: _Table[Recipient]
    denied: Denials
    gaps: _Table[Gap]
    operations: _Table[Operation]

    def operation(self, name: str) -> Operation:
        """The operation of that name.

        Raises:
            UnlistedOperation: The policy has no such operation.
        """
        try:
            return self.operations[name]
        except KeyError:
            raise UnlistedOperation(f"the policy has no operation {name}") from None

    def separate_consent(self, operation: Operation) -> bool:
        """Whether an attempt at ``operation`` must name a separate consent."""
        return self.purposes[operation.purpose].basis.consent == "separate" or any(
            self.categories[category].sensitive for category in operation.categories
        )
