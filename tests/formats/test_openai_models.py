"""formats/openai_models.py"""

import pytest

from formats import openai_models
from formats.canonical import Target


@pytest.mark.parametrize(
    ("model", "reasons"),
    [("o3", True), ("gpt-5", True), ("openai/gpt-6.1-sol", True), ("gpt-10", True),
     ("gpt-4o", False), ("gpt-5-chat", False), ("qwen", False)],
)  # fmt: skip
def test_which_models_reason(model, reasons):
    assert openai_models.is_reasoning(model) is reasons


def test_only_the_first_of_gpt_5_cannot_do_without_reasoning():
    assert openai_models.least_effort(Target("gpt-5-mini", vendor=True)) == "minimal"
    assert openai_models.least_effort(Target("gpt-5.1", vendor=True)) == "none"
    assert openai_models.least_effort(Target("gpt-5-mini")) == "none"


@pytest.mark.parametrize(
    ("budget", "effort"), [(1024, "low"), (8192, "medium"), (24576, "high"), (24577, "xhigh")]
)
def test_a_budget_is_an_effort(budget, effort):
    assert openai_models.effort_of(budget) == effort


def test_breakpoints_are_the_vendors_newer_models_own():
    assert openai_models.takes_breakpoints(Target("gpt-5.6", vendor=True))
    assert not openai_models.takes_breakpoints(Target("gpt-5.5", vendor=True))
    assert not openai_models.takes_breakpoints(Target("gpt-5.6"))
    assert openai_models.breakpoint_of({"type": "ephemeral"}) == {"mode": "explicit"}
    assert openai_models.breakpoint_of({"ttl": "5m"}) == {"mode": "explicit", "ttl": "30m"}
    assert openai_models.breakpoint_of({"ttl": "1h"}) == {"mode": "explicit", "ttl": "12h"}
