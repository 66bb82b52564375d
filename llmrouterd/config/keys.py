"""Every key that a configuration file may hold, its type, range and default.

Owns: the tables below, and nothing but tables: read.py applies them, test_docs.py compares them
with the manual.
Refuses to know: how they are checked.

Laws:
1. A key stands here only if something reads it: none is silently inert.
2. Where opensourcellmrouter 0.7.0 has the key, its default holds (`dashboard` excepted).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

Kind = Literal[
    "text",
    "prose",  # text that may have several lines
    "texts",  # a list of text
    "text or texts",
    "map",  # a table of text
    "counts",  # a table of whole numbers of at least 1
    "lists",  # a table of lists of text
    "whole",
    "number",
    "switch",
    "table",
    "tables",  # an array of tables
]


@dataclass(frozen=True, slots=True)
class Key:
    """One key. `low` and `high` bound a number; a text must not be empty where `filled` is set."""

    kind: Kind
    default: Any = None
    low: float = -math.inf
    high: float = math.inf
    one_of: tuple[str, ...] = ()
    required: bool = False
    filled: bool = False


Keys = Mapping[str, Key]


def seconds(default: float, low: float = 0) -> Key:
    return Key("number", default, low=low)


SERVER: Keys = {
    "host": Key("text or texts", "127.0.0.1", filled=True),
    "port": Key("whole", 8090, low=0, high=65535),
    "workers": Key("whole", 1, low=1, high=256),
    "dashboard": Key("switch", True),
    "metrics": Key("switch", True),
    "api_key_env": Key("text", ""),
    "allow_unauthenticated": Key("switch", False),
    "api_key_file": Key("text", ""),
    "unix_mode": Key("text", "0600"),
    "tls_cert": Key("text", ""),
    "tls_key": Key("text", ""),
    "tls_client_ca": Key("text", ""),
    "cors_origins": Key("texts", (), filled=True),
    "trusted_hosts": Key("texts", (), filled=True),
    "max_body_bytes": Key("whole", 67108864, low=1),
    "max_connections": Key("whole", 2048, low=1),
    # With none of these a client that does nothing would hold its connection for ever.
    "header_timeout": seconds(15.0, low=0.1),
    "body_timeout": seconds(60.0, low=0.1),
    "keepalive_timeout": seconds(75.0),
    "drain_timeout": seconds(30.0),
    "life_sign": seconds(15.0),
    "client_stall": seconds(60.0, low=0.1),
    "half_close": Key("text", "gone", one_of=("gone", "ignore")),
    "failover_to_remote": Key("switch", False),
    "allow_model_admin": Key("switch", False),
    "strict": Key("switch", False),
    "state_dir": Key("text", ""),
}

LOGGING: Keys = {
    "enabled": Key("switch", False),
    "path": Key("text", "logs/requests.jsonl", filled=True),
    "bodies": Key("text", "full", one_of=("full", "none")),
    "max_bytes": Key("whole", 104857600, low=0),
    "keep": Key("whole", 5, low=1, high=10000),
    "rotate": Key("text", "size", one_of=("size", "daily")),
    "compress": Key("switch", False),
    "audit": Key("switch", False),
    "audit_key_file": Key("text", ""),
}

IMAGES: Keys = {
    "fetch_hosts": Key("texts", (), filled=True),
    "max_bytes": Key("whole", 10485760, low=1),
    "timeout": seconds(10.0, low=0.1),
}

TELEMETRY: Keys = {
    "enabled": Key("switch", False),
    "otlp_endpoint": Key("text", "http://localhost:4318", filled=True),
    "service_name": Key("text", "llmrouter", filled=True),
    "sample_ratio": Key("number", 1.0, low=0, high=1),
    "headers": Key("map", MappingProxyType({})),
    "headers_env": Key("text", ""),
    "interval": seconds(10.0, low=0.1),
    "timeout": seconds(10.0, low=0.1),
    "ca_file": Key("text", ""),
}

PROVIDER: Keys = {
    "name": Key("text", required=True, filled=True),
    "format": Key(
        "text",
        required=True,
        one_of=("openai", "anthropic", "ollama", "responses", "echo"),
    ),
    "base_url": Key("text", ""),
    "dialect": Key(
        "text",
        "auto",
        one_of=(
            "auto",
            "openai",
            "anthropic",
            "azure",
            "llama.cpp",
            "vllm",
            "lmstudio",
            "ollama-v1",
            "openrouter",
            "deepseek",
            "moonshot",
            "other",
        ),
    ),
    "reasoning_field": Key("text", one_of=("auto", "think_tags")),
    "reasoning_echo": Key("text", one_of=("reasoning_content", "reasoning", "none")),
    "reasoning_required": Key("switch"),
    "include_usage": Key("switch"),
    "max_tokens_field": Key("text", one_of=("max_tokens", "max_completion_tokens")),
    "system_role": Key("text", one_of=("system", "developer")),
    "betas": Key("texts", filled=True),
    "forward_headers": Key("texts", (), filled=True),
    "api_key_env": Key("text", ""),
    "api_key_file": Key("text", ""),
    "api_key_envs": Key("texts", (), filled=True),
    "credentials": Key("text", "provider", one_of=("provider", "client")),
    "cost_per_1m_tokens": Key("number", low=0),
    "input_cost_per_1m": Key("number", low=0),
    "output_cost_per_1m": Key("number", low=0),
    "cached_input_cost_per_1m": Key("number", low=0),
    "quality": Key("number", 0.0),
    "latency_ms": Key("number", low=0),
    "throughput_tokens_per_sec": Key("number", low=0),
    "local": Key("switch"),
    "models": Key("texts", (), filled=True),
    "context_length": Key("whole", 0, low=0),
    "max_concurrency": Key("whole", 0, low=0),
    "model_concurrency": Key("counts", MappingProxyType({})),
    "max_queue": Key("whole", 100, low=0, high=10000),
    "queue_timeout": seconds(120.0),
    "max_loaded_models": Key("whole", 0, low=0),
    "swap_wait": seconds(15.0),
    "min_residency": seconds(10.0),
    "batch_wait": seconds(60.0),
    "connect_timeout": seconds(5.0),
    "first_token_timeout": seconds(300.0),
    "idle_timeout": seconds(120.0),
    "total_timeout": seconds(0.0),
    "max_retries": Key("whole", 1, low=0, high=100),
    "circuit_failures": Key("whole", 3, low=0, high=1000),
    "probe_interval": seconds(0.0),
    "headers": Key("map", MappingProxyType({})),
    "ca_file": Key("text", ""),
    "client_cert": Key("text", ""),
    "client_key": Key("text", ""),
    "http_proxy": Key("text", ""),
    "options": Key("table", MappingProxyType({})),
    "grow_context": Key("switch", False),
    "strip_nonces": Key("switch"),
    "stream_upstream": Key("text", "auto", one_of=("auto", "always", "never")),
}

_PROVIDER = Key("text", required=True, filled=True)
_PROVIDERS = Key("texts", (), filled=True)
_REWRITE = Key("text", filled=True)
_EVERY_RULE: Keys = {
    "type": Key("text", required=True),
    "when": Key("table"),
    "sticky": Key("switch", False),
    "hedge_after_ms": Key("whole", 0, low=0),
    "retry_on_tags": Key("texts", (), filled=True),
}

RULES: Mapping[str, Keys] = {
    "prefix": {
        **_EVERY_RULE,
        "model_prefix": Key("text", required=True),
        "provider": _PROVIDER,
        "rewrite_model": _REWRITE,
    },
    "model": {
        **_EVERY_RULE,
        "match": Key("text or texts", required=True, filled=True),
        "provider": Key("text", filled=True),
        "targets": Key("tables", ()),
        "rewrite_model": _REWRITE,
    },
    "tag": {
        **_EVERY_RULE,
        "tag": Key("text", required=True, filled=True),
        "provider": _PROVIDER,
        "rewrite_model": _REWRITE,
    },
    "price": {
        **_EVERY_RULE,
        "providers": _PROVIDERS,
        "max_cost_per_1m_tokens": Key("number", low=0),
    },
    "latency": {
        **_EVERY_RULE,
        "providers": _PROVIDERS,
        "max_latency_ms": Key("number", low=0),
        "measured": Key("switch", False),
    },
    "throughput": {
        **_EVERY_RULE,
        "providers": _PROVIDERS,
        "min_tokens_per_sec": Key("number", low=0),
        "measured": Key("switch", False),
    },
    "discover": {
        **_EVERY_RULE,
        "provider": Key("text", filled=True),
        "providers": _PROVIDERS,
    },
    "random": {
        **_EVERY_RULE,
        "providers": _PROVIDERS,
        "candidates": Key("tables", ()),
        "rewrite_model": _REWRITE,
    },
    "round_robin": {
        **_EVERY_RULE,
        "providers": _PROVIDERS,
        "candidates": Key("tables", ()),
        "rewrite_model": _REWRITE,
    },
    "least_busy": {
        **_EVERY_RULE,
        "providers": _PROVIDERS,
        "candidates": Key("tables", ()),
        "rewrite_model": _REWRITE,
    },
    "warm": {**_EVERY_RULE, "providers": _PROVIDERS, "rewrite_model": _REWRITE},
    "context": {
        **_EVERY_RULE,
        "min_tokens": Key("whole", low=0),
        "max_tokens": Key("whole", low=0),
        "provider": _PROVIDER,
        "rewrite_model": _REWRITE,
    },
    "fallback": {
        **_EVERY_RULE,
        "providers": _PROVIDERS,
        "quality_bias": Key("number", 0.5, low=0, high=1),
        "rewrite_model": _REWRITE,
    },
}

TARGET: Keys = {  # an element of a model rule's `targets`: without a model, the one asked for
    "provider": _PROVIDER,
    "model": Key("text", filled=True),
    "weight": Key("number", low=0),
}
WHEN: Keys = {
    "tags": Key("text or texts", (), filled=True),
    "client": Key("text or texts", (), filled=True),
    "stream": Key("switch"),
    "capability": Key("text or texts", (), filled=True),
}
CANDIDATE: Keys = {**TARGET, "model": Key("text", required=True, filled=True)}

POLICY: Keys = {
    "tag": Key("text or texts", (), filled=True),
    "client": Key("text or texts", (), filled=True),
    "model": Key("text or texts", (), filled=True),
    "allow": Key("texts", (), filled=True),
    "deny": Key("texts", (), filled=True),
    "require": Key("text", one_of=("local",)),
    "networks": Key("texts", (), filled=True),
    "action": Key("text", one_of=("block",)),
    "message": Key("text", "", filled=True),
}

_ENABLED: Keys = {"enabled": Key("switch", False)}
_ROLES = Key("texts", one_of=("system", "developer", "user", "assistant", "tool"))
_FOUND: Keys = {**_ENABLED, "allow": Key("texts", filled=True)}
_PII = Key("texts", one_of=("email", "phone", "iban", "card", "national-id"))
_ASKING: Keys = {
    **_ENABLED,
    "provider": Key("text", filled=True),
    "model": Key("text", filled=True),
    "prefix": Key("text"),
    "timeout": Key("number", low=0.01, high=600),
    "max_chars": Key("whole", low=16, high=1000000),
    "cache": Key("whole", low=0, high=1000000),
    "allow_remote": Key("switch"),
}
_LABELS: Keys = {**_ASKING, "labels": Key("map"), "prompt": Key("prose", filled=True)}
CLASSIFIERS: Mapping[str, Keys] = {
    "keyword": {
        **_ENABLED,
        "tags": Key("lists"),
        "patterns": Key("lists"),
        "whole_words": Key("switch"),
        "roles": _ROLES,
        "tag_roles": Key("lists"),
    },
    "structure": {
        **_ENABLED,
        "only": Key(
            "texts",
            one_of=(
                *("vision", "audio", "documents", "tools", "json", "long", "code"),
                *("script", "lang"),
            ),
        ),
        "long_chars": Key("whole", low=1),
        "prefix": Key("text"),
    },
    "pii": {**_FOUND, "kinds": _PII, "roles": _ROLES},
    "secrets": {
        **_FOUND,
        "kinds": Key("texts", one_of=("api-key", "private-key", "token", "password")),
        "roles": _ROLES,
    },
    "llm": _LABELS,
    "semantic": {**_ASKING, "examples": Key("lists"), "threshold": Key("number", low=-1, high=1)},
}
RESPONSE_CLASSIFIERS: Mapping[str, Keys] = {
    "refusal": {**_ENABLED, "phrases": Key("texts", filled=True)},
    "empty": _ENABLED,
    "truncated": _ENABLED,
    "invalid-json": _ENABLED,
    "pii": {**_FOUND, "kinds": _PII},
    "llm": _LABELS,
}
# timeout: seconds that one hook may take.
_HOOKED: Keys = {**_ENABLED, "timeout": Key("number", low=0.01, high=600)}
_WHOM: Keys = {
    "models": Key("texts", filled=True),
    "clients": Key("texts", filled=True),
    "tags": Key("texts", filled=True),
}
PLUGINS: Mapping[str, Keys] = {
    "system-prompt": {
        **_HOOKED,
        **_WHOM,
        "text": Key("prose", filled=True),
        "mode": Key("text", one_of=("prepend", "append", "replace")),
        "when_absent": Key("switch"),
        "prompts": Key("tables"),
    },
    "cache": {
        **_HOOKED,
        "ttl": Key("number", low=1, high=31536000),
        "max_entries": Key("whole", low=1, high=1000000),
        "max_bytes": Key("whole", low=1),
        "max_answer_bytes": Key("whole", low=1, high=67108864),
        "join_timeout": Key("number", low=0, high=3600),
        "tools": Key("switch"),
        "sampled": Key("switch"),
        "shared": Key("switch"),
        "mode": Key("text", one_of=("use", "refresh", "off")),
    },
    "model-params": {
        **_HOOKED,
        **_WHOM,
        "defaults": Key("table"),
        "set": Key("table"),
        "min": Key("table"),
        "max": Key("table"),
        "remove": Key("texts", filled=True),
        "rules": Key("tables"),
    },
    "response-healing": {**_HOOKED, "stream": Key("switch")},
    "pareto-router": {
        **_HOOKED,
        "default_tier": Key("text", filled=True),
        "tier": Key("text", filled=True),
        "tiers": Key("lists"),
    },
    "redact": {
        **_HOOKED,
        "kinds": Key(
            "texts",
            one_of=(
                *("email", "phone", "iban", "card", "national-id"),
                *("api-key", "private-key", "token", "password"),
            ),
        ),
        "words": Key("texts", filled=True),
        "patterns": Key("map"),
        "before_classifiers": Key("switch"),
    },
    "tool-repair": _HOOKED,
    "web": {
        **_HOOKED,
        "url": Key("text", filled=True),
        "body": Key("prose", filled=True),
        "headers": Key("map"),
        "key_env": Key("text", filled=True),
        "key_file": Key("text", filled=True),
        "parameters": Key("map"),
        "ca_file": Key("text", filled=True),
        "results": Key("text", filled=True),
        "title": Key("text", filled=True),
        "link": Key("text", filled=True),
        "snippet": Key("text", filled=True),
        "date": Key("text", filled=True),
        "max_results": Key("whole", low=1, high=20),
        "max_chars": Key("whole", low=50, high=4000),
        "max_query_chars": Key("whole", low=20, high=2000),
        "search_timeout": Key("number", low=0.1, high=120),
        "keep": Key("number", low=0, high=86400),
        "on_failure": Key("text", one_of=("continue", "fail")),
        "passes_on": Key("switch"),
        "serve_hosted": Key("switch"),
    },
    "pdf": {
        **_HOOKED,
        "always": Key("switch"),
        "native": Key("texts", filled=True),
        "max_bytes": Key("whole", low=1024, high=1 << 30),
        "max_pages": Key("whole", low=1, high=100000),
        "max_chars": Key("whole", low=1000, high=10000000),
        "parse_timeout": Key("number", low=3, high=600),
        "memory": Key("whole", low=128 << 20, high=64 << 30),
        "keep": Key("number", low=0, high=86400),
        "on_failure": Key("text", one_of=("continue", "fail")),
    },
}
# Of a file of the owner's own; whatever else its table holds is that file's business.
OWN: Keys = {**_HOOKED, "path": Key("text", required=True, filled=True)}

CLIENT: Keys = {
    "name": Key("text", required=True, filled=True),
    "key_env": Key("text", ""),
    "key_file": Key("text", ""),
    "models": Key("texts", (), filled=True),
    "strict": Key("switch", False),
    "admin": Key("switch", False),
    "priority": Key("text", "interactive", one_of=("interactive", "batch")),
    "rpm": Key("whole", 0, low=0),
    "tpm": Key("whole", 0, low=0),
    "max_concurrency": Key("whole", 0, low=0),
    "budget_usd_per_day": Key("number", 0.0, low=0),
}

PRICE: Keys = {
    "model": Key("text or texts", required=True, filled=True),
    "provider": Key("text", filled=True),
    "input": Key("number", required=True, low=0),
    "output": Key("number", required=True, low=0),
    "cached_input": Key("number", low=0),
    "cache_write": Key("number", low=0),
    "max_input_tokens": Key("whole", 0, low=0),
}

TOP: Keys = {
    "server": Key("table"),
    "logging": Key("table"),
    "telemetry": Key("table"),
    "images": Key("table"),
    "providers": Key("tables", ()),
    "routers": Key("tables", ()),
    "policies": Key("tables", ()),
    "clients": Key("tables", ()),
    "prices": Key("tables", ()),
    "models": Key("table"),
    "classifiers": Key("table"),
    "response_classifiers": Key("table"),
    "plugins": Key("table"),
}

# What people write from the habit of other programs, where spelling is no guide.
MEANT: Mapping[str, str] = {
    "url": "base_url",
    "endpoint": "base_url",
    "api_base": "base_url",
    "api_key": "api_key_env",
    "key": "api_key_env",
    "key_env": "api_key_env",
    "timeout": "total_timeout",
    "retries": "max_retries",
    "cost": "cost_per_1m_tokens",
    "proxy": "http_proxy",
    "bind": "host",
    "listen": "host",
    "aliases": "models",
    "rules": "routers",
    "routes": "routers",
}
