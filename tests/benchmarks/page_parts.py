"""Times of what the search page reads, over a made-up catalog: `python -m tests.benchmarks.page_parts FOLDER`."""

import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil
import pyarrow as pa

from pipelines.web.pages import Pages
from pipelines.web.questions import Question
from pipelines.web.view import CatalogView
from tests import catalogs
from transforms.catalog import schemas
from transforms.catalog.runs import Catalog
from transforms.retrieval.filters import Filters
from transforms.storage import unfenced, video_id_of

VIDEOS = 10_000
THUMBNAILS = 12
"""Of a video of 100 s: one for every 10 s, and a few for label ranges."""
IMAGE_BYTES = 2_900
LABELS = 1_000


def main() -> None:
    """Writes the catalog where there is none, and prints times in milliseconds and memory in megabytes."""
    folder = Path(sys.argv[1])
    if not folder.exists():
        _write(folder)
    before = _resident_mb()
    start = time.perf_counter()
    snapshot = CatalogView(str(folder)).snapshot()
    _say("snapshot", time.perf_counter() - start)
    start = time.perf_counter()
    store = snapshot.thumbnails
    _say(f"places of {len(store):,} thumbnails ({store.size_bytes / 1e6:.1f} MB)", time.perf_counter() - start)
    ids = snapshot.videos["video_id"].to_pylist()
    chosen = iter(np.random.default_rng(0).permutation(ids).tolist())

    def picture() -> None:
        video_id = next(chosen)
        found = store.nearest(video_id, 50.0, however_far=True)
        assert found is not None
        store.image(video_id, found)

    _say("a picture that was not read before", _median_s(picture, 300))
    posters = [(one, store.poster(one)) for one in ids[:24]]
    for one, poster in posters:
        if poster is not None:
            store.image(one, poster)
    _say("a picture that is kept", _median_s(lambda: store.image(posters[0][0], posters[0][1]), 1000))
    start = time.perf_counter()
    snapshot.facets.counts(Filters())
    _say("counts beside the filters, first", time.perf_counter() - start)
    days = iter(range(10_000))
    one_more = lambda: snapshot.facets.counts(  # noqa: E731
        Filters("label 7", "*cam3*", 10.0, None, (catalogs.NIGHT - timedelta(days=next(days))).date(), None, 480, "ok")
    )
    _say("counts beside the filters, six set", _median_s(one_more, 30))
    _say("the same again", _median_s(lambda: snapshot.facets.counts(Filters()), 1000))
    pages = Pages()
    _say("a page of 24 videos", _median_s(lambda: pages.search(snapshot, Question(), "en"), 30))
    print(f"memory above the imports: {_resident_mb() - before:.0f} MB")


def _say(what: str, seconds: float) -> None:
    print(f"{what}: {1000 * seconds:.2f} ms")


def _median_s(act: Callable[[], Any], times: int) -> float:
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        act()
        taken.append(time.perf_counter() - start)
    return median(taken)


def _resident_mb() -> float:
    return psutil.Process().memory_info().rss / 1e6


def _write(folder: Path) -> None:
    rng = np.random.default_rng(0)
    catalog = Catalog(str(folder))
    config = catalogs.CONFIG.__class__(**{**catalogs.CONFIG.__dict__, "thumbnail_seconds": "10"})
    run = catalog.start_run(config, ["/videos"], catalogs.NIGHT)
    uris = [f"/videos/cam{k % 40}/{k // 40 % 12:02d}/{k:05d}.mp4" for k in range(VIDEOS)]
    rng.shuffle(uris)
    vector = np.ones(catalogs.SIZE) / np.sqrt(catalogs.SIZE)
    frame = catalogs.frame_rows("/videos/a.mp4", 1)
    rows = []
    for uri in uris:
        names = rng.zipf(1.3, 10) % LABELS
        labels = [{"label": f"label {n}", "score": 0.1} for n in dict.fromkeys(names.tolist())]
        height = int(rng.choice([240, 480, 720, 1080, 2160]))
        modified = catalogs.NIGHT - timedelta(hours=int(rng.integers(0, 20_000)))
        rows.append(
            catalogs.video_row(
                uri, frame, config, embedding=vector, labels=labels, height=height, modified=modified,
                duration_s=float(rng.lognormal(4, 1.5)), status=str(rng.choice(["ok", "partial"], p=[0.95, 0.05])),
            )
        )  # fmt: skip
    written = [catalogs.write_part(catalog, run, "videos", rows, schemas.videos_schema(catalogs.SIZE))]
    path = f"{catalog.table_folder('thumbnails', run.run_id)}/part-00000.parquet"
    written.append(schemas.write_table(path, _thumbnails(uris, rng), schemas.THUMBNAILS))
    files = catalogs.write_files_table(catalog, run.run_id, written)
    empty = catalogs.write_night(catalog, run, {})
    catalogs.write_files_table(catalog, run.run_id, written)
    record = empty.__class__(**{**empty.__dict__, "files_sha256": files.sha256, "files_count": files.rows})
    catalog.commit(record, unfenced)


def _thumbnails(uris: list[str], rng: np.random.Generator) -> Any:
    for uri in uris:
        times_s = np.sort(rng.uniform(0, 100, THUMBNAILS))
        yield pa.record_batch(
            {
                "video_id": [video_id_of(uri)] * THUMBNAILS,
                "uri": [uri] * THUMBNAILS,
                "fingerprint": [f"print of {uri}"] * THUMBNAILS,
                "pts": (times_s * 12_800).astype(np.int64),
                "time_s": times_s,
                "width": pa.array([284] * THUMBNAILS, pa.int32()),
                "height": pa.array([160] * THUMBNAILS, pa.int32()),
                "poster": [k == 3 for k in range(THUMBNAILS)],
                "image": [rng.bytes(IMAGE_BYTES) for _ in range(THUMBNAILS)],
            },
            schemas.THUMBNAILS,
        )


if __name__ == "__main__":
    main()
