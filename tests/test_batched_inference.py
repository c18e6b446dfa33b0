"""The worker's engine runs in full batches across segments, while pictures of later ones still come."""

import shutil
import threading
from fractions import Fraction
from pathlib import Path

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.visual.bundle import ModelBundle, prepare
from models.visual.engines.tensorflow import CPU_BATCH
from models.visual.errors import ModelError
from models.visual.features import Features
from tests import videos
from transforms.archive.listing import find_videos
from transforms.catalog.records import RunConfig
from transforms.catalog.rows.chunks import ChunkExtractor, ExtractSettings, SegmentOutcome
from transforms.decoder.batched_inference import BatchedInference
from transforms.decoder.settings import DecoderSettings
from transforms.video.probe import probe
from transforms.video.sampling import Sampling
from transforms.video.segments import Chunk, cut

pytestmark = pytest.mark.slow


class CountingEngine:
    """Features are the picture's own numbers; remembers how many pictures each call brought."""

    def __init__(self, bundle: ModelBundle, batch_size: int) -> None:
        self.spec = bundle.spec
        self.batch_size = batch_size
        self.calls: list[int] = []
        self.may_go = threading.Event()
        self.may_go.set()

    def infer(self, images: np.ndarray) -> Features:
        self.may_go.wait(10)
        self.calls.append(len(images))
        first = images[:, 0, 0, 0].astype(np.float32)
        scores = np.zeros((len(images), len(self.spec.labels)), np.float32)
        return Features(np.repeat(first[:, None], self.spec.embedding_size, axis=1), scores)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    return prepare("placeholder", device="cpu", cache_dir=tmp_path_factory.mktemp("cache"))


def pictures(bundle: ModelBundle, numbers: list[int]) -> np.ndarray:
    p = bundle.spec.preprocessing
    return np.array(numbers, np.uint8)[:, None, None, None] * np.ones((1, p.height, p.width, p.channels), np.uint8)


@settings(deadline=None, max_examples=40)
@given(sizes=st.lists(st.integers(0, 11), max_size=8), batch=st.integers(1, 6))
def test_batches_are_full_whatever_the_segments(tiny: ModelBundle, sizes: list[int], batch: int) -> None:
    engine = CountingEngine(tiny, batch)
    numbers = list(range(sum(sizes)))
    with BatchedInference(engine, 3) as inference:
        for size, end in zip(sizes, np.cumsum(sizes), strict=True):
            inference.add(pictures(tiny, numbers[end - size : end]))
        features = inference.finish()
    assert features.embeddings[:, 0].tolist() == numbers
    assert features.top_labels.shape == (len(numbers), 3)
    assert engine.calls == [batch] * (len(numbers) // batch) + [len(numbers) % batch] * bool(len(numbers) % batch)
    assert inference.batch_frames == engine.calls


def test_pictures_are_taken_while_the_engine_works(tiny: ModelBundle) -> None:
    engine = CountingEngine(tiny, 2)
    engine.may_go.clear()
    with BatchedInference(engine, 1) as inference:
        inference.add(pictures(tiny, [1, 2, 3, 4, 5]))  # one batch with the engine, one waiting, one begun
        assert engine.calls == []
        engine.may_go.set()
        assert inference.finish().embeddings[:, 0].tolist() == [1, 2, 3, 4, 5]


def test_an_engine_that_fails_is_heard(tiny: ModelBundle) -> None:
    class Failing(CountingEngine):
        def infer(self, images: np.ndarray) -> Features:
            raise ModelError("does not fit")

    with pytest.raises(ModelError, match="does not fit"), BatchedInference(Failing(tiny, 1), 1) as inference:
        inference.add(pictures(tiny, [1]))
        inference.finish()


def rows_of(folder: Path, bundle: ModelBundle, archive: Path, batch_size: int | None) -> list[tuple]:
    sampling = Sampling.parse("2fps")
    config = RunConfig("tiny", bundle.fingerprint, "2fps", 3, "float32", bundle.spec.embedding_size)
    settings = ExtractSettings(str(bundle.path), str(folder), config, DecoderSettings(2), batch_size)
    segments = [
        segment
        for video in find_videos([str(archive)])
        for segment in cut(video, probe(video.uri), sampling, Fraction(3))
    ]
    with ChunkExtractor(settings) as extractor:
        result = extractor.collect(extractor.submit(Chunk("0" * 20, tuple(segments))))
        assert not list(Path(extractor.pool._spool.path).glob("*.frames")), "pictures are left behind"
    _check(result.outcomes, result.stats.infer_msec)
    largest = 1 if bundle.engine == "litert" else batch_size or CPU_BATCH
    assert (max(result.batch_frames), sum(result.batch_frames)) == (largest, result.file.rows)
    table = pq.read_table(result.file.path)
    return [tuple(row.values()) for row in table.select(["uri", "pts", "labels", "embedding"]).to_pylist()]


def _check(outcomes: tuple[SegmentOutcome, ...], infer_msec: int) -> None:
    assert [outcome.first_row for outcome in outcomes] == np.cumsum([0, *(o.rows for o in outcomes)])[:-1].tolist()
    assert infer_msec > 0


def test_a_worker_with_tensorflow_gives_every_segment_its_own_rows(tiny: ModelBundle, tmp_path: Path) -> None:
    """The way of a GPU, on a CPU: children decode, this process infers; against LiteRT inside the children."""
    archive = tmp_path / "archive"
    archive.mkdir()
    for name, seconds in (("h264_bframes", 7), ("mpeg4_mp4", 4), ("vp9", 2)):
        videos.make(archive, name, seconds)
    (archive / "stub.avi").write_bytes((videos.make(archive, "mpeg4_avi", 1)).read_bytes()[:6000])
    shutil.copytree(tiny.path, tmp_path / "bundle")
    spec = msgspec.json.decode((tmp_path / "bundle" / "spec.json").read_bytes())
    (tmp_path / "bundle" / "spec.json").write_bytes(msgspec.json.encode({**spec, "engine": "tensorflow"}))
    tensorflow = ModelBundle.open(tmp_path / "bundle")
    assert tensorflow.engine == "tensorflow"
    expected = rows_of(tmp_path / "litert", tiny, archive, None)
    for batch_size in (None, 3):
        found = rows_of(tmp_path / f"tensorflow-{batch_size}", tensorflow, archive, batch_size)
        assert [row[:2] for row in found] == [row[:2] for row in expected]
        assert [row[2][0]["label"] for row in found] == [row[2][0]["label"] for row in expected]
        np.testing.assert_allclose([row[3] for row in found], [row[3] for row in expected], rtol=1e-4, atol=1e-5)
