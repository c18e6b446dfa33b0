"""What people write first: OpenCV reads every frame, one a second goes through `model.predict`, rows go to Parquet.

Frame by frame, as tutorials do, or a video's frames together.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from models.visual.architectures import efficientnet_lite
from models.visual.labels import imagenet_labels
from models.visual.preprocess import finish, scaled_size
from tests.peers.pictures import PREPROCESSING

HALF_TICK_S = 1e-4
"""OpenCV does not tell the time base; this is less than half a unit of any in use but more than its rounding."""


def main(list_file: str, out: str, batch: str = "1") -> None:
    """Classifies the listed videos at 1 fps into one Parquet file, `batch` frames of a video at once."""
    model = efficientnet_lite.build("efficientnet_lite0")
    labels = imagenet_labels()
    rows: dict[str, list] = {name: [] for name in ("uri", "time_s", "embedding", "label", "score")}
    for path in Path(list_file).read_text(encoding="utf-8").splitlines():
        frames = list(sampled(path))
        for first in range(0, len(frames), int(batch)):
            times, pictures = zip(*frames[first : first + int(batch)], strict=True)
            embeddings, scores = model.predict(np.stack(pictures).astype(np.float32), verbose=0)
            rows["uri"] += [path] * len(times)
            rows["time_s"] += times
            rows["embedding"] += list(embeddings)
            rows["label"] += [labels[i] for i in scores.argmax(axis=1)]
            rows["score"] += scores.max(axis=1).tolist()
    pq.write_table(pa.table(rows), out)


def sampled(path: str) -> Iterator[tuple[float, np.ndarray]]:
    """(seconds after the first frame, picture) of the first frame at or after every second."""
    capture = cv2.VideoCapture(path)
    aspect = (capture.get(cv2.CAP_PROP_SAR_NUM) or 1) / (capture.get(cv2.CAP_PROP_SAR_DEN) or 1)
    first_s, due_s = None, 0.0
    while True:
        ok, frame = capture.read()
        if not ok:
            return
        stamp_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        first_s = stamp_s if first_s is None else first_s
        if stamp_s - first_s + HALF_TICK_S >= due_s:
            due_s = int(stamp_s - first_s + HALF_TICK_S) + 1
            yield stamp_s - first_s, paint(frame, aspect)


def paint(frame: np.ndarray, pixel_aspect: float) -> np.ndarray:
    """The model's input of a BGR frame, from its pixels' width over their height."""
    return paint_rgb(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), pixel_aspect)


def paint_rgb(frame: np.ndarray, pixel_aspect: float) -> np.ndarray:
    """The model's input of an RGB frame, from its pixels' width over their height."""
    height, width = scaled_size(frame.shape[0], round(frame.shape[1] * pixel_aspect), PREPROCESSING)
    interpolation = cv2.INTER_AREA if height < frame.shape[0] else cv2.INTER_LINEAR
    small = cv2.resize(frame, (width, height), interpolation=interpolation)
    return finish(small.astype(np.uint8), PREPROCESSING)


if __name__ == "__main__":
    main(*sys.argv[1:])
