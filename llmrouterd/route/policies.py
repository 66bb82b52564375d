"""What the owner forbids: which policies bind a request, and what each of them leaves open.

Owns: the step from `Facts` to `Bounds`, the reason why a candidate lies outside of them, and the
strictest bounds that a request may still come under while nobody has looked at it.
Refuses to know: rules, the order of candidates (decide.py), addresses really dialled
(guard/egress.py holds the door under the same bounds).

Laws:
1. Pure: the same facts and policies give the same bounds.
2. Policies only ever forbid. Several that bind the same request hold all at once.
3. Fail closed: where a classifier could not say whether a tag is there, a policy for that tag binds.
4. A model that a local server only passes on to somebody else's machine is not local.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from llmrouterd.model import Facts, ModelInfo, Policy, Provider

REMOTE: Mapping[str, object] = MappingProxyType({"remote_model": True})  # a list entry that says so
_CLOUD = (":cloud", "-cloud")  # how Ollama names what it has run at its maker's


@dataclass(frozen=True, slots=True)
class Bounds:
    """What binds one request.

    policies: those that do. local: the name of one that keeps the request on this network, or "".
    networks: the only ones it may reach, where a policy names some. blocked: why nobody may serve
    it, or ""; blocker: the name of the policy that says so.
    """

    policies: tuple[Policy, ...] = ()
    local: str = ""
    networks: tuple[str, ...] = ()
    blocked: str = ""
    blocker: str = ""


FREE = Bounds()


def bounds(facts: Facts, policies: Sequence[Policy]) -> Bounds:
    """The bounds of a request that has been classified."""
    if not policies:
        return FREE
    return _together(policy for policy in policies if _binds(policy, facts))


def strictest(policies: Sequence[Policy]) -> Bounds:
    """The bounds for what is sent before anybody knows which policies bind."""
    return _together(policies) if policies else FREE


def might_bind(policies: Sequence[Policy], client: str) -> Bounds:
    """The same for a request of which only the client is known: an extension may yet name another
    model, and the classifiers any tag."""
    return strictest([each for each in policies if not each.clients or client in each.clients])


def forbids(bound: Bounds, provider: Provider, model: str, info: ModelInfo | None) -> str:
    """Why this candidate may not serve the request, or ""."""
    elsewhere = not provider.local or (bool(bound.local) and runs_elsewhere(provider, model, info))
    for policy in bound.policies:
        if policy.allow and provider.name not in policy.allow:
            return _words(policy, f"allows only {', '.join(policy.allow)}")
        if provider.name in policy.deny:
            return _words(policy, "denies it")
        if policy.local and elsewhere:
            what = "this model runs elsewhere" if provider.local else "this provider is remote"
            return _words(policy, f"keeps the request on this network, and {what}")
    return ""


def _words(policy: Policy, text: str) -> str:
    return f"{policy.where} {text}" + (f" ({policy.message})" if policy.message else "")


def runs_elsewhere(provider: Provider, model: str, info: ModelInfo | None) -> bool:
    """Whether the server only passes this model's requests on, as Ollama does for cloud models."""
    if provider.format == "echo":
        return False
    named = model.lower().removesuffix(":latest").endswith(_CLOUD)
    return named or (info is not None and passed_on(info))


def passed_on(info: ModelInfo) -> bool:
    """Whether the server's own list says that it passes the model's requests on."""
    return bool(info.native.get("remote_host") or info.native.get("remote_model"))


# --- which bind -----------------------------------------------------------------------------------


def _binds(policy: Policy, facts: Facts) -> bool:
    """All that a policy names must be so; one that names nothing binds every request."""
    tagged = not policy.tags or any(map(facts.may_be, policy.tags))
    known = not policy.clients or facts.client in policy.clients
    names = (facts.model, facts.asked) if facts.asked else (facts.model,)
    meant = not policy.models or any(_means(name, policy.models) for name in names)
    return tagged and known and meant


def _means(model: str, globs: Iterable[str]) -> bool:
    """Whether one of the globs is for this name. Servers hear a name in any case, with `:latest` or
    without it, and behind `provider/`: no spelling of it leads past a policy."""
    name = _plain(model)
    names = (name, name.partition("/")[2] or name)
    return any(fnmatchcase(each, _plain(glob)) for glob in globs for each in names)


def _plain(name: str) -> str:
    return name.lower().removesuffix(":latest")


def _together(policies: Iterable[Policy]) -> Bounds:
    out = FREE
    for policy in policies:
        out = replace(out, policies=(*out.policies, policy))
        if policy.block and not out.blocked:
            words = policy.message or "a policy of this router blocks this request"
            out = replace(out, blocked=words, blocker=policy.where)
        if policy.local:
            out = _kept_local(out, policy)
    return out


def _kept_local(bound: Bounds, policy: Policy) -> Bounds:
    bound = replace(bound, local=bound.local or policy.where)
    if not policy.networks:
        return bound
    if not bound.networks:
        return replace(bound, networks=policy.networks)
    both = _common(bound.networks, policy.networks)
    if both:
        return replace(bound, networks=both)
    words = f"{bound.local} and {policy.where} have no network in common"
    return replace(bound, blocked=bound.blocked or words, blocker=bound.blocker or policy.where)


def _common(some: Iterable[str], others: Iterable[str]) -> tuple[str, ...]:
    """The networks that lie in both lists."""
    theirs = [ipaddress.ip_network(text) for text in others]
    out: dict[str, None] = {}
    for mine in map(ipaddress.ip_network, some):
        for other in theirs:
            if mine.version == other.version and mine.overlaps(other):
                out[str(max(mine, other, key=lambda each: each.prefixlen))] = None
    return tuple(out)
