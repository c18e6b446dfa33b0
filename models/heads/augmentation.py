"""Pictures as they might have been as well: flipped, cropped elsewhere, in another light. In `tf.data`, on uint8."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from models.heads.errors import HeadError

Kind = Literal["flip", "crop", "colour", "time"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Augmentation:
    """What is changed at random while training.

    Attributes:
        flip: left and right, for half of the clips; off unless asked for, because a fixed camera never sees its scene
            mirrored, and classes may tell left from right.
        crop: any part of the margin instead of the centre.
        colour: brightness, contrast and saturation.
        time: other frames of a clip in every epoch, instead of evenly spread ones.
    """

    flip: bool = False
    crop: bool = True
    colour: bool = True
    time: bool = True

    @classmethod
    def parse(cls, text: str) -> "Augmentation":
        """Reads a list like ``flip,crop``, or ``none``.

        Raises:
            HeadError: something else is in it.
        """
        names = [name.strip() for name in text.split(",") if name.strip() and name.strip() != "none"]
        unknown = sorted(set(names) - set(KINDS))
        if unknown:
            raise HeadError(f"no augmentation is called {unknown[0]!r}; there are {', '.join(KINDS)} and none")
        return cls(**{kind: kind in names for kind in KINDS})


def augment(pictures: Any, height: int, width: int, chosen: Augmentation, seed: Any) -> Any:
    """A clip's pictures uint8 [T, H, W, C] as float32 [T, height, width, C] in 0..255, all changed in the same way.

    Args:
        pictures: with a margin.
        height: of the network's input.
        width: of the network's input.
        chosen: what may be changed.
        seed: int32 [2], other for every clip and epoch.
    """
    import tensorflow as tf

    seeds = tf.random.split(seed, 6)
    size = (tf.shape(pictures)[0], height, width, pictures.shape[3])
    if chosen.crop:
        x = tf.image.stateless_random_crop(pictures, size, seed=seeds[0])
    else:
        x = centre(pictures, height, width)
    x = tf.cast(x, tf.float32) / 255
    if chosen.flip:
        flipped = tf.random.stateless_uniform((), seed=seeds[1]) < 0.5
        x = tf.cond(flipped, lambda: tf.reverse(x, axis=[2]), lambda: x)
    if chosen.colour:
        x = tf.image.stateless_random_brightness(x, 0.15, seed=seeds[2])
        x = tf.image.stateless_random_contrast(x, 0.8, 1.25, seed=seeds[3])
        x = tf.image.stateless_random_saturation(x, 0.7, 1.4, seed=seeds[4])
    return tf.clip_by_value(x, 0, 1) * 255


def centre(pictures: Any, height: int, width: int) -> Any:
    """The middle of pictures [T, H, W, C], as `models.visual.preprocess` crops it."""
    top, left = (pictures.shape[1] - height) // 2, (pictures.shape[2] - width) // 2
    return pictures[:, top : top + height, left : left + width]
