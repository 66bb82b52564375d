"""Two providers beside each other, a refusal that sends the walk on, and a client's own time: the
real router, real sockets, official SDKs."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import anthropic
import httpx
import openai
import pytest

from tests.fakes.daemon import RunningDaemon
from tests.fakes.upstream import FakeUpstream, Turn
from tests.pipeline.stage import chat_answer, chat_stream

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

PATIENCE_S = 30.0
NO = "I'm sorry, but I can't do that."
ASKED = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


@dataclass
class House:
    """A router before one that never answers, one that refuses and one that is quick."""

    daemon: RunningDaemon
    log: Path
    left: threading.Event = field(default_factory=threading.Event)  # the silent one was
    told: int = 0  # lines of the log that are another test's

    def record(self) -> dict:
        end = time.monotonic() + PATIENCE_S
        while len(lines := self.lines()) <= self.told:
            assert time.monotonic() < end, "no line in the log"
            time.sleep(0.05)
        return json.loads(lines[-1])

    def lines(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


def says(turn: Turn, text: str) -> None:
    if turn.received.json.get("stream"):
        turn.stream([chat_stream(text)])
    else:
        turn.whole(chat_answer(text))


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("beside")

    def silent(turn: Turn) -> None:
        if turn.wait_closed():
            made.left.set()

    with (
        FakeUpstream(silent) as slow,
        FakeUpstream(lambda turn: says(turn, NO)) as shy,
        FakeUpstream(lambda turn: says(turn, "Gladly.")) as quick,
    ):
        lines = ['[server]\nport = 0\n[logging]\nenabled = true\npath = "log.jsonl"\n']
        for name, up in (("slow", slow), ("shy", shy), ("quick", quick)):
            lines.append(f'[[providers]]\nname = "{name}"\nformat = "openai"\n')
            lines.append(f'base_url = "{up.url}"\nmodels = ["m", "n", "s"]\n')
        rule = '[[routers]]\ntype = "model"\nmatch = "{}"\ntargets = [{}]\n{}\n'
        two = '{{ provider = "{}" }}, {{ provider = "{}" }}'
        lines.append(rule.format("m", two.format("slow", "quick"), "hedge_after_ms = 300"))
        lines.append(rule.format("n", two.format("shy", "quick"), 'retry_on_tags = ["refusal"]'))
        lines.append(rule.format("s", '{ provider = "slow" }', ""))
        lines.append("[response_classifiers.refusal]\nenabled = true\n")
        with RunningDaemon("".join(lines), folder) as daemon:
            made = House(daemon, folder / "log.jsonl")
            yield made


@pytest.fixture
def house(standing: House) -> House:
    standing.left.clear()
    standing.told = len(standing.lines())
    return standing


def openai_text(url: str, model: str, *, stream: bool) -> str:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0, timeout=30) as client:
        asked = {**ASKED, "model": model}
        if not stream:
            return client.chat.completions.create(**asked).choices[0].message.content
        with client.chat.completions.create(**asked, stream=True) as chunks:
            return "".join(c.delta.content or "" for chunk in chunks for c in chunk.choices)


def anthropic_text(url: str, model: str, *, stream: bool) -> str:
    with anthropic.Anthropic(base_url=url, api_key="x", max_retries=0, timeout=30) as client:
        asked = {**ASKED, "model": model, "max_tokens": 100}
        if not stream:
            return client.messages.create(**asked).content[0].text
        with client.messages.stream(**asked) as events:
            return events.get_final_text()


@pytest.mark.parametrize("text_of", [openai_text, anthropic_text], ids=["openai", "anthropic"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_the_quick_one_answers_and_the_silent_one_is_left(house, text_of, stream) -> None:
    assert text_of(house.daemon.url, "m", stream=stream) == "Gladly."
    assert house.left.wait(PATIENCE_S)
    record = house.record()
    assert (record["end"], record["provider"]) == ("complete", "quick")
    assert record["attempts"] == ["slow/m: hedged: cancelled: the first token came from quick/m"]
    assert record["notes"][0].startswith("hedged: slow/m was silent for 300 ms")


@pytest.mark.parametrize("text_of", [openai_text, anthropic_text], ids=["openai", "anthropic"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_refusal_is_not_the_last_word(house, text_of, stream) -> None:
    assert text_of(house.daemon.url, "n", stream=stream) == "Gladly."
    assert house.record()["attempts"] == ["shy/n: tagged: its answer was tagged refusal"]


def test_a_clients_own_time(house) -> None:
    url = f"{house.daemon.url}/v1/chat/completions"
    asked = {**ASKED, "model": "s"}
    out = httpx.post(url, json=asked, headers={"X-Router-Timeout": "0.5"}, timeout=30)
    assert (out.status_code, out.headers["x-router-error"]) == (504, "timeout:request")
    assert "the client's 0.5 s were over" in out.json()["error"]["message"]
    assert house.left.wait(PATIENCE_S)
