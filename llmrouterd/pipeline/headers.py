"""Which header fields go where.

Owns: the allow-list of what an upstream is sent, the deny-by-default list of what a client gets
back, and the router's own X-Router-* fields.
Refuses to know: bodies and sockets.

Laws:
1. A request to an upstream is built from an allow-list. The client's credentials, cookies, origin
   and address are never on it.
2. No value made from a client's words (model names, tags) reaches a header uncleaned.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from formats.errors import Failure
    from llmrouterd.model import Headers, Provider, Secret
    from llmrouterd.pipeline.story import Story

Fields = list[tuple[str, str]]

ANTHROPIC_VERSION = "2023-06-01"
TASK_BUDGETS = "task-budgets-2026-03-13"
OAUTH = "oauth-2025-04-20"
# Longest header value made from a name that a client chose.
MAX_VALUE = 256
# What plugins may add to an answer's head: clients read heads of 8 to 16 KiB.
_PLUGIN_FIELDS = 8
_MOST_OF_PLUGIN = 1024
_NAME = re.compile(r"[a-z0-9_-]{1,100}")
# Same format only: names that any server of the format may read.
_SAME_FORMAT = {
    "openai": ("openai-beta",),
    "responses": ("openai-beta",),
    "anthropic": ("anthropic-dangerous-direct-browser-access",),
}
# Same format, and the vendor itself: what its own clients tell it of themselves.
_VENDOR = {
    "openai": (),
    "responses": ("originator", "session-id", "thread-id", "version"),
    "anthropic": ("x-app", "x-claude-code-session-id"),
}
_VENDOR_PREFIX = {"responses": "x-codex-"}
# What belongs to an account goes along only with that account's own credential.
_ACCOUNT = {
    "openai": ("openai-organization", "openai-project"),
    "responses": ("openai-organization", "openai-project"),
    "anthropic": ("anthropic-user-profile-id", "anthropic-workspace-id"),
}
_CREDENTIALS = ("authorization", "x-api-key", "api-key")
_TRACE = ("traceparent", "tracestate", "baggage")
_OWN_TRACE = _TRACE[:2]  # what a hop writes anew


def for_upstream(
    provider: Provider,
    incoming: Headers,
    *,
    same_format: bool,
    stream: bool,
    agent: str,
    beta: str = "",
    refused_betas: Collection[str] = (),
    idempotency: str | None = None,
    own_keys: Collection[Secret] = (),
    trace: Fields | None = None,
) -> Fields:
    """Header fields for a POST to `provider`. beta: an anthropic-beta value to add, or "".
    refused_betas: those that this server does not know. idempotency: the key for this provider,
    sent where the client sent one. own_keys: the router's, which no upstream ever gets. trace: the
    fields of our own trace, which take the place of the client's; None: there is none."""
    fields: Fields = [("content-type", "application/json"), ("accept-encoding", "identity")]
    fields.append(("accept", _accept(provider, stream)))
    client_agent = incoming.get("user-agent") if same_format else None
    fields.append(("user-agent", client_agent or agent))
    if provider.credentials == "client":
        fields += client_credentials(incoming, own_keys)
        fields += _kept(incoming, _ACCOUNT.get(provider.format, ()) if same_format else ())
    elif provider.key is not None:
        fields.append(credential(provider))
    if provider.format == "anthropic":
        betas = _betas(provider, incoming, beta, same_format=same_format)
        names = [name for name in betas if name not in refused_betas]
        version = incoming.get("anthropic-version") if same_format else None
        fields.append(("anthropic-version", version or ANTHROPIC_VERSION))
        fields += [("anthropic-beta", ",".join(names))] if names else []
    if same_format:
        fields += _kept(incoming, _SAME_FORMAT.get(provider.format, ()))
        fields += _for_vendor(provider, incoming)
        fields += _request_ids(incoming)
        if idempotency and incoming.get("idempotency-key") and provider.format != "ollama":
            fields.append(("idempotency-key", idempotency))
    kept = (*(_TRACE if provider.local else ()), *provider.dialect.forward)
    if trace is None:
        fields += _kept(incoming, kept)
    else:
        fields += _kept(incoming, tuple(name for name in kept if name not in _OWN_TRACE))
        fields += [field for field in trace if field[0] in kept]
    overridden = {name.lower() for name, _ in provider.headers}
    return [f for f in fields if f[0] not in overridden] + [
        (name.lower(), value) for name, value in provider.headers
    ]


def client_credentials(incoming: Headers, own_keys: Collection[Secret]) -> Fields:
    """The client's own key or token in the very header in which it came, but for the router's."""

    def is_own(value: str) -> bool:
        return any(key.matches(value.removeprefix("Bearer ").strip()) for key in own_keys)

    return [field for field in _kept(incoming, _CREDENTIALS) if not is_own(field[1])]


def credentials(incoming: Headers) -> Fields:
    """Every key and token that a request shows, ours and others'."""
    return _kept(incoming, ("x-router-key", *_CREDENTIALS))


def telling(incoming: Headers, forwarded: Collection[str]) -> Fields:
    """What in a request's head can change its answer, always in the same order. forwarded: names that
    some provider gets because the owner says so."""
    kinds = (*_SAME_FORMAT.values(), *_ACCOUNT.values())
    names = {
        "anthropic-version",
        "anthropic-beta",
        *forwarded,
        *(n for kind in kinds for n in kind),
    }
    return [(name, ",".join(incoming.all(name))) for name in sorted(names) if name in incoming]


def _for_vendor(provider: Provider, incoming: Headers) -> Fields:
    if not provider.dialect.vendor:
        return []
    fields = _kept(incoming, _VENDOR.get(provider.format, ()))
    prefix = _VENDOR_PREFIX.get(provider.format)
    return fields + ([f for f in incoming if f[0].startswith(prefix)] if prefix else [])


def _accept(provider: Provider, stream: bool) -> str:
    if not stream:
        return "application/json"
    return "application/x-ndjson" if provider.format == "ollama" else "text/event-stream"


def credential(provider: Provider) -> tuple[str, str]:
    """The provider's key in the header in which its server looks for it."""
    assert provider.key is not None
    key = provider.key.reveal()
    if provider.dialect.key_header:
        return provider.dialect.key_header, key
    if provider.format == "anthropic" and not is_oauth(provider):
        return "x-api-key", key
    return "authorization", f"Bearer {key}"


def is_oauth(provider: Provider) -> bool:
    return provider.key is not None and provider.key.reveal().startswith("sk-ant-oat")


def _betas(provider: Provider, incoming: Headers, beta: str, *, same_format: bool) -> list[str]:
    """The names this server takes from the client, in order and once each, and ours."""
    lines = incoming.all("anthropic-beta") if same_format else []
    names = [name.strip() for line in lines for name in line.split(",") if name.strip()]
    taken = provider.dialect.betas
    if "*" not in taken:
        names = [name for name in names if name in taken]
    names += [beta] if beta else []
    names += [OAUTH] if is_oauth(provider) else []
    return list(dict.fromkeys(names))


def _kept(incoming: Headers, names: tuple[str, ...]) -> Fields:
    return [(name, incoming.get(name) or "") for name in names if name in incoming]


def _request_ids(incoming: Headers) -> Fields:
    found = _kept(incoming, ("x-client-request-id", "x-request-id"))
    return [f for f in found if 0 < len(f[1]) <= 128 and f[1].isascii() and f[1].isprintable()]


# --- an upstream's own words for the client -------------------------------------------------------

_RETRY = ("retry-after-ms", "x-should-retry")  # retry-after is written anew, in whole seconds
_LIMITS = ("anthropic-ratelimit-", "x-ratelimit-")


def of_failure(provider: Provider, fields: Headers) -> Fields:
    """What an upstream's error answer says of trying again, for clients of its own format."""
    return _kept(fields, _RETRY) + of_account(provider, fields)


def of_account(provider: Provider, fields: Headers) -> Fields:
    """The limits of the account, which are the client's business where the account is its own."""
    if provider.credentials != "client":
        return []
    return [f for f in fields if f[0].startswith(_LIMITS)]


_PAUSE_S = {"rate_limit": 1, "overloaded": 1, "draining": 1, "quota": 60}


# --- towards the client ---------------------------------------------------------------------------


def clean(value: str) -> str:
    """A value that is safe in a header: visible ASCII, everything else a `?`, bounded."""
    if len(value) <= MAX_VALUE and value.isascii() and value.isprintable():
        return value.strip()
    return "".join(c if " " <= c < "\x7f" else "?" for c in value[:MAX_VALUE]).strip()


def for_client(story: Story, *, stream: bool) -> Fields:
    """The router's own fields of an answer. Token counts only where they are known by now."""
    fields: Fields = [("x-router-request-id", story.request_id)]
    name = "request-id" if story.client_format == "anthropic" else "x-request-id"
    same = story.upstream_format == story.client_format
    fields.append((name, (clean(story.upstream_request_id) if same else "") or story.request_id))
    place = story.candidate
    if place is not None:
        fields.append(("x-router-provider", clean(place.provider)))
        fields.append(("x-router-model", clean(place.model)))
        if place.rule:
            fields.append(("x-router-rule", clean(place.rule)))
    if place is not None:  # with a failure to tell, no attempt is running any more
        tries = 0 if story.from_cache else story.tries or 1
        fields.append(("x-router-attempts", str(tries)))
    if story.queued_s > 0:
        fields.append(("x-router-queue-ms", str(int(story.queued_s * 1000))))
    fields += story.limit_fields
    if story.tags:
        fields.append(("x-router-request-tags", tag_header(story.tags)))
    if story.cache:
        fields.append(("x-router-cache", story.cache))
    if story.plugins:
        fields.append(("x-router-plugins", clean_list(tuple(dict.fromkeys(story.plugins)))))
    if story.ledger is not None and story.ledger.entries:
        fields.append(("x-router-dropped", clean_list(story.ledger.names())))
    if story.left_host is not None:
        fields.append(("x-router-left-host", "yes" if story.left_host else "no"))
    fields += _of_plugins(story)
    if story.upstream_request_id:
        fields.append(("x-router-upstream-request-id", clean(story.upstream_request_id)))
    if same:
        fields += story.upstream_fields
    if not stream:
        fields += known_at_end(story, always=True)
    return fields


def _of_plugins(story: Story) -> Fields:
    """Those whose names are names, with as much of their values as is safe."""
    if not story.plugin_fields:
        return []
    named = [item for item in story.plugin_fields.items() if _NAME.fullmatch(item[0])]
    return [
        (name, "".join(c if " " <= c < "\x7f" else "?" for c in value[:_MOST_OF_PLUGIN]).strip())
        for name, value in named[:_PLUGIN_FIELDS]
    ]


def known_at_end(story: Story, *, always: bool = False) -> Fields:
    """What only a complete answer tells: header fields of a whole one, trailers of a stream.
    always: with token counts even of an answer that gave none, as the original has them."""
    fields: Fields = []
    usage = story.usage
    if usage is not None or always:
        fields.append(("x-router-input-tokens", str((usage and usage.input) or 0)))
        fields.append(("x-router-output-tokens", str((usage and usage.output) or 0)))
    if story.usage_estimated:
        fields.append(("x-router-token-count", "estimate"))
    if story.response_tags:
        fields.append(("x-router-response-tags", tag_header(story.response_tags)))
    if story.cost_usd is not None:
        fields.append(("x-router-cost-usd", f"{story.cost_usd:.6f}"))
    return fields


def for_failure(story: Story, failure: Failure) -> Fields:
    """Fields of an error answer: what went wrong in our words, and when to come back."""
    if len({outcome.candidate.provider for outcome in story.tried}) > 1:
        story.upstream_fields = []  # the failure sums up what several said
    fields = for_client(story, stream=True)
    fields.append(("x-router-error", failure.tag))
    if failure.retry_after_s is not None:
        fields.append(("retry-after", str(max(1, math.ceil(failure.retry_after_s)))))
    elif failure.kind in _PAUSE_S:  # a 429 without it ends Codex's turn at once
        fields.append(("retry-after", str(_PAUSE_S[failure.kind])))
    told = any(name == "x-should-retry" for name, _ in fields)
    if not told and failure.kind in ("credential", "quota", "over_budget", "no_provider", "plugin"):
        fields.append(("x-should-retry", "false"))
    return fields


def clean_list(names: tuple[str, ...]) -> str:
    """Names as one header value, cut between names when it would grow too long."""
    out = ""
    for name in names:
        added = clean(name).replace(",", "_")
        if len(out) + len(added) > 1024:
            return out + ",..."
        out = f"{out},{added}" if out else added
    return out


def tag_header(tags: Sequence[str]) -> str:
    """Tags as a header value: comma-separated, without what a header may not hold."""
    return ",".join("".join(c if " " < c < "\x7f" and c != "," else "_" for c in t) for t in tags)
