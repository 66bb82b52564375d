"""One size of context for each model of an Ollama server."""

import pytest

from llmrouterd.guard.contexts import Contexts, seems_cut

HERE = ("ollama", "m")


def size(contexts, place=HERE, **more):
    given = {"configured": 0, "loaded": 0, "asked": 0, "needed": 0, "most": 0, "grow": False}
    return contexts.size(place, **{**given, **more})


def test_with_nothing_known_the_server_decides():
    assert size(Contexts(), needed=50_000) is None


def test_what_is_configured_holds_whatever_is_asked_or_loaded():
    contexts = Contexts()
    assert size(contexts, configured=16_384, asked=4096, loaded=8192) == 16_384
    assert size(contexts, configured=16_384) == 16_384


def test_what_somebody_has_loaded_with_more_is_not_shrunk():
    assert size(Contexts(), configured=16_384, loaded=65_536) == 65_536


def test_a_loaded_model_is_not_loaded_anew():
    contexts = Contexts()
    assert size(contexts, loaded=8192) == 8192
    assert size(contexts, loaded=8192, asked=4096) == 8192
    assert size(contexts, loaded=8192, asked=32_768) == 8192


def test_the_first_that_is_asked_for_is_kept():
    contexts = Contexts()
    assert size(contexts, asked=10_000) == 10_000
    assert size(contexts, asked=4096) == 10_000
    assert size(contexts) == 10_000
    assert size(contexts, place=("ollama", "another")) is None


def test_what_was_loaded_in_the_meantime_counts_more_than_what_was_asked():
    contexts = Contexts()
    assert size(contexts, asked=10_000) == 10_000
    assert size(contexts, loaded=4096) == 4096


@pytest.mark.parametrize(
    ("needed", "most", "sent"),
    [(100, 0, 4096), (5000, 0, 8192), (100_000, 32_768, 32_768), (2_000_000, 0, 2_000_000)],
)
def test_where_it_may_grow_it_grows_in_steps(needed, most, sent):
    assert size(Contexts(), needed=needed, most=most, grow=True) == sent


def test_it_never_shrinks():
    contexts = Contexts()
    assert size(contexts, needed=20_000, grow=True) == 32_768
    assert size(contexts, needed=100, grow=True) == 32_768
    assert size(contexts, needed=100, loaded=65_536, grow=True) == 65_536
    assert size(contexts, needed=100, configured=16_384, grow=True) == 65_536


def test_models_without_end_are_forgotten():
    contexts = Contexts()
    for number in range(600):
        size(contexts, place=("ollama", f"m{number}"), asked=5000)
    assert size(contexts, place=("ollama", "m0")) is None
    assert size(contexts, place=("ollama", "m599")) == 5000


@pytest.mark.parametrize(
    ("estimate", "counted", "context", "cut"),
    [
        (900, 10, 4096, False),  # too short to tell
        (8000, 7000, 4096, False),  # it read what there was
        (8000, 4096, 4096, True),
        (8000, 2048, 0, True),
        (8000, 2048, 32_768, False),  # it fits: the estimate is wrong, nothing was cut
    ],
)
def test_a_count_far_below_the_estimate_is_suspicious(estimate, counted, context, cut):
    assert seems_cut(estimate, counted, context) is cut
