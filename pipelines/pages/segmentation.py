"""How well a segmentation model finds the masks of pictures, as one self-contained HTML page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.pages.templating import data_uri, environment, style


@dataclass(frozen=True)
class WorstPicture:
    """A picture on the page.

    Attributes:
        name: of its files, without suffix.
        iou: mean intersection over union of its classes.
        thumbnail: a WebP file of the picture, its true and its predicted mask side by side.
    """

    name: str
    iou: float
    thumbnail: bytes


def render_segmentation(figures: dict[str, Any], worst: Sequence[WorstPicture], palette: Mapping[str, str]) -> str:
    """Render the page as HTML; style and pictures are inside, no script is.

    Args:
        figures: from `pipelines.jobs.evaluate_masks.run_mask_evaluation`.
        worst: the pictures in the order of the page.
        palette: the colour of each label.
    """
    page = environment("pipelines.pages", "templates").get_template("segmentation.html")
    return page.render(
        title="How well masks are found",
        style=style(),
        figures=figures,
        palette=palette,
        worst=[(one.name, one.iou, data_uri(one.thumbnail)) for one in worst],
    )
