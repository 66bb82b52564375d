"""`[[routers]]` and `[models]`: from tables of the file to `Routing`.

Owns: what each type of rule must say, and the check that every provider named is configured.
Refuses to know: what the rules do (llmrouterd/route/rules.py does).

Laws:
1. A name is right when the file configures it, also where its key is missing at the moment: the
   same file must be right on a machine without that key.
2. Lists come out as they were written; an empty list of providers means all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmrouterd.config.keys import CANDIDATE, RULES, TARGET, WHEN, Keys
from llmrouterd.config.read import Problems, got, nearest, quoted, read
from llmrouterd.model import RuleSpec, When

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmrouterd.tomlpos import Path


def read_rules(
    problems: Problems, tables: Sequence[Mapping[str, Any]], names: Sequence[str]
) -> tuple[RuleSpec, ...]:
    """Every `[[routers]]` entry. `names`: the configured providers, skipped ones included."""
    specs = (_rule(problems, index, table, names) for index, table in enumerate(tables))
    return tuple(spec for spec in specs if spec is not None)


def _rule(
    problems: Problems, index: int, table: Mapping[str, Any], names: Sequence[str]
) -> RuleSpec | None:
    path: Path = ("routers", index)
    kind = table.get("type")
    if not isinstance(kind, str) or kind not in RULES:
        problems.add((*path, "type") if "type" in table else path, _no_such_type(kind))
        return None
    values = read(problems, path, table, RULES[kind])
    _check_names(problems, path, values, names)
    if kind == "model":
        _check_model_rule(problems, path, values)
    if kind == "discover" and values["provider"] and values["providers"]:
        problems.add(path, "give either provider or providers")
    if kind == "context":
        _check_context_rule(problems, path, values)
    targets, weights = _targets(problems, path, values, names)
    if values.get("candidates") and (values["providers"] or values["rewrite_model"]):
        problems.warn(path, "candidates are given, so providers and rewrite_model do nothing")
    one = values.get("provider")
    match = values.get("match") or ()
    return RuleSpec(
        type=kind,
        where=f"routers[{index}] {kind}",
        providers=(one,) if one else tuple(values.get("providers") or ()),
        model_prefix=values.get("model_prefix") or "",
        match=(match,) if isinstance(match, str) else tuple(match),
        tag=values.get("tag") or "",
        targets=targets,
        rewrite_model=values.get("rewrite_model"),
        max_cost_per_1m_tokens=values.get("max_cost_per_1m_tokens"),
        max_latency_ms=values.get("max_latency_ms"),
        min_tokens_per_sec=values.get("min_tokens_per_sec"),
        quality_bias=values.get("quality_bias", 0.5),
        weights=weights,
        when=_when(problems, (*path, "when"), values["when"]),
        measured=values.get("measured", False),
        sticky=values["sticky"],
        min_tokens=values.get("min_tokens"),
        max_tokens=values.get("max_tokens"),
        hedge_after_ms=values["hedge_after_ms"],
        retry_on_tags=tuple(values["retry_on_tags"]),
    )


def _no_such_type(kind: object) -> str:
    known = ", ".join(f'"{name}"' for name in RULES)
    if kind is None:
        return f'the key "type" is missing: one of {known}'
    if not isinstance(kind, str):
        return f"expected one of {known}, {got(kind)}"
    return f"expected one of {known}, got {quoted(kind)}{nearest(kind, list(RULES))}"


def _check_names(
    problems: Problems, path: Path, values: Mapping[str, Any], names: Sequence[str]
) -> None:
    if values.get("provider"):
        check_name(problems, (*path, "provider"), values["provider"], names)
    for index, name in enumerate(values.get("providers") or ()):
        check_name(problems, (*path, "providers", index), name, names)


def check_name(problems: Problems, path: Path, name: str, names: Sequence[str]) -> None:
    """Note it when no provider of the file has this name."""
    if name not in names:
        problems.add(path, f"there is no provider {quoted(name)}{nearest(name, names)}")


def _check_model_rule(problems: Problems, path: Path, values: Mapping[str, Any]) -> None:
    if bool(values["provider"]) == bool(values["targets"]):
        problems.add(path, "give either provider or targets")
    elif values["targets"] and values["rewrite_model"]:
        problems.add((*path, "rewrite_model"), "each of the targets names its own model")


def _targets(
    problems: Problems, path: Path, values: Mapping[str, Any], names: Sequence[str]
) -> tuple[tuple[tuple[str, str], ...], tuple[float, ...]]:
    """The (provider, model) pairs of `targets` or `candidates`; model "" is the one asked for. And
    their weights: where one has a weight, those without have 1."""
    pairs: list[tuple[str, str]] = []
    weights: list[float | None] = []
    forms: tuple[tuple[str, Keys], ...] = (("targets", TARGET), ("candidates", CANDIDATE))
    for where, keys in forms:
        for index, table in enumerate(values.get(where) or ()):
            here: Path = (*path, where, index)
            pair = read(problems, here, table, keys)
            if pair["provider"]:
                check_name(problems, (*here, "provider"), pair["provider"], names)
            pairs.append((pair["provider"] or "", pair["model"] or ""))
            weights.append(pair["weight"])
    if all(weight is None for weight in weights):
        return tuple(pairs), ()
    return tuple(pairs), tuple(1.0 if weight is None else weight for weight in weights)


def _check_context_rule(problems: Problems, path: Path, values: Mapping[str, Any]) -> None:
    least, most = values["min_tokens"], values["max_tokens"]
    if least is None and most is None:
        problems.add(path, "give min_tokens or max_tokens, or both")
    elif least is not None and most is not None and least > most:
        problems.add((*path, "max_tokens"), f"is below min_tokens = {least}: no prompt is both")


def _when(problems: Problems, path: Path, table: Mapping[str, Any] | None) -> When | None:
    if table is None:
        return None
    values = read(problems, path, table, WHEN)
    return When(
        tags=texts(values["tags"]),
        clients=texts(values["client"]),
        stream=values["stream"],
        capabilities=texts(values["capability"]),
    )


def texts(value: str | Sequence[str] | None) -> tuple[str, ...]:
    """What may be written as one text or as a list of them."""
    return (value,) if isinstance(value, str) else tuple(value or ())


# ---- [models] ------------------------------------------------------------------------------------


def read_aliases(
    problems: Problems, table: Mapping[str, Any], names: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """`[models]`: what to try, in order, for a name that clients use."""
    aliases: dict[str, tuple[str, ...]] = {}
    for name, value in table.items():
        path: Path = ("models", name)
        if isinstance(value, dict):  # `gpt-4.1 = "..."` is a table "gpt-4" with a key "1" to TOML
            problems.add(path, "a name with a dot in it stands in quotes")
            continue
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or not all(isinstance(each, str) for each in texts):
            problems.add(path, f'expected "provider/model" or a list of such, {got(value)}')
            continue
        if not name.strip() or not texts:
            problems.add(path, "must not be empty")
        for each in texts:
            _check_alias_target(problems, path, each, names)
        aliases[name] = tuple(texts)
    return aliases


def _check_alias_target(problems: Problems, path: Path, target: str, names: Sequence[str]) -> None:
    if any(target.startswith(name + "/") and len(target) > len(name) + 1 for name in names):
        return
    provider, slash, model = target.partition("/")
    if not slash or not provider or not model:
        problems.add(path, f'expected "provider/model", got {quoted(target)}')
    else:
        check_name(problems, path, provider, names)
