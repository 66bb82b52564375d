"""A model that calls one tool and is content with its result."""

from collections.abc import Callable

from tests.fakes.models import FakeModel, Said
from tests.fakes.upstream import Turn

CALL = ("call_1", "weather", {"place": "Bonn"})


def weather(model: FakeModel) -> Callable[[Turn], None]:
    def script(turn: Turn) -> None:
        asked = turn.received.json
        done = any(
            message["role"] == "tool" or "tool_result" in str(message["content"])
            for message in asked["messages"]
        )
        if done:
            said = Said("It rains.")
        else:
            said = Said(calls=(CALL,)) if asked.get("tools") else Said("Hello there.")
        model.answer(said)(turn)

    return script
