"""The lists of models in each client's words."""

import pytest

from formats.errors import Failure
from llmrouterd.model import Fleet, ModelInfo, Provider, ProviderState
from llmrouterd.ops import lists
from llmrouterd.ops.lists import ROUTER, Listed

TAG = {"name": "llama3:8b", "model": "llama3:8b", "digest": "ab", "size": 5, "details": {"x": 1}}
CLAUDE = {"type": "model", "id": "claude-x", "display_name": "X", "lifecycle": "deprecated"}
GPT = {"id": "gpt-x", "object": "model", "created": 7, "owned_by": "them", "more": True}


def fleet(**models: tuple[str, list[ModelInfo] | None]) -> Fleet:
    return Fleet(
        {
            name: ProviderState(
                Provider(name, fmt, "http://127.0.0.1:9"),
                None if infos is None else {info.name: info for info in infos},
            )
            for name, (fmt, infos) in models.items()
        }
    )


FLEET = fleet(
    local=(
        "ollama",
        [ModelInfo("llama3:8b", frozenset({"completion"}), 8192, "llama", native=TAG)],
    ),
    cloud=("anthropic", [ModelInfo("claude-x", context_length=200_000, native=CLAUDE)]),
    other=("openai", [ModelInfo("gpt-x", native=GPT), ModelInfo("claude-x")]),
    silent=("openai", None),
)


def test_aliases_come_first_and_a_name_belongs_to_its_first_owner() -> None:
    found = lists.listed(FLEET, {"fast": ("gone/a", "local/llama3:8b"), "odd": ("gone/b",)})
    assert [(m.name, m.owner) for m in found.values()] == [
        ("fast", ROUTER),
        ("odd", ROUTER),
        ("llama3:8b", "local"),
        ("claude-x", "cloud"),
        ("gpt-x", "other"),
    ]
    assert found["fast"].info == found["llama3:8b"].info
    assert found["odd"].info is None
    assert found["fast"].native == {}


@pytest.mark.parametrize("name", ["llama3:8b", "LLAMA3:8B"])
def test_a_model_is_found_however_its_name_is_spelled(name: str) -> None:
    found = lists.find(lists.listed(FLEET, {}), name)
    assert found is not None
    assert found.name == "llama3:8b"


def test_the_tag_latest_may_be_left_out() -> None:
    models = {"m:latest": Listed("m:latest", "a"), "n": Listed("n", "a")}
    assert lists.find(models, "m") == models["m:latest"]
    assert lists.find(models, "n:latest") == models["n"]
    assert lists.find(models, "o") is None


def test_openai_s_list_says_who_owns_a_model_and_how_long_its_context_is() -> None:
    data = lists.openai_list(lists.listed(FLEET, {}), 100)["data"]
    assert data[0] == {
        "id": "llama3:8b",
        "object": "model",
        "created": 100,
        "owned_by": "local",
        "context_length": 8192,
    }
    assert data[2] == {**GPT, "owned_by": "other"}


def test_anthropic_s_own_entry_is_shown_as_it_is() -> None:
    page = lists.anthropic_page(lists.listed(FLEET, {}), "")
    assert page["data"][1] == {
        **CLAUDE,
        "created_at": "1970-01-01T00:00:00Z",
        "max_input_tokens": 200_000,
    }
    assert page["data"][0]["lifecycle"] == "active"


NAMES = {name: Listed(name, "a") for name in "abcde"}


@pytest.mark.parametrize(
    ("query", "ids", "more"),
    [
        ("", "abcde", False),
        ("limit=2", "ab", True),
        ("limit=2&after_id=b", "cd", True),
        ("limit=2&after_id=c", "de", False),
        ("after_id=e", "", False),
        ("limit=2&before_id=e", "cd", True),
        ("limit=9&before_id=c", "ab", False),
        ("before_id=a", "", False),
        ("limit=1000", "abcde", False),
    ],
)
def test_a_page_of_anthropic_s_list(query: str, ids: str, more: bool) -> None:
    page = lists.anthropic_page(NAMES, query)
    assert "".join(entry["id"] for entry in page["data"]) == ids
    assert page["has_more"] is more
    assert (page["first_id"], page["last_id"]) == ((ids[0], ids[-1]) if ids else (None, None))


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "limit=٣", "after_id=zz"])
def test_a_page_that_cannot_be(query: str) -> None:
    page = lists.anthropic_page(NAMES, query)
    assert isinstance(page, Failure)
    assert page.kind == "bad_request"
    assert query.partition("=")[0] in page.message


def test_ollama_s_own_tag_is_shown_as_it_is() -> None:
    assert lists.ollama_tag(lists.listed(FLEET, {})["llama3:8b"], 100) == TAG


def test_a_cloud_model_looks_like_a_local_one() -> None:
    tag = lists.ollama_tag(lists.listed(FLEET, {})["claude-x"], 100)
    assert (tag["name"], tag["model"], tag["size"]) == ("claude-x", "claude-x", 0)
    assert len(tag["digest"]) == 64
    assert tag["capabilities"] == ["completion", "tools"]
    shown = lists.ollama_show(lists.listed(FLEET, {})["claude-x"], 100)
    assert shown["model_info"]["unknown.context_length"] == 200_000
    assert shown["model_info"]["general.architecture"] == "unknown"
    assert shown["model_info"]["general.parameter_count"] == 0  # `ollama show` panics without it
    assert shown["model_info"]["unknown.embedding_length"] == 0
    assert "completion" in shown["capabilities"]


def test_an_alias_shows_what_it_stands_for() -> None:
    models = lists.listed(FLEET, {"fast": ("local/llama3:8b",)})
    shown = lists.ollama_show(models["fast"], 100)
    assert shown["model_info"]["llama.context_length"] == 8192
    assert shown["capabilities"] == ["completion"]
    assert lists.ollama_tag(models["fast"], 100)["name"] == "fast"


def test_an_unknown_model_is_refused_in_the_words_clients_look_for() -> None:
    assert lists.unknown_model("nope").message == "model 'nope' not found"
