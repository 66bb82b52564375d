"""llmrouterd/classifiers/llm.py"""

from formats.canonical import Message, Request, Response, Text
from llmrouterd.classifiers.llm import LLM, ResponseLLM
from llmrouterd.hooks import Context
from tests.classifiers.test_labels import SETTINGS, Model

ASKED = Request(
    "openai",
    "m",
    (
        Message("system", (Text("be kind"),)),
        Message("user", (Text("first"),)),
        Message("assistant", (Text("hm"),)),
        Message("user", (Text("second"),)),
    ),
)


async def test_what_the_user_said_last_is_judged() -> None:
    model = Model("code")
    assert list(await LLM(SETTINGS).classify(ASKED, Context("llm", {}, ask=model))) == ["is-Code"]
    prompt = model.asked[0][0][2]
    assert "second" in prompt
    assert "first" not in prompt


async def test_of_an_answer_its_text_is_judged() -> None:
    model = Model("legal")
    answer = Response("", "m", (Text("so be it" + "x" * 50),))
    classifier = ResponseLLM({**SETTINGS, "max_chars": 16})
    assert await classifier.classify(ASKED, answer, Context("llm", {}, ask=model)) == ["is-legal"]
    assert "so be it\n...\nxxxxxxxx\n" in model.asked[0][0][2]


def test_it_says_which_tags_it_may_set() -> None:
    assert LLM(SETTINGS).may_set == ("is-Code", "is-legal")
