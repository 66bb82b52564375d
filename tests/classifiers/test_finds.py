"""llmrouterd/classifiers/finds.py"""

import pytest

from llmrouterd.classifiers import finds
from llmrouterd.classifiers.finds import Finds
from llmrouterd.detect import PII, find
from llmrouterd.hooks import Context

MAIL, CARD = "write to anna@zeit.de", "pay with 4111 1111 1111 1111"


async def tags(texts, **settings):
    return await Finds("pii", PII, settings).tags(texts, Context("pii", {}))


async def test_the_chief_tag_and_one_for_each_kind_in_the_order_of_the_kinds() -> None:
    assert await tags([CARD, MAIL, MAIL]) == ["pii", "pii-email", "pii-card"]
    assert await tags(["nothing"]) == []
    assert await tags([]) == []


async def test_only_the_kinds_of_the_settings_count() -> None:
    assert await tags([CARD, MAIL], kinds=["card"]) == ["pii", "pii-card"]
    assert Finds("pii", PII, {"kinds": ["card"]}).may_set == ("pii", "pii-card")


@pytest.mark.parametrize("allow", ["anna@zeit.de", "*@ZEIT.de", "*"])
async def test_what_is_allowed_is_not_found(allow: str) -> None:
    assert await tags([MAIL], allow=[allow]) == []
    assert await tags([MAIL, "bob@faz.net"], allow=["*@zeit.de"]) == ["pii", "pii-email"]


async def test_a_number_is_allowed_however_it_is_written() -> None:
    assert await tags([CARD], allow=["4111111111111111"]) == []
    assert await tags(["4111111111111111"], allow=["4111-1111-1111-1111"]) == []


async def test_a_text_is_looked_at_once(monkeypatch) -> None:
    looked: list[str] = []
    monkeypatch.setattr(finds, "find", lambda text, kinds: looked.append(text) or find(text, kinds))
    classifier = Finds("pii", PII, {})
    long = MAIL + " and so on" * 50
    for _ in range(3):
        assert await classifier.tags([long, "a@b", "short"], Context("pii", {})) == [
            "pii",
            "pii-email",
        ]
    assert looked == [long]


async def test_nothing_of_a_text_is_kept() -> None:
    classifier = Finds("pii", PII, {})
    await classifier.tags([MAIL * 100], Context("pii", {}))
    assert all(isinstance(key, bytes) for key in classifier._known._entries)
    assert "anna" not in str(classifier._known._entries)


async def test_others_may_go_on_while_a_long_text_is_looked_at() -> None:
    breaths = 0

    async def breathe() -> None:
        nonlocal breaths
        breaths += 1

    text = ("word " * 20 + "\n") * 3000
    await Finds("pii", PII, {}).tags([text], Context("pii", {}, breathe=breathe))
    assert breaths >= len(text) // 16384


def test_everything_wrong_is_named_at_once() -> None:
    with pytest.raises(ValueError, match="kinds") as caught:
        Finds("pii", PII, {"kinds": ["mail"], "allow": "x"})
    assert len(str(caught.value).splitlines()) == 2
