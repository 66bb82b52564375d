"""The fault matrix as official client libraries see it: one daemon, one misbehaving upstream, and
as many clients at a time as a fault has cases."""

from __future__ import annotations

import itertools
import json
import queue
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from llmrouterd.model import Provider
from llmrouterd.selftest.faults import FAULTS, Fault
from llmrouterd.selftest.judge import Place, Seen, differences
from llmrouterd.selftest.setting import Setting, Subject
from llmrouterd.selftest.upstream import prompt
from tests.e2e.scripts_sdks import CLIENTS, ResponsesClient
from tests.fakes.bystander import Journal
from tests.fakes.misbehaving import Misbehaving

CASES_AT_ONCE = 18
FORMATS = ("openai", "anthropic", "ollama")
# Of this one a sample: all of its pairs would nearly double the time.
SAMPLED = "responses"
LIBRARIES = {**CLIENTS, SAMPLED: ResponsesClient}


def toml(setting: Setting) -> str:
    """The file for a daemon with these settings."""
    parts = ['[server]\nport = 0\n[logging]\nenabled = true\npath = "log.jsonl"\n']
    parts += [_provider(provider) for provider in setting.config.providers]
    parts.append("[models]")
    for name, targets in setting.config.routing.aliases.items():
        parts.append(f'"{name}" = {json.dumps(targets)}')
    return "\n".join(parts)


def _provider(provider: Provider) -> str:
    clocks = provider.clocks
    lines = [
        "[[providers]]",
        f'name = "{provider.name}"',
        f'format = "{provider.format}"',
        f'base_url = "{provider.base_url}"',
        f"connect_timeout = {clocks.connect_s}",
        f"first_token_timeout = {clocks.first_token_s}",
        f"idle_timeout = {clocks.idle_s}",
        f"total_timeout = {clocks.total_s}",
        "max_retries = 0",
        "circuit_failures = 0",
        f"models = {json.dumps(provider.models)}",
    ]
    return "\n".join(lines)


class _Words(threading.Event):
    """Set as soon as a client has text; tells the upstream, too."""

    def __init__(self, bad: Misbehaving) -> None:
        super().__init__()
        self._bad = bad
        self.case = ""

    def set(self) -> None:
        super().set()
        self._bad.heard(self.case)


@dataclass
class Matrix:
    bad: Misbehaving
    setting: Setting
    url: str
    journal: Journal

    def __post_init__(self) -> None:
        self._idle: dict[str, queue.SimpleQueue[Any]] = {f: queue.SimpleQueue() for f in LIBRARIES}
        self._numbers = itertools.count(1)
        self._reading = threading.Lock()
        self._made: list[Any] = []

    def close(self) -> None:
        for client in self._made:
            client.close()

    def wrong(self, fault: Fault, *, alone: bool) -> list[str]:
        """Every case of this fault that went otherwise than it must."""
        wanted = [
            (client, subject, stream)
            for client in LIBRARIES
            for subject in self.setting.subjects
            if self._is_wanted(client, subject, FAULTS.index(fault) + alone)
            for stream in (False, True)
            if stream or fault.whole is not None
        ]
        with ThreadPoolExecutor(CASES_AT_ONCE) as pool:
            found = pool.map(lambda case: self._case(fault, *case, alone=alone), wanted)
            return [line for lines in found for line in lines]

    def _is_wanted(self, client: str, subject: Subject, turn: int) -> bool:
        """All of three formats with each other; the sampled one with itself, and in turn with one of
        the others each way."""
        if SAMPLED not in (client, subject.format):
            return True
        return client == subject.format or FORMATS[turn % len(FORMATS)] in (client, subject.format)

    def _case(
        self, fault: Fault, client: str, subject: Subject, stream: bool, *, alone: bool
    ) -> list[str]:
        expected = fault.stream if stream else fault.whole
        assert expected is not None
        model = subject.model(fault.name, alone=alone)
        seen = self.asked(client, model, stream=stream)
        place = Place(client, subject.asked(fault), fault.name, "" if alone else subject.second)
        way = "stream" if stream else "whole"
        return [
            f"{client} -> {subject.format}, {way}: {difference}"
            for difference in differences(expected, place, seen)
        ]

    def asked(self, client: str, model: str, *, stream: bool) -> Seen:
        """What the official library makes of it, and what the log says."""
        with self._client(client) as talk:
            case = f"{next(self._numbers)}"
            talk.got_some = _Words(self.bad)
            talk.got_some.case = case
            seen = _heard(talk, model, prompt(case), stream=stream)
            fields = talk.headers
        seen = replace(
            seen,
            provider=fields.get("x-router-provider", ""),
            attempts=fields.get("x-router-attempts", ""),
            tag=fields.get("x-router-error", ""),
            retry_after=fields.get("retry-after", ""),
        )
        with self._reading:
            line = self.journal.line(fields["x-router-request-id"])
        return replace(
            seen,
            status=line["status"],
            end=line["end"],
            fault=line["fault"],
            error_kind=line["error_kind"],
            tried=tuple(line["attempts"]),
            estimated=line["usage_estimated"],
            output_tokens=line["output_tokens"],
        )

    @contextmanager
    def _client(self, kind: str) -> Iterator[Any]:
        try:
            talk = self._idle[kind].get_nowait()
        except queue.Empty:
            talk = LIBRARIES[kind](self.url)
            self._made.append(talk)
        yield talk
        self._idle[kind].put(talk)


def _heard(talk: Any, model: str, words: str, *, stream: bool) -> Seen:
    """What came before the error, where there was one; any other exception is a finding."""
    try:
        talk.ask(model, words, stream=stream)
    except talk.errors as error:
        return Seen(text=talk.heard.text, failed=str(error) or "?", stopped=bool(talk.heard.native))
    except Exception as error:  # noqa: BLE001 - the library broke on what the router said
        return Seen(trouble=f"the library raised {error!r}")
    heard = talk.heard
    calls = tuple(name for _, name, _ in heard.calls)
    return Seen(text=heard.text, calls=calls, stopped=heard.native is not None)


def named(fault: Fault) -> str:
    return fault.name


SLOW = [fault for fault in FAULTS if fault.slow]
QUICK = [fault for fault in FAULTS if not fault.slow]
