"""What all pages share: the templates' environment, its filters and the style sheet."""

from base64 import b64encode
from collections.abc import Sequence
from datetime import datetime
from importlib import resources
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pipelines.terminal.units import clock, human_bytes, human_speed, human_time
from transforms.catalog.schemas import THUMBNAIL_MEDIA_TYPE
from transforms.storage import printable

SHOWN_LABELS: Final = 3
"""Labels of a video in a list of videos."""


def environment(package: str, folder: str) -> Environment:
    """Returns the environment of the templates in a folder of a package; every value is escaped."""
    made = Environment(
        loader=PackageLoader(package, folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        bytes=human_bytes,
        clock=clock,
        data_uri=data_uri,
        labels=_labels,
        moment=moment,
        name=printable,
        percent=_percent,
        short=_short,
        speed=human_speed,
        time=human_time,
    )
    return made


def style() -> Markup:
    """Returns the style sheet of all pages, to be put inside one."""
    return Markup((resources.files(__package__) / "static" / "page.css").read_text(encoding="utf-8"))


def moment(when: str | datetime) -> str:
    """Returns a time, or the ISO 8601 text of one, as a person reads it, in the time zone of this machine."""
    at = datetime.fromisoformat(when) if isinstance(when, str) else when
    return at.astimezone().strftime("%Y-%m-%d %H:%M")


def data_uri(image: bytes) -> str:
    """Returns a thumbnail as a URI that holds it."""
    return f"data:{THUMBNAIL_MEDIA_TYPE};base64,{b64encode(image).decode()}"


def _percent(share: float) -> str:
    """Returns a share rounded down, so that what is not whole never reads 100 %."""
    return f"{int(share * 100)} %"


def _labels(pairs: Sequence[dict[str, Any]]) -> str:
    return ", ".join(printable(pair["label"]) for pair in pairs[:SHOWN_LABELS])


def _short(uri: str) -> str:
    """Returns the last two parts of a URI: what tells most videos apart."""
    return printable("/".join(uri.rstrip("/").split("/")[-2:]))
