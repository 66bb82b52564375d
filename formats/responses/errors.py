"""Errors around OpenAI Responses: they have the shape of Chat Completions, but for streams.

Owns: how an error stands inside a stream or inside an answer of status 200, read and written.
Refuses to know: what kind of failure an error is and which status it has: that is the same for
both formats of this vendor.

Law: a client that reads the `error` event alone, in either of its two shapes, or the failed answer
alone, reads the same words and a code that tells it whether to try again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from formats.errors import Failure, FailureKind, scrubbed
from formats.openai_chat.errors import (
    event_for_client,
    failure_of,
    parse_error,
    write_failure,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from formats.canonical import JSON

__all__ = ["answer_failure", "error_members", "event_failure", "parse_error", "write_failure"]

# The words by which agents decide: `server_error` is tried again.
_CODES: Mapping[FailureKind, str] = {
    "rate_limit": "rate_limit_exceeded",
    "quota": "insufficient_quota",
    "context_too_long": "context_length_exceeded",
    "bad_request": "invalid_prompt",
    "unsupported": "invalid_prompt",
    "refused_by_upstream": "invalid_prompt",
    "model_not_found": "model_not_found",
}


def event_failure(event: Mapping[str, JSON]) -> Failure:
    """An `error` event, nested or flat, as a failure."""
    error = event.get("error")
    if isinstance(error, dict):
        return failure_of(None, error)
    if isinstance(error, str) and error:
        return failure_of(None, {"message": error})
    names = ("message", "code", "param")
    flat = {name: event[name] for name in names if event.get(name) is not None}
    return failure_of(None, flat)


def answer_failure(response: Mapping[str, JSON]) -> Failure | None:
    """The failure that an answer object is; None when it is an answer."""
    error = response.get("error")
    if isinstance(error, dict):
        return failure_of(None, error)
    if isinstance(error, str) and error:
        return failure_of(None, {"message": error})
    if response.get("status") == "failed":
        return Failure("upstream", "the upstream reported that the answer failed")
    if response.get("status") == "cancelled":
        return Failure("upstream", "the upstream cancelled the answer")
    return None


def error_members(failure: Failure) -> dict[str, JSON]:
    """type, code, message and param of an error inside a stream."""
    error = event_for_client(failure)
    code = error.get("code")
    return {
        "type": error["type"],
        "code": _CODES.get(failure.kind, "server_error") if code is None else str(code),
        "message": scrubbed(failure.message),
        "param": error.get("param"),
    }
