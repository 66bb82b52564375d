"""The man page and the shells' completions, made from the command line itself.

    python contrib/cli.py            writes contrib/llmrouter.1 and contrib/completions/
    python contrib/cli.py --check    says what differs, and fails

Owns: how each of them is written. Refuses to know: which commands and options there are: that is
`llmrouter.build_parser`'s, and a test compares what stands here with it.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import llmrouter  # noqa: E402

_FILES = ("config", "log", "request", "path", "key_file")  # destinations that are files


@dataclass(frozen=True)
class Option:
    flags: tuple[str, ...]
    help: str
    takes: str  # what it takes, "" for a switch
    choices: tuple[str, ...]
    is_file: bool


@dataclass(frozen=True)
class Command:
    """One subcommand, and those below it."""

    name: str
    help: str
    options: tuple[Option, ...]
    operands: tuple[Option, ...]
    below: tuple["Command", ...] = ()


def command(name: str, parser: argparse.ArgumentParser, text: str) -> Command:
    options: list[Option] = []
    operands: list[Option] = []
    below: list[Command] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {each.dest: each.help or "" for each in action._choices_actions}
            below = [command(n, p, helps.get(n, "")) for n, p in action.choices.items()]
        elif action.help != argparse.SUPPRESS:
            (options if action.option_strings else operands).append(option(action, parser))
    return Command(name, text, tuple(options), tuple(operands), tuple(below))


def option(action: argparse.Action, parser: argparse.ArgumentParser) -> Option:
    switch = action.nargs == 0
    word = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    choices = tuple(map(str, action.choices or ()))
    text = (action.help or "") % {**vars(action), "prog": parser.prog}
    is_file = action.type is Path or action.dest in _FILES
    return Option(tuple(action.option_strings), text, "" if switch else word, choices, is_file)


def commands() -> tuple[Command, ...]:
    return command("llmrouter", llmrouter.build_parser(), "").below


# --- the man page ---------------------------------------------------------------------------------


def man() -> str:
    return "\n".join(_man_lines()) + "\n"


def _man_lines() -> Iterator[str]:
    yield '.\\" Made by contrib/cli.py from the command line itself.'
    yield f'.TH LLMROUTER 1 "" "llmrouter {llmrouter.__version__}" "User Commands"'
    yield ".SH NAME"
    yield "llmrouter \\- one address for every LLM client and every LLM server, local first"
    yield ".SH SYNOPSIS"
    yield ".B llmrouter"
    yield ".I COMMAND"
    yield "[options]"
    yield ".br"
    yield ".B llmrouter"
    yield ".I FILE.toml"
    yield ".SH DESCRIPTION"
    yield _roff(
        "A daemon in front of any mix of local model servers and cloud providers. OpenAI, Anthropic "
        "and Ollama clients point at it; it routes each request by the owner's rules, translates "
        "between wire formats, and goes on to the next provider when one fails."
    )
    yield ".SH COMMANDS"
    for each in commands():
        yield from _man_command(each, f"llmrouter {each.name}")
    yield ".SH EXIT STATUS"
    for code, text in (
        ("0", "fine"),
        ("1", "what was asked for failed"),
        ("2", "wrong usage or wrong configuration"),
        ("130", "interrupted"),
    ):
        yield from (".TP", f".B {code}", text)
    yield ".SH SIGNALS"
    for name, text in (
        ("SIGTERM, SIGINT", "finish what runs and end; a second one ends at once"),
        ("SIGHUP", "read the configuration again"),
        ("SIGUSR1", "open the request log anew"),
    ):
        yield from (".TP", f".B {name}", text)
    yield ".SH FILES"
    for place in ("./llmrouter.toml", "./config.toml", "$XDG_CONFIG_HOME/llmrouter/llmrouter.toml"):
        yield from (".TP", f".I {place}")
    yield from (".TP", ".I /etc/llmrouter/llmrouter.toml", "the first that exists is used")


def _man_command(it: Command, words: str) -> Iterator[str]:
    if it.below:
        for each in it.below:
            yield from _man_command(each, f"{words} {each.name}")
        return
    operands = " ".join(f"[{each.takes}]" for each in it.operands)
    yield from (f".SS {_roff(words)} {_roff(operands)}".rstrip(), _roff(it.help) + ".")
    for each in (*it.operands, *it.options):
        head = ", ".join(each.flags) or each.takes
        takes = f" {_roff(each.takes)}" if each.flags and each.takes else ""
        yield from (".TP", f".B {_roff(head)}{takes}", _roff(each.help))


def _roff(text: str) -> str:
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text.startswith((".", "'")) else text


# --- completions ----------------------------------------------------------------------------------


def _flat(found: tuple[Command, ...], words: str = "") -> Iterator[tuple[str, Command]]:
    for each in found:
        path = f"{words} {each.name}".strip()
        yield path, each
        yield from _flat(each.below, path)


def bash() -> str:
    lines = [
        "# bash completion for llmrouter, made by contrib/cli.py",
        "_llmrouter() {",
        '    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} path="" word',
        '    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do',
        '        [[ $word == -* ]] || path+="$word "',
        "    done",
        "    case $prev in",
    ]
    for flag, choices in sorted(_choices().items()):
        lines.append(f'    {flag}) COMPREPLY=($(compgen -W "{choices}" -- "$cur")); return ;;')
    files = sorted(_file_flags())
    lines += [f'    {flag}) COMPREPLY=($(compgen -f -- "$cur")); return ;;' for flag in files]
    lines += ["    esac", "    case $path in"]
    for path, each in sorted(_flat(commands()), key=lambda pair: -len(pair[0])):
        words = _words(each)
        files = '; COMPREPLY+=($(compgen -f -- "$cur"))' if _wants_file(each) else ""
        lines.append(f'    "{path} "*) COMPREPLY=($(compgen -W "{words}" -- "$cur")){files} ;;')
    names = " ".join(each.name for each in commands())
    lines += [
        f'    *) COMPREPLY=($(compgen -W "{names} --help --version" -- "$cur")) ;;',
        "    esac",
        "}",
        "complete -o filenames -F _llmrouter llmrouter",
    ]
    return "\n".join(lines) + "\n"


def fish() -> str:
    lines = ["# fish completion for llmrouter, made by contrib/cli.py", "complete -c llmrouter -f"]
    for each in commands():
        text = each.help.replace("'", "\\'")
        lines.append(f"complete -c llmrouter -n __fish_use_subcommand -a {each.name} -d '{text}'")
    for path, each in _flat(commands()):
        when = " ".join(f"__fish_seen_subcommand_from {word};and" for word in path.split())
        when = f"'{when.removesuffix(';and')}'".replace(";and", "; and")
        for below in each.below:
            text = below.help.replace("'", "\\'")
            lines.append(f"complete -c llmrouter -n {when} -a {below.name} -d '{text}'")
        lines += [_fish_option(one, when) for one in each.options]
        for one in each.operands:
            if one.choices:
                lines.append(f"complete -c llmrouter -n {when} -a '{' '.join(one.choices)}'")
            elif one.is_file:
                lines.append(f"complete -c llmrouter -n {when} -F")
    return "\n".join(lines) + "\n"


def _fish_option(one: Option, when: str) -> str:
    flags = " ".join(
        f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in one.flags
    )
    text = one.help.replace("'", "\\'")
    takes = f" -r -a '{' '.join(one.choices)}'" if one.choices else " -r" if one.takes else ""
    takes = " -r -F" if one.is_file and one.takes else takes
    return f"complete -c llmrouter -n {when} {flags}{takes} -d '{text}'"


def zsh() -> str:
    lines = ["#compdef llmrouter", "# zsh completion for llmrouter, made by contrib/cli.py", ""]
    lines += ["_llmrouter() {", "    local -a commands", "    commands=("]
    lines += [f"        '{each.name}:{_zsh(each.help)}'" for each in commands()]
    lines += [
        "    )",
        "    _arguments -C '1: :->command' '*:: :->rest'",
        "    case $state in",
        "    command) _describe command commands ;;",
        "    rest)",
        "        case $words[1] in",
    ]
    for each in commands():
        lines.append(f"        {each.name}) _arguments \\")
        specs = [_zsh_option(one) for one in each.options]
        specs += [_zsh_operand(one) for one in each.operands]
        if each.below:
            specs.append(f"'1:command:({' '.join(below.name for below in each.below)})'")
        lines += [f"            {spec} \\" for spec in specs]
        lines[-1] = lines[-1].removesuffix(" \\")
        lines.append("            ;;")
    lines += ["        esac", "        ;;", "    esac", "}", "", '_llmrouter "$@"']
    return "\n".join(lines) + "\n"


def _zsh_option(one: Option) -> str:
    flags = f"'{one.flags[0]}" if len(one.flags) == 1 else "{" + ",".join(one.flags) + "}'"
    return f"{flags}[{_zsh(one.help)}]{_zsh_takes(one)}'"


def _zsh_operand(one: Option) -> str:
    return f"'*{_zsh_takes(one)}'"


def _zsh_takes(one: Option) -> str:
    if not one.takes:
        return ""
    what = f"({' '.join(one.choices)})" if one.choices else "_files" if one.is_file else ""
    return f":{_zsh(one.takes)}:{what}"


def _zsh(text: str) -> str:
    return text.replace("'", "'\\''").replace("[", "\\[").replace("]", "\\]").replace(":", "\\:")


def _words(it: Command) -> str:
    words = [below.name for below in it.below]
    words += [flag for one in it.options for flag in one.flags]
    words += [choice for one in it.operands for choice in one.choices]
    return " ".join(words)


def _wants_file(it: Command) -> bool:
    return any(one.is_file for one in it.operands)


def _choices() -> dict[str, str]:
    found: dict[str, str] = {}
    for _, each in _flat(commands()):
        for one in each.options:
            if one.choices:
                found |= {flag: " ".join(one.choices) for flag in one.flags}
    return found


def _file_flags() -> set[str]:
    return {
        flag
        for _, each in _flat(commands())
        for one in each.options
        if one.is_file and one.takes
        for flag in one.flags
    }


# --- writing --------------------------------------------------------------------------------------


def made() -> dict[str, str]:
    """Every file by its path below contrib/."""
    return {
        "llmrouter.1": man(),
        "completions/llmrouter.bash": bash(),
        "completions/_llmrouter": zsh(),
        "completions/llmrouter.fish": fish(),
    }


def main() -> int:
    check = "--check" in sys.argv[1:]
    stale = 0
    for name, text in made().items():
        path = ROOT / "contrib" / name
        if path.exists() and path.read_text() == text:
            continue
        stale += 1
        if check:
            print(f"contrib/{name} is not what contrib/cli.py makes")
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
    return 1 if check and stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
