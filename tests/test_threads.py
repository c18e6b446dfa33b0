"""Models that several threads share: every thread gets the numbers that it would get alone."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from models.computed_once import computed_once
from models.visual.bundle import ModelBundle, prepare
from models.visual.engines.head import HeadEngine
from models.visual.engines.interpreters import Interpreters
from models.visual.engines.opening import Engine, open_engine
from models.visual.engines.tensorflow import TensorFlowEngine
from models.visual.hedging import Hedging
from tests.placeholder_heads import make_head
from tests.test_engine import SmallDevice, identical, pictures
from transforms.catalog import schemas
from transforms.catalog.rows.sequence_labels import SequenceLabeller

pytestmark = pytest.mark.slow

THREADS = 8


def at_once(function: Callable[[Any], Any], given: list) -> list:
    """The answers of eight threads that begin together."""
    together = threading.Barrier(THREADS)

    def answer(number: int) -> Any:
        if number < THREADS:
            together.wait(60)
        return function(given[number])

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(answer, range(len(given))))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    return prepare("placeholder", device="cpu", cache_dir=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module", params=["linear", "temporal"])
def head(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    folder = tmp_path_factory.mktemp("head")
    return prepare(str(make_head(folder / "head.keras", request.param)), device="cpu", cache_dir=folder)


def made_up_videos(count: int, size: int) -> list[np.ndarray]:
    """Embeddings of videos of 1 to 150 frames."""
    rng = np.random.default_rng(3)
    return [rng.normal(size=(int(frames), size)).astype(np.float32) for frames in rng.integers(1, 150, count)]


def test_a_head_gives_each_thread_the_scores_of_its_own_video(head: ModelBundle) -> None:
    engine, videos = HeadEngine(head), made_up_videos(120, head.spec.embedding_size)
    alone = [engine.scores(video) for video in videos]
    assert all(np.array_equal(*pair) for pair in zip(at_once(engine.scores, videos), alone, strict=True))


def test_a_labeller_that_workers_share_labels_each_video_as_it_does_alone(head: ModelBundle) -> None:
    size = head.spec.embedding_size
    schema = schemas.frames_schema(size)

    def rows(number: int, video: np.ndarray) -> pa.Table:
        at = np.arange(len(video))
        columns = {
            "video_id": [str(number)] * len(at), "uri": [f"/{number}"] * len(at), "segment": at * 0, "pts": at,
            "time_s": at, "embedding": list(video), "labels": [[]] * len(at),
            "best_label": [None] * len(at), "best_label_score": [None] * len(at),
        }  # fmt: skip
        return pa.table({name: pa.array(columns[name], schema.field(name).type) for name in schema.names})

    labeller = SequenceLabeller(head.path, 2, Hedging(floor=0.1))
    videos = [rows(number, video) for number, video in enumerate(made_up_videos(60, size))]
    alone = [labeller.label(video).rows for video in videos]
    found = [labelled.rows for labelled in at_once(labeller.label, videos)]
    assert found == alone
    assert [labeller.pooled(video) for video in found] == [labeller.pooled(video) for video in alone]


@pytest.mark.parametrize("kind", ["litert", "tensorflow"])
def test_an_engine_gives_each_thread_the_features_of_its_own_pictures(tiny: ModelBundle, kind: str) -> None:
    engine: Engine = open_engine(tiny) if kind == "litert" else TensorFlowEngine(tiny, device="cpu", batch_size=3)
    parts = np.array_split(pictures(tiny, 200), 120)
    alone = [engine.infer(part) for part in parts]
    assert all(identical(*pair) for pair in zip(at_once(engine.infer, parts), alone, strict=True))


def test_threads_that_run_out_of_memory_together_halve_the_batch_once(tiny: ModelBundle) -> None:
    engine = TensorFlowEngine(tiny, device="cpu", batch_size=8)
    parts = np.array_split(pictures(tiny, 60), 12)
    alone = [engine.infer(part) for part in parts]
    engine.run = SmallDevice(engine.run, holds=4)
    found = at_once(engine.infer, parts)
    assert engine.batch_size == 4
    for features, expected in zip(found, alone, strict=True):
        np.testing.assert_allclose(features.embeddings, expected.embeddings, rtol=1e-5, atol=1e-6)


def test_interpreters_are_opened_as_they_are_needed_up_to_a_bound(
    tiny: ModelBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    lender = Interpreters(tiny.path / "model.tflite", most=2)
    for _ in range(3):
        with lender.lend() as first, pytest.raises(KeyError), lender.lend():
            raise KeyError  # what raises gives its interpreter back
        with lender.lend() as again:
            assert again is first, "one thread goes on with the same one"
    pairs = threading.Barrier(2)

    def used(_: None) -> Any:
        with lender.lend() as interpreter:
            pairs.wait(60)  # two are lent at any time, and no third thread could bring this to an end
            return interpreter

    assert len({id(interpreter) for interpreter in at_once(used, [None] * THREADS)}) == 2


def test_an_interpreter_that_cannot_be_opened_leaves_room_for_another_try(
    tiny: ModelBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    lender = Interpreters(tiny.path / "model.tflite", most=2)
    with lender.lend():
        with monkeypatch.context() as broken:
            broken.setattr(lender, "_path", tiny.path / "nothing")
            with pytest.raises(ValueError, match="nothing"), lender.lend():
                pass
        with lender.lend() as second:
            second.invoke()


def test_a_value_is_computed_once_for_all_threads() -> None:
    coming = threading.Semaphore(0)

    class Lazy:
        computed = 0

        @computed_once
        def value(self) -> object:
            self.computed += 1
            for _ in range(THREADS):
                coming.acquire(timeout=60)
            return object()

    def value_of(lazy: Lazy) -> object:
        coming.release()
        return lazy.value

    lazy, other = Lazy(), Lazy()
    assert len({id(value) for value in at_once(value_of, [lazy] * THREADS)}) == lazy.computed == 1
    assert len({id(value) for value in at_once(value_of, [other] * THREADS)} - {id(lazy.value)}) == other.computed == 1
