"""Plugins: what may change a request or its answer on the way.

Owns: the table of what is built in. A new plugin is a module here and one more line in it.
Refuses to know: when the hooks run.

Law: a factory takes the configured settings and raises ValueError, naming the key, when one of
them is wrong. Which ids a configuration may name is the configuration's business (config/keys.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmrouterd.plugins.cache import Cache
from llmrouterd.plugins.model_params import ModelParams
from llmrouterd.plugins.pareto_router import ParetoRouter
from llmrouterd.plugins.pdf import Pdf
from llmrouterd.plugins.redact import Redact
from llmrouterd.plugins.response_healing import ResponseHealing
from llmrouterd.plugins.system_prompt import SystemPrompt
from llmrouterd.plugins.tool_repair import ToolRepair
from llmrouterd.plugins.web import Web

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llmrouterd.hooks import Plugin

BUILTIN: Mapping[str, Callable[[Mapping[str, Any]], Plugin]] = {
    ResponseHealing.id: ResponseHealing,
    ParetoRouter.id: ParetoRouter,
    Redact.id: Redact,
    SystemPrompt.id: SystemPrompt,
    ModelParams.id: ModelParams,
    Cache.id: Cache,
    ToolRepair.id: ToolRepair,
    Web.id: Web,
    Pdf.id: Pdf,
}
