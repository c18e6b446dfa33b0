"""Draws single pictures of videos, and reads pictures that a stranger sends, in child processes under limits."""

from functools import partial
from typing import Any, Final

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from models.visual.spec import Preprocessing
from transforms import storage
from transforms.decoder.memory_limit import limit_memory
from transforms.decoder.pool import CHILD_TASKS, outcome, ready_forkserver
from transforms.decoder.processes import ChildPlan, ChildProcesses
from transforms.storage import path_of_uri
from transforms.video import bounds
from transforms.video.failures import Failure, VideoError, one_line
from transforms.video.stills import SeenPicture, picture_at, seen_at

DEADLINE_S: Final = 30.0
"""Seconds that one picture may take."""

MEMORY_BYTES: Final = 4 << 30
"""Limit on a child's address space; an 8K picture with its reference frames needs a third of it."""

JPEG_QUALITY: Final = 75

SENT_SIDE: Final = 1024
"""Longest side in pixels of a sent picture as it leaves the child; models look at a few hundred pixels."""

SHOWN: Final = Preprocessing(180, 320, fit="pad", crop_fraction=1.0)
"""Size of a drawn picture; what does not fill it is black."""


WHOLE: Final = Preprocessing(360, 640, fit="pad", crop_fraction=1.0)
"""Size that a whole picture, over which a heat map is drawn, fits into."""


class StillDrawer:
    """A few children that draw pictures; close it. Any number of threads may use it."""

    def __init__(self, workers: int = 1) -> None:
        start = partial(_start, storage.options_in_force())
        self._children = ChildProcesses(workers, ChildPlan(ready_forkserver([__name__]), start, CHILD_TASKS))

    def close(self) -> None:
        """Ends the children."""
        self._children.close()

    def draw(self, uri: str, time_s: float) -> bytes | None:
        """Returns the first picture of a video at or after a time as a JPEG of `SHOWN` size; None if there is none.

        Args:
            uri: of the video.
            time_s: seconds after its first frame.

        Raises:
            ChildCannotStart: this machine cannot start a child.
        """
        try:
            return outcome(self._children.submit(draw_still, path_of_uri(uri), time_s, deadline_s=DEADLINE_S), "decode")
        except VideoError:
            return None

    def see(self, uri: str, time_s: float, preprocessing: Preprocessing) -> SeenPicture:
        """Returns the first frame of a video at or after a time as a model sees it, and whole within `WHOLE`.

        Args:
            uri: of the video.
            time_s: seconds after its first frame.
            preprocessing: of the model.

        Raises:
            VideoError: the file is gone or cannot be decoded, or has no frame there.
            ChildCannotStart: this machine cannot start a child.
        """
        task = self._children.submit(see_frame, path_of_uri(uri), time_s, preprocessing, deadline_s=DEADLINE_S)
        return _seen(outcome(task, "decode"))

    def read(self, data: bytes) -> NDArray[np.uint8] | None:
        """Decodes a picture file that somebody sent; a large one is made smaller.

        Returns:
            Upright RGB, uint8 [height, width, 3], no side longer than `SENT_SIDE`; None if it is no picture, or larger
            than a picture of a video may be (see `bounds`).

        Raises:
            ChildCannotStart: this machine cannot start a child.
        """
        try:
            return outcome(self._children.submit(read_sent, data, deadline_s=DEADLINE_S), "decode")
        except VideoError:
            return None


def see_here(uri: str, time_s: float, preprocessing: Preprocessing) -> SeenPicture:
    """Does what `StillDrawer.see` does, in this process and so without limits of time and memory.

    Raises:
        VideoError: the file is gone or cannot be decoded, or has no frame there.
    """
    return _seen(see_frame(path_of_uri(uri), time_s, preprocessing))


def draw_still(path: str, time_s: float) -> bytes | None:
    """Draws one picture; runs inside a child. Arguments and result are those of `StillDrawer.draw`."""
    picture = picture_at(path, time_s, SHOWN)
    if picture is None:
        return None
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return data.tobytes() if done else None


def see_frame(path: str, time_s: float, preprocessing: Preprocessing) -> SeenPicture | Failure:
    """Decodes one frame. Arguments are those of `StillDrawer.see`, which runs it inside a child."""
    try:
        return seen_at(path, time_s, preprocessing, WHOLE)
    except VideoError as error:
        return error.failure
    except OSError as error:
        return Failure("probe", "unreadable", one_line(storage.reason_of(error)))


def _seen(found: SeenPicture | Failure) -> SeenPicture:
    if isinstance(found, Failure):
        raise VideoError(*found)
    return found


def read_sent(data: bytes) -> NDArray[np.uint8] | None:
    """Decodes a picture file; runs inside a child. Argument and result are those of `StillDrawer.read`."""
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    except cv2.error:  # among others a picture of more than 2 ** 30 pixels
        return None
    if picture is None:
        return None
    height, width = picture.shape[:2]
    try:
        bounds.in_force().check_picture("decode", width, height)
    except VideoError:
        return None
    scale = SENT_SIDE / max(height, width)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB).astype(np.uint8)


def _start(file_systems: dict[str, Any]) -> None:
    av.logging.set_level(None)
    bounds.enforce(bounds.DEFAULT)
    storage.use_options(file_systems)
    limit_memory(MEMORY_BYTES)
