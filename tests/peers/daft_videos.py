"""Daft with its own video reader: a generator over `VideoFile.frames`, a batch function with the model, write_parquet.

`daft.read_video_frames` scales all videos to one size without regard to their shape. So frames come at their own size from
`VideoFile.frames`, which samples in the same way, and are scaled here.
"""

import sys
from collections.abc import Iterator
from typing import Any

import av
import daft
import numpy as np
from daft import DataType, Series, col

from tests.peers.keras_model import BATCH, KerasModel
from tests.peers.opencv_loop import paint_rgb

PIXELS = DataType.tensor(DataType.uint8(), (224, 224, 3))
PICTURE = DataType.struct({"time_s": DataType.float64(), "pixels": PIXELS})
FOUND = DataType.struct(
    {"embedding": DataType.list(DataType.float32()), "label": DataType.string(), "score": DataType.float32()}
)


def start_and_aspect(path: str) -> tuple[float, float]:
    """Half a tick before the first frame, in seconds, and a pixel's width over its height: Daft tells neither."""
    with av.open(path, metadata_errors="replace") as container:
        stream = container.streams.video[0]
        start_s = ((stream.start_time or 0) - 0.5) * float(stream.time_base)
        return start_s, float(stream.sample_aspect_ratio or 1)


@daft.func(return_dtype=PICTURE, unnest=True)
def pictures(path: str) -> Iterator[dict[str, Any]]:
    """The first frame at or after every second."""
    start_s, aspect = start_and_aspect(path)
    first_s = None
    for frame in daft.VideoFile(path).frames(start_time=start_s, sample_interval_seconds=1.0):
        first_s = frame["frame_time"] if first_s is None else first_s
        yield {"time_s": frame["frame_time"] - first_s, "pixels": paint_rgb(np.asarray(frame["data"]), aspect)}


@daft.cls(max_concurrency=1)
class Classifier:
    """The model, loaded once."""

    def __init__(self) -> None:
        self._model = KerasModel()

    @daft.method.batch(return_dtype=FOUND, unnest=True, batch_size=BATCH)
    def __call__(self, pixels: Series) -> list[dict[str, Any]]:
        found = self._model.classify(np.stack(pixels.to_pylist()))
        return [
            {"embedding": embedding, "label": label, "score": float(score)}
            for embedding, label, score in zip(*found, strict=True)
        ]


def main(list_file: str, out: str) -> None:
    """Classifies the listed videos into Parquet files in the folder `out`."""
    with open(list_file, encoding="utf-8") as lines:
        videos = daft.from_pydict({"uri": lines.read().splitlines()})
    frames = videos.select(col("uri"), pictures(col("uri")))
    frames.select(col("uri"), col("time_s"), Classifier()(col("pixels"))).write_parquet(out)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
