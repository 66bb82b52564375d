"""`[telemetry]`: where OpenTelemetry's signals go, and what goes along.

Owns: reading and checking that table.
Refuses to know: what is sent (observe/otlp.py).

Law: what may be a credential is a `Secret` from here on, and no message shows it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from llmrouterd.config import keys
from llmrouterd.config.credentials import NoKeyError, key_from
from llmrouterd.config.nouns import Telemetry
from llmrouterd.config.providers import read_headers, unreadable, url_parts
from llmrouterd.config.read import Problems, quoted, read
from llmrouterd.model import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping
    from urllib.parse import SplitResult

    from llmrouterd.tomlpos import Path

_EXAMPLE = "http://localhost:4318"
_SIGNALS = ("/v1/traces", "/v1/metrics", "/v1/logs")
_OURS = frozenset({"content-type", "content-encoding", "accept"})


def read_telemetry(
    problems: Problems, table: Mapping[str, Any], environ: Mapping[str, str]
) -> Telemetry:
    """The table as a noun. Variables are only asked for where it is enabled: a file that has the
    table switched off loads anywhere."""
    values = read(problems, ("telemetry",), table, keys.TELEMETRY)
    here: Path = ("telemetry", "otlp_endpoint")
    url = url_parts(problems, here, values["otlp_endpoint"], _EXAMPLE, "http", "https")
    if url is not None and url.path.rstrip("/").endswith(_SIGNALS):
        problems.add(here, "leave out /v1/traces and the like: the paths of the signals are added")
    if values["ca_file"] and (wrong := unreadable(values["ca_file"])):
        where: Path = ("telemetry", "ca_file")
        problems.add(where, f"{quoted(values['ca_file'])} cannot be read: {wrong}")
    headers = read_headers(problems, ("telemetry",), values["headers"], url)
    if values["enabled"]:
        headers += _from_variable(problems, values["headers_env"], environ)
    _check_names(problems, headers)
    return Telemetry(
        enabled=values["enabled"],
        endpoint=_finished(url),
        service_name=values["service_name"],
        sample_ratio=values["sample_ratio"],
        headers=tuple((name, Secret(value)) for name, value in headers),
        interval=values["interval"],
        timeout=values["timeout"],
        ca_file=values["ca_file"],
    )


def _finished(url: SplitResult | None) -> str:
    """The URL that the paths of the signals are appended to, without a user name."""
    if url is None:
        return _EXAMPLE
    return f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path.rstrip('/')}"


def _from_variable(
    problems: Problems, variable: str, environ: Mapping[str, str]
) -> tuple[tuple[str, str], ...]:
    """Headers as OpenTelemetry's own variables hold them: `name=value,name=value`, values
    percent-encoded."""
    path: Path = ("telemetry", "headers_env")
    try:
        text = key_from(problems, path, variable, environ)
    except NoKeyError as why:
        problems.add(path, f"{why}: set it, or remove this key")
        return ()
    found: dict[str, str] = {}
    for pair in text.reveal().split(",") if text is not None else ():
        name, equals, value = (part.strip() for part in pair.partition("="))
        if name and equals:
            found[name] = unquote(value)
        elif pair.strip():
            problems.add(path, f"the variable {variable} holds no list like name=value,name=value")
    return read_headers(problems, path, found, None)


def _check_names(problems: Problems, headers: tuple[tuple[str, str], ...]) -> None:
    names = [name for name, _ in headers]
    for name in sorted(set(names)):
        path: Path = ("telemetry", "headers")
        if name in _OURS:
            problems.add(path, f'"{name}" is the router\'s own business')
        elif names.count(name) > 1:
            problems.add(path, f'"{name}" is given twice')
