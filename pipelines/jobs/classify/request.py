"""The request for a night, and the input of its job."""

from dataclasses import dataclass, field
from typing import NamedTuple

from pipelines.jobs.classify.ending import Ending
from transforms.archive.selection import DEFAULT, Selection
from transforms.catalog.attempt import Attempt
from transforms.catalog.records import RunConfig
from transforms.decoder.settings import DecoderSettings


@dataclass(frozen=True)
class NightRequest:
    """The request for a night; `reelbeam classify --help` explains its options.

    Attributes:
        archives: folders, globs, files or ``@list`` files with the videos.
        catalog: the catalog's folder.
        config: what decides the rows.
        decoders: how decoder children are run.
        batch_size: frames that TensorFlow takes at once; None for the engine's own choice.
        follow_links: whether to follow symbolic links that leave the archive.
        extract_hints: Beam's resource hints for the step that decodes and infers.
        selection: which files to include and exclude.
        ending: when the night ends, and in what order and portions it hands out videos.
    """

    archives: tuple[str, ...]
    catalog: str
    config: RunConfig
    decoders: DecoderSettings
    batch_size: int | None
    follow_links: bool
    extract_hints: dict[str, str] = field(default_factory=dict)
    selection: Selection = DEFAULT
    ending: Ending = field(default_factory=Ending)


class JobInput(NamedTuple):
    """The input of a run's job.

    Attributes:
        attempt: this start of the run.
        todo_lists: their numbers and paths.
        known_videos: number of known videos whose content some videos of the todo lists may have.
        damaged: paths, below the catalog, of files of earlier runs that cannot be read.
    """

    attempt: Attempt
    todo_lists: list[tuple[int, str]]
    known_videos: int = 0
    damaged: tuple[str, ...] = ()
