"""`llmrouter launch AGENT`: start a coding agent that talks to the router.

Owns: what each agent must be told, in its environment or on its command line.
Refuses to know: what the agents send (formats/), where the router's configuration is.

Laws:
1. Nothing is written anywhere: an agent's own configuration stays as it is.
2. The agent takes this process's place, with its exit code and its terminal.
3. The key is taken from the environment and given on in the environment, never on a command line.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping

URL = "http://127.0.0.1:8090"
KEY = "LLMROUTER_KEY"  # the variable that agents are told to take the key from
NO_KEY = "none"  # most agents want some key, and a router without one takes any
_PATIENCE_S = 5


@dataclass(frozen=True, slots=True)
class Setup:
    """How to start an agent: its words after the program's name, and what its environment gets."""

    words: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)


def _claude(url: str, model: str, key: str) -> Setup:
    env = {
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_AUTH_TOKEN": key,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    }
    if model:  # else it asks for Claude by name, and the router's rules say who that is
        env |= {"ANTHROPIC_MODEL": model, "ANTHROPIC_SMALL_FAST_MODEL": model}
    return Setup(env=env)


def _codex(url: str, model: str, key: str) -> Setup:
    told = {"name": "llmrouter", "base_url": f"{url}/v1", "wire_api": "responses", "env_key": KEY}
    table = ", ".join(f"{name} = {json.dumps(value)}" for name, value in told.items())
    words = ["-c", 'model_provider="llmrouter"', "-c", f"model_providers.llmrouter={{{table}}}"]
    return Setup((*words, "-m", model) if model else tuple(words), {KEY: key})


def _copilot(url: str, model: str, key: str) -> Setup:
    env = {
        "COPILOT_PROVIDER_BASE_URL": f"{url}/v1",
        "COPILOT_PROVIDER_TYPE": "openai",
        "COPILOT_PROVIDER_API_KEY": key,
        "COPILOT_MODEL": model,
        "COPILOT_OFFLINE": "true",
    }
    return Setup(env=env)


def _opencode(url: str, model: str, key: str) -> Setup:
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "llmrouter",
        "options": {"baseURL": f"{url}/v1", "apiKey": f"{{env:{KEY}}}"},
        "models": {model: {"name": model}},
    }
    told = {"provider": {"llmrouter": provider}, "model": f"llmrouter/{model}"}
    return Setup(env={"OPENCODE_CONFIG_CONTENT": json.dumps(told), KEY: key})


def _qwen(url: str, model: str, key: str) -> Setup:
    env = {"OPENAI_BASE_URL": f"{url}/v1", "OPENAI_API_KEY": key, "OPENAI_MODEL": model}
    return Setup(("--auth-type", "openai"), env)


AGENTS: Mapping[str, Callable[[str, str, str], Setup]] = {
    "claude": _claude,
    "codex": _codex,
    "copilot": _copilot,
    "opencode": _opencode,
    "qwen": _qwen,
}
_OWN_MODEL = frozenset({"claude", "codex"})  # these have one of their own, if none is named


class LaunchError(Exception):
    """Why the agent cannot be started; the text is for the person who asked."""

    code = 1


class WrongAddressError(LaunchError):
    """What --url holds is no address that an agent could use."""

    code = 2


def run(args: argparse.Namespace) -> int:
    """Replace this process by the agent; returns only when nothing is to be run, or can be."""
    try:
        program, words, env = plan(args, os.environ)
    except LaunchError as error:
        print(f"llmrouter: {error}", file=sys.stderr)
        return error.code
    if args.print:
        print(shown(program, words, env, os.environ))
        return 0
    sys.stdout.flush()
    return os.execve(program, [program, *words], env)  # noqa: S606


def plan(
    args: argparse.Namespace, environ: Mapping[str, str]
) -> tuple[str, list[str], dict[str, str]]:
    """The program, its words and its environment. Raises LaunchError."""
    if not args.url.startswith(("http://", "https://")):
        words = f"--url takes an address such as {URL}, not {args.url}"
        if args.url.startswith("unix:"):
            words += ": agents cannot use a socket, so let the router listen on a port, too"
        raise WrongAddressError(words)
    program = shutil.which(args.agent, path=environ.get("PATH"))
    if program is None:
        raise LaunchError(f"there is no program {args.agent!r} on the PATH: install it first")
    url = args.url.rstrip("/").removesuffix("/v1")
    key = environ.get(args.key_env, "").strip() or NO_KEY
    models = models_of(url, key)
    model = args.model or ("" if args.agent in _OWN_MODEL else models[0] if models else "")
    if not model and args.agent not in _OWN_MODEL:
        raise LaunchError(f"the router at {url} lists no model: name one with --model")
    setup = AGENTS[args.agent](url, model, key)
    return program, [*setup.words, *args.args], {**environ, **setup.env}


def models_of(url: str, key: str) -> list[str]:
    """The names of the router's models; asking for them shows that it is there and lets us in."""
    try:
        request = urllib.request.Request(  # noqa: S310
            f"{url}/v1/models", headers={"Authorization": f"Bearer {key}"}
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=_PATIENCE_S) as answer:
            return [str(entry["id"]) for entry in json.load(answer)["data"]]
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 401:
            words = "wants a key: put it into a variable and name that with --key-env"
            raise LaunchError(f"the router at {url} {words}") from None
        raise LaunchError(f"{url} answers {error.code}: is that the router?") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = getattr(error, "reason", None) or error
        raise LaunchError(f"no router answers at {url} ({why}): start it with 'serve'") from None


def shown(
    program: str, words: list[str], env: Mapping[str, str], environ: Mapping[str, str]
) -> str:
    """What would be run, for a shell; the key is not shown."""
    from shlex import quote

    secret = {"ANTHROPIC_AUTH_TOKEN", "OPENAI_API_KEY", "COPILOT_PROVIDER_API_KEY", KEY}
    changed = {name: value for name, value in env.items() if environ.get(name) != value}
    lines = [
        f"export {name}={'...' if name in secret and value != NO_KEY else quote(value)}"
        for name, value in changed.items()
    ]
    return "\n".join([*lines, " ".join(map(quote, [program, *words]))])
