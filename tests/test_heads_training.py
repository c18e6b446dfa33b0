"""Training on made-up features: better than chance by a margin, the same every time, and only movement where it matters."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from models.heads.architectures import Architecture
from models.heads.calibration import example_scores
from models.heads.early_stopping import Limits, class_weights
from models.heads.errors import HeadError
from models.heads.feature_set import FeatureSet
from models.heads.labels_table import Example
from models.heads.trained import Trained
from models.heads.training import (
    AVERAGE_MOMENTUM,
    SHORTEST_FRAMES,
    WARM_UP_EPOCHS,
    TrainingSettings,
    _clips,
    average_momentum,
    example_logits,
    train_head,
)
from tests.feature_sets import feature_set

pytestmark = pytest.mark.slow

SIZE, FRAMES = 24, 10
SETTINGS = TrainingSettings(Architecture("linear", hidden=16, window_frames=5), Limits(15, 5), batch_examples=16)


def made(sequences: Sequence[np.ndarray], labels: Sequence[tuple[str, ...]], splits: Sequence[str] = ()) -> FeatureSet:
    named = zip(labels, [*splits, *[""] * len(labels)], strict=False)
    examples = [Example(f"v{i}", 0, np.inf, one, split, f"v{i}") for i, (one, split) in enumerate(named)]
    return feature_set(sequences, examples)


def scenes(count: int, seed: int, classes: int = 3) -> FeatureSet:
    """Classes that a single frame tells apart."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, SIZE))
    truth = np.arange(count) % classes
    sequences = [centres[k] + rng.normal(size=(int(rng.integers(1, FRAMES)), SIZE)) * 0.8 for k in truth]
    return made([s.astype(np.float32) for s in sequences], [(f"class {k}",) for k in truth])


def movements(count: int, seed: int, scene: int = 0) -> FeatureSet:
    """A thing crosses along one direction or back: a pair has the same frames, in the opposite order."""
    rng = np.random.default_rng([seed, scene])
    direction = np.random.default_rng(5).normal(size=SIZE)
    background = np.random.default_rng(scene).normal(size=SIZE) * 2
    sequences, labels = [], []
    for _ in range(count // 2):
        places = (rng.uniform(0, 1) + np.arange(FRAMES) * rng.uniform(0.08, 0.15)) % 1
        frames = background + np.outer(np.sin(2 * np.pi * places), direction)
        frames += np.outer(np.cos(2 * np.pi * places), np.roll(direction, 7)) + rng.normal(size=(FRAMES, SIZE)) * 0.1
        sequences += [frames.astype(np.float32), frames[::-1].astype(np.float32)]
        labels += [("left",), ("right",)]
    return made(sequences, labels)


def accuracy(trained: Trained, features: FeatureSet) -> float:
    logits = example_logits(trained.model, features, np.arange(len(features)))
    scores = example_scores(logits, trained.temperature, features.multi_label)
    if features.multi_label:
        return float(((scores >= 0.5) == (features.targets > 0)).mean())
    return float((scores.argmax(axis=1) == features.targets.argmax(axis=1)).mean())


@pytest.mark.parametrize("kind", ["linear", "mlp", "temporal"])
def test_every_head_learns_scenes(kind: str) -> None:
    trained = train_head(scenes(90, 0), replace(SETTINGS, architecture=Architecture(kind, hidden=16, window_frames=5)))  # type: ignore[arg-type]
    assert accuracy(trained, scenes(60, 1)) >= 0.85, "chance is 0.33"
    assert len(trained.train_indices) == 90, "the drawn validation part is learned from in the end"
    assert 1 <= trained.best_epoch <= len(trained.curve) <= 15


def test_only_a_temporal_head_tells_movements_apart() -> None:
    """Also against another background than the one it learned from; the mean over frames knows nothing."""
    longer = replace(SETTINGS, limits=Limits(40, 15))
    temporal = train_head(
        movements(120, 0), replace(longer, architecture=Architecture("temporal", 32, window_frames=5))
    )
    pooled = train_head(movements(120, 0), replace(longer, architecture=Architecture("mlp", 32)))
    for scene in (0, 1):
        held_out = movements(60, 1, scene)
        assert accuracy(temporal, held_out) >= 0.9, "chance is 0.5"
        assert accuracy(pooled, held_out) <= 0.6


def test_training_is_repeatable() -> None:
    first, second = (train_head(scenes(40, 0), replace(SETTINGS, limits=Limits(3, 3))) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first.model.get_weights(), second.model.get_weights(), strict=True))
    assert first.curve == second.curve and first.temperature == second.temperature


@pytest.mark.parametrize(("epochs", "patience", "early"), [(4, 4, False), (60, 1, True)])
@pytest.mark.parametrize("judged", [True, False])
def test_the_mean_of_a_temporal_heads_weights_is_kept(
    monkeypatch: pytest.MonkeyPatch, epochs: int, patience: int, early: bool, judged: bool
) -> None:
    """However training ends: by the number of epochs or before, with a validation part or on all examples."""
    import keras

    fits: list[list[np.ndarray]] = []

    class Recording(keras.callbacks.SwapEMAWeights):
        def on_train_begin(self, logs: object = None) -> None:
            fits.append([])

        def on_train_batch_end(self, batch: int, logs: object = None) -> None:
            fits[-1].append(self.model.get_layer("still").kernel.numpy())

    monkeypatch.setattr(keras.callbacks, "SwapEMAWeights", Recording)
    monkeypatch.setitem(WARM_UP_EPOCHS, "temporal", 1)
    features = scenes(60, 0)
    if judged:
        labels = [example.labels for example in features.examples]
        sequences = [features.sequence(i) for i in range(60)]
        features = made(sequences, labels, ["val" if i % 5 == 0 else "train" for i in range(60)])
    architecture = Architecture("temporal", hidden=16, window_frames=5)
    settings = replace(SETTINGS, architecture=architecture, limits=Limits(epochs, patience), learning_rate=3e-2)
    trained = train_head(features, settings)
    assert len(fits) == (1 if judged else 2)
    assert (len(trained.curve) < epochs) is early
    steps = len(fits[0]) // len(trained.curve)
    planned = (epochs if judged else trained.best_epoch) * steps
    mean = fits[-1][0]
    for weights in fits[-1][1 : trained.best_epoch * steps]:
        mean = average_momentum(planned) * mean + (1 - average_momentum(planned)) * weights
    kept = trained.model.get_layer("still").kernel.numpy()
    np.testing.assert_allclose(kept, mean, atol=1e-4)
    assert np.abs(kept - fits[-1][trained.best_epoch * steps - 1]).max() > 1e-2, "not the weights of the last step"


def test_a_temporal_head_learns_from_other_parts_of_its_examples_in_every_epoch() -> None:
    """Parts of long ones of at least half their frames; short ones whole; and frames of every part in order."""
    lengths = (20, SHORTEST_FRAMES, SHORTEST_FRAMES - 1)
    numbered = [
        np.arange(1, count + 1, dtype=np.float32)[:, np.newaxis] * np.ones(SIZE, np.float32) for count in lengths
    ]
    features = made(numbered, [("a",), ("b",), ("c",)])
    drawn: dict[str, dict[int, set[tuple[float, ...]]]] = {}
    for kind in ("temporal", "mlp"):
        settings = replace(SETTINGS, architecture=Architecture(kind, window_frames=5), batch_examples=3)  # type: ignore[arg-type]
        parts = drawn[kind] = {0: set(), 1: set(), 2: set()}
        for (embeddings, present), targets, _ in islice(_clips(features, np.arange(3), settings, max(lengths)), 150):
            parts[int(targets[0].argmax())].add(tuple(embeddings[present[:, 0] > 0][:, 0]))
    for index, length in enumerate(lengths):
        whole = tuple(range(1, length + 1))
        assert drawn["mlp"][index] == {whole}
        for part in drawn["temporal"][index]:
            assert part == tuple(range(int(part[0]), int(part[0]) + len(part))) and len(part) >= length // 2
    assert len(drawn["temporal"][0]) > 20 and len(drawn["temporal"][1]) > 3
    assert drawn["temporal"][2] == {tuple(range(1, SHORTEST_FRAMES))}


def test_a_short_training_keeps_the_mean_of_its_end() -> None:
    for steps in (2, 8, 40, 200, 2000):
        momentum = average_momentum(steps)
        assert momentum <= AVERAGE_MOMENTUM
        assert momentum**steps <= 0.15, "the first weights count little"
    assert average_momentum(200) == average_momentum(2000) == AVERAGE_MOMENTUM


def test_classes_that_do_not_exclude_each_other() -> None:
    rng = np.random.default_rng(0)
    centres = np.random.default_rng(9).normal(size=(2, SIZE)) * 2

    def both(count: int) -> FeatureSet:
        shown = [tuple(k for k in range(2) if (i >> k) & 1) or (0,) for i in range(count)]
        sequences = [rng.normal(size=(4, SIZE)) + sum(centres[k] for k in one) for one in shown]
        return made([s.astype(np.float32) for s in sequences], [tuple("ab"[k] for k in one) for one in shown])

    learned = both(80)
    assert learned.multi_label
    assert accuracy(train_head(learned, replace(SETTINGS, limits=Limits(40, 20), learning_rate=1e-2)), both(40)) >= 0.85


def test_a_named_validation_part_is_not_learned_from() -> None:
    whole = scenes(60, 0)
    splits = ["val" if i % 5 == 0 else "train" for i in range(60)]
    named = made(list(whole.sequences()), [e.labels for e in whole.examples], splits)
    trained = train_head(named, replace(SETTINGS, limits=Limits(3, 3)))
    assert trained.val_indices.tolist() == list(range(0, 60, 5)) and not set(trained.train_indices) & set(
        trained.val_indices
    )


def test_features_that_are_no_numbers_are_one_line() -> None:
    broken = scenes(30, 0)
    broken.embeddings[0] = np.nan
    with pytest.raises(HeadError, match="no finite numbers"):
        train_head(broken, replace(SETTINGS, limits=Limits(2, 2)))


def test_rare_classes_count_more() -> None:
    weights = class_weights(np.eye(2)[[0] * 90 + [1] * 10])
    assert weights[1] / weights[0] == pytest.approx(3)
