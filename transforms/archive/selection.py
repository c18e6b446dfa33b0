"""Selects the files of an archive: by ending, by globs of the caller, and by rules that apply by default."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase, translate
from functools import cached_property
from typing import Final

from transforms.archive.endings import is_video_name
from transforms.archive.folders import Fits, positions
from transforms.storage import video_id_of

LEFT_OUT: Final = (
    "._*", ".AppleDouble", ".Trash*", ".snapshot*", ".*", "@eaDir", "@Recycle", "@Recently-Snapshot", "#recycle",
    "#snapshot", "$RECYCLE.BIN", "RECYCLER", "System Volume Information", "lost+found",
)  # fmt: skip
"""Names of files and folders that are left out by default: hidden ones, and those that macOS, Windows and storage
systems keep beside users' files (attributes, thumbnails, bins, snapshots). A name is counted under the first pattern
that it matches."""

_LEFT_OUT: Final = re.compile("|".join(f"({translate(pattern)})" for pattern in LEFT_OUT), re.IGNORECASE)


class _Glob:
    """A glob of the caller, split into names. If it matches a folder, it also matches everything in it."""

    def __init__(self, pattern: str) -> None:
        plain = pattern.removeprefix("./").lower()
        names = [name for name in plain.split("/") if name]
        anchored = "/" in plain.rstrip("/")
        self._names = [*([] if anchored else ["**"]), *names, "**"]

    def matches(self, parts: Sequence[str], fits: Fits) -> bool:
        """Returns whether it matches a path, given as parts in lower case."""
        return len(self._names) in positions(parts, self._names, fits)

    def reaches_into(self, parts: Sequence[str], fits: Fits) -> bool:
        """Returns whether it may match something in the folder at a path, given as parts in lower case."""
        return any(at < len(self._names) for at in positions(parts, self._names, fits))


@dataclass(frozen=True)
class Selection:
    """Selects files of an archive, besides those with the ending of a video.

    Patterns are matched against the path below the archive; case does not matter. A pattern without a slash matches a
    file or folder of that name anywhere; a pattern with a slash matches the whole path. `*` and `?` do not match
    slashes; `**` stands for any number of folders. A folder that matches stands for everything in it.

    Attributes:
        include: globs of files to take whatever their ending. To take a name that is left out by default, a pattern
            must spell that name: ``.clips/**`` takes what is in a hidden folder, ``*`` does not.
        exclude: globs of files and folders to leave out; stronger than `include`.
        exclude_rule: how to name the rule of an `exclude` pattern to the user; ``{}`` stands for the pattern.
        excluded: by the video_id of a URI, the rule that leaves out this file, or all below this folder. It also holds
            for files that an archive names itself.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    exclude_rule: str = "excluded: {}"
    excluded: Mapping[str, str] = field(default_factory=dict)

    @property
    def rules(self) -> list[str]:
        """Rules of the `exclude` patterns and of `excluded`, as `rule_against` names them."""
        patterns = [self.exclude_rule.format(pattern) for pattern in self.exclude]
        return [*patterns, *dict.fromkeys(self.excluded.values())]

    def rule_against_uri(self, uri: str, real_id: str = "") -> str | None:
        """Returns the rule of `excluded` that leaves out a video; None if there is none.

        Args:
            uri: its absolute URI.
            real_id: the video_id of its path without symbolic links, if it has some.
        """
        if not self.excluded:
            return None
        ids = (real_id, *(video_id_of(name) for name in _uri_and_folders(uri)))
        return next((self.excluded[one] for one in ids if one in self.excluded), None)

    def takes(self, path: str) -> bool:
        """Returns whether to take the file at a path below the archive."""
        return self.rule_against(path) is None and self.is_named_right(path)

    def is_named_right(self, path: str) -> bool:
        """Returns whether a file has the ending of a video or matches an `include` pattern."""
        return is_video_name(path) or self._includes(path.lower().split("/"))

    def rule_against(self, path: str) -> str | None:
        """Returns the rule that leaves out the file at a path below the archive; None if there is none.

        Endings are not looked at.
        """
        parts = path.lower().split("/")
        rule = self._rule_of_caller(parts)
        if rule is None and (default := _default_rule(parts)) is not None and not self._includes(parts):
            return default
        return rule

    def rule_against_folder(self, path: str) -> str | None:
        """Returns the rule that leaves out everything in the folder at a path below the archive; None without one."""
        parts = path.lower().split("/")
        asked = any(glob.reaches_into(parts, _spelled) for glob in self._included)
        return self._rule_of_caller(parts) or (None if asked else _default_rule(parts))

    def _rule_of_caller(self, parts: Sequence[str]) -> str | None:
        found = (pattern for pattern, glob in self._excluded if glob.matches(parts, fnmatchcase))
        return next(map(self.exclude_rule.format, found), None)

    def _includes(self, parts: Sequence[str]) -> bool:
        return any(glob.matches(parts, _spelled) for glob in self._included)

    @cached_property
    def _included(self) -> list[_Glob]:
        return [_Glob(pattern) for pattern in self.include]

    @cached_property
    def _excluded(self) -> list[tuple[str, _Glob]]:
        return [(pattern, _Glob(pattern)) for pattern in self.exclude]


DEFAULT: Final = Selection()


def _uri_and_folders(uri: str) -> Iterator[str]:
    yield uri
    while "/" in uri:
        uri = uri.rsplit("/", 1)[0]
        yield uri


def _default_rule(parts: Sequence[str]) -> str | None:
    for part in parts:
        if found := _LEFT_OUT.match(part):
            return f"by default: {LEFT_OUT[(found.lastindex or 1) - 1]}"
    return None


def _spelled(part: str, pattern: str) -> bool:
    """Returns whether a name matches a pattern; names left out by default need a pattern that is such a name itself."""
    return fnmatchcase(part, pattern) and (_LEFT_OUT.match(part) is None or _LEFT_OUT.match(pattern) is not None)
