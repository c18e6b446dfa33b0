"""Reads a folder of pictures and their masks.

    labels.csv            columns index,label and optionally colour (#rrggbb)
    images/NAME.jpg       or .jpeg or .png
    masks/NAME.png        of the same size: the indices of a palette PNG, or the values of a grey one, are the labels'

The value 255 means that a pixel is not judged, as in Pascal VOC. A label called ``background`` is what shows nothing.
"""

import csv
import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.regions.errors import MaskError
from models.regions.palettes import Palette, colour_text, is_colour, voc_palette
from models.visual.preprocess import preprocess, scaled_size
from models.visual.spec import Preprocessing

IGNORED: Final = 255
"""Value of a pixel that is not judged."""

LABELS_FILE: Final = "labels.csv"
PICTURE_SUFFIXES: Final = (".jpg", ".jpeg", ".png")
_COLUMNS: Final = ("index", "label", "colour")


@dataclass(frozen=True)
class MaskLabels:
    """The classes of masks, in the order of a model's outputs.

    Attributes:
        names: Their names, unique.
        palette: A colour for each.
        values: The value that each has in a mask, 0..254.
    """

    names: tuple[str, ...]
    palette: Palette
    values: tuple[int, ...]


@dataclass(frozen=True)
class MaskedPicture:
    """A picture file with its mask file.

    Attributes:
        name: Of both files, without suffix.
        picture: The picture file.
        mask: The mask file.
    """

    name: str
    picture: Path
    mask: Path

    def key(self) -> str:
        """Return 20 hex digits that tell pictures apart: a hash of the picture file."""
        with self.picture.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:20]


@dataclass(frozen=True)
class MaskFolder:
    """A folder of pictures and masks.

    Attributes:
        path: The folder.
        labels: The classes of the masks.
        pictures: The pictures that have a mask, by name.
    """

    path: Path
    labels: MaskLabels
    pictures: tuple[MaskedPicture, ...]


@dataclass(frozen=True)
class MaskSet:
    """Pictures and masks as a model sees them.

    Attributes:
        pictures: uint8 [n, height, width, 3], RGB.
        targets: uint8 [n, height, width], positions in the labels; `IGNORED` where a pixel is not judged.
    """

    pictures: NDArray[np.uint8]
    targets: NDArray[np.uint8]


def open_mask_folder(path: Path) -> MaskFolder:
    """Read the labels of a folder, and pair its pictures with its masks.

    Raises:
        MaskError: There is no table of labels, or no mask, or a picture or a mask has no partner.
    """
    pictures = _paired(path)
    return MaskFolder(path, _labels(path, pictures[0].mask), pictures)


def read_masks(folder: MaskFolder, pictures: Sequence[MaskedPicture], p: Preprocessing) -> MaskSet:
    """Read pictures and masks, and fit both to a model's input.

    All are in memory at once: four bytes a pixel of the input for each picture.

    Args:
        folder: Where they are from.
        pictures: Which of them.
        p: How pictures become the model's input. Margins are not judged.

    Raises:
        MaskError: A file cannot be read, a picture and its mask differ in size, or a mask has an unknown value.
    """
    shape = (len(pictures), p.height, p.width)
    read = MaskSet(np.empty((*shape, p.channels), np.uint8), np.empty(shape, np.uint8))
    for row, (picture, mask) in enumerate(_read(folder, pictures)):
        read.pictures[row] = preprocess(picture, p)
        read.targets[row] = fit_mask(mask, p)
    return read


def read_picture(file: Path) -> NDArray[np.uint8]:
    """Read an upright RGB picture uint8 [height, width, 3].

    Raises:
        MaskError: It cannot be read.
    """
    try:
        data = np.frombuffer(file.read_bytes(), np.uint8)
    except OSError as error:
        raise MaskError(f"cannot read {file}: {error.strerror or error}") from error
    found = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    if found is None:
        raise MaskError(f"{file} is no picture that can be read")
    return cv2.cvtColor(found, cv2.COLOR_BGR2RGB).astype(np.uint8)


def fit_mask(mask: NDArray[np.uint8], p: Preprocessing) -> NDArray[np.uint8]:
    """Scale and crop or pad a mask uint8 [h, w] as `models.visual.preprocess` does its picture; margins are `IGNORED`.

    Returns:
        uint8 [p.height, p.width]; every pixel has the value of the nearest one.
    """
    height, width = scaled_size(mask.shape[0], mask.shape[1], p)
    scaled = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT).astype(np.uint8)
    above, left = max(0, p.height - height), max(0, p.width - width)
    margins = ((above // 2, above - above // 2), (left // 2, left - left // 2))
    padded = np.pad(scaled, margins, constant_values=IGNORED)
    top, side = (padded.shape[0] - p.height) // 2, (padded.shape[1] - p.width) // 2
    return np.ascontiguousarray(padded[top : top + p.height, side : side + p.width])


def _read(
    folder: MaskFolder, pictures: Sequence[MaskedPicture]
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    positions = np.full(256, -1)
    positions[list(folder.labels.values)] = range(len(folder.labels.values))
    positions[IGNORED] = IGNORED
    for one in pictures:
        picture, values = read_picture(one.picture), _mask_values(one.mask)
        if picture.shape[:2] != values.shape:
            raise MaskError(f"{one.picture} has {_size(picture)} pixels, but {one.mask} has {_size(values)}")
        mask = positions[values]
        if (mask < 0).any():
            unknown = int(values[mask < 0].min())
            raise MaskError(f"{one.mask} has the value {unknown}, which {folder.path / LABELS_FILE} does not name")
        yield picture, mask.astype(np.uint8)


def _size(picture: NDArray[np.uint8]) -> str:
    return f"{picture.shape[1]}x{picture.shape[0]}"


def _mask_values(file: Path) -> NDArray[np.uint8]:
    """Read the indices of a palette PNG, or the values of a grey one, uint8 [height, width]."""
    try:
        with Image.open(file) as opened:
            mode, values = opened.mode, np.asarray(opened)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise MaskError(f"{file} is no PNG that can be read") from error
    if mode not in ("P", "L"):
        raise MaskError(f"{file} is neither a palette nor an 8-bit grey PNG; save the labels' indices as one")
    return values.astype(np.uint8)


def _paired(path: Path) -> tuple[MaskedPicture, ...]:
    masks = {file.stem: file for file in sorted((path / "masks").glob("*.png"))}
    if not masks:
        raise MaskError(f"{path} has no masks: put pictures into {path}/images and PNG masks into {path}/masks")
    pictures = {file.stem: file for file in sorted((path / "images").glob("*")) if _is_picture(file)}
    if alone := sorted(set(masks) - set(pictures)):
        raise MaskError(f"{masks[alone[0]]} has no picture: there is no {path}/images/{alone[0]}.jpg or .png")
    if alone := sorted(set(pictures) - set(masks)):
        raise MaskError(f"{pictures[alone[0]]} has no mask: there is no {path}/masks/{alone[0]}.png")
    return tuple(MaskedPicture(name, pictures[name], masks[name]) for name in sorted(masks))


def _is_picture(file: Path) -> bool:
    return file.suffix.lower() in PICTURE_SUFFIXES


def _labels(path: Path, mask: Path) -> MaskLabels:
    file = path / LABELS_FILE
    try:
        reader = csv.DictReader(io.StringIO(file.read_bytes().decode("utf-8-sig"), newline=""))
        rows = [(reader.line_num, row) for row in reader]
    except FileNotFoundError:
        raise MaskError(f"there is no {file}: list the masks' values there, in the columns index,label") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MaskError(f"{file} is no CSV in UTF-8: {error}") from error
    if not {"index", "label"} <= set(reader.fieldnames or ()) <= set(_COLUMNS):
        raise MaskError(f"{file} has the columns {', '.join(reader.fieldnames or ())}; it needs index,label[,colour]")
    read = sorted(_label(file, line, row) for line, row in rows)
    _check_labels(file, read)
    given = tuple(colour or default for (_, _, colour), default in zip(read, _default_palette(mask, read), strict=True))
    return MaskLabels(tuple(name for _, name, _ in read), given, tuple(value for value, _, _ in read))


def _label(file: Path, line: int, row: dict[str, str | None]) -> tuple[int, str, str]:
    index, name, colour = ((row.get(column) or "").strip() for column in _COLUMNS)
    if not (index.isascii() and index.isdigit() and int(index) < IGNORED):
        raise MaskError(f"{file}, line {line}: the index is {index!r}; it must be 0 to {IGNORED - 1}")
    if not name:
        raise MaskError(f"{file}, line {line}: the label has no name")
    if colour and not is_colour(colour):
        raise MaskError(f"{file}, line {line}: the colour is {colour!r}; write it as #rrggbb")
    return int(index), name, colour.lower()


def _check_labels(file: Path, read: Sequence[tuple[int, str, str]]) -> None:
    for what, values in (("index", [str(value) for value, _, _ in read]), ("label", [name for _, name, _ in read])):
        if twice := sorted({one for one in values if values.count(one) > 1}):
            raise MaskError(f"{file} has the {what} {twice[0]} twice")
    if len(read) < 2:
        raise MaskError(f"{file} names {len(read)} label; a model needs two or more, of which one may be background")


def _default_palette(mask: Path, read: Sequence[tuple[int, str, str]]) -> Palette:
    """Return the colours of a palette PNG at the labels' indices; without a palette those of Pascal VOC."""
    values = [value for value, _, _ in read]
    try:
        with Image.open(mask) as opened:
            stored = opened.getpalette("RGB") if opened.mode == "P" else None
    except OSError:
        stored = None  # `read_masks` says why
    if stored is None or len(stored) < 3 * (max(values) + 1):
        known = voc_palette(max(values) + 1)
        return tuple(known[value] for value in values)
    return tuple(colour_text(stored[3 * value : 3 * value + 3]) for value in values)
