"""Ray Data as its batch inference guide goes: flat_map decodes, map_batches with a model actor, write_parquet."""

import os
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import ray

from tests.peers.keras_model import BATCH, KerasModel
from tests.peers.pictures import decode


def pictures(row: dict[str, str]) -> Iterator[dict[str, Any]]:
    for picture in decode(row["item"]):
        yield picture._asdict()


class Classifier:
    """The model actor."""

    def __init__(self) -> None:
        self._model = KerasModel()

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, Any]:
        found = self._model.classify(batch["pixels"])
        kept = {"uri": batch["uri"], "time_s": batch["time_s"]}
        return {**kept, "embedding": found.embeddings, "label": np.array(found.labels), "score": found.scores}


def main(list_file: str, out: str) -> None:
    """Classifies the listed videos into Parquet files in the folder `out`."""
    with open(list_file, encoding="utf-8") as lines:
        paths = lines.read().splitlines()
    ray.init(
        num_cpus=len(os.sched_getaffinity(0)),
        include_dashboard=False,
        logging_level="error",
        runtime_env={"env_vars": {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}},
    )
    ray.data.DataContext.get_current().enable_progress_bars = False
    videos = ray.data.from_items(paths)
    classified = videos.flat_map(pictures).map_batches(Classifier, batch_size=BATCH, concurrency=1)
    classified.write_parquet(out)
    ray.shutdown()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
