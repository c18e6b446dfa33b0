"""Figures against scikit-learn's and plain loops; calibration and thresholds by their definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from models.heads.calibration import (
    BINS,
    example_scores,
    expected_calibration_error,
    fit_temperature,
    log_loss,
    thresholds_for,
    uncalibrated,
)
from models.heads.errors import LabelsError
from models.heads.evaluation import Predictions, confusion, evaluate
from models.heads.hierarchy import parse_hierarchy, roll_up
from models.heads.report import render, worst_first

LABELS = ("a", "b", "c", "d", "e", "f", "g")


def predictions(n: int = 80, classes: int = 7, seed: int = 0, *, multi_label: bool = False) -> Predictions:
    """Scores that know something of the truth."""
    rng = np.random.default_rng(seed)
    truth = np.eye(classes)[rng.integers(0, classes, n)]
    logits = 2 * truth + rng.normal(size=(n, classes))
    if multi_label:
        truth = np.maximum(truth, rng.random((n, classes)) < 0.2)
        scores = 1 / (1 + np.exp(-(3 * truth - 1.5 + rng.normal(size=truth.shape))))
    else:
        scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    groups = [("north", "south", "")[i % 3] for i in range(n)]
    return Predictions(
        LABELS[:classes],
        scores,
        scores**2,
        truth,
        [f"v{i // 2}" for i in range(n)],
        groups,
        multi_label,
        (0.5,) * classes,
    )


def test_figures_are_those_of_scikit_learn() -> None:
    one = predictions()
    figures = evaluate(one, 0.8)
    truth, found = one.targets.argmax(axis=1), one.scores.argmax(axis=1)
    assert figures["accuracy"] == pytest.approx(metrics.accuracy_score(truth, found))
    assert figures["top5"] == pytest.approx(metrics.top_k_accuracy_score(truth, one.scores, k=5))
    assert figures["macro_f1"] == pytest.approx(metrics.f1_score(truth, found, average="macro"))
    assert figures["log_loss"] == pytest.approx(metrics.log_loss(truth, one.scores))
    assert confusion(one).tolist() == metrics.confusion_matrix(truth, found).tolist() == figures["confusion"]
    precision, recall, f1, support = metrics.precision_recall_fscore_support(truth, found)
    for k, label in enumerate(one.labels):
        told = figures["per_class"][label]
        assert (told["precision"], told["recall"], told["f1"], told["support"]) == pytest.approx(
            (precision[k], recall[k], f1[k], support[k])
        )
        assert told["average_precision"] == pytest.approx(
            metrics.average_precision_score(one.targets[:, k], one.scores[:, k])
        )
    assert figures["intervals"]["accuracy"][0] <= figures["accuracy"] <= figures["intervals"]["accuracy"][1]
    assert evaluate(one, 0.8) == figures, "the bootstrap is seeded"


def test_classes_that_do_not_exclude_each_other() -> None:
    one = predictions(multi_label=True)
    figures = evaluate(one, 0.8)
    found = one.scores >= 0.5
    assert figures["accuracy"] == pytest.approx(metrics.accuracy_score(one.targets, found))
    assert figures["macro_f1"] == pytest.approx(metrics.f1_score(one.targets, found, average="macro"))
    assert figures["mean_average_precision"] == pytest.approx(metrics.average_precision_score(one.targets, one.scores))
    assert figures["confusion"] is None


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.filterwarnings("error::UserWarning")
def test_a_single_class_and_classes_that_never_occur(multi_label: bool) -> None:
    """A hierarchy may roll all classes up to one; of a class that never occurs there is nothing to average."""
    alone = evaluate(predictions(20, 1, multi_label=multi_label), 0.8)
    assert alone["per_class"]["a"]["recall"] == alone["mean_average_precision"] == 1
    assert alone["confusion"] == (None if multi_label else [[20]])
    one = predictions(40, 3, multi_label=multi_label)
    one.targets[:, 2] = 0
    figures = evaluate(one, 0.8)["per_class"]["c"]
    assert (figures["average_precision"], figures["support"]) == (None, 0)
    assert figures["precision"] == figures["recall"] == figures["f1"] == 0


def test_groups_and_their_largest_gap() -> None:
    one = predictions()
    figures = evaluate(one, 0.8)
    right = one.targets.argmax(axis=1) == one.scores.argmax(axis=1)
    north = right[::3].mean()
    assert set(figures["groups"]) == {"north", "south"}
    assert figures["groups"]["north"]["accuracy"] == pytest.approx(north)
    accuracies = [group["accuracy"] for group in figures["groups"].values()]
    assert figures["largest_gap"]["accuracy"] == pytest.approx(max(accuracies) - min(accuracies))


@given(st.integers(0, 10_000), st.booleans())
@settings(max_examples=30, deadline=None)
def test_calibration_error_by_its_definition(seed: int, multi_label: bool) -> None:
    one = predictions(40, 3, seed, multi_label=multi_label)
    decisions = (
        [(s, t) for row, truth in zip(one.scores, one.targets, strict=True) for s, t in zip(row, truth, strict=True)]
        if multi_label
        else [(row.max(), truth[row.argmax()]) for row, truth in zip(one.scores, one.targets, strict=True)]
    )
    total = 0.0
    for b in range(BINS):
        inside = [(s, t) for s, t in decisions if b / BINS <= s < (b + 1) / BINS or (b == BINS - 1 and s == 1)]
        if inside:
            confidence, right = np.mean(inside, axis=0)
            total += len(inside) / len(decisions) * abs(confidence - right)
    assert expected_calibration_error(one.scores, one.targets, multi_label) == pytest.approx(total)


@pytest.mark.parametrize("multi_label", [False, True])
def test_a_temperature_is_found_again(multi_label: bool) -> None:
    """Classes are drawn from the scores of logits; then these are given four times as sure as they should be."""
    rng = np.random.default_rng(1)
    logits = [rng.normal(size=(1, 3)) * 2 for _ in range(4000)]
    honest = example_scores(logits, 1.0, multi_label)
    if multi_label:
        truth = (rng.random(honest.shape) < honest).astype(float)
    else:
        truth = np.eye(3)[(rng.random((4000, 1)) > honest.cumsum(axis=1)[:, :2]).sum(axis=1)]
    sure = [4 * z for z in logits]
    temperature = fit_temperature(sure, truth, multi_label)
    assert temperature == pytest.approx(4, rel=0.1)
    after = example_scores(sure, temperature, multi_label)
    assert log_loss(after, truth, multi_label) < log_loss(example_scores(sure, 1.0, multi_label), truth, multi_label)
    assert expected_calibration_error(after, truth, multi_label) < 0.03


def test_a_few_right_answers_change_little() -> None:
    logits = [np.array([[3.0, 0.0]]), np.array([[0.0, 3.0]])] * 3
    truth = np.array([[1.0, 0.0], [0.0, 1.0]] * 3)
    assert 0.6 < fit_temperature(logits, truth, False) < 1
    assert fit_temperature(logits, 1 - truth, False) > 1.5


@given(st.integers(0, 10_000), st.floats(0.05, 1))
@settings(max_examples=60, deadline=None)
def test_no_threshold_keeps_more_at_the_wanted_precision(seed: int, wanted: float) -> None:
    rng = np.random.default_rng(seed)
    scores, truth = rng.integers(0, 12, (30, 1)) / 12, (rng.random((30, 1)) < 0.5).astype(float)
    if not truth.any():
        return
    (chosen,) = thresholds_for(scores, truth, wanted)

    def told(threshold: float) -> tuple[float, int]:
        over = scores >= threshold
        return float(truth[over].mean()) if over.any() else 0.0, int(truth[over].sum())

    possible = [told(t) for t in np.unique(scores)]
    reached = [hits for precision, hits in possible if precision >= wanted]
    precision, hits = told(chosen)
    if reached:
        assert precision >= wanted and hits == max(reached)
    else:
        assert precision == max(p for p, _ in possible)


def test_a_threshold_lies_between_classes_that_are_apart() -> None:
    scores = np.array([[0.9], [0.8], [0.2], [0.1]])
    assert thresholds_for(scores, np.array([[1.0], [1.0], [0.0], [0.0]]), 0.9) == pytest.approx((0.5,))
    assert thresholds_for(scores, np.zeros((4, 1)), 0.9) == (0.5,)


@pytest.mark.parametrize("multi_label", [False, True])
def test_scores_before_scaling(multi_label: bool) -> None:
    logits = np.random.default_rng(0).normal(size=(5, 4)) * 3
    scaled = example_scores([z[np.newaxis] for z in logits], 2.5, multi_label)
    plain = example_scores([z[np.newaxis] for z in logits], 1.0, multi_label)
    assert np.allclose(uncalibrated(scaled, 2.5, multi_label), plain)


def test_a_hierarchy_rolls_scores_up() -> None:
    parents = parse_hierarchy(b"parent,child\nvehicle,train\nvehicle,truck\nthing,vehicle\n", "hierarchy.csv")
    scores = np.array([[0.2, 0.5, 0.3]])
    assert roll_up(("truck", "dog", "train"), scores, parents, False)[0] == ("dog", "thing")
    assert np.allclose(roll_up(("truck", "dog", "train"), scores, parents, False)[1], [[0.5, 0.5]])
    assert np.allclose(roll_up(("truck", "dog", "train"), scores, parents, True)[1], [[0.5, 1 - 0.8 * 0.7]])
    for text, what in (
        (b"parent,child\na,b\nb,a\n", "goes round"),
        (b"parent,child\na,b\nc,b\n", "'b' has two parents"),
        (b"up,down\na,b\n", "needs the columns parent and child"),
    ):
        with pytest.raises(LabelsError, match=what):
            parse_hierarchy(text, "hierarchy.csv")


def test_the_page_has_everything_and_needs_nothing() -> None:
    one = predictions(30, 4)
    figures = {**evaluate(one, 0.9), "frames": 90, "catalog": "/c", "note": "", "model": "tank.keras"}
    page = render(figures, one, [], "How good is <tank>", {"epochs": 3})
    assert "How good is &lt;tank&gt;" in page and f"{figures['accuracy']:.1%}" in page
    assert page.count("data:image/png;base64,") == 4, "confusion, curves, calibration, groups"
    assert "http://" not in page and "https://" not in page and "<script" not in page
    order = worst_first(one)
    given_to_truth = (one.scores * one.targets).sum(axis=1)[order]
    assert (np.diff(given_to_truth) >= 0).all()
