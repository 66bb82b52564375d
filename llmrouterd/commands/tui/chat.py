"""A conversation through the router.

Owns: what was said, the answer that is coming in, the model that is asked for.
Refuses to know: sockets, the screen.

Law: the conversation is bounded: the oldest of it is forgotten, an answer that is too long is cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

JSON = Any
Who = Literal["user", "assistant", "note", "error"]
_KEPT = 200
_ANSWER_CHARS = 200_000
DEFAULT_MODEL = "any"


@dataclass(slots=True)
class Said:
    """One thing that was said. thought: reasoning before it; about: who said it, how fast."""

    who: Who
    text: str
    thought: str = ""
    about: str = ""


class Chat:
    """model "": the first that the router has. system: what is said to it first."""

    def __init__(self) -> None:
        self.said: list[Said] = []
        self.model = ""
        self.system = ""
        self.models: list[str] = []
        self.answer: Said | None = None  # the one that is coming in

    @property
    def busy(self) -> bool:
        return self.answer is not None

    @property
    def asked_for(self) -> str:
        return self.model or (self.models[0] if self.models else DEFAULT_MODEL)

    def command(self, line: str) -> bool:
        """Do what a line with `:` in front asks for; False: it is none."""
        if not line.startswith(":"):
            return False
        name, _, rest = line[1:].strip().partition(" ")
        rest = rest.strip()
        if name == "model" and rest:
            self.model = rest
            self.note(f"the model is now {rest}")
        elif name in ("model", "models"):
            known = ", ".join(self.models[:30]) or "none is known"
            self.note(f"the model is {self.asked_for}; models: {known}")
        elif name == "system":
            self.system = rest
            self.note("the system prompt is set" if rest else "there is no system prompt now")
        elif name == "clear":
            self.said.clear()
        else:
            self.note(f"there is no :{name}; there are :model NAME, :models, :system TEXT, :clear")
        return True

    def ask(self, text: str) -> Mapping[str, JSON]:
        """Say something. Returns the request to send."""
        self._add(Said("user", text))
        messages = [{"role": "system", "content": self.system}] if self.system else []
        messages += [
            {"role": each.who, "content": each.text}
            for each in self.said
            if each.who in ("user", "assistant") and each.text
        ]
        self.answer = Said("assistant", "")
        self._add(self.answer)
        return {
            "model": self.asked_for,
            "stream": True,
            "stream_options": {"include_usage": True},
            "messages": messages,
        }

    def heard(self, text: str, *, thought: bool = False) -> None:
        """A piece of the answer."""
        if self.answer is None:
            return
        if thought:
            self.answer.thought = (self.answer.thought + text)[:_ANSWER_CHARS]
        else:
            self.answer.text = (self.answer.text + text)[:_ANSWER_CHARS]

    def ended(self, about: str, error: str = "") -> None:
        """The answer is over; error: why before its end."""
        answer, self.answer = self.answer, None
        if answer is not None:
            answer.about = about
            if not answer.text and not answer.thought:
                self.said = [each for each in self.said if each is not answer]
        if error:
            self._add(Said("error", error))
            self._withdraw(answer)

    def _withdraw(self, answer: Said | None) -> None:
        """A question without an answer is no part of the conversation: two in a row confuse models."""
        if answer is not None and answer.text:
            return
        for each in reversed(self.said):
            if each.who == "user":
                each.who = "note"
                return

    def note(self, text: str) -> None:
        self._add(Said("note", text))

    def _add(self, said: Said) -> None:
        self.said.append(said)
        while len(self.said) > _KEPT:
            del self.said[0]
