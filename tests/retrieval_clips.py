"""Real clips through the project's own decoding and default model, one frame a second."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from click.testing import CliRunner

from models.retrieval.rows import VideoFrames
from models.visual.bundle import ModelBundle
from models.visual.engines.opening import Engine, open_engine
from pipelines.commands.main import cli
from transforms.retrieval.search import CatalogSearch
from transforms.video.decode import DecodeReport, sample
from transforms.video.packets import Window
from transforms.video.pixels import Painter
from transforms.video.probe import probe
from transforms.video.sampling import Sampling

CAPTIONED = Path(__file__).parents[2] / "shared" / "data" / "captioned"
OTHER_CLIPS = tuple(CAPTIONED.parent / kind for kind in ("odd", "longer"))
"""Folders with 39 more clips that can be decoded: test pictures, faces, keyboards, cartoons and others."""


class Model(NamedTuple):
    bundle: ModelBundle
    engine: Engine


def open_model(bundle: ModelBundle) -> Model:
    return Model(bundle, open_engine(bundle, device="cpu"))


def embed_clip(path: Path, model: Model, rate: str = "1fps") -> VideoFrames:
    info, sampling = probe(str(path)), Sampling.parse(rate)
    clock = sampling.clock(info.time_base, info.duration_s)
    window = Window(sampling, clock, 0, None, 0, None)
    painter = Painter(model.bundle.spec.preprocessing)
    taken = [
        (one.time_s, painter.paint(one.frame, one.pixel_aspect, one.is_field))
        for one in sample(str(path), info, window, DecodeReport())
    ]
    times = np.asarray([time_s for time_s, _ in taken], dtype=np.float64)
    embeddings = model.engine.infer(np.stack([picture for _, picture in taken])).embeddings
    duration_s = float(info.duration_s) if info.duration_s is not None else None
    return VideoFrames(path.name, path.as_uri(), duration_s, times, embeddings)


def questions(name: str) -> dict[str, list[str]]:
    """Questions by the name of the clip that shows it, as `reelbeam evaluate retrieval` takes them.

    ``msvd`` and ``prompted`` came with the clips. Written for this project before any score was seen: ``present_chinese``
    and ``present_chinese_aside`` for the 27 captioned clips, ``aside_english`` and ``aside_chinese`` for 12 others.
    """
    if name in ("msvd", "prompted"):
        return json.loads((CAPTIONED / name / "captions.json").read_text(encoding="utf-8"))
    return _OWN[name]


_OWN = json.loads(Path(__file__).with_name("retrieval_queries.json").read_text(encoding="utf-8"))

ABSENT: list[str] = _OWN["absent"]
"""A hundred things that are in none of the captioned clips; written before any score was seen."""

ABSENT_CHINESE: list[str] = _OWN["absent_chinese"]
"""Forty of them in Chinese."""


def catalog_of(folder: Path, *archives: Path) -> CatalogSearch:
    """Classifies and indexes archives with the default model, as the commands do, and opens the catalog."""
    archive = [word for one in archives for word in ("--archive", str(one))]
    for command in (["classify", *archive, "--catalog", str(folder)], ["index", "--catalog", str(folder)]):
        done = CliRunner().invoke(cli, command)
        assert done.exit_code == 0, done.output
    return CatalogSearch.open(str(folder))
