"""Plain Beam as its own examples go: FlatMap decodes, RunInference classifies, WriteToParquet writes."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.ml.inference.base import KeyedModelHandler, ModelHandler, PredictionResult, RunInference
from apache_beam.options.pipeline_options import PipelineOptions

from tests.peers.keras_model import BATCH, KerasModel
from tests.peers.pictures import decode

SCHEMA = pa.schema(
    {
        "uri": pa.string(),
        "time_s": pa.float64(),
        "embedding": pa.list_(pa.float32()),
        "label": pa.string(),
        "score": pa.float32(),
    }
)


class Handler(ModelHandler[np.ndarray, PredictionResult, KerasModel]):
    """A handler of one's own: Beam's for TensorFlow calls Keras models eagerly, which is slower."""

    def load_model(self) -> KerasModel:
        return KerasModel()

    def run_inference(self, batch: Sequence[np.ndarray], model: KerasModel, inference_args: Any = None) -> Iterable:
        found = model.classify(np.stack(batch))
        return list(zip(found.embeddings, found.labels, found.scores, strict=True))

    def batch_elements_kwargs(self) -> dict[str, int]:
        return {"min_batch_size": 8, "max_batch_size": BATCH}


def keyed(path: str) -> Iterator[tuple[tuple[str, float], np.ndarray]]:
    for picture in decode(path):
        yield (picture.uri, picture.time_s), picture.pixels


def row(element: tuple) -> dict[str, Any]:
    (uri, time_s), (embedding, label, score) = element
    return {"uri": uri, "time_s": time_s, "embedding": embedding, "label": label, "score": score}


def main(list_file: str, out: str, *options: str) -> None:
    """Classifies the listed videos into Parquet files that begin with `out`."""
    with open(list_file, encoding="utf-8") as lines:
        paths = lines.read().splitlines()
    with beam.Pipeline(options=PipelineOptions(options or ["--runner=FnApiRunner"])) as pipeline:
        _ = (
            pipeline
            | beam.Create(paths)
            | beam.Reshuffle()
            | "Decode" >> beam.FlatMap(keyed)
            | RunInference(KeyedModelHandler(Handler()))
            | "Row" >> beam.Map(row)
            | beam.io.WriteToParquet(out, SCHEMA, file_name_suffix=".parquet")
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
