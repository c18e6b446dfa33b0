"""How well class activation maps find things, and what they cost: the figures of docs/regions.md and docs/measurements.md.

python -m tests.benchmarks.regions scenes      # pointing game and IoU on scenes whose masks are known
python -m tests.benchmarks.regions held-out    # the same with objects and backgrounds that no setting was chosen on
python -m tests.benchmarks.regions cost        # CPU and bytes of an hour of video, on ../shared/data's clips
python -m tests.benchmarks.regions night       # CPU and bytes of whole nights over these clips, with and without regions
python -m tests.benchmarks.regions pictures    # draws docs/regions_*.png from real clips
"""

import argparse
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models.regions.activation import ActivationMaps, enlarge, heat_map, refine
from models.regions.segmenter import View
from models.visual.bundle import ModelBundle, prepare
from models.visual.engines.litert import FeatureMapEngine, LiteRtEngine
from models.visual.feature_map import add_feature_map
from models.visual.preprocess import preprocess
from tests.benchmarks.generated_archive import SHARED
from tests.benchmarks.region_scenes import HELD_OUT, OBJECTS, cutout, scenes, still
from tests.measuring import measure
from transforms.video.regions import encoded

MODEL: Final = "efficientnet_lite0"
EACH: Final = 12
"""Scenes of each object."""

CLIPS: Final = (
    *("brown-bear", "lion-roaring", "dog-walking", "black-swan", "car-turn", "child-riding", "man-surfing", "rabbit"),
    *("bottle-detection", "one-by-one", "ufFT2BWh3BQ", "TZ860P4iTaM", "klteYv1Uv9A", "qvg9eM4Hmzk", "WTf5EgVY5uU"),
)
SHOWN: Final = {"bear": "brown-bear", "panda": "ufFT2BWh3BQ", "bottle": "bottle-detection", "pan": "WTf5EgVY5uU"}

NIGHTS: Final = 2
"""Nights of each kind that are measured; the one that took least counts."""

HOUR: Final = 3600
"""Frames of an hour of video at one frame a second."""

Mask = NDArray[np.bool_]
Way = Callable[[NDArray[np.float32], NDArray[np.uint8]], Mask]


class Case(NamedTuple):
    """One scene as the model sees it."""

    picture: NDArray[np.uint8]
    feature_map: NDArray[np.float32]
    score: float
    direction: NDArray[np.float32]
    truth: Mask


def prepared() -> ModelBundle:
    """The default model with its feature map."""
    bundle = prepare(MODEL, device="cpu")
    add_feature_map(bundle, MODEL)
    return bundle


def cases(bundle: ModelBundle, *, held_out: bool) -> list[Case]:
    """All scenes; an object's label is the best one of its cut-out alone, on grey."""
    engine, classifier = FeatureMapEngine(bundle), bundle.classifier()
    assert classifier is not None
    labels = {name: _label_alone(engine, name) for name in (HELD_OUT if held_out else OBJECTS)}
    found = []
    for scene in scenes(EACH, held_out=held_out):
        picture = preprocess(scene.picture, bundle.spec.preprocessing)
        features, feature_map = engine.infer(picture)
        grey = np.repeat((scene.mask * 255).astype(np.uint8)[..., None], 3, axis=2)
        truth = preprocess(grey, bundle.spec.preprocessing)[..., 0] > 127
        label = labels[scene.name]
        score = float(features.scores[0, label])
        found.append(Case(picture, feature_map, score, classifier[0][:, label], truth))
    return found


def _label_alone(engine: FeatureMapEngine, name: str) -> int:
    one = cutout(name)
    side = int(max(one.mask.shape) * 1.35)
    canvas = np.full((side, side, 3), 127, np.uint8)
    y, x = ((side - length) // 2 for length in one.mask.shape)
    canvas[y : y + one.mask.shape[0], x : x + one.mask.shape[1]][one.mask] = one.picture[one.mask]
    features, _ = engine.infer(preprocess(canvas, engine.spec.preprocessing))
    print(f"{name}: {engine.spec.labels[features.scores[0].argmax()]} {features.scores[0].max():.2f}")
    return int(features.scores[0].argmax())


def threshold(at: float) -> Way:
    """The map alone, above a share of its maximum."""
    return lambda heat, picture: enlarge(heat, *picture.shape[:2]) > at


def guided(heat: NDArray[np.float32], picture: NDArray[np.uint8]) -> Mask:
    """The guided filter (He et al. 2010) of the map by the picture, radius 16, above 0.4."""
    radius, epsilon = 16, 1e-3
    guide = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    target = enlarge(heat, *picture.shape[:2])

    def mean(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return cv2.boxFilter(values, -1, (2 * radius + 1, 2 * radius + 1))

    slope = (mean(guide * target) - mean(guide) * mean(target)) / (mean(guide**2) - mean(guide) ** 2 + epsilon)
    offset = mean(target) - slope * mean(guide)
    return mean(slope) * guide + mean(offset) > 0.4


def whole(heat: NDArray[np.float32], picture: NDArray[np.uint8]) -> Mask:
    """All of the picture."""
    return np.ones(picture.shape[:2], np.bool_)


WAYS: Final[dict[str, Way]] = {
    "the whole picture": whole,
    "map above 0.2 (Zhou et al.)": threshold(0.2),
    "map above 0.4": threshold(0.4),
    "guided filter": guided,
    "GrabCut, as built": refine,
}


def measure_scenes(*, held_out: bool = False) -> None:
    """Print the table of ways."""
    found = cases(prepared(), held_out=held_out)
    seen = np.array([case.score >= 0.1 for case in found])
    maps = [heat_map(case.feature_map, case.direction) for case in found]
    hits = np.array([_points_at(heat, case.truth) for heat, case in zip(maps, found, strict=True)])
    area = np.mean([case.truth.mean() for case in found])
    print(f"{len(found)} scenes, {seen.sum()} seen (score 0.1); objects fill {area:.2f} of the picture")
    print(f"pointing game: {hits.mean():.2f} of all, {hits[seen].mean():.2f} where seen")
    print("| mask | IoU, all | IoU, seen | CPU ms |\n|---|---|---|---|")
    for name, way in WAYS.items():
        began = time.process_time()
        masks = [way(heat, case.picture) for heat, case in zip(maps, found, strict=True)]
        msec = (time.process_time() - began) * 1000 / len(found)
        ious = np.array([_iou(mask, case.truth) for mask, case in zip(masks, found, strict=True)])
        print(f"| {name} | {ious.mean():.2f} | {ious[seen].mean():.2f} | {msec:.1f} |")


def _points_at(heat: NDArray[np.float32], truth: Mask) -> bool:
    large = enlarge(heat, *truth.shape)
    return bool(truth[np.unravel_index(large.argmax(), large.shape)])


def _iou(one: Mask, other: Mask) -> float:
    return float((one & other).sum() / max(1, (one | other).sum()))


def measure_cost() -> None:
    """Print CPU and bytes of an hour at one frame a second, from stills of real clips."""
    bundle = prepared()
    pictures = [preprocess(still(clip), bundle.spec.preprocessing) for clip in CLIPS] * 4
    plain, mapped, way = LiteRtEngine(bundle), FeatureMapEngine(bundle), ActivationMaps(bundle)
    print(f"without regions: {_msec(lambda one: plain.infer(one[np.newaxis]), pictures):.1f} ms a frame")
    print(f"with the map: {_msec(mapped.infer, pictures):.1f} ms a frame")
    views = [
        View(one, feature_map, features.scores[0]) for one in pictures for features, feature_map in [mapped.infer(one)]
    ]
    print(f"maps to masks: {_msec(way.regions, views):.1f} ms a frame")
    found = [region for view in views for region in way.regions(view)]
    size = np.mean([len(encoded(region.mask)) for region in found])
    print(f"{len(found) / len(views):.2f} regions a frame, run lengths of {size:.0f} bytes each")


def measure_night() -> None:
    """Print CPU and bytes of nights at one frame a second, with and without regions, `NIGHTS` of each in turn."""
    prepared()
    with TemporaryDirectory() as folder:
        archive = Path(folder) / "archive"
        archive.mkdir()
        for clip in [*(SHARED / "captioned").rglob("*.*"), *(SHARED / "longer").glob("*.mp4")]:
            if clip.suffix in (".avi", ".mp4"):
                shutil.copy(clip, archive)
        ways: dict[str, list[str]] = {"without": [], "with": ["--regions"]}
        cpu_s: dict[str, list[float]] = {way: [] for way in ways}
        for turn in range(NIGHTS):
            for way, options in ways.items():
                catalog = Path(folder) / f"{way}-{turn}"
                cpu_s[way].append(_night(archive, catalog, options))
        regions = list((catalog / "regions").rglob("*.parquet"))
        table = pa.concat_tables([pq.read_table(file, partitioning=None) for file in regions])
        videos = pq.read_table(catalog / "videos", columns=["frames_sampled", "duration_s"], partitioning=None)
        frames, length_s = (pc.sum(videos[name]).as_py() for name in ("frames_sampled", "duration_s"))
        size = sum(file.stat().st_size for file in regions)
        rest = sum(file.stat().st_size for file in (catalog / "frames").rglob("*.parquet"))
        found = len(table) - table["label"].null_count
        print(f"{len(videos)} videos of {length_s:.0f} s, {frames} frames, {found} regions; an hour has {HOUR} frames")
        for way, each in cpu_s.items():
            print(f"{way} regions: {', '.join(f'{one:.1f}' for one in each)} s of CPU")
        added = (min(cpu_s["with"]) - min(cpu_s["without"])) / frames
        print(f"regions: {added * 1000:.0f} ms of CPU a frame, {added * HOUR:.0f} s an hour of video")
        print(f"{size * HOUR / frames / 1e6:.2f} MB an hour of regions, {rest * HOUR / frames / 1e6:.2f} MB of frames")


def _night(archive: Path, catalog: Path, options: Sequence[str]) -> float:
    command = [sys.executable, "-m", "pipelines.commands.main", "classify", "--sample", "1fps", *options]
    return measure([*command, "--archive", str(archive), "--catalog", str(catalog)]).cpu_s


def _msec(function: Callable[..., object], values: Sequence[object]) -> float:
    began = time.process_time()
    for value in values:
        function(value)
    return (time.process_time() - began) * 1000 / len(values)


def draw_pictures(folder: Path) -> None:
    """Draw real stills with the map and the mask of the best label."""
    bundle = prepared()
    engine, classifier, way = FeatureMapEngine(bundle), bundle.classifier(), ActivationMaps(bundle)
    assert classifier is not None
    for name, clip in SHOWN.items():
        picture = preprocess(still(clip), bundle.spec.preprocessing)
        features, feature_map = engine.infer(picture)
        best = int(features.scores[0].argmax())
        heat = enlarge(heat_map(feature_map, classifier[0][:, best]), *picture.shape[:2])
        masks = [one.mask for one in way.regions(View(picture, feature_map, features.scores[0]))][:1]
        drawn = np.hstack([picture, _warm(picture, heat), _cut(picture, masks[0]) if masks else picture])
        cv2.imwrite(str(folder / f"regions_{name}.png"), cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))
        print(f"{name}: {bundle.spec.labels[best]} {features.scores[0][best]:.2f}")


def _warm(picture: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    colours = cv2.cvtColor(cv2.applyColorMap((heat * 255).astype(np.uint8), cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    return cv2.addWeighted(picture, 0.45, colours, 0.55, 0).astype(np.uint8)


def _cut(picture: NDArray[np.uint8], mask: Mask) -> NDArray[np.uint8]:
    dimmed = (picture * 0.25).astype(np.uint8)
    return np.where(mask[..., None], picture, dimmed).astype(np.uint8)


def main() -> None:
    """Run the chosen part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["scenes", "held-out", "cost", "night", "pictures"])
    parser.add_argument("--folder", type=Path, default=Path("docs"))
    chosen = parser.parse_args()
    if chosen.part == "pictures":
        draw_pictures(chosen.folder)
    else:
        {
            "scenes": measure_scenes,
            "held-out": partial(measure_scenes, held_out=True),
            "cost": measure_cost,
            "night": measure_night,
        }[chosen.part]()


if __name__ == "__main__":
    main()
