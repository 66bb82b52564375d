"""The pane of providers."""

from llmrouterd.commands.terminal import line_width
from llmrouterd.commands.tui.providers import lines
from tests.commands.tui.scene import scene, text_of

WELL = {"name": "ollama", "format": "ollama", "local": True, "reached": True, "healthy": True}
WELL |= {
    "in_flight": 2,
    "queue": {"waiting": 3, "running": 1},
    "models": 12,
    "loaded": ["llama", "qwen"],
}
WELL |= {"first_token_ms": 700.0, "tokens_per_s": 11.4, "failing": 0.25}
ILL = {"name": "cloud", "format": "openai", "local": False, "healthy": False, "circuit": "open"}
ILL |= {"back_s": 9.4, "why": "3 failures in a row", "models_out": {"big": "no memory"}}
RESTS = {"name": "rests", "format": "openai", "healthy": False, "circuit": "resting"}
AWAY = {"name": "away", "format": "openai", "healthy": True, "reached": False, "why": "refused"}
NEW = {"name": "new", "format": "openai", "healthy": True, "reached": None}
ECHO = {"name": "echo", "format": "echo", "healthy": True, "reached": None}


def shown(*states: object, columns: int = 60) -> list[str]:
    view = scene()
    view.providers = list(states)  # type: ignore[arg-type]
    made = lines(view, columns)
    assert max(line_width(line) for line in made) <= columns
    return text_of(made).splitlines()


def test_one_that_is_well() -> None:
    head, doing, more, loaded = shown(WELL)
    assert head.split() == ["\u25cf", "ollama", "well", "ollama,", "local"]
    assert doing.strip() == "2 in flight, 3 queued, 12 models, first token 700ms,"
    assert more.strip() == "11.4/s, 25% of late failed"
    assert loaded.strip() == "in memory: llama, qwen"


def test_one_that_is_left_alone_says_until_when_and_why() -> None:
    head, _, why, model = shown(ILL, columns=80)
    assert "circuit open, back in 9s" in head
    assert "remote" in head
    assert "3 failures in a row" in why
    assert "not big: no memory" in model


def test_the_other_states() -> None:
    text = "\n".join(shown(RESTS, AWAY, NEW, ECHO))
    assert "paused" in "\n".join(shown(ILL | {"paused": True}))
    for word in ("rests", "does not answer", "refused", "not asked yet", "well"):
        assert word in text


def test_strange_answers_are_no_crash() -> None:
    shown({}, {"name": 3, "models": "x", "loaded": {}, "back_s": "x", "models_out": []})
    assert "not known" in text_of(lines(scene(), 40))
