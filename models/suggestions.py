"""Suggestions for a name that was mistyped."""

from collections.abc import Iterable
from difflib import get_close_matches


def suggest(name: str, known: Iterable[str], *, count: int = 1, cutoff: float = 0.6) -> list[str]:
    """Find the known names that a mistyped name is most like.

    Upper and lower case are not told apart.

    Args:
        name: The name as it was typed.
        known: The names that exist.
        count: The most names to return.
        cutoff: The least similarity, between 0 and 1, as `difflib.get_close_matches` measures it.

    Returns:
        The nearest names, best first; empty if none is near.
    """
    by_lower_case = {one.lower(): one for one in known}
    return [by_lower_case[near] for near in get_close_matches(name.lower(), by_lower_case, n=count, cutoff=cutoff)]
