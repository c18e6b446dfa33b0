"""What a temporal head does in a scene unlike those it learned from: what moves counts, what stands there does not."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.heads.architectures import OUT_OF_DISTRIBUTION_RADII, Architecture, build, finished
from models.heads.calibration import example_scores
from models.heads.early_stopping import EarlyStopping, Limits, validation_of
from models.heads.feature_set import FeatureSet
from models.heads.labels_table import Example
from models.heads.out_of_distribution import (
    NEIGHBOURS,
    SCENES,
    Scenes,
    Statistics,
    training_scenes,
    typical_movement,
    windows,
)
from models.heads.trained import Trained
from models.heads.training import WARM_UP_EPOCHS, TrainingSettings, example_logits, train_head
from tests.feature_sets import feature_set

SIZE, FRAMES, CLASSES = 24, 10, 3
TEMPORAL = Architecture("temporal", hidden=32, window_frames=5)


def features(sequences: list[NDArray[Any]], labels: list[str]) -> FeatureSet:
    examples = [Example(f"v{i}", 0, np.inf, (label,), "", f"v{i}") for i, label in enumerate(labels)]
    return feature_set([s.astype(np.float32) for s in sequences], examples)


def places(rows: NDArray[Any], frames: int = FRAMES) -> list[NDArray[Any]]:
    """Windows in which nothing moves."""
    return [np.repeat(row[np.newaxis], frames, axis=0) for row in rows]


def by_hand(scene: NDArray[Any], scenes: Scenes) -> float:
    """How familiar a scene is, from its distances one by one."""
    distances = sorted(np.sqrt(((scene - place) ** 2).mean()) for place in scenes.places)
    far = distances[scenes.neighbours - 1] / scenes.radius
    return float(np.clip(1 - (far - 1) / (OUT_OF_DISTRIBUTION_RADII - 1), 0, 1))


def test_what_a_frame_shows_counts_as_far_as_its_scene_is_in_distribution() -> None:
    rng = np.random.default_rng(0)
    learner = build(TEMPORAL, CLASSES, Statistics(np.zeros(SIZE), 1.0, 1.0), seed=1)
    scenes = Scenes(rng.normal(size=(20, SIZE)).astype(np.float32), NEIGHBOURS, radius=1.3)
    model = finished(learner, TEMPORAL, scenes)
    met = set()
    for size in np.linspace(0, 4, 30):
        # One place for the whole clip, so that every window is of the same scene.
        sequence = np.repeat(rng.normal(size=(1, SIZE)) * size, FRAMES, axis=0).astype(np.float32)
        clip = [sequence[np.newaxis], np.ones((1, FRAMES, 1), np.float32)]
        whole, moving, still = (np.asarray(logits)[0] for logits in learner(clip))
        familiar = by_hand(sequence[0], scenes)
        met.add(0.0 if familiar == 0 else 1.0 if familiar == 1 else 0.5)
        np.testing.assert_allclose(np.asarray(model(clip))[0], moving + familiar * still, atol=1e-4)
        np.testing.assert_allclose(whole, moving + still, atol=1e-4)
    assert met == {0.0, 0.5, 1.0}, "near, between and far"


def test_the_radius_holds_most_of_the_training_scenes() -> None:
    rng = np.random.default_rng(1)
    statistics = Statistics(np.zeros(SIZE), 1.0, 1.0)
    found = training_scenes(places(rng.normal(size=(100, SIZE))), statistics)
    assert found is not None
    inside = [by_hand(row, found) == 1 for row in rng.normal(size=(200, SIZE))]
    assert np.mean(inside) > 0.8
    assert not any(by_hand(row, found) for row in rng.normal(size=(200, SIZE)) + 3)


def test_few_examples_say_nothing_of_what_is_out_of_distribution() -> None:
    statistics = Statistics(np.zeros(SIZE), 1.0, 1.0)
    assert training_scenes(places(np.eye(NEIGHBOURS, SIZE)), statistics) is None
    assert training_scenes(places(np.eye(NEIGHBOURS + 1, SIZE)), statistics) is not None


def test_windows_are_of_so_many_examples_at_most_and_move_as_much_as_they_do() -> None:
    rng = np.random.default_rng(2)
    many = features([rng.normal(size=(40, SIZE)) * 0.5 + i for i in range(SCENES + 10)], ["a", "b"] * (SCENES // 2 + 5))
    parts = windows(many, np.arange(len(many)), 17, seed=3)
    assert len(parts) == SCENES and {len(part) for part in parts} == {17}
    assert len({round(float(part.mean())) for part in parts}) == SCENES, "one of each example"
    assert typical_movement(parts) == pytest.approx(0.5, rel=0.05)
    assert typical_movement(places(np.eye(3, SIZE))) == 0


def acts(count: int, seed: int, scene: float, clothes: bool) -> FeatureSet:
    """Two acts that differ in how fast something moves; each has clothes of its own, or none that tell."""
    rng = np.random.default_rng([seed, int(scene * 10)])
    fixed = np.random.default_rng(8)
    along, across, worn, background = fixed.normal(size=(4, SIZE))
    sequences = []
    for i in range(count):
        phase = rng.uniform(0, 2 * np.pi) + np.arange(FRAMES) * (0.5, 1.6)[i % 2] * rng.uniform(0.9, 1.1)
        frames = np.outer(np.sin(phase), along) + np.outer(np.cos(phase), across)
        frames += worn * ((-2, 2)[i % 2] if clothes else rng.choice([-2, 2])) + background * scene
        sequences.append(frames + rng.normal(size=SIZE) * 0.3 + rng.normal(size=(FRAMES, SIZE)) * 0.1)
    return features(sequences, ["slow", "fast"] * (count // 2))


def accuracy(trained: Trained, held_out: FeatureSet) -> float:
    scores = example_scores(example_logits(trained.model, held_out, np.arange(len(held_out))), 1.0, False)
    return float((scores.argmax(axis=1) == held_out.targets.argmax(axis=1)).mean())


@pytest.mark.slow
def test_in_a_scene_out_of_distribution_clothes_do_not_count() -> None:
    """Where it learned, clothes tell the act; in the strange scene they mislead as often as not."""
    settings = TrainingSettings(TEMPORAL, Limits(40, 10), batch_examples=16)
    trained = train_head(acts(120, 0, 0, clothes=True), settings)
    by_frame = train_head(acts(120, 0, 0, clothes=True), replace(settings, architecture=Architecture("mlp", 32)))
    assert accuracy(trained, acts(60, 1, 0, clothes=True)) >= 0.95
    strange = acts(60, 1, 4, clothes=False)
    assert accuracy(trained, strange) >= 0.85, "chance is 0.5"
    assert accuracy(by_frame, strange) <= 0.7


def test_no_epoch_is_the_best_before_movement_can_be_learned() -> None:
    losses = iter([0.1, 0.2, 0.9, 0.5, 0.6, 0.7, 0.8])
    targets = np.eye(2)

    class Model:
        stop_training = False

        def get_weights(self) -> list[NDArray[Any]]:
            return []

    def score(model: Any) -> list[NDArray[Any]]:
        certain = np.exp(-next(losses))
        return [np.log([[certain, 1 - certain]]), np.log([[1 - certain, certain]])]

    early_stopping, model = (
        EarlyStopping(
            validation_of(score, targets, False), Limits(10, 2), lambda number, of, epoch: None, warm_up_epochs=3
        ),
        Model(),
    )
    while not model.stop_training:
        early_stopping._end_epoch(model, 0.0)
    assert (early_stopping.best_epoch, len(early_stopping.curve)) == (4, 6)
    assert WARM_UP_EPOCHS["temporal"] > WARM_UP_EPOCHS["linear"] == 1
