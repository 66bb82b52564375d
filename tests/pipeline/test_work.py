"""What attempts of one request share."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from formats.canonical import Request
from llmrouterd.model import Headers
from llmrouterd.pipeline.work import Work


@pytest.mark.parametrize(
    ("wants", "bodies", "keep"),
    [(False, False, False), (True, False, True), (False, True, True)],
)
def test_an_answer_is_kept_when_somebody_wants_to_know(
    wants: bool, bodies: bool, keep: bool
) -> None:
    some = cast("Any", SimpleNamespace(wants_response=wants, keep_bodies=bodies, candidate=None))
    work = Work(Request("openai", "m"), Headers(), "", some, some, some, some, some)
    assert work.keep is keep
    assert not work.strict
