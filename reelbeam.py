"""The public Python API: open a catalog, read its tables, search it, label pictures, check it.

    import reelbeam

    catalog = reelbeam.open_catalog("/catalog")
    print(catalog.videos(columns=["uri", "labels"]).to_pandas())
    for hit in catalog.search("a dog on a skateboard"):
        print(hit.score, hit.uri, hit.ranges[0].start_s)

Tables are Arrow tables; their method `to_pandas` needs pandas (``pip install 'reelbeam[pandas]'``). Importing this
module is quick: what a method needs is loaded when it is first called.

Errors that a caller can act on derive from `ReelbeamError`; their message is one line.

Stable: the names in `__all__`, their parameters and attributes, the columns of the tables and the codes of findings. A
release that changes one of them says so in the changelog; new parameters, attributes and columns may be added in any
release. Not stable: the order of columns, the texts of messages, scores (they follow the model), and all other modules.
`pipelines`, `transforms` and `models` can be imported, but they are private and may change in any release.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from models.errors import ReelbeamError
    from models.heads.errors import HeadError
    from models.retrieval.errors import IndexFormatError, NoIndexError, RetrievalError
    from models.retrieval.moments import Moment
    from models.text.label_texts import LabelTextsError
    from models.text.spec import TextModelError
    from models.visual.engines.opening import Engine
    from models.visual.errors import ModelError
    from transforms.catalog import runs as _runs
    from transforms.catalog.checks.findings import Finding
    from transforms.catalog.runs import CatalogError
    from transforms.catalog.schemas import SchemaError
    from transforms.retrieval.filters import Filters
    from transforms.retrieval.places import NoPlaceError, Place, PlaceFinder
    from transforms.retrieval.search import CatalogSearch, Hit, Query
    from transforms.storage import StorageError

    __version__: str

    Picture = str | os.PathLike[str] | NDArray[np.uint8]

__all__ = [
    "Catalog",
    "CatalogError",
    "Filters",
    "Finding",
    "HeadError",
    "Hit",
    "IndexFormatError",
    "LabelTextsError",
    "ModelError",
    "Moment",
    "NoIndexError",
    "NoPlaceError",
    "Place",
    "ReelbeamError",
    "RetrievalError",
    "SchemaError",
    "StorageError",
    "TextModelError",
    "__version__",
    "open_catalog",
]

_MODULE_OF: Final = {
    "CatalogError": "transforms.catalog.runs",
    "Filters": "transforms.retrieval.filters",
    "Finding": "transforms.catalog.checks.findings",
    "HeadError": "models.heads.errors",
    "Hit": "transforms.retrieval.search",
    "IndexFormatError": "models.retrieval.errors",
    "LabelTextsError": "models.text.label_texts",
    "ModelError": "models.visual.errors",
    "Moment": "models.retrieval.moments",
    "NoIndexError": "models.retrieval.errors",
    "NoPlaceError": "transforms.retrieval.places",
    "Place": "transforms.retrieval.places",
    "ReelbeamError": "models.errors",
    "RetrievalError": "models.retrieval.errors",
    "SchemaError": "transforms.catalog.schemas",
    "StorageError": "transforms.storage",
    "TextModelError": "models.text.spec",
}
"""Where the names that are loaded at their first use come from."""


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("reelbeam")
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'reelbeam' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def open_catalog(
    path: str | os.PathLike[str],
    *,
    model: str | None = None,
    text_model: str | None = None,
    text_weights: str | os.PathLike[str] | None = None,
    label_texts: str | os.PathLike[str] | None = None,
) -> Catalog:
    """Open a catalog that `reelbeam classify` made.

    Args:
        path: the catalog's folder: a local path, or ``s3://`` or ``gs://`` (see `Catalog.search` for what needs a local
            one). Object stores take their settings from the environment, such as ``AWS_ENDPOINT_URL``.
        model: whose rows to read, if the catalog holds those of several models: a name as in `Catalog.runs`, the end
            of its path, or the beginning of its fingerprint. None for the model of the newest run.
        text_model: reads the words of `Catalog.search`; as `reelbeam search --text-model`. None for the one that
            belongs to the index.
        text_weights: the folder of a joint model's preset, for a catalog that has none.
        label_texts: a table of names, synonyms and descriptions of your own classes.

    Returns:
        The open catalog.

    Raises:
        CatalogError: there is no catalog.
        StorageError: the folder cannot be listed.

    Example:
        >>> catalog = reelbeam.open_catalog("/catalog")
        >>> catalog.videos().num_rows
        3
    """
    from transforms import storage
    from transforms.catalog.runs import Catalog as StoredCatalog

    stored = StoredCatalog.open(storage.absolute(os.fspath(path)), model)
    options = {
        "text_model": text_model,
        "text_weights": None if text_weights is None else Path(text_weights),
        "label_texts": None if label_texts is None else Path(label_texts),
    }
    return Catalog(stored, options)


class Catalog:
    """An open catalog; `open_catalog` makes it.

    Every call reads what is committed at that moment, so a catalog that stays open sees new nights and a new index. Any
    number of threads may use one catalog.

    Attributes:
        path: the catalog's folder.
    """

    def __init__(self, stored: _runs.Catalog, search_options: dict[str, Any]) -> None:
        self.path: str = stored.root
        self._stored = stored
        self._search_options = search_options
        self._search: CatalogSearch | None = None
        self._places: PlaceFinder | None = None
        self._engines: dict[str, Engine] = {}
        self._opening = RLock()

    def __repr__(self) -> str:
        return f"reelbeam.open_catalog({self.path!r})"

    def runs(self) -> pa.Table:
        """Return one row for each committed run, oldest first: times, model, sampling, counts of outcomes, speed.

        Returns:
            A table with ``run_id``, ``started_at``, ``finished_at``, ``archives``, ``model``, ``sampling``,
            ``discovered``, ``skipped``, ``ok``, ``partial``, ``failed``, ``left``, ``gone``, ``video_s``,
            ``frames``, ``elapsed_s``, ``speed_x_realtime`` and more; ``_s`` stands for seconds. The runs of one night
            share ``night``, the id of the first of them.

        Raises:
            CatalogError: a run record cannot be read, or was written by a newer reelbeam.
            StorageError: the catalog cannot be listed.

        Example:
            >>> catalog.runs().select(["run_id", "ok", "failed"]).to_pylist()[-1]
            {'run_id': '20261127T185854Z-94123c', 'ok': 1, 'failed': 0}
        """
        from transforms.catalog.reading.runs_table import runs_table

        return runs_table(self._stored)

    def videos(self, columns: Sequence[str] | None = None, *, at: str | datetime | None = None) -> pa.Table:
        """Return the latest row of each video, sorted by URI.

        A video whose newest outcome is a failure has none (see `failures`). Only rows that were made like the newest
        run's count: same model, sampling, number of labels and embedding type.

        Args:
            columns: of the table `videos`; ``video_id``, ``uri``, ``run_id`` and ``gone`` are always there. By default
                all, the embeddings too.
            at: a run id or a time; later runs are left out.

        Returns:
            A table with a row a video. ``gone`` is true where the archive no longer has the file.

        Raises:
            CatalogError: there is no such column, a file is missing or damaged, or rows of that time were dropped
                (`reelbeam compact`).
            SchemaError: a file was written by a newer reelbeam.

        Example:
            >>> catalog.videos(columns=["duration_s"]).column_names
            ['video_id', 'uri', 'duration_s', 'run_id', 'gone']
        """
        from transforms.catalog.reading.latest import latest_videos

        return latest_videos(self._stored, _known_columns("videos", columns), at)

    @property
    def videos_sql(self) -> str:
        """A DuckDB query that gives what `videos` gives; for a catalog on this machine.

        Example:
            >>> duckdb.sql(catalog.videos_sql).df()
        """
        from transforms.catalog.reading.latest import latest_videos_sql

        return latest_videos_sql(self.path, self._stored.model)

    def frames(
        self,
        columns: Sequence[str] | None = None,
        *,
        uri: str | os.PathLike[str] | None = None,
        at: str | datetime | None = None,
    ) -> Iterator[pa.Table]:
        """Yield the rows of the sampled frames of the latest videos, one file's rows at a time.

        A catalog may hold more frames than fit into memory, so there is no table of all of them.

        Args:
            columns: of the table `frames`; ``video_id`` and ``run_id`` are always there. By default all, the embeddings
                too, as the model gave them.
            uri: only the frames of this video, as its row names it; other videos' embeddings are not read.
            at: a run id or a time; later runs are left out.

        Yields:
            Tables with a row a frame. The rows of one video may come in several tables.

        Raises:
            CatalogError: there is no such column or video, or a file is missing or damaged.
            SchemaError: a file was written by a newer reelbeam.

        Example:
            >>> for table in catalog.frames(columns=["uri", "time_s"], uri="/videos/bikes.mp4"):
            ...     print(table["time_s"].to_pylist())
            [0.0, 1.0, 2.0]
        """
        from transforms.catalog.reading.latest import latest_frames

        return latest_frames(self._stored, _known_columns("frames", columns), at, None if uri is None else _uri_of(uri))

    def thumbnails(
        self,
        uri: str | os.PathLike[str] | None = None,
        *,
        columns: Sequence[str] | None = None,
        posters: bool = False,
        at: str | datetime | None = None,
    ) -> pa.Table:
        """Return the thumbnails of the latest videos, sorted by URI and time; videos of earlier releases have none.

        Each is a whole upright picture with square pixels. They show the file as its row describes it, also where a
        later run only labelled it anew.

        Args:
            uri: only those of this video, as its row names it. Without it the table holds all thumbnails of the
                catalog, about a megabyte an hour of video.
            columns: of the table `thumbnails`; ``video_id``, ``uri`` and ``run_id`` are always there. By default all.
            posters: only the thumbnail that stands for each video best.
            at: a run id or a time; later runs are left out.

        Returns:
            A table with ``pts``, ``time_s``, ``width``, ``height``, ``poster``, ``image`` (a WebP file) and more.

        Raises:
            CatalogError: there is no such column or video, or a file is missing or damaged.
            SchemaError: a file was written by a newer reelbeam.

        Example:
            >>> poster = catalog.thumbnails("/videos/bikes.mp4", posters=True).to_pylist()[0]
            >>> poster["width"], poster["height"], poster["image"][8:12]
            (284, 160, b'WEBP')
        """
        from transforms.catalog.reading.latest import latest_thumbnails

        names = _known_columns("thumbnails", columns)
        return latest_thumbnails(self._stored, names, at, None if uri is None else _uri_of(uri), posters=posters)

    def regions(
        self,
        uri: str | os.PathLike[str] | None = None,
        *,
        at: str | datetime | None = None,
        found_by: str | None = None,
    ) -> pa.Table:
        """Return where in the sampled frames of the latest videos things are, sorted by URI, time and score.

        Args:
            uri: only those of this video, as its row names it.
            at: a run id or a time; later runs are left out.
            found_by: only those of one way of finding them: its name (``regions_model``) or the beginning of its
                fingerprint. By default a video's regions are those of the newest run that looked for some.

        Returns:
            The rows of the table `regions` that have a label, with ``run_id``.

        Raises:
            CatalogError: there is no such video, or a file is missing or damaged.
            SchemaError: a file was written by a newer reelbeam.

        Example:
            >>> row = catalog.regions("/videos/pond.mp4").to_pylist()[0]
            >>> row["label"], row["time_s"], round(row["share"], 2)
            ('black swan', 0.0, 0.18)
        """
        from transforms.catalog.reading.regions import regions_table

        return regions_table(self._stored, at, None if uri is None else _uri_of(uri), found_by)

    def region_tracks(
        self,
        uri: str | os.PathLike[str] | None = None,
        *,
        at: str | datetime | None = None,
        found_by: str | None = None,
    ) -> pa.Table:
        """Return what became of each thing in the latest videos: one row for each track of `regions`.

        Arguments and errors are those of `regions`.

        Returns:
            ``video_id``, ``uri``, ``track``, ``label``, ``start_s``, ``end_s``, ``frames``, mean ``score`` and
            ``share``, ``largest_share``, ``first_centroid`` and ``last_centroid``, sorted by uri and track.

        Example:
            >>> row = catalog.region_tracks("/videos/pond.mp4").to_pylist()[0]
            >>> row["label"], row["start_s"], row["end_s"]
            ('black swan', 0.0, 6.0)
        """
        from transforms.catalog.reading.regions import region_tracks

        return region_tracks(self.regions(uri, at=at, found_by=found_by))

    def actions(
        self,
        uri: str | os.PathLike[str] | None = None,
        *,
        columns: Sequence[str] | None = None,
        at: str | datetime | None = None,
    ) -> pa.Table:
        """Return the ranges of time in which a localization head finds an action, sorted by URI and time.

        They are those of the latest rows of the videos: there are none if another model made these.

        Args:
            uri: only those of this video, as its row names it.
            columns: of the table `actions`; ``video_id``, ``uri`` and ``run_id`` are always there. By default all.
            at: a run id or a time; later runs are left out.

        Returns:
            A table with ``label``, ``start_s``, ``end_s``, ``score`` and more. Ranges may overlap:
                filter them by score.

        Raises:
            CatalogError: there is no such column or video, or a file is missing or damaged.
            SchemaError: a file was written by a newer reelbeam.

        Example:
            >>> catalog.actions("/videos/yard.mp4", columns=["label"])["label"].to_pylist()
            ['jump', 'wave']
        """
        from transforms.catalog.reading.latest import latest_actions

        names = _known_columns("actions", columns)
        return latest_actions(self._stored, names, at, None if uri is None else _uri_of(uri))

    def failures(self, *, at: str | datetime | None = None) -> pa.Table:
        """Return the row of each video whose newest outcome is a failure, sorted by URI.

        Args:
            at: a run id or a time; later runs are left out.

        Returns:
            A table with ``uri``, ``stage``, ``reason``, ``message``, ``attempts`` and more.

        Raises:
            CatalogError: a file is missing or damaged.
            SchemaError: a file was written by a newer reelbeam.

        Example:
            >>> catalog.failures()["reason"].to_pylist()
            ['empty_file']
        """
        from transforms.catalog.reading.latest import latest_failures

        return latest_failures(self._stored, at)

    def duplicates(self) -> pa.Table:
        """Return the stretches that two videos share, as the last `reelbeam duplicates` found them.

        Returns:
            A table with ``kind`` (``whole``, ``part`` or ``repeated``), ``group``, ``score``, ``speed`` and, for both
            videos, ``one_uri``, ``one_start_s``, ``one_end_s``, ``one_keep``, ``other_uri`` and so on.
            ``one_keep`` tells whether that video is among those of its group that are best to keep. Sorted by the
            videos' ids and times.

        Raises:
            CatalogError: `reelbeam duplicates` was never run, or a file is damaged.
            SchemaError: a file was written by a newer reelbeam.

        Example:
            >>> row = catalog.duplicates().to_pylist()[0]
            >>> row["one_uri"], row["one_start_s"], row["other_uri"], row["other_start_s"]
            ('/videos/news.mp4', 12.0, '/videos/archive.mp4', 760.0)
        """
        from transforms.catalog.duplicates import read_duplicates

        return read_duplicates(self._stored)

    def search(
        self,
        words: str,
        *,
        without: str | Sequence[str] = (),
        image: Picture | Sequence[Picture] | None = None,
        top_k: int = 10,
        filters: Filters | None = None,
        region: str | Sequence[str] = (),
        metric: Literal["cosine", "euclidean"] = "cosine",
        text_weight: float = 0.0,
        min_relevance: float = 0.0,
    ) -> list[Hit]:
        """Find the videos that show what some words say.

        There are always answers, also to words for what no video shows. Each has a `relevance`: the probability (0 to
        1) that it shows what was asked for.

        This needs an index (`reelbeam index`). Of an index on an object store, this machine keeps a copy. The first
        call opens the index and keeps it open. When `reelbeam index` has built a new one, the next call opens that.

        Args:
            words: the question, in any language that the text model knows.
            without: what the videos should not show, in words.
            image: pictures that the videos should look like too: an image file, a folder of them, an upright RGB
                picture, uint8 [height, width, 3], or a list of these. Each counts as much as the words.
            top_k: how many videos.
            filters: which videos count.
            region: only videos and moments in which a label fills a share of a sampled frame by the table `regions`:
                ``"water>0.3"`` or ``"water>=0.3"``; of several, all in the same frame.
            metric: ``cosine`` similarity or ``euclidean`` distance of unit vectors.
            text_weight: share (0 to 1) that file name, title and subtitles have in the score; only with the cosine.
            min_relevance: leaves out those of the ``top_k`` best videos whose relevance is less; 0.5 leaves the likely
                ones. Only for words alone: with ``without`` or ``image`` there is no relevance.

        Returns:
            The best videos, best first, each with the time ranges where the thing is seen.

        Raises:
            NoIndexError: no index has been built.
            RetrievalError: no words, an unknown label, a region that cannot be read or found, a least relevance for a
                joint model or beyond 0 to 1, or no room for a copy of the index on this machine.
            TextModelError: the text model is unknown or its package or weights are missing.

        Example:
            >>> hits = catalog.search("a dog on a skateboard", top_k=3, filters=reelbeam.Filters(min_duration_s=10))
            >>> hits[0].uri, hits[0].ranges[0].start_s
            ('/videos/skate.mp4', 12.0)
            >>> catalog.search("a dog", without="grass")[0].uri
            '/videos/beach.mp4'
        """
        search = self._current_search()
        wanted = [search.words(words), *(_picture_query(search, one) for one in _several(image))]
        unwanted = search.many_words([without] if isinstance(without, str) else without)
        return search.find(
            search.combined(wanted, unwanted),
            top_k=top_k,
            metric=metric,
            filters=_with_regions(filters, region),
            text_weight=text_weight,
            min_relevance=min_relevance,
        )

    def search_many(
        self,
        queries: Sequence[str],
        *,
        top_k: int = 10,
        filters: Filters | None = None,
        region: str | Sequence[str] = (),
        metric: Literal["cosine", "euclidean"] = "cosine",
        text_weight: float = 0.0,
        min_relevance: float = 0.0,
    ) -> list[list[Hit]]:
        """Ask several questions in words; faster than `search` for each. Arguments and errors as `search`.

        Returns:
            For each query its best videos, best first.

        Example:
            >>> [hits[0].uri for hits in catalog.search_many(["a dog", "a train"])]
            ['/videos/skate.mp4', '/videos/station.mp4']
        """
        search = self._current_search()
        return [
            search.find(
                query,
                top_k=top_k,
                metric=metric,
                filters=_with_regions(filters, region),
                text_weight=text_weight,
                min_relevance=min_relevance,
            )
            for query in search.many_words(queries)
        ]

    def similar(
        self,
        video: str | os.PathLike[str] | None = None,
        *,
        at_s: float | None = None,
        image: Picture | Sequence[Picture] | None = None,
        top_k: int = 10,
        filters: Filters | None = None,
        region: str | Sequence[str] = (),
        metric: Literal["cosine", "euclidean"] = "cosine",
    ) -> list[Hit]:
        """Find the videos that look like a video or an image. Needs what `search` needs.

        Args:
            video: a URI of a video of the index, which is then not decoded again and not among the answers; or any
                video file.
            at_s: a moment of the video, in seconds; videos that look like it are found, and not like the whole video.
            image: an image file, a folder of them, an upright RGB picture, uint8 [height, width, 3], or a list of
                these, each of which counts the same. Give either this or ``video``.
            top_k: how many videos.
            filters: which videos count.
            region: only videos and moments in which a label fills a share of a sampled frame by the table `regions`:
                ``"water>0.3"`` or ``"water>=0.3"``; of several, all in the same frame.
            metric: ``cosine`` similarity or ``euclidean`` distance of unit vectors.

        Returns:
            The best videos, best first.

        Raises:
            NoIndexError: no index has been built.
            RetrievalError: the file or a region cannot be read, no region has its label, or there is no room for a copy
                of the index on this machine.
            TypeError: both or none of ``video`` and ``image``, or ``at_s`` without ``video``.

        Example:
            >>> [hit.uri for hit in catalog.similar("/videos/bikes.mp4", top_k=2)]
            ['/videos/city.mp4', '/videos/park.mp4']
            >>> catalog.similar(image="bicycle.jpg")[0].uri
            '/videos/bikes.mp4'
        """
        if (video is None) == (image is None) or (video is None and at_s is not None):
            raise TypeError("similar() takes either a video or an image; at_s is a moment of the video")
        search = self._current_search()
        if video is None:
            query, itself = search.combined([_picture_query(search, one) for one in _several(image)]), None
        else:
            query, itself = _video_query(search, _uri_of(video), at_s)
        chosen = _with_regions(filters, region)
        hits = search.find(query, top_k=top_k + (itself is not None), metric=metric, filters=chosen)
        return [hit for hit in hits if hit.uri != itself][:top_k]

    def where(
        self,
        words: str | None,
        video: str | os.PathLike[str],
        start_s: float,
        end_s: float | None = None,
        *,
        without: str | Sequence[str] = (),
        image: Picture | Sequence[Picture] | None = None,
    ) -> Place:
        """Say where in the picture of a moment is what a search asks for, as `reelbeam search --where` does.

        The frame of the moment that fits best is decoded in this process, so its file must be there. Needs what
        `search` needs, and a model that has a feature map: see the page on regions. The first call makes the graph
        with the map if neither the catalog nor this machine has it, which takes TensorFlow and some seconds; the
        catalog is not changed.

        Args:
            words: the question, as of `search`; None to ask with ``image`` alone.
            video: a URI of a video of the index, such as `Hit.uri`.
            start_s: start of the moment, in seconds after the video's first frame, such as `Moment.start_s`.
            end_s: its end; None for the frame that is nearest to the start.
            without: what is not wanted, as of `search`.
            image: pictures that are wanted too, as of `search`.

        Returns:
            The place. Its box and centroid are fractions of the whole upright picture; ``drawn`` is that picture with
            a heat map over it, and ``jpeg()`` the same as a file.

        Raises:
            NoPlaceError: the video is not in the index or its file cannot be decoded, or nothing in the picture speaks
                for what was asked.
            ModelError: the catalog's model cannot tell where in a picture something is.
            NoIndexError: no index has been built.
            RetrievalError: no words, or an image cannot be read.
            TextModelError: the text model is unknown or its package or weights are missing.
            TypeError: neither words nor an image.

        Example:
            >>> hit = catalog.search("a moped")[0]
            >>> place = catalog.where("a moped", hit.uri, hit.ranges[0].start_s, hit.ranges[0].end_s)
            >>> place.time_s, round(place.box.x, 2), round(place.box.width, 2)
            (3.0, 0.41, 0.25)
            >>> Path("moped.jpg").write_bytes(place.jpeg())
        """
        if words is None and image is None:
            raise TypeError("where() takes words, an image or both")
        finder = self._place_finder()
        search = finder.search
        wanted = [] if words is None else [search.words(words)]
        wanted += [_picture_query(search, one) for one in _several(image)]
        query = search.combined(wanted, search.many_words([without] if isinstance(without, str) else without))
        return finder.place(query, _uri_of(video), start_s, end_s)

    def label(
        self,
        image: str | os.PathLike[str] | NDArray[np.uint8],
        *,
        model: str | os.PathLike[str] | None = None,
        top_labels: int = 5,
    ) -> list[dict[str, Any]]:
        """Label one picture.

        A model is opened at the first call that needs it and kept.

        Args:
            image: an image file, or an upright RGB picture, uint8 [height, width, 3].
            model: a model's name or file, such as a head that `reelbeam train` saved; by default the model that made
                the catalog's newest rows.
            top_labels: how many labels.

        Returns:
            Dicts with ``label`` and ``score``, best first.

        Raises:
            ModelError: the model is unknown or cannot be loaded.
            RetrievalError: the picture cannot be read, or the model looks at clips.
            CatalogError: no run has been committed yet.

        Example:
            >>> catalog.label("swan.jpg", top_labels=1)
            [{'label': 'black swan', 'score': 0.93}]
        """
        import numpy as np

        from models.visual.preprocess import preprocess
        from transforms.retrieval.pictures import require_pictures

        engine = self._engine(model)
        require_pictures(engine.spec)
        picture = preprocess(_picture(image), engine.spec.preprocessing)
        scores = engine.infer(picture[np.newaxis]).scores[0]
        best = np.argsort(-scores, kind="stable")[:top_labels]
        return [{"label": engine.spec.labels[k], "score": float(scores[k])} for k in best]

    def label_frames(
        self, uri: str | os.PathLike[str], *, model: str | os.PathLike[str], top_labels: int = 5
    ) -> pa.Table:
        """Label the stored frames of one video with a head, as `reelbeam relabel` would; nothing is decoded or written.

        Args:
            uri: of the video, as its row names it.
            model: a head that `reelbeam train` saved for this catalog's features.
            top_labels: labels kept for a frame.

        Returns:
            The video's rows of `frames` in order of time, with the head's labels.

        Raises:
            CatalogError: there is no such video, or a file is missing or damaged.
            HeadError: the model is no head, or takes the features of another model than the catalog's.
            ModelError: the model cannot be loaded.

        Example:
            >>> catalog.label_frames("/videos/cam1.mp4", model="tank.keras", top_labels=1)["labels"][0].as_py()
            [{'label': 'train_in_out', 'score': 0.98}]
        """
        from models.heads.saved import has_independent_classes
        from models.visual.hedging import hedging_for
        from transforms.catalog.bundles import local_model
        from transforms.catalog.reading.labelled_videos import newest_config
        from transforms.catalog.rows.heads import frames_labelled_by, head_for

        config = newest_config(self._stored)
        head = head_for(self._stored, config, os.fspath(model))
        independent = has_independent_classes(local_model(os.fspath(model)))
        hedging = hedging_for(head, config.hedging.accuracy, dict(config.hedging.parents), independent=independent)
        return frames_labelled_by(self._stored, config, _uri_of(uri), head, top_labels, hedging)

    def verify(self, progress: Callable[[str], Any] | None = None) -> list[Finding]:
        """Check every file, row and count of the catalog, and its index against its tables. Reads every file.

        Args:
            progress: is called with the id of every run before it is checked.

        Returns:
            What is wrong; an empty list where the catalog is whole.

        Raises:
            StorageError: the catalog cannot be listed.

        Example:
            >>> catalog.verify()
            []
        """
        from transforms.catalog.checks.verify import verify

        return verify(self._stored, progress or (lambda run_id: None))

    def _current_search(self) -> CatalogSearch:
        from transforms.retrieval.search import CatalogSearch

        with self._opening:
            if self._search is None or not self._search.is_current:
                self._search = CatalogSearch.open(self.path, model=self._stored.model, **self._search_options)
            return self._search

    def _place_finder(self) -> PlaceFinder:
        from transforms.decoder.stills import see_here
        from transforms.retrieval.places import PlaceFinder

        with self._opening:
            search = self._current_search()
            if self._places is None or self._places.search is not search:
                self._places = PlaceFinder(search, see_here, may_make=True)
            return self._places

    def _engine(self, model: str | os.PathLike[str] | None) -> Engine:
        from models.visual.bundle import prepare
        from models.visual.engines.opening import open_engine
        from transforms.catalog.bundles import local_model
        from transforms.catalog.reading.labelled_videos import catalog_bundle, newest_config

        with self._opening:
            if model is None:
                bundle = catalog_bundle(self._stored, newest_config(self._stored))
            else:
                bundle = prepare(local_model(os.fspath(model)), device="cpu")
            if bundle.fingerprint not in self._engines:
                self._engines[bundle.fingerprint] = open_engine(bundle, device="cpu")
            return self._engines[bundle.fingerprint]


def _known_columns(
    table: Literal["videos", "frames", "thumbnails", "actions"], columns: Sequence[str] | None
) -> list[str] | None:
    """The columns to read, without those that are made and always there."""
    from transforms.catalog import schemas
    from transforms.catalog.runs import CatalogError

    if columns is None:
        return None
    names = schemas.schema_of(table, 1).names
    made = ["run_id", "gone"] if table == "videos" else ["run_id"]
    for column in columns:
        if column not in names and column not in made:
            raise CatalogError(f"{table} has no column {column!r}; it has {', '.join([*names, *made])}")
    return [column for column in columns if column not in made]


def _with_regions(filters: Filters | None, region: str | Sequence[str]) -> Filters | None:
    from dataclasses import replace

    from transforms.retrieval.filters import Filters

    more = (region,) if isinstance(region, str) else tuple(region)
    known = filters or Filters()
    return replace(known, regions=(*known.regions, *more)) if more else filters


def _uri_of(video: str | os.PathLike[str]) -> str:
    from transforms.storage import uri_of_path

    return uri_of_path(os.fspath(video))


def _picture(image: str | os.PathLike[str] | NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An upright RGB picture, uint8 [height, width, 3]."""
    import numpy as np

    from transforms.retrieval.pictures import read_picture

    if isinstance(image, str | os.PathLike):
        return read_picture(os.fspath(image))
    picture = np.asarray(image)
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise TypeError(f"a picture is an array uint8 [height, width, 3], not {picture.dtype} {list(picture.shape)}")
    return picture


def _several(image: Picture | Sequence[Picture] | None) -> Sequence[Picture]:
    if image is None:
        return []
    return image if isinstance(image, list | tuple) else [image]  # type: ignore[list-item]


def _picture_query(search: CatalogSearch, image: Picture) -> Query:
    """The question by one picture, or by a folder of pictures."""
    return search.image(os.fspath(image)) if isinstance(image, str | os.PathLike) else search.picture(_picture(image))


def _video_query(search: CatalogSearch, video: str | os.PathLike[str], at_s: float | None) -> tuple[Query, str | None]:
    """The question by a video or a moment of it, and its URI where it is one of the index's own."""
    uri = _uri_of(video)
    query = search.indexed(uri)
    itself = None if query is None else uri
    if at_s is not None:
        return search.moment(uri, at_s), itself
    return query or search.video(uri), itself
