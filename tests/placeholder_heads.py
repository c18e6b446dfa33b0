"""Heads on the placeholder model, which need no training."""

from pathlib import Path

from models.heads import saved
from models.heads.architectures import Architecture, build, finished
from models.heads.out_of_distribution import Statistics
from models.visual import registry
from models.visual.architectures import placeholder
from models.visual.backbone import Backbone, fingerprint_of_key

LABELS = ("crane", "none", "train")
SURE = 60
"""Factor that makes the scores of an untrained localization head change enough for ranges."""


def make_head(path: Path, kind: str, seed: int = 1) -> Path:
    """An untrained head on the placeholder, with a small window."""
    architecture = Architecture(kind, hidden=8, window_frames=5)  # type: ignore[arg-type]
    statistics = Statistics(placeholder.classifier()[0][:, 0] * 0.1, 0.3, 0.1)
    learner = build(architecture, len(LABELS), statistics, seed)
    if kind == "localization":
        for name in ("moving", "still", "boundaries"):
            learner.get_layer(name).kernel.assign(SURE * learner.get_layer(name).kernel)
    model = finished(learner, architecture, None)
    about = saved.SavedHead(
        kind=architecture.kind,
        labels=LABELS,
        multi_label=kind == "localization",
        longest_s=5.0 if kind == "localization" else 0.0,
        thresholds=(0.3, 0.4, 0.5),
        backbone=Backbone("placeholder", None, fingerprint_of_key(registry.find("placeholder").key)),
        reach_frames=architecture.reach_frames,
    )
    saved.save(model, about, path)
    return path
