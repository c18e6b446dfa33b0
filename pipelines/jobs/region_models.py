"""Opens what finds regions, before a job begins: the classifier's activation maps or a segmentation model."""

from dataclasses import replace
from typing import NamedTuple

from models.regions.bundle import prepare_segmenter
from models.visual.bundle import ModelBundle
from models.visual.errors import ModelError
from models.visual.feature_map import add_feature_map
from transforms.catalog.records import RunConfig
from transforms.decoder.regions import MAPS, open_way
from transforms.storage import absolute


class RegionsModel(NamedTuple):
    """What finds regions.

    Attributes:
        regions: as of `RunConfig`: ``maps``, or the folder of a segmentation model.
        name: its name.
        fingerprint: see `models.regions.segmenter.Segmenter`.
    """

    regions: str
    name: str
    fingerprint: str

    def in_config(self, config: RunConfig) -> RunConfig:
        """Returns the configuration of a run that also finds regions."""
        return replace(config, regions=self.regions, regions_model=self.name, regions_fingerprint=self.fingerprint)


def open_regions(asked: str, bundle: ModelBundle, model: str, weights: str | None = None) -> RegionsModel:
    """Opens what finds regions, and adds to the bundle what that needs.

    Args:
        asked: ``maps``, or a segmentation model as `models.regions.bundle.prepare_segmenter` takes it.
        bundle: the classifier.
        model: what the classifier was prepared from, see `models.visual.bundle.prepare`.
        weights: the same.

    Raises:
        ModelError: it cannot be opened, or the classifier gives it nothing to go by.
    """
    if bundle.spec.clip is not None:
        raise ModelError(f"{bundle.spec.name} takes clips, and regions are found in single pictures: leave them out")
    if asked == MAPS:
        add_feature_map(bundle, model, weights)
        regions = MAPS
    else:
        regions = absolute(str(prepare_segmenter(asked)))
    way = open_way(bundle, regions)
    return RegionsModel(regions, way.name, way.fingerprint)
