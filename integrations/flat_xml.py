"""XML of the one shape that payment messages have: named texts below a root, nothing else.

expat parses; everything that expands, nests, hides or repeats is refused while it does: document
types, entities, processing instructions, comments, attributes, elements within elements, and two
elements of one name.
"""

from __future__ import annotations

from typing import NoReturn
from xml.parsers import expat

__all__ = ["Entangled", "flat_xml"]


class Entangled(Exception):
    """XML of another shape; the message is static."""


def flat_xml(data: bytes, *, root: str = "xml", foreign: bool = False) -> dict[str, str]:
    """The texts by name.

    Args:
        data: UTF-8.
        root: The outer element's name.
        foreign: Written by others, who may use CDATA sections and space between elements.

    Raises:
        Entangled: See there.
    """
    texts: dict[str, str] = {}
    path: list[str] = []
    text: list[str] = []

    def refuse(*_: object) -> NoReturn:
        raise Entangled("XML beyond plain elements")

    def start(name: str, attributes: dict[str, str]) -> None:
        if attributes or len(path) > 1 or (path == [] and name != root):
            refuse()
        path.append(name)
        text.clear()

    def end(name: str) -> None:
        if len(path) == 2:
            if name in texts:
                raise Entangled("a duplicate name")
            texts[name] = "".join(text)
        path.pop()

    def characters(characters: str) -> None:
        if len(path) == 2:
            text.append(characters)
        elif not foreign or characters.strip(" \t\r\n"):
            refuse()

    parser = expat.ParserCreate("utf-8")
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = characters
    for handler in (
        "StartDoctypeDeclHandler",
        "EntityDeclHandler",
        "ProcessingInstructionHandler",
        "CommentHandler",
        "XmlDeclHandler",
        *(() if foreign else ("StartCdataSectionHandler",)),
    ):
        setattr(parser, handler, refuse)
    try:
        # As text, because a byte order mark would make expat read another encoding.
        parser.Parse(data.decode(), True)  # noqa: FBT003  # the C function takes no keyword
    except (expat.ExpatError, UnicodeDecodeError):
        raise Entangled("not XML") from None
    return texts
