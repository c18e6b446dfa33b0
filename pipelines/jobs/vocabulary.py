"""Heads of a user's own words, for the commands that take ``--vocabulary``."""

from pathlib import PurePath

from models.heads.saved import read
from models.visual.bundle import ModelBundle
from models.vocabulary.head import vocabulary_head
from models.vocabulary.table import Vocabulary, parse_vocabulary
from transforms.catalog.reading.labelled_videos import read_table


def read_vocabulary(path: str) -> Vocabulary:
    """Reads a vocabulary from any file system.

    Raises:
        LabelsError: the table cannot be read.
        VocabularyError: the table cannot be used.
    """
    return parse_vocabulary(read_table(path), path)


def head_of_words(path: str, bundle: ModelBundle) -> tuple[str, str]:
    """Makes a head of the vocabulary at `path` for a model's embeddings.

    Args:
        path: of the vocabulary, on any file system.
        bundle: the model, or a head on it.

    Returns:
        The head's local file, and one line that says how far it can be trusted.

    Raises:
        LabelsError: the table cannot be read.
        VocabularyError: the table cannot be used, or the model's own classes cannot express words.
        TextModelError: the text model cannot be loaded.
        HeadError: this machine's cache cannot be written.
    """
    head = vocabulary_head(read_vocabulary(path), bundle, PurePath(path).stem)
    return str(head), str(read(head).training["trust"])
