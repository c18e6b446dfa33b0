"""Best labels: the hierarchy of the ImageNet classes, the rule, its floors, and what they get right on held-out stills."""

import math
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from models.heads.errors import LabelsError
from models.heads.hierarchy import ancestors_of, check_names, parse_hierarchy
from models.visual.hedging import (
    FLOORS,
    BestLabel,
    Hedger,
    Hedging,
    group_names_zh,
    hedging_for,
    imagenet_parents,
)
from models.visual.labels import imagenet_labels
from tests.held_out_stills import PUBLISHED_TOP_1, by_bonus, by_floor, calibrate, measure, read

ANIMALS = {"cat": "pet", "dog": "pet", "pet": "animal", "lion": "animal"}
CLASSES = ("cat", "dog", "lion", "car")


def test_every_class_has_a_place_and_every_group_several_classes() -> None:
    parents, classes = imagenet_parents(), imagenet_labels()
    below = Counter(name for one in classes for name in ancestors_of(one, parents))
    assert set(parents) - set(classes) | set(parents.values()) == set(below) == set(group_names_zh())
    assert min(below.values()) >= 2 and not set(below) & set(classes)
    assert sum(one not in parents for one in classes) < 5, "nearly all classes have a broader name"
    assert all(re.search("[\u4e00-\u9fff]", name) for name in group_names_zh().values())
    # A group with the classes of another one would never be shown.
    sets = Counter(frozenset(one for one in classes if name in ancestors_of(one, parents)) for name in below)
    assert set(sets.values()) == {1}


@pytest.mark.parametrize(
    ("name", "broader"),
    [
        ("golden retriever", ["retriever", "gun dog", "hunting dog", "dog", "canine", "carnivore", "mammal", "animal"]),
        ("albatross", ["seabird", "water bird", "bird", "animal"]),
        ("sports car", ["car", "motor vehicle", "land vehicle", "vehicle"]),
        ("Granny Smith", ["fruit", "fruit or vegetable", "food or drink"]),
        ("switch", ["household item"]),
    ],
)
def test_broader_names_are_those_that_people_use(name: str, broader: list[str]) -> None:
    assert list(ancestors_of(name, imagenet_parents())) == broader


def test_an_unsure_class_gives_way_to_what_is_sure() -> None:
    hedger = Hedger(imagenet_labels(), Hedging(floor=0.5))
    assert hedger.best([("albatross", 0.42), ("Mexican hairless", 0.10), ("hare", 0.06)]) == BestLabel("animal", 0.58)
    assert hedger.best([("albatross", 0.9)]) == BestLabel("albatross", 0.9)
    assert hedger.best([("golden retriever", 0.45), ("Labrador retriever", 0.4)]) == (
        BestLabel("retriever", pytest.approx(0.85))
    )
    assert hedger.best([("switch", 0.06), ("cab", 0.05)]) is None
    assert hedger.best([]) is None


def best_by_a_plain_account(scores: dict[str, float], hedging: Hedging) -> tuple[str, float] | None:
    """The rule by matrices; rejects scores that rounding alone puts above or below the floor."""
    parents = dict(hedging.parents)
    groups = [*CLASSES, *sorted(set(parents.values()) - set(CLASSES))]
    is_below = np.array([[name in (one, *ancestors_of(one, parents)) for name in groups] for one in CLASSES])
    values = np.array([scores.get(one, 0.0) for one in CLASSES])
    if hedging.independent:
        totals = 1 - np.prod(np.where(is_below, 1 - values[:, np.newaxis], 1.0), axis=0)
    else:
        totals = np.minimum(values @ is_below, 1.0)
    assume(not np.isclose(totals, hedging.floor, rtol=1e-9, atol=0).any())
    tells = 1 - np.log(is_below.sum(axis=0)) / np.log(len(CLASSES))
    worth = np.where(totals >= hedging.floor, tells * totals, 0.0)
    return None if worth.max() <= 1e-12 else (groups[int(worth.argmax())], float(worth.max()))


@given(
    st.dictionaries(st.sampled_from(CLASSES), st.floats(0.001, 0.999)),
    st.floats(0.01, 0.99),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_the_rule_by_a_plain_account(scores: dict[str, float], floor: float, independent: bool, random) -> None:  # type: ignore[no-untyped-def]
    total = sum(scores.values())
    if total > 1 and not independent:
        scores = {name: score / total for name, score in scores.items()}
    hedging = Hedging(0.9, floor, tuple(sorted(ANIMALS.items())), independent)
    hedger = Hedger(CLASSES, hedging)
    shuffled = list(scores.items())
    random.shuffle(shuffled)
    best, wanted = hedger.best(scores.items()), best_by_a_plain_account(scores, hedging)
    assert best == hedger.best(shuffled), "the order of the scores changed the label"
    if best is None or wanted is None:
        assert best is wanted is None
    else:
        assert best.score >= floor
        assert math.isclose(hedger._tells[best.label] * best.score, wanted[1], rel_tol=1e-9)


def test_a_user_s_own_classes_without_a_hierarchy_are_shown_or_not() -> None:
    hedger = Hedger(("in", "out"), Hedging(floor=0.9))
    assert hedger.best([("in", 0.95), ("out", 0.05)]) == BestLabel("in", 0.95)
    assert hedger.best([("in", 0.8), ("out", 0.2)]) is None


def test_names_of_a_hierarchy_are_checked() -> None:
    check_names(ANIMALS, CLASSES, "up.csv")
    with pytest.raises(LabelsError, match=r"^up.csv: 'lino' is no class of the model and the parent of none; did you"):
        check_names({"lino": "animal"}, CLASSES, "up.csv")
    with pytest.raises(LabelsError, match=r"^up.csv has no rows$"):
        check_names({}, CLASSES, "up.csv")
    with pytest.raises(LabelsError, match="goes round"):
        parse_hierarchy(b"parent,child\na,b\nb,a\n", "up.csv")


def test_settings_that_give_the_same_labels_have_the_same_key() -> None:
    other = Hedging(parents=(("a", "b"),))
    assert Hedging().key == Hedging(floor=0.5, independent=True).key == ""
    assert len({Hedging().key, Hedging(0.95).key, other.key, Hedging(0.95, parents=other.parents).key}) == 4


class _Bundle:
    """What `hedging_for` reads of a bundle."""

    def __init__(self, model: str, labels: tuple[str, ...], weights: str | None = None) -> None:
        from models.visual.backbone import Backbone

        self.backbone = Backbone(model, weights, "f" * 20)
        self.spec = type("Spec", (), {"labels": labels})()


@pytest.mark.parametrize("model", FLOORS)
def test_floors_rise_with_the_wanted_accuracy(model: str) -> None:
    floors = [hedging_for(_Bundle(model, imagenet_labels()), one).floor for one in np.linspace(0.5, 1, 51)]  # type: ignore[arg-type]
    assert floors == sorted(floors) and floors[-1] == 1
    assert hedging_for(_Bundle(model, imagenet_labels()), 0.9).floor == FLOORS[model][0.9]  # type: ignore[arg-type]


def test_other_models_need_the_wanted_accuracy_itself() -> None:
    for bundle in (
        _Bundle("ResNet50", imagenet_labels()),
        _Bundle("efficientnet_lite0", ("in", "out")),
        _Bundle("efficientnet_lite0", imagenet_labels(), "other.pth"),
    ):
        assert hedging_for(bundle, 0.93).floor == 0.93  # type: ignore[arg-type]


@pytest.mark.parametrize("model", FLOORS)
@pytest.mark.parametrize("wanted", [0.9, 0.95])
def test_best_labels_of_held_out_stills_are_right_as_often_as_wanted(model: str, wanted: float) -> None:
    stills = read(model)
    weights = stills.weights(PUBLISHED_TOP_1[model])
    assert math.isclose(calibrate(stills, weights, wanted), FLOORS[model][wanted], abs_tol=2e-3)
    found = measure(stills, weights, by_floor(FLOORS[model][wanted]))
    plain = measure(stills, np.ones(len(weights)), by_floor(FLOORS[model][wanted]))
    assert found.accuracy >= wanted - 0.001 and plain.accuracy >= wanted
    if (model, wanted) == ("efficientnet_lite0", 0.9):
        assert found.specific >= 0.7 and plain.specific >= 0.7


def test_a_floor_chosen_on_some_stills_holds_on_others() -> None:
    stills = read("efficientnet_lite0")
    weights = stills.weights(PUBLISHED_TOP_1["efficientnet_lite0"])
    even, odd = (np.arange(start, len(weights), 2) for start in (0, 1))
    for chosen, tried in ((even, odd), (odd, even)):
        floor = calibrate(stills.part(chosen), weights[chosen], 0.9)
        found = measure(stills.part(tried), weights[tried], by_floor(floor))
        # The standard error on 650 stills is 0.012.
        assert found.accuracy >= 0.9 - 0.036 and found.specific >= 0.65


def test_the_rule_is_more_specific_than_a_constant_bonus_at_the_same_accuracy() -> None:
    stills = read("efficientnet_lite0")
    weights = stills.weights(PUBLISHED_TOP_1["efficientnet_lite0"])
    bonus = measure(stills, weights, by_bonus(3.1))
    floor = measure(stills, weights, by_floor(FLOORS["efficientnet_lite0"][0.9]))
    assert bonus.accuracy == pytest.approx(floor.accuracy, abs=0.005) and floor.specific > bonus.specific + 0.1
