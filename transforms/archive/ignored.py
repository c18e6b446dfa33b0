"""Counts what the listing of an archive ignores, so that nothing is left out silently."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from transforms.storage import printable

SHOWN_ENDINGS: Final = 20
"""Endings that the table names; files with rarer endings are counted together."""

KEPT_ENDINGS: Final = 10_000
"""Distinct endings that are counted separately. An archive may have as many endings as files: memory is bounded."""

FORGOTTEN: Final = "forgotten"
"""The rule that leaves out videos that `reelbeam forget` forgot."""

NO_ENDING: Final = "no ending"
OTHER_ENDINGS: Final = "other endings"


class Ignored:
    """Counts ignored files by ending, and ignored files and folders by the rule that left them out.

    An ignored folder counts once, because its contents are not listed. A file in several of the given archives counts
    once for each.

    Args:
        rules: rules to show even if they left out nothing.
    """

    def __init__(self, rules: Iterable[str] = ()) -> None:
        self._endings: Counter[str] = Counter()
        self._rules: Counter[str] = Counter(dict.fromkeys(rules, 0))

    def add_file(self, ending: str) -> None:
        """Counts a file whose ending is not a video's; `ending` is empty if the file has none."""
        ending = ending or NO_ENDING
        if ending not in self._endings and len(self._endings) >= KEPT_ENDINGS:
            ending = OTHER_ENDINGS
        self._endings[ending] += 1

    def add_by_rule(self, rule: str) -> None:
        """Counts a file or folder that `rule` leaves out."""
        self._rules[rule] += 1

    def table(self) -> dict[str, int]:
        """Returns the number of files and folders by ending or rule: the commonest endings first, then the rules."""
        endings = Counter(self._endings)
        others = endings.pop(OTHER_ENDINGS, 0)
        # Equal counts are ordered by name, because the order of a listing is arbitrary.
        ranked = sorted(endings.items(), key=lambda one: (-one[1], one[0]))
        others += sum(count for _, count in ranked[SHOWN_ENDINGS:])
        shown = dict(ranked[:SHOWN_ENDINGS])
        return {**shown, **({OTHER_ENDINGS: others} if others else {}), **dict(sorted(self._rules.items()))}


def in_words(table: Mapping[str, int]) -> str:
    """Formats a table as one line, like "1204 files and folders: 1200 .jpg, 3 .txt, 1 by default: @eaDir"."""
    parts = ", ".join(f"{count} {printable(name)}" for name, count in table.items())
    return f"{sum(table.values())} files and folders: {parts}" if parts else "nothing"
