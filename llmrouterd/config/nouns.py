"""What a configuration is, once it has been read and found right.

Owns: `Config` and the parts of it that are nobody else's nouns, `Server`, `Logging` and `Telemetry`.
Refuses to know: TOML, files, defaults of the file's keys (keys.py has them).

Laws:
1. Everything here is a value. A configuration is replaced, never changed.
2. It holds no key but as a `Secret`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from llmrouterd.model import ANYBODY, EMPTY, Caller, Images, Provider, Routing, Secret

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Server:
    """`[server]`. Sizes are bytes, times are seconds. hosts: addresses, names and `unix:/path`; the
    port is the same for all."""

    hosts: tuple[str, ...] = ("127.0.0.1",)
    port: int = 8090
    workers: int = 1
    dashboard: bool = True
    metrics: bool = True
    api_key: Secret | None = None
    allow_unauthenticated: bool = False
    unix_mode: int = 0o600
    tls_cert: str = ""
    tls_key: str = ""
    tls_client_ca: str = ""  # with it, clients show a certificate that this CA has signed
    cors_origins: tuple[str, ...] = ()
    trusted_hosts: tuple[str, ...] = ()
    max_body_bytes: int = 64 * 1024 * 1024
    max_connections: int = 2048
    header_timeout: float = 15.0
    body_timeout: float = 60.0
    keepalive_timeout: float = 75.0
    drain_timeout: float = 30.0
    life_sign: float = 15.0
    client_stall: float = 60.0
    half_close: Literal["gone", "ignore"] = "gone"
    allow_model_admin: bool = False
    strict: bool = False
    state_dir: str = ""


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """One of `[[clients]]`, with the key that is its alone."""

    key: Secret
    caller: Caller


@dataclass(frozen=True, slots=True)
class Logging:
    """`[logging]`. max_bytes: rotate when the file has grown to this; 0 means never. rotate: "daily"
    is by day besides. audit_key: what the chain of an audit log is sealed with, if anything."""

    enabled: bool = False
    path: str = "logs/requests.jsonl"
    bodies: Literal["full", "none"] = "full"
    max_bytes: int = 100 * 1024 * 1024
    keep: int = 5
    rotate: Literal["size", "daily"] = "size"
    compress: bool = False
    audit: bool = False
    audit_key: Secret | None = None


@dataclass(frozen=True, slots=True)
class Telemetry:
    """`[telemetry]`. endpoint: without the path of a signal. headers: name and value, which may be a
    credential. interval, timeout: seconds."""

    enabled: bool = False
    endpoint: str = "http://localhost:4318"
    service_name: str = "llmrouter"
    sample_ratio: float = 1.0
    headers: tuple[tuple[str, Secret], ...] = ()
    interval: float = 10.0
    timeout: float = 10.0
    ca_file: str = ""


@dataclass(frozen=True, slots=True)
class Config:
    """One configuration, checked.

    classifiers, response_classifiers, plugins: id -> settings, with `enabled` always among them;
    only ids that this version knows. skipped: (provider, reason) for each that has no key.
    """

    server: Server = Server()
    logging: Logging = Logging()
    telemetry: Telemetry = Telemetry()
    images: Images = field(default_factory=Images)
    clients: tuple[KeyHolder, ...] = ()
    providers: tuple[Provider, ...] = ()
    routing: Routing = field(default_factory=lambda: Routing(implicit=True))
    classifiers: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: EMPTY)
    response_classifiers: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: EMPTY)
    plugins: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: EMPTY)
    warnings: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    path: str = ""

    def caller(self, name: str) -> Caller:
        """What the client of this name may do; of one that is not here nothing is known."""
        return next((h.caller for h in self.clients if h.caller.name == name), ANYBODY)
