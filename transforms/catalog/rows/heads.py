"""Labels the frames of a catalog with trained heads."""

from pathlib import Path

import pyarrow as pa

from models.heads import saved
from models.heads.errors import HeadError
from models.visual.bundle import ModelBundle, prepare
from models.visual.errors import ModelError
from models.visual.hedging import DEFAULT, Hedging
from transforms.catalog import schemas
from transforms.catalog.bundles import local_model
from transforms.catalog.reading.frames import are_usable
from transforms.catalog.reading.labelled_videos import catalog_bundle
from transforms.catalog.reading.latest import latest_frames
from transforms.catalog.records import RunConfig
from transforms.catalog.rows.sequence_labels import SequenceLabeller
from transforms.catalog.runs import Catalog


def head_for(catalog: Catalog, config: RunConfig, model: str) -> ModelBundle:
    """Returns the bundle of a head for the catalog's embeddings, on the device and in the precision that made them.

    Raises:
        HeadError: the model is no head, or takes another backbone's embeddings.
        ModelError: the model cannot be loaded.
    """
    path = Path(local_model(model))
    if not path.is_file():
        raise ModelError(f"no model at {model}")
    if not saved.is_head(path) or saved.read(path).backbone is None:
        raise HeadError(f"{model} takes pictures, not stored embeddings: classify the archive with it instead")
    made_by = catalog_bundle(catalog, config)
    bundle = prepare(str(path), precision=made_by.precision, device=made_by.device)
    if bundle.backbone.fingerprint != made_by.backbone.fingerprint:
        raise HeadError(
            f"{model} takes the features of {bundle.backbone.model} {bundle.backbone.fingerprint[:12]}, and "
            f"{catalog.root} holds those of {made_by.backbone.model} {made_by.backbone.fingerprint[:12]}"
        )
    return bundle


def frames_labelled_by(
    catalog: Catalog, config: RunConfig, uri: str, head: ModelBundle, top_labels: int, hedging: Hedging = DEFAULT
) -> pa.Table:
    """Return the usable rows of `frames` of one video, in order of time, with the labels that a head gives them.

    Args:
        catalog: the catalog.
        config: the configuration of its newest run.
        uri: the video's uri, as in the tables.
        head: the bundle that `head_for` returned.
        top_labels: labels kept for a frame.
        hedging: what decides best labels.

    Raises:
        CatalogError: a file is missing or damaged, or no run has seen the video.
    """
    parts = list(latest_frames(catalog, uri=uri))
    if not parts:  # a video that failed
        empty = schemas.frames_schema(config.embedding_size, config.embedding_dtype).empty_table()
        return empty.replace_schema_metadata(None).append_column("run_id", pa.array([], pa.string()))
    rows = pa.concat_tables(parts).sort_by("time_s")
    rows = rows.filter(pa.array(are_usable(rows))).combine_chunks()
    return SequenceLabeller(head.path, top_labels, hedging).label(rows).rows
