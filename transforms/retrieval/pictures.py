"""Reads picture files that a search or a model is given."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.retrieval.errors import RetrievalError
from models.visual.spec import VisualSpec
from transforms import storage


def pictures_in(path: str) -> list[str]:
    """Returns the picture files in a folder, sorted by name, or the path itself if it is no folder.

    Files of other kinds in the folder are passed over; folders in it are not looked into.

    Args:
        path: a local path, or a URI of an object store, which is taken for a file.

    Raises:
        RetrievalError: the folder has no picture.
        OSError: the folder cannot be listed.
    """
    if not storage.is_local(path) or not os.path.isdir(path):
        return [path]
    import cv2

    found = sorted(str(one) for one in Path(path).iterdir() if one.is_file() and cv2.haveImageReader(str(one)))
    if not found:
        raise RetrievalError(f"there is no picture in {path}")
    return found


def require_pictures(spec: VisualSpec) -> None:
    """Refuses a model that cannot tell anything of a single picture.

    Raises:
        RetrievalError: the model looks at clips.
    """
    if spec.clip is not None:
        raise RetrievalError(
            f"{spec.name} looks at {spec.clip.frames} frames at a time and tells nothing of a single picture: use a "
            "video or words"
        )


def read_picture(path: str) -> NDArray[np.uint8]:
    """Reads a picture file in any format that OpenCV knows, as upright RGB, uint8 [height, width, 3].

    Args:
        path: a local path, or a URI of an object store.

    Raises:
        RetrievalError: the file cannot be read or is not a picture.
    """
    import cv2

    try:
        data = np.frombuffer(storage.read_bytes(path), np.uint8)
        picture = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    except (OSError, cv2.error) as error:
        raise RetrievalError(f"cannot read the picture {path}: {storage.reason_of(error)}") from error
    if picture is None:
        raise RetrievalError(f"{path} is no picture that can be read")
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB).astype(np.uint8)
