"""A tiny CLIP with random weights, saved as a preset and used through the registry."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from models.text.joint import is_joint_preset, load_image_tower, load_towers
from models.text.registry import open_text_model
from models.text.spec import TextModelError
from models.visual.sidecar import sidecar_path
from tests import videos
from tests.presets import save_clip

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    save_clip(folder)
    return folder


def test_words_and_pictures_lie_in_one_space(preset):
    text = open_text_model("joint", preset)
    vectors = text.encode_queries(["dog", "cat", "a dog"])
    tower = load_image_tower(preset, ["dog", "cat"])
    pictures = np.random.default_rng(0).uniform(0, 255, (2, tower.side, tower.side, 3)).astype(np.float32)
    embeddings = np.asarray(tower.embed(pictures))
    assert text.joint and is_joint_preset(preset)
    assert vectors.shape == (3, 8) == (3, text.embedding_size)
    assert embeddings.shape == (2, tower.embedding_size) and tower.kernel.shape == (8, 2)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-5)


def test_the_towers_agree_with_the_model_as_a_whole(preset):
    """The model's own logits of a picture and a text are scale x cosine of the two towers' vectors."""
    towers = load_towers(preset)
    pictures = np.random.default_rng(1).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    prepared = towers.preprocessor({"prompts": ["dog", "cat"], "images": pictures})
    inputs = {"images": prepared["images"], "token_ids": prepared["token_ids"]}
    logits = np.asarray(towers.backbone(inputs)["vision_logits"])
    embeddings = np.asarray(load_image_tower(preset, ["dog"]).embed(pictures))
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    scale = float(np.exp(np.asarray(towers.backbone.clip_head.logit_scale)))
    words = open_text_model("joint", preset).encode_queries(["dog", "cat"])
    np.testing.assert_allclose(scale * unit @ words.T, logits, rtol=1e-3, atol=1e-3)


def test_a_text_does_not_depend_on_the_texts_beside_it(preset):
    text = open_text_model("joint", preset)
    together = text.encode_passages(["dog", "a cat"])
    np.testing.assert_allclose(together[:1], text.encode_passages(["dog"]), atol=1e-6)
    assert text.encode_queries([]).shape == (0, 8)


def test_a_folder_that_is_no_joint_model_is_refused_in_one_line(tmp_path):
    assert not is_joint_preset(tmp_path)
    (tmp_path / "config.json").write_text('{"class_name": "GemmaBackbone"}')
    with pytest.raises(TextModelError, match="no keras-hub preset of CLIP or SigLIP"):
        open_text_model("joint", tmp_path).encode_queries(["dog"])
    with pytest.raises(TextModelError, match="needs its weights"):
        open_text_model("joint")


def test_an_archive_is_classified_and_asked_in_the_preset_s_own_space(preset, tmp_path, reelbeam):
    """The frame that a text's vector is nearest to comes first, by the whole way through the command line."""
    labels = ["dog", "cat", "a dog"]
    sidecar_path(preset).write_text(json.dumps({"labels": labels}))
    (tmp_path / "archive").mkdir()
    for number in range(4):
        noise = np.random.default_rng(number).integers(0, 256, (24, 120, 160, 3), dtype=np.uint8)
        videos.encode(tmp_path / "archive" / f"{number}.mp4", videos.RECIPES["h264_bframes"], 1, (160, 120), noise)
    catalog = tmp_path / "catalog"
    done = reelbeam("classify", "--archive", tmp_path / "archive", "--catalog", catalog, "--model", preset, "--json")
    assert done.code == 0, done.err
    assert done.json["ok"] == 4
    rows = pq.read_table(catalog / "frames", columns=["uri", "embedding", "labels"]).to_pylist()
    vectors = np.array([row["embedding"] for row in rows])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-4)
    assert {one["label"] for row in rows for one in row["labels"]} == set(labels)

    assert reelbeam("index", "--catalog", catalog).code == 0
    tower = ("--text-model", "joint", "--text-weights", preset)
    found = reelbeam("search", "--catalog", catalog, "a dog", *tower, "--json")
    assert found.code == 0, found.err
    asked = open_text_model("joint", preset).encode_queries(["a dog"])[0]
    centred = vectors - vectors.mean(axis=0)
    best = (centred / np.linalg.norm(centred, axis=1, keepdims=True) @ asked).argmax()
    assert found.json[0]["uri"] == rows[best]["uri"]

    other = tmp_path / "other"
    shutil.copytree(preset, other)
    sidecar_path(other).write_text(json.dumps({"labels": ["bird"]}))
    refused = reelbeam("search", "--catalog", catalog, "a dog", "--text-model", "joint", "--text-weights", other)
    assert (refused.code, refused.err.count("\n")) == (1, 1)
    assert "classify the archive with the model" in refused.err
