"""The most tokens that an answer may have."""

import pytest

from formats.canonical import Request, Target
from formats.ledger import Ledger, Loss
from formats.limits import capped_tokens
from formats.losses import Losses


@pytest.mark.parametrize(
    ("asked", "most", "sent"), [(None, 0, None), (None, 9, None), (5, 0, 5), (5, 5, 5), (5, 9, 5)]
)
def test_what_the_model_can_write_is_not_touched(asked, most, sent):
    request, ledger = Request("openai", "m", max_tokens=asked), Ledger()
    target = Target("m", max_output=most)
    assert capped_tokens(request, Losses("openai", request, ledger), target) == sent
    assert ledger.entries == []


@pytest.mark.parametrize(("most", "sent"), [(0, 60), (80, 60), (50, 50)])
def test_more_than_the_context_leaves_is_cut_and_does_the_answer_no_harm(most, sent):
    request, ledger = Request("anthropic", "m", max_tokens=100), Ledger()
    target = Target("m", max_output=most, room=60)
    assert capped_tokens(request, Losses("openai", request, ledger), target) == sent
    last = ledger.entries[-1]
    assert (last.path, last.what, last.harmless) == ("max_tokens", "clamped", sent == 60)


@pytest.mark.parametrize("asked", [None, 1, 60])
def test_what_the_context_leaves_is_not_touched(asked):
    request, ledger = Request("openai", "m", max_tokens=asked), Ledger()
    assert capped_tokens(request, Losses("openai", request, ledger), Target("m", room=60)) == asked
    assert ledger.entries == []


def test_more_than_the_model_can_write_is_cut_and_named_as_the_client_calls_it():
    request, ledger = Request("ollama", "m", max_tokens=100), Ledger()
    target = Target("m", max_output=60)
    assert capped_tokens(request, Losses("openai", request, ledger), target) == 60
    why = "the model writes at most 60 tokens"
    assert ledger.entries == [Loss("options.num_predict", "clamped", why)]
