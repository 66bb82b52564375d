"""llmrouterd/classifiers/secrets.py"""

from formats.canonical import Message, Request, Text
from llmrouterd.classifiers.secrets import Secrets
from llmrouterd.hooks import Context

KEY = "gh" + "p_" + "9fK2mQ7xLpR4tZ8wB3nV6cY1dG5hJ0sA2kE7"


async def tags(text: str, role: str = "user", **settings) -> list[str]:
    request = Request("openai", "m", (Message(role, (Text(text),)),))
    return list(await Secrets(settings).classify(request, Context("secrets", {})))


async def test_a_key_and_a_password_give_their_tags() -> None:
    text = f"use {KEY}, password: hunter2!"
    assert await tags(text) == ["secrets", "secrets-api-key", "secrets-password"]
    assert await tags(text, kinds=["password"]) == ["secrets", "secrets-password"]
    assert await tags(text, roles=["system"]) == []
    assert await tags("nothing secret") == []


def test_it_says_which_tags_it_may_set() -> None:
    assert Secrets({"kinds": ["token"]}).may_set == ("secrets", "secrets-token")
