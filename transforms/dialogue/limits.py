"""How much of a question is answered."""

from typing import Final

MOST_CHARACTERS: Final = 2000
"""Characters of a question that are read."""

MOST_PARTS: Final = 5
"""Parts of a question that are answered."""
