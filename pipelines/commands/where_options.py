"""Where in a picture the answers of `reelbeam search` are: its options, and what is printed and written of them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from pipelines.terminal.quiet import stderr_to_devnull

if TYPE_CHECKING:
    from transforms.retrieval.places import Place, PlaceFinder
    from transforms.retrieval.search import CatalogSearch, Hit, Query


class ShownPlace(NamedTuple):
    """Where in the best picture of an answer is what was asked for.

    Attributes:
        place: None if it is not known.
        reason: why it is not known; empty if it is.
        picture: the file with the heat map; None if none was asked for.
    """

    place: "Place | None"
    reason: str = ""
    picture: Path | None = None

    def as_json(self) -> dict[str, Any]:
        """Returns what `--json` prints."""
        if self.place is None:
            return {"reason": self.reason}
        place = self.place
        return {
            "time_s": place.time_s,
            "share": place.share,
            "box": place.box._asdict(),
            "centroid": dict(zip("xy", place.centroid, strict=True)),
            "picture": None if self.picture is None else str(self.picture),
        }

    def as_text(self) -> str:
        """Returns what the table for people shows: the box in percent of the picture's width and height."""
        if self.place is None:
            return self.reason
        box = self.place.box
        across, down = (box.x, box.x + box.width), (box.y, box.y + box.height)
        return f"x {across[0]:.0%}-{across[1]:.0%}, y {down[0]:.0%}-{down[1]:.0%}"


def where_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options."""
    for option in (
        click.option(
            "--where-pictures",
            type=click.Path(file_okay=False, path_type=Path),
            metavar="FOLDER",
            help="As --where, and write the picture of each answer with a heat map over it: 01.jpg, 02.jpg, ...",
        ),
        click.option(
            "--where",
            is_flag=True,
            help="Also find where in the picture of each answer's best moment it is. Decodes that picture.",
        ),
    ):
        function = option(function)
    return function


def find_places(
    search: "CatalogSearch", query: "Query", hits: "Sequence[Hit]", folder: Path | None
) -> dict[str, ShownPlace]:
    """Finds the places of answers, by video id, and writes their pictures.

    Args:
        search: the open index.
        query: what was asked.
        hits: the answers.
        folder: for the pictures, which is made; None for none.

    Raises:
        ModelError: the catalog's model cannot tell where in a picture something is.
        OSError: the folder cannot be written.
    """
    from transforms.decoder.stills import StillDrawer
    from transforms.retrieval.places import PlaceFinder

    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    drawer = StillDrawer()
    try:
        finder = PlaceFinder(search, drawer.see, may_make=True)
        with stderr_to_devnull(True):
            finder.open()
        return {hit.video_id: _shown(finder, query, hit, rank, folder) for rank, hit in enumerate(hits, start=1)}
    finally:
        drawer.close()


def _shown(finder: "PlaceFinder", query: "Query", hit: "Hit", rank: int, folder: Path | None) -> ShownPlace:
    from models.atomic_file import atomic_path
    from transforms.retrieval.places import NoPlaceError

    if not hit.ranges:
        return ShownPlace(None, "it has no moment")
    try:
        place = finder.place(query, hit.uri, hit.ranges[0].start_s, hit.ranges[0].end_s)
    except NoPlaceError as error:
        return ShownPlace(None, str(error))
    if folder is None:
        return ShownPlace(place)
    file = folder / f"{rank:02d}.jpg"
    with atomic_path(file) as temporary:
        temporary.write_bytes(place.jpeg())
    return ShownPlace(place, picture=file)
