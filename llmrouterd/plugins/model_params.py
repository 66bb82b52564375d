"""The plugin `model-params`: what the owner says of temperature, limits and the like.

    [plugins.model-params]
    enabled = true
    defaults = { temperature = 0.2 }
    max = { max_tokens = 8192, effort = "medium" }
    remove = ["seed"]

    [[plugins.model-params.rules]]
    models = ["qwen*"]
    clients = ["guest"]
    set = { thinking = "off" }

Owns: which of these hold for a request, and what they come to.
Refuses to know: what the client's format calls a parameter (parameters.py).

Laws:
1. What the owner bounds is bounded, however the client spells it: of all clamps that are meant for a
   request the tightest holds. A limit on `max_tokens` and `n` holds for a request that says nothing, too.
2. A request cannot change what the owner has said here.
3. Whatever is changed is noted, with both values: numbers and words of the formats' own. A text that the
   client wrote (a name of its user, where it stops) is for no log.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llmrouterd.hooks import Plugin
from llmrouterd.plugins import parameters, whom
from llmrouterd.plugins.parameters import EFFORTS, NAMES, NUMBERS, ORDERED, WHOLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from formats.canonical import Request
    from llmrouterd.hooks import Context
    from llmrouterd.plugins.whom import Whom

_DEEDS = ("defaults", "set", "min", "max", "remove")
_KEYS = (*_DEEDS, *whom.KEYS)
_WORDS: Mapping[str, tuple[str, ...]] = {
    "effort": EFFORTS,
    "thinking": ("off", "auto", "on"),
    "verbosity": ("low", "medium", "high"),
}
# What a server takes where nothing is said: without a limit it writes as much as it likes.
_UNSAID: Mapping[str, float] = {"n": 1}
_SHOWN = frozenset(word for words in _WORDS.values() for word in words)


@dataclass(frozen=True, slots=True)
class Rule:
    whom: Whom
    defaults: Mapping[str, Any] = field(default_factory=dict)
    set: Mapping[str, Any] = field(default_factory=dict)
    min: Mapping[str, Any] = field(default_factory=dict)
    max: Mapping[str, Any] = field(default_factory=dict)
    remove: tuple[str, ...] = ()


class ModelParams(Plugin):
    id = "model-params"
    owned = frozenset({*_KEYS, "rules"})

    def __init__(self, settings: Mapping[str, Any]) -> None:
        rules = [_rule(table, at) for table, at in whom.tables(settings, "rules", _KEYS)]
        if any(key in settings for key in _KEYS):
            rules.append(_rule(settings, ""))  # last: the others are about fewer requests
        self._rules = tuple(rules)

    async def pre_request(self, request: Request, ctx: Context) -> Request:
        if not request.messages:  # it loads a model, or unloads it
            return request
        rules = [rule for rule in self._rules if rule.whom.has(request, ctx)]
        changes = {}
        for name in _named(rules):
            before = parameters.value_of(request, name)
            after = wanted(rules, name, before)
            others = parameters.other_spellings(request, name)
            if _bound(rules, name) if others else after != before:
                changes[name] = after
                ctx.notes.append(_note(name, before, after, others))
        return parameters.with_values(request, changes) if changes else request


def _named(rules: Sequence[Rule]) -> Iterator[str]:
    """The parameters that anybody says something of, in one order always."""
    said = {
        name
        for rule in rules
        for names in (rule.defaults, rule.set, rule.min, rule.max, rule.remove)
        for name in names
    }
    return (name for name in NAMES if name in said)


def _bound(rules: Sequence[Rule], name: str) -> bool:
    return any(
        name in names for rule in rules for names in (rule.set, rule.min, rule.max, rule.remove)
    )


def _note(name: str, before: Any, after: Any, others: Sequence[str]) -> str:
    also = f" (instead of {', '.join(others)})" if others else ""
    return f"{name} {_shown(before)} -> {_shown(after)}{also}"


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, int | float) or (isinstance(value, str) and value in _SHOWN):
        return str(value)
    return "(a value)"


def wanted(rules: Sequence[Rule], name: str, given: Any) -> Any:
    """What a parameter comes to that the client gave this value. None: it is left out."""
    if any(name in rule.remove for rule in rules):
        given = None
    fixed = next((rule.set[name] for rule in rules if name in rule.set), None)
    if fixed is not None:
        given = fixed
    elif given is None:
        given = next((rule.defaults[name] for rule in rules if name in rule.defaults), None)
    if name not in ORDERED:
        return given
    return _clamped(rules, name, given)


def _clamped(rules: Sequence[Rule], name: str, given: Any) -> Any:
    least = max((rule.min[name] for rule in rules if name in rule.min), key=_rank, default=None)
    most = min((rule.max[name] for rule in rules if name in rule.max), key=_rank, default=None)
    if given is None:
        if name == "max_tokens":
            return most
        if name not in _UNSAID:
            return None
    value = _UNSAID[name] if given is None else given
    if least is not None and _rank(value) < _rank(least):
        value = least
    if most is not None and _rank(value) > _rank(most):
        value = most
    return given if given is None and value == _UNSAID.get(name) else value


def _rank(value: Any) -> float:
    if isinstance(value, str):
        return EFFORTS.index(value) if value in EFFORTS else len(EFFORTS)
    return float(value)


# --- settings -------------------------------------------------------------------------------------


def _rule(table: Mapping[str, Any], at: str) -> Rule:
    values = {key: _values(table, key, at) for key in ("defaults", "set", "min", "max")}
    remove = whom.texts(table, "remove", at)
    for name in remove:
        _check_name(name, f"{at}remove", NAMES)
    for name, least in values["min"].items():
        if name in values["max"] and _rank(least) > _rank(values["max"][name]):
            raise ValueError(f"{at}min.{name}: is more than max.{name}")
    return Rule(whom.whom(table, at), **values, remove=remove)


def _values(table: Mapping[str, Any], key: str, at: str) -> Mapping[str, Any]:
    given = table.get(key, {})
    if not isinstance(given, Mapping):
        raise ValueError(f"{at}{key}: expected a table like {{ temperature = 0.2 }}")
    for name, value in given.items():
        _check_name(name, f"{at}{key}", ORDERED if key in ("min", "max") else NAMES)
        wrong = _wrong(name, value)
        if wrong:
            raise ValueError(f"{at}{key}.{name}: expected {wrong}")
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in given.items()
    }


def _check_name(name: str, where: str, known: Sequence[str]) -> None:
    if name not in known:
        raise ValueError(f"{where}: there is no parameter {name[:40]!r}, only {', '.join(known)}")


def _wrong(name: str, value: Any) -> str:
    """What was expected, or ""."""
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if name in WHOLE:
        least = 0 if name in ("top_k", "seed", "top_logprobs") else 1
        return "" if is_whole and value >= least else f"a whole number of at least {least}"
    if name in NUMBERS:
        return "" if is_whole or isinstance(value, float) else "a number"
    if name in _WORDS:
        return "" if value in _WORDS[name] else f"one of {', '.join(_WORDS[name])}"
    if name in ("logprobs", "parallel_tool_calls"):
        return "" if isinstance(value, bool) else "true or false"
    if name == "stop":
        listed = isinstance(value, list) and all(isinstance(each, str) and each for each in value)
        return "" if listed else "a list of texts"
    if name == "logit_bias":
        return "" if isinstance(value, Mapping) else "a table"
    return "" if isinstance(value, str) and value else "a text"
