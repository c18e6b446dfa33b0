"""What people write first: OpenCV reads every frame, one a second goes through `model.predict`, rows go to Parquet."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from models.visual import efficientnet_lite
from models.visual.labels import imagenet_labels
from models.visual.preprocess import preprocess

BATCH = 32


def main(list_file: str, out: str) -> None:
    """Classifies the listed videos at 1 fps into one Parquet file."""
    model = efficientnet_lite.build("efficientnet_lite0")
    p = efficientnet_lite.spec("efficientnet_lite0").preprocessing
    labels = imagenet_labels()
    rows: dict[str, list] = {"uri": [], "time_s": [], "embedding": [], "label": []}
    for path in Path(list_file).read_text().splitlines():
        capture = cv2.VideoCapture(path)
        due_s, pictures, times = 0.0, [], []
        while True:
            ok, frame = capture.read()
            if not ok:
                break
            time_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            if time_s + 1e-3 >= due_s:
                pictures.append(preprocess(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), p))
                times.append(time_s)
                due_s += 1.0
        for first in range(0, len(pictures), BATCH):
            batch = np.stack(pictures[first : first + BATCH]).astype(np.float32)
            embeddings, scores = model.predict(batch, verbose=0)
            rows["uri"] += [path] * len(batch)
            rows["time_s"] += times[first : first + BATCH]
            rows["embedding"] += list(embeddings)
            rows["label"] += [labels[i] for i in scores.argmax(axis=1)]
    pq.write_table(pa.table(rows), out)
    print(len(rows["uri"]))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
