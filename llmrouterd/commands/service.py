"""`llmrouter service install|uninstall|print [--user]`: the systemd unit.

Owns: filling the unit's template in for this machine, and putting it where systemd looks.
Refuses to know: what the daemon tells systemd (ops/systemd.py).

Laws:
1. Nothing that is there is overwritten without --force, and nothing is removed that this command has
   not written.
2. It says every file that it writes, and every command that is the administrator's to run.
"""

from __future__ import annotations

import importlib.resources
import os
import re
import shlex
import shutil
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

UNIT, SOCKET = "llmrouter.service", "llmrouter.socket"
SYSTEM = Path("/etc/systemd/system")
OURS = "# systemd unit of llmrouter"
_TEMPLATE_START = "/usr/bin/python3 -I -S /usr/local/bin/llmrouter.pyz serve"
_TEMPLATE_CONFIG = "/etc/llmrouter/llmrouter.toml"
# What only root's manager can give: in a user's own unit these would keep it from starting.
_SYSTEM_ONLY = (
    *("DynamicUser", "ConfigurationDirectory", "CapabilityBoundingSet", "AmbientCapabilities"),
    *("PrivateDevices", "PrivateMounts", "PrivateTmp", "PrivateUsers", "PrivateIPC", "ProcSubset"),
    *("ProtectClock", "ProtectControlGroups", "ProtectHome", "ProtectHostname"),
    *("ProtectKernelLogs", "ProtectKernelModules", "ProtectKernelTunables", "ProtectProc"),
    *("ProtectSystem", "RemoveIPC", "WorkingDirectory"),
    *("After", "Wants"),  # of the network, which one's own manager knows nothing of
)
# What the service does not see (ProtectHome, PrivateTmp).
HIDDEN = tuple(map(Path, ("/home", "/root", "/run/user", "/tmp", "/var/tmp")))  # noqa: S108
_KEYS_COMMENT = '# Keys that the configuration names with api_key_file = "openai":\n'
_KEYS_EXAMPLE = "#LoadCredential=openai:/etc/llmrouter/keys/openai\n"
_BARE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z")  # what can be a credential's name
_WHO = """# The daemon runs as a user that exists only while it runs, sees no home and writes nothing but its
# logs and state. Keys come from credentials (below) or from the environment file.
"""
_WHO_USER = "# The daemon runs as that person. Keys come from files or from the environment file.\n"
_ENVIRONMENT = "/etc/llmrouter/environment"


class NotDoneError(Exception):
    """What was asked for cannot be done; the text says why and what to do."""


def run(args: argparse.Namespace) -> int:
    """0: done. 1: it could not be."""
    try:
        if args.action == "print":
            print(text(args), end="")
        elif args.action == "install":
            _install(args)
        else:
            _uninstall(args)
    except (NotDoneError, OSError) as error:
        print(f"llmrouter: {_words(error)}", file=sys.stderr)
        return 1
    return 0


def _words(error: Exception) -> str:
    if isinstance(error, PermissionError):
        return f"{error.filename}: permission denied; run it as root, or with --user"
    return str(error)


# --- the unit -------------------------------------------------------------------------------------


def text(args: argparse.Namespace) -> str:
    """The unit as it would be installed."""
    unit = template(UNIT)
    unit = unit.replace(_TEMPLATE_START, f"{program()} serve")
    unit = unit.replace(f"serve {_TEMPLATE_CONFIG}", f"serve {shlex.quote(str(_config(args)))}")
    if args.user:
        return _for_user(unit)
    lines = "".join(f"LoadCredential={name}:{path}\n" for name, path in credentials(_config(args)))
    if lines:
        unit = unit.replace(
            _KEYS_COMMENT, "# Keys in files of their own, as the configuration names them:\n"
        )
        unit = unit.replace(_KEYS_EXAMPLE, lines)
    return unit


def credentials(config: Path) -> list[tuple[str, Path]]:
    """The key files that a configuration names without a path: the service's own user cannot read them
    where they lie, so systemd hands them over. None of a file that cannot be read: `check` says why."""
    try:
        document = tomllib.loads(config.read_text("utf-8-sig"))
    except (OSError, ValueError):
        return []
    found = dict.fromkeys(_key_files(document))
    return [(name, config.parent / name) for name in found if name and _BARE.match(name)]


def _key_files(table: Any) -> Iterator[str]:
    """Every text behind a key that names a file with a key, wherever it stands."""
    if isinstance(table, dict):
        for name, value in table.items():
            if name.endswith("key_file") and isinstance(value, str):
                yield value
            else:
                yield from _key_files(value)
    elif isinstance(table, list):
        for each in table:
            yield from _key_files(each)


def template(name: str) -> str:
    return importlib.resources.files("llmrouterd").joinpath(f"units/{name}").read_text("utf-8")


def program() -> str:
    """How this very program is started, by absolute paths, as one line of a unit."""
    here = Path(sys.argv[0]).resolve()
    if here.suffix == ".pyz":
        return shlex.join([sys.executable, "-I", "-S", str(here)])
    if here.name == "llmrouter" and os.access(here, os.X_OK):
        return shlex.quote(str(here))
    return shlex.join([sys.executable, str(here)])


def _config(args: argparse.Namespace) -> Path:
    if args.config is not None:
        return Path(args.config).resolve()
    if not args.user:
        return Path(_TEMPLATE_CONFIG)
    home = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(home) / "llmrouter" / "llmrouter.toml"


def _for_user(unit: str) -> str:
    """The same for one person's own systemd, which may not do what needs root."""
    kept = [
        line for line in unit.splitlines() if line.lstrip("#").partition("=")[0] not in _SYSTEM_ONLY
    ]
    plain = "\n".join(kept).replace("WantedBy=multi-user.target", "WantedBy=default.target")
    plain = plain.replace("for a whole machine", "for one person")
    plain = plain.replace("into /etc/systemd/system", "into ~/.config/systemd/user")
    plain = plain.replace(_WHO, _WHO_USER).replace(_ENVIRONMENT, "%E/llmrouter/environment")
    return plain.replace(_KEYS_COMMENT + _KEYS_EXAMPLE, "") + "\n"


# --- installing -----------------------------------------------------------------------------------


def _folder(args: argparse.Namespace) -> Path:
    if not args.user:
        return SYSTEM
    home = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(home) / "systemd" / "user"


def _install(args: argparse.Namespace) -> None:
    config = _config(args)
    if not config.exists():
        raise NotDoneError(f"there is no {config}: 'llmrouter init {config}' writes one")
    if not args.user:
        _check_homes(config)
    folder = _folder(args)
    files = {UNIT: text(args)} | ({SOCKET: template(SOCKET)} if args.socket else {})
    for name, content in files.items():
        there = folder / name
        if there.exists() and there.read_text("utf-8") != content and not args.force:
            raise NotDoneError(f"{there} is there and differs: --force replaces it")
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(content, "utf-8")
        print(f"wrote {folder / name}")
    if not args.user and not config.stat().st_mode & 0o004:
        print(f"the service's own user cannot read {config}; it holds no keys, so:")
        print(f"  chmod 644 {shlex.quote(str(config))}")
    if not args.user:
        for name, path in credentials(config):
            print(f"systemd hands it the key {name}: {path}")
    _say_next(args, "enable --now", SOCKET if args.socket else UNIT)


def _check_homes(config: Path) -> None:
    """The unit sees no home and no /tmp of others, so that nothing it needs may lie there."""
    python = Path(sys.executable).resolve()
    for path in (config, Path(sys.argv[0]).resolve(), python):
        if not any(path.is_relative_to(hidden) for hidden in HIDDEN):
            continue
        where = f"{path} lies where the service cannot see it (homes, /tmp)"
        if path == python:
            raise NotDoneError(f"{where}: run this with a Python of the system, or with --user")
        words = "put it into /usr/local/bin or /etc/llmrouter, or install with --user"
        raise NotDoneError(f"{where}: {words}")


def _uninstall(args: argparse.Namespace) -> None:
    folder = _folder(args)
    found = [folder / name for name in (UNIT, SOCKET) if (folder / name).exists()]
    if not found:
        raise NotDoneError(f"there is no {UNIT} in {folder}")
    for path in found:
        if path.name == UNIT and not path.read_text("utf-8").startswith(OURS) and not args.force:
            raise NotDoneError(f"{path} is not one of ours: --force removes it all the same")
    for path in found:
        for link in folder.glob(f"*.wants/{path.name}"):  # of `systemctl enable`: it would dangle
            link.unlink()
            print(f"removed {link}")
        path.unlink()
        print(f"removed {path}")
    _say_next(args, "stop", " ".join(path.name for path in reversed(found)))
    if not args.user:
        print("left alone: /etc/llmrouter, /var/lib/llmrouter (and private/llmrouter beside it),")
        print("  /var/log/llmrouter, and the program")


def _say_next(args: argparse.Namespace, verb: str, unit: str) -> None:
    """The rest is the administrator's: a running service is not this command's to touch."""
    user = " --user" if args.user else ""
    if shutil.which("systemctl") is None:
        print("there is no systemctl here")
        return
    print("now:")
    commands = [f"  systemctl{user} daemon-reload", f"  systemctl{user} {verb} {unit}"]
    for line in reversed(commands) if verb == "stop" else commands:
        print(line)
    if args.user and verb != "stop":
        print("  loginctl enable-linger   # to have it run while you are logged out")
