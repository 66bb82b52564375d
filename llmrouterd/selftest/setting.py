"""The router that the self-test asks: whose settings it has, and what was put in their place.

Owns: making a configuration for the test out of none, or out of the owner's; who is asked for what.
Refuses to know: how the cases are run.

Laws:
1. Nobody but the misbehaving upstream is ever asked: every address, key, proxy and header of the
   owner's providers is taken out.
2. What was changed is said in `Setting.notes`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from llmrouterd.config import Config, Logging
from llmrouterd.model import EMPTY, Clocks, Images, Provider, Routing
from llmrouterd.selftest.faults import FAULTS, HEALTHY, REFUSED
from llmrouterd.selftest.voices import VOICES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmrouterd.model import FormatName
    from llmrouterd.selftest.faults import Fault

# For the faults that only a clock ends; for all others there is no hurry, however slow the machine.
SHORT = Clocks(connect_s=5.0, first_token_s=2.0, idle_s=1.0, total_s=3.0)
LONG = Clocks(connect_s=30.0, first_token_s=30.0, idle_s=30.0)
SUBJECTS = 6  # of the owner's providers so many are tried: more would take minutes
_LEFT_OUT = ("pareto-router", "web")  # plugins that would send a case elsewhere, or ask others
_HASTY, _SECOND, _NOBODY = "selftest-hasty", "selftest-healthy", "selftest-nobody"
_FORMATS: tuple[FormatName, ...] = ("openai", "anthropic", "ollama")
_SPOKEN: tuple[FormatName, ...] = (*_FORMATS, "responses")


@dataclass(frozen=True, slots=True)
class Subject:
    """One provider as it is tried. second: who is healthy beside it."""

    name: str
    format: str
    second: str

    def model(self, fault: str, *, alone: bool) -> str:
        """What a client asks for."""
        return f"{self.name}:{fault}" if alone else f"{self.name}:{fault}+"

    def asked(self, fault: Fault) -> str:
        """The provider that really is asked first."""
        if fault.name == REFUSED:
            return f"{_NOBODY}-{self.format}"
        return f"{_HASTY}-{self.name}" if fault.slow else self.name


@dataclass(frozen=True, slots=True)
class Setting:
    """notes: what whoever reads the result must know of how it was got."""

    config: Config
    subjects: tuple[Subject, ...]
    notes: tuple[str, ...] = ()


def setting(
    config: Config | None, url: str, nobody: str, formats: tuple[FormatName, ...] = _FORMATS
) -> Setting:
    """The misbehaving upstream at `url`, nobody at `nobody`, the owner's settings in between.
    formats: of the providers that are made up where the owner has none."""
    base = config or Config()
    notes = list(_notes(config))
    own = _own(base, notes) or [Provider(f, f) for f in formats]
    providers: list[Provider] = []
    for provider in own:
        providers.append(_tamed(provider, provider.name, url, LONG))
        providers.append(_tamed(provider, f"{_HASTY}-{provider.name}", url, SHORT))
    for fmt in _SPOKEN:
        bare = Provider(fmt, fmt)
        providers.append(_tamed(bare, f"{_SECOND}-{fmt}", url, LONG))
        providers.append(_tamed(bare, f"{_NOBODY}-{fmt}", nobody, LONG))
    subjects = tuple(Subject(p.name, p.format, _second(p.format)) for p in own)
    made = replace(
        base,
        server=replace(
            base.server,
            hosts=("127.0.0.1",),
            port=0,
            tls_cert="",
            tls_key="",
            tls_client_ca="",
            api_key=None,
            dashboard=False,
            metrics=False,
            allow_model_admin=False,
            life_sign=0.0,
            trusted_hosts=(),
        ),
        logging=Logging(),
        images=Images(),
        clients=(),
        plugins=_kept(base.plugins),
        classifiers=_kept(base.classifiers),
        response_classifiers=_kept(base.response_classifiers),
        providers=tuple(providers),
        routing=Routing(implicit=True, aliases=_aliases(subjects)),
    )
    return Setting(made, subjects, tuple(notes))


def _second(fmt: str) -> str:
    """Another format than the first one's: what fails over is said anew."""
    names = list(VOICES)
    return f"{_SECOND}-{names[(names.index(fmt) + 1) % len(names)]}"


def _aliases(subjects: tuple[Subject, ...]) -> Mapping[str, tuple[str, ...]]:
    """A name for each fault of each subject: alone, and with somebody healthy behind it."""
    out: dict[str, tuple[str, ...]] = {}
    for subject in subjects:
        for fault in FAULTS:
            first = f"{subject.asked(fault)}/{fault.name}"
            out[subject.model(fault.name, alone=True)] = (first,)
            both = (first, f"{subject.second}/{HEALTHY}")
            out[subject.model(fault.name, alone=False)] = both
    return out


# ---- the owner's providers -----------------------------------------------------------------------


def _tamed(provider: Provider, name: str, url: str, clocks: Clocks) -> Provider:
    """The provider with its ways, and nothing of where and as whom it is reached."""
    return Provider(
        name=name,
        format=provider.format,
        base_url=f"{url}/v1" if provider.format != "ollama" else url,
        dialect=provider.dialect,
        models=tuple(fault.name for fault in FAULTS),
        clocks=clocks,
        max_retries=0,
        circuit_failures=0,
        options=provider.options or EMPTY,
    )


def _own(config: Config, notes: list[str]) -> list[Provider]:
    """Those that are worth a run of their own: of several that differ in nothing, one."""
    found: list[Provider] = []
    left: list[str] = []
    for provider in config.providers:
        alike = (p for p in found if _ways(p) == _ways(provider))
        twin = next(alike, None)
        if provider.format not in VOICES:
            notes.append(f"{provider.name} is not tried: the upstream has no {provider.format}")
        elif twin is not None:
            notes.append(f"{provider.name} is tried as {twin.name}, from which it does not differ")
        elif len(found) < SUBJECTS:
            found.append(provider)
        else:
            left.append(provider.name)
    if config.providers and not found:
        notes.append("none of the file's providers can be tried: one of each format is made up")
    if left:
        notes.append(f"not tried, to end in time: {', '.join(left)}")
    return found


def _ways(provider: Provider) -> tuple[object, ...]:
    return provider.format, provider.dialect, dict(provider.options)


def _notes(config: Config | None) -> list[str]:
    seconds = f"first_token {SHORT.first_token_s:g} s, idle {SHORT.idle_s:g} s"
    notes = [f"clocks where one must end it: {seconds}, total {SHORT.total_s:g} s"]
    if config is None:
        return notes
    notes.append("no retries, circuits and life signs, so that each case stands for itself")
    on = ", ".join(name for name, table in _extensions(config).items() if table.get("enabled"))
    notes.append(
        f"of the file: dialects and options, limits of [server], extensions: {on or 'none'}"
    )
    for clock in _clocks(Provider("", "echo")):
        without = [p.name for p in config.providers if p.base_url and not _clocks(p)[clock]]
        if without:
            notes.append(
                f"no {clock} in the file, so that nothing ends by it: {', '.join(without)}"
            )
    return notes


def _clocks(provider: Provider) -> dict[str, float]:
    clocks = provider.clocks
    return {
        "first_token_timeout": clocks.first_token_s,
        "idle_timeout": clocks.idle_s,
        "total_timeout": clocks.total_s,
    }


def _extensions(config: Config) -> dict[str, Mapping[str, Any]]:
    return _kept({**config.classifiers, **config.response_classifiers, **config.plugins})


def _kept(tables: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Those that ask nobody; what a file of the owner's does nobody knows."""
    return {
        name: table
        for name, table in tables.items()
        if name not in _LEFT_OUT and "path" not in table
    }
