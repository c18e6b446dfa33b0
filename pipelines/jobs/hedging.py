"""Reads the settings of best labels from a command's options."""

from collections.abc import Mapping

from models.heads.hierarchy import check_names, parse_hierarchy
from models.heads.saved import has_independent_classes
from models.visual.bundle import ModelBundle
from models.visual.hedging import Hedging, hedging_for
from transforms.catalog.bundles import local_model
from transforms.catalog.reading.labelled_videos import read_table


def read_hedging(bundle: ModelBundle, model: str, accuracy: float, hierarchy: str | None) -> Hedging:
    """Returns the settings of best labels for a model.

    Args:
        bundle: the model.
        model: its name or path, as the user gave it.
        accuracy: wanted share of right best labels.
        hierarchy: path of a user's table of broader names; None for the project's own.

    Raises:
        LabelsError: the table cannot be read, or is no hierarchy of the model's classes.
        ModelError: the model cannot be read.
    """
    parents = read_parents(hierarchy)
    if hierarchy is not None:
        check_names(parents, bundle.spec.labels, hierarchy)
    return hedging_for(bundle, accuracy, parents, independent=has_independent_classes(local_model(model)))


def read_parents(hierarchy: str | None) -> Mapping[str, str]:
    """Returns the parent of each name in a user's table; nothing if there is no table.

    Raises:
        LabelsError: the table cannot be read.
    """
    return {} if hierarchy is None else parse_hierarchy(read_table(hierarchy), hierarchy)
