"""Files of models appear whole or not at all, however many write the same one."""

import threading
from pathlib import Path

import numpy as np
import pytest

from models import atomic_file
from models.atomic_file import atomic_path
from models.text import label_texts
from models.text.label_texts import LabelText, label_vectors


class LengthModel:
    """As much of a text model as label texts need."""

    fingerprint = "lengths"

    def encode_passages(self, texts: list[str]) -> np.ndarray:
        return np.array([[len(text), 1] for text in texts], np.float32)


def test_the_last_of_two_writers_wins(tmp_path: Path) -> None:
    path = tmp_path / "file.npy"
    with atomic_path(path) as first:
        with atomic_path(path) as second:
            assert first != second and first.suffix == second.suffix == ".npy"
            first.write_text("first")
            second.write_text("second")
            assert not path.exists()
        assert path.read_text() == "second"
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_what_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_path(path) as part:
        part.write_text("half")
        raise ZeroDivisionError
    with pytest.raises(FileNotFoundError), atomic_path(path):
        pass  # nothing was written
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_name_as_long_as_the_file_system_allows(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 250 + ".npy")
    with atomic_path(path) as part:
        part.write_text("whole")
    assert path.read_text() == "whole"


def test_two_first_searches_at_once_keep_the_same_vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both_have_written = threading.Barrier(2)
    save = np.save

    def slow_save(path: Path, vectors: np.ndarray) -> None:
        save(path, vectors)
        both_have_written.wait(60)

    monkeypatch.setattr(label_texts.np, "save", slow_save)
    found: list[np.ndarray] = []

    def search() -> None:
        found.append(label_vectors([LabelText("dog"), LabelText("cat")], LengthModel(), tmp_path))

    threads = [threading.Thread(target=search) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2 and np.array_equal(*found)
    assert [path.suffix for path in tmp_path.iterdir()] == [".npy"]


def test_the_file_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    monkeypatch.setattr(atomic_file.os, "fsync", lambda descriptor: steps.append("fsync"))
    replace = Path.replace
    monkeypatch.setattr(Path, "replace", lambda self, target: steps.append("rename") or replace(self, target))
    with atomic_path(tmp_path / "file") as part:
        part.write_text("whole")
    assert steps == ["fsync", "rename", "fsync"]
