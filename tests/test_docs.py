"""What a user can set, send and see stands in the documentation.

The lists come from the code. What they name must stand in the manual (keys), and in README.md or
docs/ (commands, headers, paths).
"""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import llmrouter
from llmrouterd.config import Config, keys, parse
from llmrouterd.hooks import Plugin
from llmrouterd.model import Provider

ROOT = Path(__file__).parent.parent
MANUAL = (ROOT / "contrib" / "llmrouter.toml").read_text("utf-8")
OFF = re.compile(r"(?m)^#(?=[^ \n]|    \{)")  # the "#" of what is commented out, not of prose
BANNER = re.compile(r"(?m)^# ==== (.*?) =+$")
ENVIRON = {"OPENAI_API_KEY": "sk-o", "EDITOR_KEY": "k-e", "ANTHROPIC_API_KEY": "sk-a"}
ENVIRON |= {"SEARCH_API_KEY": "sk-s"}


def sections() -> dict[str, str]:
    """The manual, cut at its banners."""
    cut = BANNER.split(MANUAL)
    return dict(zip(cut[1::2], cut[2::2], strict=True))


PROVIDERS = next(text for name, text in sections().items() if "[[providers]]" in name)


def known_keys() -> set[str]:
    tables = [
        keys.TOP,
        keys.SERVER,
        keys.CLIENT,
        keys.PRICE,
        keys.LOGGING,
        keys.TELEMETRY,
        keys.PROVIDER,
        keys.TARGET,
    ]
    tables += [*keys.RULES.values(), *keys.CLASSIFIERS.values(), *keys.PLUGINS.values()]
    tables += keys.RESPONSE_CLASSIFIERS.values()
    return {name for table in tables for name in table}


@pytest.mark.parametrize("key", sorted(known_keys()))
def test_every_key_is_in_the_manual(key: str) -> None:
    as_key = rf'^#?(?:.*[{{,] )?"?{re.escape(key)}"? ='
    as_table = rf"^#?\[\[?(?:\w+\.)*{re.escape(key)}[].]"
    assert re.search(f"(?m){as_key}|{as_table}", MANUAL)


@pytest.mark.parametrize("kind", [*keys.RULES, *keys.CLASSIFIERS, *keys.PLUGINS])
def test_every_rule_classifier_and_plugin_is_in_the_manual(kind: str) -> None:
    assert f'type = "{kind}"' in MANUAL or f".{kind}]" in MANUAL


def load(text: str) -> Config:
    return parse(text, "contrib/llmrouter.toml", ENVIRON)


def test_the_manual_loads_as_it_is() -> None:
    config = parse(MANUAL, "contrib/llmrouter.toml", {})
    assert [each.name for each in config.providers] == ["ollama"]
    assert not config.warnings
    assert config.routing.implicit


def test_the_manual_loads_with_everything_set() -> None:
    config = load(OFF.sub("", MANUAL))
    assert len(config.providers) == 5
    assert {spec.type for spec in config.routing.rules} == set(keys.RULES)


@pytest.mark.parametrize("name", sections())
def test_each_section_of_the_manual_loads_when_set(name: str) -> None:
    text = sections()[name]
    load(OFF.sub("", text if text == PROVIDERS else PROVIDERS + text))


def test_the_defaults_in_the_manual_are_the_defaults() -> None:
    """A value that the text before it calls an example is one."""
    text = MANUAL[: MANUAL.index("# ==== [[routers]]")]
    shown = load(OFF.sub("", without_examples(text)))
    bare = parse('[[providers]]\nname = "e"\nformat = "echo"\n', "x", {})
    assert shown.server == bare.server
    assert shown.logging == bare.logging
    assert shown.providers[0] == Provider(
        "ollama", "ollama", "http://localhost:11434", options=shown.providers[0].options
    )
    assert not shown.providers[0].options


def without_examples(text: str) -> str:
    """The manual without the blocks of commented-out lines after prose that ends in `Example:`."""
    paragraphs = re.split(r"\n\n+", text)
    return "\n\n".join(each for each in paragraphs if not re.search(r"Examples?:\n#[^ ]", each))


# ---- README and docs/ ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def docs() -> str:
    readme = ROOT / "README.md"
    if not readme.exists():
        pytest.skip("there is no README.md")
    pages = [readme, *sorted((ROOT / "docs").glob("*.md"))]
    return "\n".join(page.read_text("utf-8") for page in pages).lower()


def texts(folder: str) -> Iterator[str]:
    """Every string in the code of a folder, docstrings left out."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
                value = node.value
                yield value if isinstance(value, str) else value.decode("latin-1")


def test_every_command_is_described(docs: str) -> None:
    assert not [name for name in llmrouter.COMMANDS if f"llmrouter {name}" not in docs]


def test_every_header_of_ours_is_described(docs: str) -> None:
    """`X-Router-Provider, -Model` names both."""
    header = re.compile(r"x-router(-[a-z]+)+", re.IGNORECASE)
    ours = {text.lower() for text in texts("llmrouterd") if header.fullmatch(text)}
    assert not [
        name for name in sorted(ours) if name not in docs and name[8:] not in suffixes(docs)
    ]


def test_every_hook_of_plugins_is_described(docs: str) -> None:
    hooks = [name for name, of in vars(Plugin).items() if inspect.isfunction(of)]
    assert "on_start" in hooks
    assert not [name for name in hooks if f"`{name}`" not in docs]


def suffixes(docs: str) -> set[str]:
    return set(re.findall(r"[ `,](-[a-z]+(?:-[a-z]+)*)", docs))


# ---- docs/complaints.md --------------------------------------------------------------------------

COMPLAINTS = (ROOT / "docs" / "complaints.md").read_text("utf-8")
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
ROWS = dict(re.findall(r"(?m)^\| (\w+) \|(.*)$", COMPLAINTS))


def test_every_complaint_has_what_is_done_and_who_holds_it() -> None:
    assert list(ROWS) == [*map(str, range(1, 41)), "a", "b", "c"]
    for number, row in ROWS.items():
        hurts, here, held = row.removesuffix(" |").split(" | ")
        assert hurts.strip(), number
        assert here.strip(), number
        assert TEST.search(held), number


@pytest.mark.parametrize(("file", "name"), sorted(set(TEST.findall(COMPLAINTS))))
def test_every_test_that_is_said_to_hold_a_complaint_exists(file: str, name: str) -> None:
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    tests = [n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert name in tests


def test_no_test_is_named_in_another_way() -> None:
    """What the test above does not see, nobody checks."""
    assert COMPLAINTS.count("::test_") == len(TEST.findall(COMPLAINTS))


def test_every_path_is_described(docs: str) -> None:
    path = re.compile(r"/(?:v1|api|health|ready|metrics|dashboard)(?:/[a-z_]+)*")
    served = {text for text in texts("llmrouterd/ops") if path.fullmatch(text)} - {"/v1", "/api"}
    assert not [name for name in sorted(served) if name not in docs]
