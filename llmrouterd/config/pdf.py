"""`[plugins.pdf]`: what it needs, and whom it names.

Owns: whether pypdf is there where it is needed, and that providers which read PDF themselves exist.
Refuses to know: how a PDF is read.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from llmrouterd.config.rules import check_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmrouterd.config.nouns import Config
    from llmrouterd.config.read import Problems

MISSING = (
    "pypdf is not there: install it beside llmrouter (pip install 'llmrouter[pdf]'), or build the file "
    "with it (sh zipapp.sh --with pdf)"
)


def check_pdf(problems: Problems, config: Config, names: Sequence[str]) -> None:
    """names: of all providers in the file."""
    table = config.plugins.get("pdf")
    if table is None:
        return
    if table["enabled"] and importlib.util.find_spec("pypdf") is None:
        problems.add(("plugins", "pdf"), MISSING)
    for index, name in enumerate(table.get("native") or ()):
        check_name(problems, ("plugins", "pdf", "native", index), name, names)
