"""Classifiers: what looks at a request, or at an answer, and names its tags.

Owns: the tables of what is built in. A new one is a module here and one more line in its table.
Refuses to know: when they are asked, and what is done with a tag.

Law: a factory takes the configured settings and raises ValueError, naming the key, when one of
them is wrong. Which ids a configuration may name is the configuration's business (config/keys.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmrouterd.classifiers.keyword import Keyword
from llmrouterd.classifiers.llm import LLM, ResponseLLM
from llmrouterd.classifiers.outcome import Empty, InvalidJSON, Truncated
from llmrouterd.classifiers.pii import Pii, ResponsePii
from llmrouterd.classifiers.refusal import Refusal
from llmrouterd.classifiers.secrets import Secrets
from llmrouterd.classifiers.semantic import Semantic
from llmrouterd.classifiers.structure import Structure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llmrouterd.hooks import Classifier, ResponseClassifier

BUILTIN: Mapping[str, Callable[[Mapping[str, Any]], Classifier]] = {
    Keyword.id: Keyword,
    Structure.id: Structure,
    Pii.id: Pii,
    Secrets.id: Secrets,
    LLM.id: LLM,
    Semantic.id: Semantic,
}
RESPONSE_BUILTIN: Mapping[str, Callable[[Mapping[str, Any]], ResponseClassifier]] = {
    Refusal.id: Refusal,
    Empty.id: Empty,
    Truncated.id: Truncated,
    InvalidJSON.id: InvalidJSON,
    ResponsePii.id: ResponsePii,
    ResponseLLM.id: ResponseLLM,
}
