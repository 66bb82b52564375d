"""The embedded provider: it answers with the words it was sent.

Owns: the answer of a provider with `format = "echo"`. It makes a machine with nothing else answer,
and gives tests an upstream that cannot fail.
Refuses to know: sockets.
"""

from __future__ import annotations

from formats.canonical import Request, Response, Text, ToolResult, Usage

MODEL = "echo"
GREETING = "llmrouter is running; no model server was found, so this is an echo."


def answer(request: Request, model: str, *, prompt_tokens: int) -> Response:
    """Echo the text of the last message; usage is an estimate and marked so by the caller."""
    text = _last_words(request) or GREETING
    usage = Usage(input=prompt_tokens, output=max(1, len(text) // 4))
    return Response(id="", model=model, parts=(Text(text),), stop="end_turn", usage=usage)


def _last_words(request: Request) -> str:
    for message in reversed(request.messages):
        if message.role in ("user", "tool"):
            words = [p.text for p in message.parts if isinstance(p, Text)]
            for part in message.parts:
                if isinstance(part, ToolResult):
                    words += [p.text for p in part.parts if isinstance(p, Text)]
            if any(words):
                return "\n".join(words)
    return ""
