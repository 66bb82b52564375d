"""`llmrouter check --online`: what the providers of a configuration answer right now.

Owns: which models a file names and nobody has, and how the answers are shown.
Refuses to know: how a provider is asked (ops/survey.py).

Laws:
1. A model counts as missing only where the whole list is known: an answer that did not come is told
   as that, once.
2. No secret in any output: keys are counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmrouterd.commands.check import table
from llmrouterd.model import EMPTY, ModelInfo, ProviderState
from llmrouterd.route.rules import find

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from llmrouterd.config import Config
    from llmrouterd.model import RuleSpec
    from llmrouterd.ops.survey import Finding

JSON = Any
WITHIN_S = 20.0
_GLOB = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Missing:
    """A model that the file names. where: in the file; provider: "": no provider at all has it."""

    where: str
    provider: str
    model: str
    why: str


@dataclass(frozen=True, slots=True)
class Answers:
    """What was found. skipped: providers that the file names and that have no key here."""

    findings: tuple[Finding, ...]
    skipped: tuple[tuple[str, str], ...]
    missing: tuple[Missing, ...]

    @property
    def well(self) -> bool:
        return all(each.works for each in self.findings) and not (self.skipped or self.missing)


def ask(config: Config) -> Answers:
    """Ask everybody, in at most WITHIN_S."""
    import trio

    from llmrouterd.edge.pool import Pool
    from llmrouterd.ops.survey import survey

    async def asked() -> tuple[Finding, ...]:
        pool = Pool()
        try:
            return await survey(pool, config.providers, WITHIN_S)
        finally:
            pool.close()

    findings = trio.run(asked)
    return Answers(findings, config.skipped, tuple(missing(config, findings)))


# --- models that nobody has -----------------------------------------------------------------------


def missing(config: Config, findings: Sequence[Finding]) -> Iterator[Missing]:
    """Each model that rules, aliases and classifiers name and that is not there."""
    states = {each.provider.name: _state(each) for each in findings}
    skipped = dict(config.skipped)
    for where, provider, model in dict.fromkeys(named(config)):
        why = _why_not(states, skipped, provider, model)
        if why:
            yield Missing(where, provider, model, why)


def named(config: Config) -> Iterator[tuple[str, str, str]]:
    """(where, provider, model) of every model the file names; provider "": whoever has it."""
    for alias, targets in config.routing.aliases.items():
        for target in targets:
            provider, _, model = target.partition("/")
            yield f"models.{alias}", provider, model
    for spec in config.routing.rules:
        yield from _of_rule(spec)
    for kind in ("classifiers", "response_classifiers"):
        for name, settings in getattr(config, kind).items():
            if settings["enabled"] and settings.get("model") and settings.get("provider"):
                yield f"{kind}.{name}", str(settings["provider"]), str(settings["model"])


def _of_rule(spec: RuleSpec) -> Iterator[tuple[str, str, str]]:
    for provider, model in spec.targets:
        if model:
            yield spec.where, provider, model
    models = [spec.rewrite_model] if spec.rewrite_model else []
    if not models and not spec.targets:  # what it takes is sent by the name that it was asked for
        models = [text for text in spec.match if not set(text) & _GLOB]
    for model in models:
        for provider in spec.providers or ("",):
            yield spec.where, provider, model


def _state(finding: Finding) -> ProviderState:
    """As routing would see it: a list that the owner wrote goes before the server's."""
    provider = finding.provider
    names = provider.models or finding.models
    models = None if names is None else {name: ModelInfo(name) for name in names}
    return ProviderState(provider, models)


def _why_not(
    states: Mapping[str, ProviderState], skipped: Mapping[str, str], provider: str, model: str
) -> str:
    """Why this model cannot be had there; "": it can, or nobody knows."""
    if not provider:
        known = all(state.models is not None for state in states.values())
        has = any(find(state, model) for state in states.values())
        return "no provider has it" if known and not has else ""
    if provider in skipped:
        return f"the provider {provider!r} is skipped: {skipped[provider]}"
    state = states.get(provider)
    if state is None or state.models is None or find(state, model) is not None:
        return ""
    if state.provider.format == "echo" and not state.provider.models:
        return ""  # it answers to every name
    return f"{provider!r} does not have it{_others(states, model)}"


def _others(states: Mapping[str, ProviderState], model: str) -> str:
    """Who has it instead, or what looks like it."""
    from difflib import get_close_matches

    there = [name for name, state in states.items() if find(state, model) is not None]
    if there:
        return f"; {', '.join(there)} has"
    listed = {name for state in states.values() for name in state.models or EMPTY}
    near = get_close_matches(model, listed, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


# --- for people -----------------------------------------------------------------------------------

_WORDS = {
    "ok": "answers",
    "no_list": "answers",
    "client_key": "answers",
    "refused": "key refused",
    "no_key": "no key",
    "dns": "no such name",
    "tls": "TLS fails",
    "proxy": "proxy fails",
    "unreachable": "not there",
    "silent": "silent",
    "odd": "odd answer",
}


def as_text(answers: Answers) -> str:
    return "\n".join(_lines(answers))


def _lines(answers: Answers) -> Iterator[str]:
    rows = [_row(each) for each in answers.findings]
    rows += [(name, "skipped", "-", "-", "-", why) for name, why in answers.skipped]
    yield from table(("ASKED", "STATE", "MS", "MODELS", "KEYS", "WHY"), rows)
    if answers.missing:
        yield ""
        rows = [(each.model, each.where, each.why) for each in answers.missing]
        yield from table(("MODEL", "NAMED BY", "WHY IT CANNOT BE HAD"), rows)
    yield ""
    yield _sum(answers)


def _row(finding: Finding) -> tuple[str, ...]:
    return (
        finding.provider.name,
        "some keys refused" if finding.wrong_keys and finding.state == "ok" else _word(finding),
        "-" if finding.ms is None else f"{finding.ms:.0f}",
        "-" if finding.models is None else str(len(finding.models)),
        str(finding.keys) if finding.keys else "-",
        finding.why or "-",
    )


def _word(finding: Finding) -> str:
    return _WORDS[finding.state]


def _sum(answers: Answers) -> str:
    if answers.well:
        return "all providers answer, and every model that the file names is there"
    works = sum(each.works for each in answers.findings)
    asked = len(answers.findings) + len(answers.skipped)
    words = f"{works} of {asked} providers work"
    missing = len(answers.missing)
    if missing:
        words += f", and {missing} of the models that the file names cannot be had"
    return words


# --- for programs ---------------------------------------------------------------------------------


def as_json(answers: Answers) -> dict[str, JSON]:
    return {
        "well": answers.well,
        "providers": [
            {
                "name": each.provider.name,
                "state": each.state,
                "works": each.works,
                "why": each.why,
                "ms": each.ms,
                "models": None if each.models is None else list(each.models),
                "keys": each.keys,
                "wrong_keys": list(each.wrong_keys),
            }
            for each in answers.findings
        ],
        "skipped": [{"name": name, "why": why} for name, why in answers.skipped],
        "missing": [
            {
                "model": each.model,
                "provider": each.provider,
                "named_by": each.where,
                "why": each.why,
            }
            for each in answers.missing
        ],
    }
