"""Downloads weights with the libraries that publish them: keras-hub's presets, and `keras.applications`.

The tests put local stand-ins in the place of the servers: a folder for keras-hub, a server on this machine for
`keras.applications`. Downloads from the real servers were not tried: the machine that this was written on has no
network.
"""

import contextlib
import io
import json
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models.pretrained.known import KnownModel
from models.pretrained.store import WEIGHTS_FILE
from models.visual.errors import ModelError, first_line

_CONFIG, _SHARDS = "config.json", "model.weights.json"
_OPTIONAL = (
    "metadata.json",
    "task.json",
    "task.weights.h5",
    "preprocessor.json",
    "image_converter.json",
    "tokenizer.json",
    "assets/tokenizer/vocabulary.json",
    "assets/tokenizer/merges.txt",
    "assets/tokenizer/vocabulary.spm",
    "model.weights.h5",
    _SHARDS,
)
"""The files that a preset of an image model may have, beside its configuration; see keras-hub's ``preset_utils``."""


def download(model: KnownModel, folder: Path) -> None:
    """Download the weights of a model into a folder.

    Args:
        model: A keras-hub preset or a `keras.applications` network.
        folder: An empty folder.

    Raises:
        ModelError: keras-hub is not installed, or the download fails.
    """
    fetch = _preset if model.source == "keras-hub preset" else _application
    progress = _Progress()
    try:
        with contextlib.redirect_stdout(progress):
            fetch(model.name, folder)
    finally:
        progress.end()


class _Progress(io.TextIOBase):
    """Takes the progress that libraries print to standard error: standard output is for what a command says."""

    def __init__(self) -> None:
        self._line_is_open = False

    def write(self, text: str) -> int:
        """Write a piece of progress."""
        if text:
            self._line_is_open = not text.endswith("\n")
        return sys.stderr.write(text)

    def flush(self) -> None:
        """Flush standard error."""
        sys.stderr.flush()

    def end(self) -> None:
        """End a line that a library left open."""
        if self._line_is_open:
            self.write("\n")


def _preset(name: str, folder: Path) -> None:
    """Copy a preset's files as they were published.

    keras-hub's public `from_preset` and `save_to_preset` would write other bytes, among them the date, so that copies
    on two machines would count as two models. So this calls what `from_preset` calls.
    """
    try:
        from keras_hub.src.utils import preset_utils
    except ImportError as error:
        raise ModelError(f"{name} needs the package keras-hub: pip install 'reelbeam[models]'") from error
    try:
        _copy(preset_utils.get_file(name, _CONFIG), folder / _CONFIG)
        for file in _OPTIONAL:
            _copy_if_there(preset_utils, name, file, folder)
        for file in _shards(folder):
            _copy(preset_utils.get_file(name, file), folder / file)
    except Exception as error:  # the hubs' clients raise many types
        raise ModelError(f"cannot download {name}: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """Say in a few words why a download failed; the libraries' messages name every retry."""
    if any(isinstance(one, socket.gaierror | ConnectionError | TimeoutError) for one in _chain(error)):
        return "its server cannot be reached"
    return first_line(error)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and those that it came from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _copy_if_there(preset_utils: Any, name: str, file: str, folder: Path) -> None:
    with contextlib.suppress(FileNotFoundError):  # keras-hub's sign for a file that a preset does not have
        _copy(preset_utils.get_file(name, file), folder / file)


def _copy(source: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _shards(folder: Path) -> list[str]:
    """List the files of weights that are cut into several."""
    if not (folder / _SHARDS).exists():
        return []
    shards = json.loads((folder / _SHARDS).read_text(encoding="utf-8"))["weight_map"].values()
    return sorted({name for one in shards for name in (one if isinstance(one, list) else [one])})


def _application(name: str, folder: Path) -> None:
    """Let Keras download ImageNet's weights, and save what it loaded.

    Keras compares its file with a checksum where it knows one, and loads it. A file that a killed process left half
    downloaded in Keras's own cache fails here if Keras knows no checksum of it.
    """
    import keras

    try:
        model = getattr(keras.applications, name)(weights="imagenet")
    except Exception as error:  # a download raises many types
        raise ModelError(f"cannot download {name}: {_reason(error)}") from error
    model.save_weights(folder / WEIGHTS_FILE)
