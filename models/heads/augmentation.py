"""Random changes of training pictures in `tf.data`: flips, crops and colours."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from models.heads.errors import HeadError

Kind = Literal["flip", "crop", "colour", "time"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Augmentation:
    """Which properties of the pictures change at random during training.

    Attributes:
        flip: Mirror half of the clips. Off by default: a fixed camera never sees its scene mirrored, and classes may
            differ in left and right.
        crop: Crop at a random place within the margin instead of at the centre.
        colour: Change brightness, contrast and saturation.
        time: Take other frames of a clip in every epoch instead of evenly spread ones.
    """

    flip: bool = False
    crop: bool = True
    colour: bool = True
    time: bool = True

    @classmethod
    def parse(cls, text: str) -> "Augmentation":
        """Read a list such as ``flip,crop``, or ``none``.

        Raises:
            HeadError: The list has an unknown name.
        """
        names = [name.strip() for name in text.split(",") if name.strip() and name.strip() != "none"]
        unknown = sorted(set(names) - set(KINDS))
        if unknown:
            raise HeadError(f"no augmentation is called {unknown[0]!r}; there are {', '.join(KINDS)} and none")
        return cls(**{kind: kind in names for kind in KINDS})


def augment(pictures: Any, height: int, width: int, chosen: Augmentation, seed: Any) -> Any:
    """Crop and change the pictures of a clip, all in the same way.

    Args:
        pictures: uint8 [T, H, W, C], or of clips [T, frames, H, W, C], with a margin around the network's input.
        height: Height of the network's input, pixels.
        width: Width of the network's input, pixels.
        chosen: What may change.
        seed: int32 [2]; a different one for every clip and epoch.

    Returns:
        float32 [T, ..., height, width, C] in 0..255.
    """
    import tensorflow as tf

    seeds = tf.random.split(seed, 6)
    size = (tf.shape(pictures)[0], *pictures.shape[1:-3], height, width, pictures.shape[-1])
    if chosen.crop:
        x = tf.image.stateless_random_crop(pictures, size, seed=seeds[0])
    else:
        x = centre(pictures, height, width)
    x = tf.cast(x, tf.float32) / 255
    if chosen.flip:
        flipped = tf.random.stateless_uniform((), seed=seeds[1]) < 0.5
        x = tf.cond(flipped, lambda: tf.reverse(x, axis=[-2]), lambda: x)
    if chosen.colour:
        x = tf.image.stateless_random_brightness(x, 0.15, seed=seeds[2])
        x = tf.image.stateless_random_contrast(x, 0.8, 1.25, seed=seeds[3])
        x = tf.image.stateless_random_saturation(x, 0.7, 1.4, seed=seeds[4])
    return tf.clip_by_value(x, 0, 1) * 255


def centre(pictures: Any, height: int, width: int) -> Any:
    """Crop the centre [..., height, width, C] of pictures [..., H, W, C], as `models.visual.preprocess` does."""
    top, left = (pictures.shape[-3] - height) // 2, (pictures.shape[-2] - width) // 2
    return pictures[..., top : top + height, left : left + width, :]
