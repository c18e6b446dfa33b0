"""What clips cost: CPU seconds an hour of video, for a small clip model and for pictures at 1 fps.

    python -m tests.benchmarks.clips --seconds 60

One process decodes a generated video (H.264, 640x360, 25 frames a second, a keyframe every 2 s) and runs the model, as a
decoder child does. The models are the default, `efficientnet_lite0`, and an untrained `conv3d` with 8 frames of 112x112 pixels
at 8 fps.
"""

import argparse
import tempfile
import time
from fractions import Fraction
from pathlib import Path

from models.heads.networks import build_network
from models.heads.saved import FORMAT_VERSION, SavedHead, save
from models.visual.bundle import ModelBundle, prepare
from models.visual.clip_spec import ClipSpec
from models.visual.engines.opening import open_engine
from models.visual.spec import Preprocessing
from tests import videos
from transforms.decoder import child
from transforms.decoder.child import ChildSettings
from transforms.decoder.settings import DecoderSettings
from transforms.video.probe import probe
from transforms.video.sampling import Sampling
from transforms.video.segments import Video, cut

SIZE, SIDE = (640, 360), 112
RECIPE = videos.Recipe(".mp4", "libx264", {"bf": "2", "g": "50", "preset": "veryfast"})


def clip_model(folder: Path, stride_s: str) -> Path:
    """An untrained `conv3d`, saved as `reelbeam train` does."""
    clip = ClipSpec(8, "8", stride_s)
    about = SavedHead(
        kind="network", labels=("a", "b"), preprocessing=Preprocessing(SIDE, SIDE, mean=(0.0,), std=(1.0,)), clip=clip,
        format_version=FORMAT_VERSION,
    )  # fmt: skip
    path = folder / f"clips-{stride_s}.keras"
    save(build_network("conv3d", 2, SIDE, None, 7, clip), about, path)
    return path


def measure(bundle: ModelBundle, sampling: Sampling, path: Path) -> tuple[float, int, int]:
    """CPU seconds of decoding and inferring a video, frames decoded, and rows."""
    settings = ChildSettings(str(bundle.path), True, sampling, 2, DecoderSettings(1))
    child._state = child._State(settings, bundle.spec, open_engine(bundle, device="cpu"))
    video = Video("0" * 16, str(path), 0, 0.0, "")
    (segment,) = cut(video, probe(str(path)), sampling, Fraction(10**6))
    began = time.process_time()
    result = child.run_segment(segment, str(path))
    assert result.failure is None, result.failure
    return time.process_time() - began, result.report.frames_decoded, len(result.pts)


def main() -> None:
    """Prints one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as folder:
        path = videos.encode(Path(folder) / f"video{RECIPE.suffix}", RECIPE, seconds, SIZE)
        chosen: list[tuple[str, str, str]] = [("pictures, 1 fps", "efficientnet_lite0", "1fps")]
        for stride_s in ("1", "2", "5"):
            model = clip_model(Path(folder), stride_s)
            chosen.append((f"clips, every {stride_s} s", str(model), f"clips:8@8fps/{stride_s}s"))
        print("| what | CPU s an hour | frames decoded of 25 a second | rows an hour |\n|---|---|---|---|")
        for name, model_name, sampling in chosen:
            bundle = prepare(model_name, device="cpu", cache_dir=Path(folder) / "cache")
            cpu_s, decoded, rows = measure(bundle, Sampling.parse(sampling), path)
            hour = 3600 / seconds
            print(f"| {name} ({bundle.engine}) | {cpu_s * hour:.0f} | {decoded / seconds:.1f} | {rows * hour:.0f} |")


if __name__ == "__main__":
    main()
