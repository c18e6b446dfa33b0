"""The whole nightly job with its archive and its catalog on s3://, against a real S3 server."""

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.conftest import Reelbeam
from tests.object_stores import CountingProxy
from tests.tables import contents
from transforms import storage
from transforms.archive.listing import find_videos
from transforms.catalog.runs import Catalog
from transforms.video.decode import DecodeReport, sample
from transforms.video.probe import probe
from transforms.video.sampling import Sampling
from transforms.video.segments import cut

boto3 = pytest.importorskip("boto3", reason="needs reelbeam[s3]")

OPTIONS = ("--model", "placeholder", "--segment-seconds", "20", "--json")


def upload(folder: Path) -> None:
    for file in folder.iterdir():
        boto3.client("s3").upload_file(str(file), "archive", f"videos/{file.name}")


def rows(root: str) -> dict:
    """A catalog's tables without where the videos are and when they were written there."""
    of_the_store = {"uri", "video_id", "modified", "fingerprint", "attempts", "message"}

    def key(row: dict) -> tuple:
        return row["uri"].rsplit("/", 1)[-1], row.get("pts", 0)

    return {
        table: [{k: v for k, v in row.items() if k not in of_the_store} for row in sorted(found, key=key)]
        for table, found in contents(root).items()
    }


def test_the_same_rows_as_from_a_disk(
    bucket: str, clips: Path, tmp_path: Path, reelbeam: Reelbeam, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(clips)
    # Given as Beam's options, so that a decoder child which did not get them could open nothing.
    address = os.environ["AWS_ENDPOINT_URL"]
    given = {"s3_endpoint_url": address, "s3_access_key_id": "testing", "s3_secret_access_key": "testing"}
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    beam = [f"--{name}={value}" for name, value in {**given, "s3_region_name": "us-east-1"}.items()]
    fresh = {"REELBEAM_CACHE": str(tmp_path / "cache")}
    command = ("classify", "--archive", f"{bucket}/videos", "--catalog", f"{bucket}/catalog", *OPTIONS, *beam)
    first = reelbeam(*command, env=fresh)
    assert first.code == 0, first.err
    assert (first.json["ok"], first.json["failed"]) == (4, 1)

    for name, value in {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
    }.items():
        monkeypatch.setenv(name, value)
    on_disk = tmp_path / "catalog"
    reelbeam("classify", "--archive", clips, "--catalog", on_disk, *OPTIONS)
    assert rows(f"{bucket}/catalog") == rows(str(on_disk))
    catalog = Catalog(f"{bucket}/catalog")
    listed = {row.path for run in catalog.run_ids() for row in catalog.file_rows(run)}
    stored = {file.path.removeprefix(f"{bucket}/catalog/") for file in storage.list_files(f"{bucket}/catalog")}
    tables = {
        path
        for path in stored
        if path.startswith(("frames/", "videos/", "failures/", "gone/", "thumbnails/")) and "none" not in path
    }
    assert tables == listed, "nothing is stored that no run lists, and everything that is listed is stored"
    assert not [path for path in stored if storage.TEMPORARY_MARK in path or path.startswith(("work/", "LOCK"))]


def large_video(path: Path, faststart: bool) -> bytes:
    """A minute of noise in H.264, a keyframe a second, with the container's index first or last."""
    rng = np.random.default_rng(3)
    with av.open(str(path), "w", options={"movflags": "+faststart"} if faststart else {}) as container:
        stream = container.add_stream("libx264", rate=10, options={"preset": "ultrafast", "qp": "18", "g": "10"})
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        noise = [rng.integers(0, 255, (180, 320, 3), np.uint8) for _ in range(20)]
        for index in range(600):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noise[index % 20])))
        container.mux(stream.encode())
    return path.read_bytes()


@pytest.mark.parametrize("faststart", [True, False], ids=["index first", "index last"])
def test_a_video_is_read_by_range(
    bucket: str, server: str, faststart: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    data = large_video(tmp_path / "large.mp4", faststart)
    boto3.client("s3").put_object(Bucket="archive", Key="large.mp4", Body=data)
    path = f"{bucket}/large.mp4"
    with CountingProxy(server) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.address)
        info = probe(path)
        probed = proxy.received_bytes
        proxy.reset()
        assert probe(path, Fraction(60)) == info
        not_cut = proxy.received_bytes
        proxy.reset()
        assert probe(path, Fraction(5)) == info == probe(str(tmp_path / "large.mp4"), Fraction(5))
        searched = proxy.received_bytes
        (video,) = find_videos([path])
        sampling = Sampling.parse("1fps")
        segment = cut(video, info, sampling, 5)[6]
        proxy.reset()
        report = DecodeReport()
        frames = list(sample(path, info, segment.window(sampling), report))
        assert len(frames) == 5
        ranges = [line for line in proxy.requests if line.startswith("GET")]
    size = len(data)
    assert max(probed, not_cut) < 0.35 * size, f"probing took {probed} and {not_cut} of {size} bytes"
    assert searched < 1.35 * size, f"searching for parameter sets took {searched} of {size} bytes"
    assert proxy.received_bytes < 0.45 * size, f"a twelfth of the video took {proxy.received_bytes} of {size} bytes"
    assert 1 <= len(ranges) <= 12
