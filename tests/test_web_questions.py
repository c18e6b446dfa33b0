"""Questions keep what they are in their addresses, and folders what a person typed."""

import datetime
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.testclient import TestClient

from models.retrieval.errors import IndexFormatError, NoIndexError, RetrievalError
from pipelines.web.api import Asked
from pipelines.web.questions import Question, QuestionError, address_of, cannot_be_asked, filters_of, folder_of
from transforms.catalog.runs import CatalogError
from transforms.retrieval.filters import Filters

texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
times_s = st.integers(0, 10**7).map(lambda ms: ms / 1000)
days = st.dates(datetime.date(1971, 1, 1), datetime.date(2200, 1, 1))
some_filters = st.builds(
    filters_of,
    label=st.just("") | texts,
    folder=st.just("") | texts,
    min_duration_s=st.none() | times_s,
    max_duration_s=st.none() | times_s,
    since=st.none() | days,
    until=st.none() | days,
    min_height=st.none() | st.integers(0, 9999),
    status=st.none() | st.sampled_from(["ok", "partial"]),
)
words = texts.filter(str.strip)
questions = st.builds(Question, words=words, filters=some_filters, top=st.integers(1, 200)) | st.builds(
    Question, like=words, time_s=st.none() | times_s, filters=some_filters, top=st.integers(1, 200)
)


def asking() -> Starlette:
    app = FastAPI()

    @app.get("/")
    def read(asked: Asked) -> Any:
        seen.append(asked)

    return app


seen: list[Question] = []


@pytest.fixture(scope="module")
def client() -> TestClient:
    return TestClient(asking())


@given(questions)
def test_an_address_asks_its_question(client: TestClient, asked: Question) -> None:
    assert client.get(address_of(asked)).status_code == 200
    assert seen[-1] == asked


def test_an_address_with_changes() -> None:
    asked = Question("a cat", filters=Filters("cat", "*b*", min_height=480))
    assert address_of(asked) == "/?q=a+cat&label=cat&folder=b&min_height=480"
    assert address_of(asked, min_height=None, label=None, top=48) == "/?q=a+cat&folder=b&top=48"
    assert address_of(Question()) == "/?"


@given(texts)
def test_the_field_of_a_folder_stays_what_it_means(text: str) -> None:
    filters = filters_of(folder=text)
    assert filters_of(folder=folder_of(filters)) == filters


@pytest.mark.parametrize(
    ("error", "blame"),
    [
        (QuestionError("ask"), True),
        (RetrievalError("no such label"), True),
        (NoIndexError("none"), False),
        (IndexFormatError("damaged"), False),
        (CatalogError("gone"), False),
    ],
)
def test_who_is_to_blame(error: Any, blame: bool) -> None:
    assert cannot_be_asked(error) == blame
