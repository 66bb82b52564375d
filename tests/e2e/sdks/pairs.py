"""The official client libraries talk through the real daemon to a server of each format: what the
subjects share."""

import base64

import pytest

from tests.fakes.models import (
    MODEL,
)

FORMATS = ("openai", "anthropic", "ollama")
PAIRS = [(client, upstream) for client in FORMATS for upstream in FORMATS]
WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "description": "its name"},
        "days": {"type": "integer"},
        "unit": {"type": "string", "enum": ["celsius", "kelvin"]},
    },
    "required": ["city"],
}
TIME = {"type": "object", "properties": {"tz": {"type": "string"}}, "required": ["tz"]}
TOOLS = [
    ("get_weather", "The weather of a city", WEATHER),
    ("get_time", "What time it is", TIME),
]
PROVIDER = """
[[providers]]
name = "{name}"
format = "{format}"
base_url = "{url}"
circuit_failures = 0
api_key_env = "{format}_UPSTREAM_KEY"
max_retries = {retries}
models = {models}
{more}
"""
MORE = {"anthropic": 'betas = ["*"]'}  # no vendor's address, and yet it takes them
KEYS = {f"{name}_UPSTREAM_KEY": f"key-of-{name}" for name in FORMATS}


def both(test):
    return pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])(test)


def all_pairs(test):
    return pytest.mark.parametrize(("client", "upstream"), PAIRS)(test)


def every_pair(test):
    """All nine pairs, whole and streamed."""
    return both(all_pairs(test))


def config(urls):
    """For each format: a provider that is well, one that fails as it is told, one with a retry, one
    where nobody listens; and an alias for each way of falling from one to another."""
    parts = ["[server]\nport = 0\n"]
    aliases = ["[models]"]
    for name in FORMATS:
        good, model = f"{name}-up", MODEL[name]
        for role, retries in (("up", 0), ("bad", 0), ("again", 1), ("gone", 0)):
            url = urls["gone" if role == "gone" else (role == "bad", name)]
            named = {"format": name, "url": url, "retries": retries, "more": MORE.get(name, "")}
            named["models"] = "[]" if role == "up" else '["asked-for-by-name-only"]'
            parts.append(PROVIDER.format(name=f"{name}-{role}", **named))
        aliases.append(f'"alias-of-{name}" = "{good}/{model}"')
        for first in FORMATS:
            for role in ("bad", "gone"):
                pair = f'["{first}-{role}/{MODEL[first]}", "{good}/{model}"]'
                aliases.append(f'"{first}-{role}-then-{name}" = {pair}')
    return "\n".join([*parts, *aliases])


def joined(content):
    """The text of a content that is a string or a list of blocks."""
    if isinstance(content, str):
        return content
    return "".join(block["text"] for block in content if block["type"] == "text")


PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
