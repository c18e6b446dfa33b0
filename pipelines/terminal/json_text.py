"""Writes JSON that is also safe to show on a terminal."""

from typing import Any

import msgspec


def json_text(value: Any) -> str:
    """Returns `value` as one line of JSON with escapes for everything that could break a terminal.

    JSON itself escapes only ASCII's control characters, not for example marks that change the direction of writing.
    """
    text = msgspec.json.encode(value).decode()
    return text if text.isprintable() else "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(character: str) -> str:
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
