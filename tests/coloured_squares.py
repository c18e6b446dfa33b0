"""Videos of coloured squares, and a network that sees colours: what is where in a picture is known to the pixel."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import av
import numpy as np

SIDE: Final = 32
LABELS: Final = ("red", "green", "blue")
WIDTH, HEIGHT, FPS = 192, 128, 10

Square = tuple[str, int, int, int]
"""Colour, left and upper edge, and side in pixels."""


def make_model(path: Path) -> Path:
    """Write a ``.keras`` file: colours as channels, 8 x 8 cells, global average pooling, softmax; fixed weights."""
    import keras

    inputs = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.AveragePooling2D(4)(x)
    only = keras.layers.Conv2D(3, 1, activation="relu", use_bias=False)
    x = only(x)
    x = keras.layers.GlobalAveragePooling2D(name="embedding")(x)
    scores = keras.layers.Dense(3, "softmax", name="scores")
    model = keras.Model(inputs, scores(x))
    # Each channel is what its colour has over the others.
    only.set_weights([(np.eye(3) * 2 - 1).reshape(1, 1, 3, 3)])
    scores.set_weights([np.eye(3) * 60, np.zeros(3)])
    model.save(path)
    path.with_suffix(".keras.spec.json").write_text('{"labels": ["red", "green", "blue"], "seen_threshold": 0.4}')
    return path


def make_segmenter(path: Path) -> Path:
    """Write a ``.keras`` segmentation model: each pixel shows the colour that has most over the others, if any has."""
    import keras

    inputs = keras.Input((SIDE, SIDE, 3))
    dense = keras.layers.Conv2D(4, 1, activation="softmax")
    model = keras.Model(inputs, dense(keras.layers.Rescaling(1 / 255)(inputs)))
    over_others = (np.eye(3) * 2 - 1) * 40
    dense.set_weights([np.c_[np.zeros(3), over_others].reshape(1, 1, 3, 4), np.array([8.0, 0, 0, 0])])
    model.save(path)
    labels = ["background", *LABELS]
    path.with_suffix(".keras.spec.json").write_text(json.dumps({"labels": labels, "ignored": labels[:1]}))
    return path


def picture(squares: Sequence[Square]) -> np.ndarray:
    """Squares on grey, RGB uint8 [128, 192, 3]."""
    image = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    for colour, x, y, side in squares:
        image[y : y + side, x : x + side] = [230 if colour == one else 20 for one in LABELS]
    return image


def film(path: Path, seconds: int, squares_at: Callable[[int], Sequence[Square]]) -> Path:
    """Write an H.264 video whose pictures show the squares of each second; a keyframe every second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"g": str(FPS), "crf": "10"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv444p"
        for index in range(seconds * FPS):
            frame = av.VideoFrame.from_ndarray(picture(squares_at(index // FPS)), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def red_then_blue(second: int) -> Sequence[Square]:
    """A red square that creeps to the right for 6 s, then nothing for a second, then a blue one."""
    if second < 6:
        return [("red", 50 + 4 * second, 40, 40)]
    return [] if second == 6 else [("blue", 90, 50, 32)]


def make_all(folder: Path) -> None:
    """Makes the model `colours.keras` and an archive `films` of a video with squares and a grey one."""
    (folder / "films").mkdir()
    make_model(folder / "colours.keras")
    film(folder / "films" / "squares.mp4", 9, red_then_blue)
    film(folder / "films" / "grey.mp4", 3, lambda _: [])
