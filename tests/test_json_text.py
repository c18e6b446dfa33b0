"""JSON that no value can turn into anything else than one clean line."""

import json

from hypothesis import given
from hypothesis import strategies as st

from pipelines.terminal.json_text import json_text


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_comes_back_and_the_line_is_clean(text: str) -> None:
    line = json_text({"uri": text})
    assert line.isprintable()
    assert json.loads(line) == {"uri": text}


def test_what_people_read_stays_as_it_is() -> None:
    assert json_text(["骑自行车的孩子", "é", "🎬"]) == '["骑自行车的孩子","é","🎬"]'
    assert json_text("a\u202eb\U000e0001") == '"a\\u202eb\\udb40\\udc01"'
