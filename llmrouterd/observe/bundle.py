"""The dashboard's page, put together from its sources.

Owns: the order of the sources in `page/`, how they become one document, and the policy that lets a
browser run exactly that.
Refuses to know: what the page shows, who asks for it.

Laws:
1. The document loads nothing: its one style and its one script stand in it, and its
   Content-Security-Policy names them by their hashes.
2. A source is a JavaScript module that says what it takes from which other one, so that editors and
   readers understand it; here they become one script in the order of `SCRIPTS`, each after those it
   imports, in one block of strict code: a name that two of them use is a mistake that no browser runs.
"""

from __future__ import annotations

import re
from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib.resources import files

SCRIPTS = (
    "words",
    "requests",
    "detail",
    "feed",
    "charts",
    "fleet",
    "streams",
    "playground",
    "connection",
    "main",
)
STYLES = ("base", "requests", "views")
_IMPORT = re.compile(r"^import [^;]*;\n", re.MULTILINE)
_EXPORT = re.compile(r"^export ", re.MULTILINE)


@cache
def page() -> tuple[list[tuple[str, str]], bytes]:
    """Its header fields, and the document."""
    style = "\n" + "".join(source(f"{name}.css") for name in STYLES)
    script = '\n"use strict";\n{\n' + "".join(map(_script, SCRIPTS)) + "}\n"
    html = source("page.html").replace("/* style */", style).replace("/* script */", script)
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
    return [
        ("content-type", "text/html; charset=utf-8"),
        ("content-security-policy", policy),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
    ], html.encode()


def source(name: str) -> str:
    """One file of `page/`. Read through importlib: it may lie in a zip file."""
    return files("llmrouterd.observe").joinpath("page", name).read_text("utf-8")


def _script(name: str) -> str:
    return _EXPORT.sub("", _IMPORT.sub("", source(f"{name}.js")))


def _hash(content: str) -> str:
    """The policy's word for an element with exactly this content."""
    return f"'sha256-{b64encode(sha256(content.encode()).digest()).decode()}'"
