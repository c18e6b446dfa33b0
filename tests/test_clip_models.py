"""Clip models: .keras files and SavedModels whose input has a time axis, from the file to rows and answers."""

import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest

from models.visual import registry
from models.visual.bundle import ModelBundle, prepare
from models.visual.clip_spec import ClipSpec
from models.visual.engines.opening import open_engine
from models.visual.engines.tensorflow import TensorFlowEngine, usual_batch
from models.visual.errors import ModelError
from models.visual.export import export
from models.visual.sidecar import sidecar_path
from tests import videos
from tests.conftest import Reelbeam, run_command
from tests.test_engine import SmallDevice
from tests.test_visual_user_model import saved
from transforms.archive.listing import find_videos
from transforms.catalog.records import RunConfig
from transforms.catalog.rows.chunks import ChunkExtractor, ExtractSettings
from transforms.decoder.settings import DecoderSettings
from transforms.video.probe import probe
from transforms.video.sampling import Sampling
from transforms.video.segments import Chunk, cut

pytestmark = pytest.mark.slow

FRAMES, SIDE = 4, 12
CLIP = {"frames": FRAMES, "rate": "4", "stride_s": 1.5}
SAMPLING = "clips:4@4fps/1.5s"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def network(shape: tuple[int | None, ...] = (FRAMES, SIDE, SIDE, 3)) -> Any:
    import keras

    keras.utils.set_random_seed(3)
    inputs = keras.Input(shape)
    x = keras.layers.Conv3D(5, 3, activation="relu")(inputs)
    x = keras.layers.GlobalAveragePooling3D()(keras.layers.Rescaling(1 / 50)(x))
    x = keras.layers.Dense(6, "tanh", name="embedding")(x)
    return keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(x))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "moves.keras"
    return saved(network(), path, clip=CLIP, labels=["up", "down", "still"])


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    for name, seconds in (("h264_bframes", 9), ("vp9", 4), ("mpeg4_avi", 3)):
        videos.make(folder, name, seconds)
    return folder


def clips(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, FRAMES, SIDE, SIDE, 3), dtype=np.uint8)


def test_a_keras_file_and_a_saved_model_give_the_models_own_numbers(tmp_path: Path, cache: Path) -> None:
    images, whole = clips(3), network()
    expected = np.asarray(whole(images.astype(np.float32)))
    for name in ("a.keras", "b"):
        path = saved(network(), tmp_path / name, clip=CLIP)
        bundle = prepare(str(path), cache_dir=cache, device="cpu")
        assert (bundle.engine, bundle.spec.clip) == ("litert", ClipSpec(4, "4", "1.5")), bundle.note
        assert registry.find(str(path)).clip == bundle.spec.clip, "known without loading it"
        for engine in (open_engine(bundle), TensorFlowEngine(bundle, device="cpu")):
            np.testing.assert_allclose(engine.infer(images).scores, expected, rtol=1e-3, atol=1e-5)


def test_any_number_of_frames_fits_a_model_that_fixes_none(tmp_path: Path, cache: Path) -> None:
    path = saved(network((None, SIDE, SIDE, 3)), tmp_path / "any.keras", clip={**CLIP, "frames": 6})
    assert prepare(str(path), cache_dir=cache, device="cpu").spec.input_shape == (6, SIDE, SIDE, 3)


@pytest.mark.parametrize(
    ("shape", "sidecar", "what"),
    [
        ((3, 4, 12, 12), {"clip": CLIP}, r"\(batch, channels, frames, height, width\); a clip model takes"),
        ((4, 3, 12, 12), {"clip": CLIP}, r"\(batch, frames, channels, height, width\)"),
        ((4, 12, 12, 3), {}, r'say in .*one.keras.spec.json which frames they hold: \{"clip": \{"frames": 4'),
        ((4, 12, 12, 3), {"clip": {**CLIP, "frames": 8}}, "says 8 frames a clip, but .* takes 4"),
        ((4, 12, 12, 3), {"clip": {**CLIP, "rate": 0}}, "the clip's rate is '0'"),
        ((4, 12, 12, 3), {"clip": {"frames": 4}}, "missing required field `rate`"),
        ((12, 12, 3), {"clip": CLIP}, "takes pictures .* leave out clip"),
    ],
)
def test_what_does_not_fit_is_one_line(
    tmp_path: Path, cache: Path, shape: tuple[int, ...], sidecar: dict[str, Any], what: str
) -> None:
    import keras

    inputs = keras.Input(shape)
    path = saved(keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs))), tmp_path / "one.keras")
    sidecar_path(path).write_bytes(msgspec.json.encode(sidecar))
    with pytest.raises(ModelError, match=what) as found:
        prepare(str(path), cache_dir=cache, device="cpu")
    assert "\n" not in str(found.value)


def test_running_out_of_memory_halves_the_batch_of_clips(model: Path, cache: Path) -> None:
    bundle = prepare(str(model), cache_dir=cache, device="cpu")
    assert (usual_batch(bundle.spec, on_gpu=False), usual_batch(bundle.spec, on_gpu=True)) == (2, 32)
    engine = TensorFlowEngine(bundle, device="cpu", batch_size=4)
    expected = engine.infer(clips(5)).embeddings
    engine.run = device = SmallDevice(engine.run, holds=2)
    np.testing.assert_allclose(engine.infer(clips(5)).embeddings, expected, atol=1e-5)
    assert device.sizes == [4, 2, 2, 2] and engine.batch_size == 2
    engine.run = SmallDevice(engine.run, holds=0)
    with pytest.raises(ModelError, match="not even for one clip"):
        engine.infer(clips(1))


def _rows(folder: Path, bundle: ModelBundle, archive: Path, segment_s: str, batch: int | None = None) -> list[dict]:
    config = RunConfig("moves", bundle.fingerprint, SAMPLING, 3, "float32", bundle.spec.embedding_size)
    settings = ExtractSettings(str(bundle.path), str(folder), config, DecoderSettings(2), batch)
    segments = [
        segment
        for video in find_videos([str(archive)])
        for segment in cut(video, probe(video.uri, Fraction(segment_s)), Sampling.parse(SAMPLING), Fraction(segment_s))
    ]
    with ChunkExtractor(settings) as extractor:
        result = extractor.collect(extractor.submit(Chunk("0" * 20, tuple(segments))))
    assert [one.failure for one in result.outcomes] == [None] * len(segments)
    assert all(one.samples_expected in (None, one.rows) for one in result.outcomes)
    return pq.read_table(result.file.path).select(["uri", "pts", "time_s", "labels", "embedding"]).to_pylist()


def test_rows_are_the_same_however_videos_are_cut_and_whoever_infers(
    model: Path, cache: Path, archive: Path, tmp_path: Path
) -> None:
    bundle = prepare(str(model), cache_dir=cache, device="cpu")
    expected = _rows(tmp_path / "whole", bundle, archive, "1000")
    assert [row["time_s"] for row in expected if "bframes" in row["uri"]] == pytest.approx([0, 1.52, 3, 4.52, 6, 7.52])
    for segment_s in ("1.4", "4"):
        assert _rows(tmp_path / segment_s, bundle, archive, segment_s) == expected
    shutil.copytree(bundle.path, tmp_path / "bundle")
    spec = msgspec.json.decode((tmp_path / "bundle" / "spec.json").read_bytes())
    (tmp_path / "bundle" / "spec.json").write_bytes(msgspec.json.encode({**spec, "engine": "tensorflow"}))
    found = _rows(tmp_path / "worker", ModelBundle.open(tmp_path / "bundle"), archive, "4", batch=3)
    assert [row["pts"] for row in found] == [row["pts"] for row in expected]
    np.testing.assert_allclose([r["embedding"] for r in found], [r["embedding"] for r in expected], atol=1e-5)


def test_a_catalog_of_clips_is_searched(model: Path, archive: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    catalog = tmp_path / "c"
    options = ("--archive", archive, "--catalog", catalog, "--model", model)
    done = run_command("classify", *options, "--sample", "1fps")
    assert done.code == 2 and "clips of 4 frames at 4 fps, one every 1.5 s: leave out --sample" in done.err
    done = run_command("classify", *options, "--dry-run", "--json")
    assert done.code == 0 and done.json["frames"] == 6 + 3 + 2, done.err
    done = reelbeam("classify", *options, "--json")
    assert (done.code, done.json["sampling"], done.json["frames"]) == (0, SAMPLING, 11), done.err
    done = run_command("status", "--catalog", catalog)
    shown = " ".join(done.out.split())
    assert "rows: clips of 4 frames at 4 fps, one every 1.5 s; a time is that of a clip's first frame" in shown
    assert run_command("index", "--catalog", catalog).code == 0
    video = archive / "vp9.webm"
    for query in (("--video", video), ("--video", video, "--at", 1.0), ("up",)):
        done = run_command("search", "--catalog", catalog, *query, "--json")
        assert done.code == 0 and len(done.json) == 3, done.err
    outside = shutil.copy(video, tmp_path / "other.webm")
    done = run_command("search", "--catalog", catalog, "--video", outside, "--json")
    assert Path(done.json[0]["uri"]).name == "vp9.webm", "the same video is nearest"
    assert run_command("search", "--catalog", catalog, "--video", outside, "--at", 1.0, "--json").code == 0
    picture = tmp_path / "p.png"
    import cv2

    cv2.imwrite(str(picture), videos.picture(3))
    done = run_command("search", "--catalog", catalog, "--image", picture)
    assert done.code == 1 and "moves looks at 4 frames at a time and tells nothing of a single picture" in done.err


def test_clips_in_half_precision(model: Path, tmp_path: Path) -> None:
    """The graph that a GPU gets is rewritten as that of pictures is, and stays near float32."""
    from models.visual.engines.target import Target
    from models.visual.engines.tensorflow import import_graph

    loaded = registry.find(str(model)).load()
    assert export(loaded, Target("gpu", "float16"), tmp_path).engine == "tensorflow"
    assert b"Conv3D" in (tmp_path / "graph.pb").read_bytes()
    bundle = prepare(str(model), cache_dir=tmp_path / "cache", device="cpu")
    expected = open_engine(bundle).infer(clips(2)).embeddings
    shutil.copy(tmp_path / "graph.pb", bundle.path / "graph.pb")
    embeddings, _ = import_graph(bundle, xla=False)(clips(2))
    np.testing.assert_allclose(np.asarray(embeddings), expected, atol=2e-2)
