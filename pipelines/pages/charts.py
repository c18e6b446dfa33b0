"""Bar charts as inline SVG, which takes its colours from the page and needs no script."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup, escape

WIDTH: Final = 320
HEIGHT: Final = 110
_BASE: Final = 90
_TOP: Final = 14


@dataclass(frozen=True)
class Bar:
    """One bar of a chart.

    Attributes:
        name: what the bar stands for, such as a date.
        value: its height; not negative.
        words: the value as a person reads it.
    """

    name: str
    value: float
    words: str


@dataclass(frozen=True)
class Chart:
    """A bar chart.

    Attributes:
        title: what is drawn, with its unit.
        svg: the drawing.
    """

    title: str
    svg: Markup


LABEL: Final = "{title}: highest {highest} ({name}), newest {newest}"
"""What a chart says to those who do not see it."""


def bar_chart(title: str, bars: Sequence[Bar], kind: str = "", *, label: str = LABEL) -> Chart:
    """Draw one bar for each value, from left to right, with the highest value and both ends of the axis in words.

    Args:
        title: what is drawn, with its unit.
        bars: at least one.
        kind: CSS class of the bars.
        label: what the chart says to those who do not see it, with the fields of `LABEL`.
    """
    highest = max(bars, key=lambda bar: bar.value)
    scale = (_BASE - _TOP) / highest.value if highest.value > 0 else 0.0
    step = WIDTH / len(bars)
    drawn = Markup("").join(_drawn(bar, i * step, step, scale, kind) for i, bar in enumerate(bars))
    said = label.format(title=title, highest=highest.words, name=highest.name, newest=bars[-1].words)
    svg = Markup(
        '<svg viewBox="0 0 {w} {h}" role="img" aria-label="{label}">'
        '<line x1="0" x2="{w}" y1="{base}" y2="{base}"/>{drawn}'
        '<text x="0" y="10">{most}</text><text x="0" y="{h_text}">{first}</text>'
        '<text x="{w}" y="{h_text}" text-anchor="end">{last}</text></svg>'
    ).format(
        w=WIDTH,
        h=HEIGHT,
        label=said,
        base=_BASE,
        drawn=drawn,
        most=highest.words,
        h_text=HEIGHT - 5,
        first=bars[0].name,
        last=bars[-1].name if len(bars) > 1 else "",
    )
    return Chart(title, svg)


def _drawn(bar: Bar, left: float, step: float, scale: float, kind: str) -> Markup:
    height = bar.value * scale
    width = min(step * 0.8, 24)
    return Markup(
        '<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"><title>{}</title></rect>'
    ).format(escape(kind), left + (step - width) / 2, _BASE - height, width, height, f"{bar.name}: {bar.words}")
