"""The limit: as many processes as cores, each decoding only what it must and running the exported graph; no framework.

It owes nothing to anyone: no retries, no damaged or odd files, no time limits, nothing that survives a kill.
"""

import multiprocessing
import os
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from av.video.reformatter import VideoReformatter

from models.visual.labels import imagenet_labels
from models.visual.preprocess import finish, scaled_size
from tests.peers.pictures import PREPROCESSING


class Graph:
    """The exported graph on one thread."""

    def __init__(self, bundle: str) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._run = Interpreter(model_path=f"{bundle}/model.tflite", num_threads=1)
        self._run.allocate_tensors()
        self._input = self._run.get_input_details()[0]["index"]
        self._outputs = [one["index"] for one in self._run.get_output_details()]

    def __call__(self, picture: np.ndarray) -> list[np.ndarray]:
        self._run.set_tensor(self._input, picture[None].astype(np.float32))
        self._run.invoke()
        return [self._run.get_tensor(index)[0] for index in self._outputs]


def wanted_packets(pts: list[int], base: Fraction) -> set[int]:
    """Indices of the packets that hold the first frame at or after every second."""
    first, due, wanted = min(pts), 0, set()
    for time, index in sorted(zip(pts, range(len(pts)), strict=True)):
        seconds = (time - first) * base + base / 2
        if seconds >= due:
            wanted.add(index)
            due = int(seconds) + 1
    return wanted


def classify(path: str, graph: Graph, rows: dict[str, list[Any]], labels: tuple[str, ...]) -> None:
    """Adds the rows of one video: frames that no sample needs are never decoded."""
    with av.open(path, metadata_errors="replace") as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        stream.codec_context.thread_count = 1
        context = stream.codec_context
        packets = [packet for packet in container.demux(stream) if packet.size]
        base = Fraction(stream.time_base)
        wanted = wanted_packets([packet.pts for packet in packets], base)
        due = {packets[i].pts for i in wanted}
        aspect = stream.sample_aspect_ratio or 1
        first = min(packet.pts for packet in packets)
        reformatter = VideoReformatter()
        starts = [i for i, packet in enumerate(packets) if packet.is_keyframe]
        for start, end in zip(starts, [*starts[1:], len(packets)], strict=True):
            last = max((i for i in wanted if start <= i < end), default=None)
            if last is None:
                continue
            for i in range(start, last + 1):
                context.skip_frame = "DEFAULT" if i in wanted else "NONREF"
                keep(context.decode(packets[i]), due, first, base, aspect, path, graph, rows, labels, reformatter)
            keep(context.decode(None), due, first, base, aspect, path, graph, rows, labels, reformatter)
            context.flush_buffers()


def keep(frames, due, first, base, aspect, path, graph, rows, labels, reformatter) -> None:
    for frame in frames:
        if frame.pts in due:
            height, width = scaled_size(frame.height, round(frame.width * aspect), PREPROCESSING)
            small = reformatter.reformat(frame, width, height, "rgb24", interpolation="AREA", threads=1)
            embedding, scores = graph(finish(small.to_ndarray(), PREPROCESSING))
            best = int(scores.argmax())
            rows["uri"].append(path)
            rows["time_s"].append(float((frame.pts - first) * base))
            rows["embedding"].append(embedding)
            rows["label"].append(labels[best])
            rows["score"].append(float(scores[best]))


def work(todo: Any, paths: list[str], bundle: str, out: str) -> None:
    """One process: takes the next video until there is none, and writes one file."""
    graph, labels = Graph(bundle), imagenet_labels()
    rows: dict[str, list[Any]] = {name: [] for name in ("uri", "time_s", "embedding", "label", "score")}
    while True:
        with todo.get_lock():
            number = todo.value
            todo.value += 1
        if number >= len(paths):
            break
        classify(paths[number], graph, rows, labels)
    pq.write_table(pa.table(rows), f"{out}/{os.getpid()}.parquet")


def main(list_file: str, out: str, bundle: str) -> None:
    """Classifies the listed videos, largest first, into one Parquet file a process in the folder `out`."""
    paths = sorted(Path(list_file).read_text(encoding="utf-8").splitlines(), key=os.path.getsize, reverse=True)
    Path(out).mkdir()
    todo = multiprocessing.Value("l", 0)
    workers = [multiprocessing.Process(target=work, args=(todo, paths, bundle, out)) for _ in os.sched_getaffinity(0)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    sys.exit(any(worker.exitcode for worker in workers))


if __name__ == "__main__":
    main(*sys.argv[1:])
