"""JSON for machines that may still be looked at by people."""

from typing import Any

import msgspec


def json_text(value: Any) -> str:
    """`value` as one line of JSON, with everything that could break a terminal written as an escape.

    JSON itself escapes only ASCII's control characters; marks that turn the direction of writing are among the others.
    """
    text = msgspec.json.encode(value).decode()
    return text if text.isprintable() else "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(character: str) -> str:
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
