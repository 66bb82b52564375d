"""A search engine as its owner describes it: how it is asked, and what its JSON says.

Owns: SearXNG's way of being asked, URLs, fields and bodies made from templates, finding the results in an
answer, and making plain text of them.
Refuses to know: when anything is searched for, what becomes of the results, sockets.

Laws:
1. What is asked for is quoted for the place that it is put into: it adds no parameter, no member and no
   header field.
2. What comes back is a stranger's text: results are few and short, in plain text without markup and
   characters that nobody sees, and a link is http or https.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from formats import jsontext
from llmrouterd.model import Secret

if TYPE_CHECKING:
    from formats.canonical import JSON

QUERY, COUNT, KEY = "{query}", "{count}", "{key}"
_MARKUP = re.compile(r"</?[A-Za-z!][^<>]{0,500}>")
_FIELD = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_LONGEST_LINK = 1000
_LONGEST_TITLE = 200
_URL_SAFE = "/:?#[]@!$&'()*+,;=-._~%"


class SearchFailed(Exception):
    """The engine gave no results; in words without the question."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request to the engine."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Found:
    """One result, in plain text. date: as the engine writes it."""

    title: str
    link: str
    text: str = ""
    date: str = ""


class Engine:
    """The one of the configuration. Raises ValueError, naming the key, when a setting is wrong."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._url = str(settings["url"])
        self._body = str(settings.get("body", ""))
        self._key = settings.get("key")
        self._headers = _headers(settings.get("headers", {}))
        self.plain = QUERY not in self._url + self._body  # a SearXNG, by its address
        self._paths = {
            "results": _path(settings, "results", "results"),
            "title": _path(settings, "title", "title"),
            "link": _path(settings, "link", "url"),
            "text": _path(settings, "snippet", "content"),
            "date": _path(settings, "date", "publishedDate"),
        }
        parameters = settings.get("parameters", {})
        if not isinstance(parameters, Mapping):
            raise ValueError("parameters: expected a table of texts")
        self._parameters = {str(name): str(value) for name, value in parameters.items()}
        self._check()

    def _check(self) -> None:
        if KEY in self._url:
            raise ValueError(
                "url: a key does not belong into a URL: put {key} into headers or body"
            )
        asked = self._filled("a b", 3)
        if not _is_address(asked.url) or "{" in urlsplit(self._url).netloc:
            raise ValueError("url: expected http://host/... or https://host/...")
        if urlsplit(asked.url).username is not None:
            raise ValueError("url: no user and password in it: put them into headers")
        if asked.body:
            try:
                jsontext.loads(asked.body.decode())
            except ValueError as error:
                raise ValueError(f"body: with a question in it this is no JSON: {error}") from None

    @property
    def host(self) -> str:
        """For messages."""
        return urlsplit(self._url).netloc

    def asks(self, query: str, count: int) -> Asked:
        """Raises SearchFailed."""
        if self._key is None and any(KEY in each for each in (self._body, *self._headers.values())):
            raise SearchFailed("the engine's key is missing")
        return self._filled(query, count)

    def _filled(self, query: str, count: int) -> Asked:
        key = self._key.reveal() if isinstance(self._key, Secret) else ""
        headers = {name: value.replace(KEY, key) for name, value in self._headers.items()}
        url = self._url.replace(QUERY, quote(query, safe="")).replace(COUNT, str(count))
        parameters = dict(self._parameters)
        if self.plain:
            base = url.rstrip("/")
            url = base if base.endswith("/search") else f"{base}/search"
            parameters = {"q": query, "format": "json", **parameters}
        if parameters:
            url += ("&" if "?" in url else "?") + urlencode(parameters, errors="replace")
        if not self._body:
            return Asked("GET", url, {"accept": "application/json", **headers})
        fills = {QUERY: _inside(query), COUNT: str(count), KEY: _inside(key)}
        body = re.sub(r"\{(?:query|count|key)\}", lambda found: fills[found[0]], self._body)
        sent = {"accept": "application/json", "content-type": "application/json", **headers}
        return Asked("POST", url, sent, body.encode("utf-8", "replace"))

    def found(self, status: int, body: bytes, *, most: int, most_chars: int) -> list[Found]:
        """The results of an answer, each link once. Raises SearchFailed."""
        if status != 200:
            raise SearchFailed(f"{self.host} answered {status}{self._hint(status)}")
        try:
            answer = jsontext.loads(body.decode("utf-8-sig"))
        except (ValueError, RecursionError):
            raise SearchFailed(f"{self.host} answered with something that is no JSON") from None
        listed = _at(answer, self._paths["results"])
        if not isinstance(listed, list):
            where = ".".join(self._paths["results"])
            raise SearchFailed(f"there is no list at {where!r} in the answer of {self.host}")
        out: dict[str, Found] = {}
        for entry in listed:
            result = self._result(entry, most_chars)
            if result is not None and result.link not in out:
                out[result.link] = result
            if len(out) == most:
                break
        return list(out.values())

    def _hint(self, status: int) -> str:
        if not self.plain or status != 403:
            return ""
        return ": is json among search.formats in the settings.yml of that SearXNG?"

    def _result(self, entry: JSON, most_chars: int) -> Found | None:
        link = link_of(_at(entry, self._paths["link"]))
        if not link:
            return None
        title = plain(_at(entry, self._paths["title"]), _LONGEST_TITLE)
        text = plain(_at(entry, self._paths["text"]), most_chars)
        date = plain(_at(entry, self._paths["date"]), 40)
        return Found(title or link, link, text, date)


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _headers(table: object) -> dict[str, str]:
    if not isinstance(table, Mapping):
        raise ValueError("headers: expected a table of texts")
    for name, value in table.items():
        if not _FIELD.fullmatch(str(name)) or not str(value).isprintable():
            raise ValueError(f"headers: {str(name)[:60]!r} is no header field")
    return {str(name): str(value) for name, value in table.items()}


def _path(settings: Mapping[str, Any], key: str, default: str) -> tuple[str, ...]:
    text = settings.get(key, default)
    if not isinstance(text, str) or not all(text.split(".")):
        raise ValueError(f"{key}: expected names of JSON members like web.results")
    return tuple(text.split("."))


def _at(value: JSON, path: tuple[str, ...]) -> JSON:
    """What stands at a path, None when there is nothing. A number in it counts a list's entries."""
    for name in path:
        if isinstance(value, dict):
            value = value.get(name)
        elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    return value


def _inside(text: str) -> str:
    """As it stands between the quotes of a JSON string."""
    return jsontext.dumps(text)[1:-1]


def plain(value: JSON, most: int) -> str:
    """A stranger's text on one line: no markup, nothing that is not seen, not longer than `most`."""
    if not isinstance(value, str):
        return ""
    text = html.unescape(_MARKUP.sub("", value[: most * 8]))
    text = "".join(" " if c.isspace() else c for c in text if c.isspace() or _is_seen(c))
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def _is_seen(char: str) -> bool:
    """Control and format characters (the tags that hide words in emoji among them), private ones and
    halves of pairs are not."""
    return not unicodedata.category(char).startswith("C")


def link_of(value: JSON) -> str:
    """An http or https link in ASCII; "" for anything else."""
    if not isinstance(value, str) or len(value) > _LONGEST_LINK or not value.isprintable():
        return ""
    try:
        parts = urlsplit(value.strip())
        sound = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return ""
    return quote(value.strip(), safe=_URL_SAFE, errors="replace") if sound else ""
