"""The owner's own files: what is taken, and where in the file it says what is wrong."""

import sys
from pathlib import Path

import pytest

from formats.canonical import Message, Request, Text
from llmrouterd.hooks import Context, Plugin, PluginFailed
from llmrouterd.plugins.own import load

EXAMPLE = Path(__file__).parents[2] / "contrib" / "example_plugin.py"
HEAD = "from llmrouterd.hooks import Plugin\n"
REQUEST = Request("openai", "m", (Message("user", (Text("hi"),)),))


def written(folder: Path, text: str, name: str = "mine.py") -> str:
    path = folder / name
    path.write_text(text)
    path.chmod(0o644)
    return str(path)


def made(folder: Path, text: str, kind="plugins", **settings: object):
    return load(written(folder, text), "mine", kind)(settings)


def fault(folder: Path, text: str, kind="plugins", **settings: object) -> str:
    with pytest.raises(ValueError, match=r"\A") as caught:
        made(folder, text, kind, **settings)
    return str(caught.value).replace(str(folder) + "/", "")


# --- what works -----------------------------------------------------------------------------------


async def test_the_example_loads_and_works() -> None:
    settings = {"line": "Be brief.", "refuse": ["nightingale"]}
    plugin = load(str(EXAMPLE), "house-style", "plugins")(settings)
    assert isinstance(plugin, Plugin)
    assert plugin.id == "house-style"
    ctx = Context("house-style", settings)
    said = await plugin.pre_request(REQUEST, ctx)
    assert said.messages == (Message("system", (Text("Be brief."),)), *REQUEST.messages)
    assert ctx.notes == ["said one more line"]
    bad = Request("openai", "m", (Message("user", (Text("of Nightingale"),)),))
    with pytest.raises(PluginFailed, match="'nightingale' is nothing to ask"):
        await plugin.pre_request(bad, ctx)
    with pytest.raises(ValueError, match="refuse: expected a list"):
        load(str(EXAMPLE), "house-style", "plugins")({"refuse": "x"})


def test_a_class_without_a_constructor_needs_no_settings(tmp_path) -> None:
    hook = made(tmp_path, HEAD + "class Mine(Plugin):\n    pass\n", anything=1)
    assert hook.id == "mine"


def test_a_class_gets_its_settings(tmp_path) -> None:
    text = (
        HEAD + "class Mine(Plugin):\n    def __init__(self, settings):\n        self.s = settings\n"
    )
    assert made(tmp_path, text, a=1).s == {"a": 1}


def test_what_is_imported_or_begins_with_an_underscore_is_not_the_plugin(tmp_path) -> None:
    text = HEAD + "from llmrouterd.plugins.redact import Redact\n"
    text += "class _Base(Plugin):\n    pass\nclass Mine(_Base):\n    pass\n"
    assert type(made(tmp_path, text)).__name__ == "Mine"


def test_dataclasses_with_postponed_annotations_work(tmp_path) -> None:
    text = "from __future__ import annotations\nfrom dataclasses import dataclass\n" + HEAD
    text += "@dataclass\nclass _Row:\n    x: int = 0\nclass Mine(Plugin):\n    row = _Row(3)\n"
    assert made(tmp_path, text).row.x == 3


def test_a_file_is_read_anew_each_time(tmp_path) -> None:
    text = HEAD + "class Mine(Plugin):\n    value = {}\n"
    first = made(tmp_path, text.format(1))
    second = made(tmp_path, text.format(2))
    assert (first.value, second.value) == (1, 2)


def test_no_folder_is_added_to_where_modules_are_found(tmp_path) -> None:
    before = list(sys.path)
    written(tmp_path, "x = 1\n", "beside.py")
    said = fault(tmp_path, "import beside\n" + HEAD)
    assert said == "mine.py:1: while it was loaded: ModuleNotFoundError: No module named 'beside'"
    assert sys.path == before


async def test_classifiers_need_no_base_class(tmp_path) -> None:
    text = "class Mine:\n    may_set = ('t',)\n    async def classify(self, request, ctx):\n        return ['t']\n"
    hook = made(tmp_path, text, "classifiers")
    assert await hook.classify(REQUEST, Context("mine", {})) == ["t"]
    text = "class Mine:\n    async def classify(self, request, response, ctx):\n        return []\n"
    assert made(tmp_path, text, "response_classifiers").id == "mine"


# --- what does not --------------------------------------------------------------------------------


METHOD = "class Mine(Plugin):\n    {}\n        return request\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEAD + "class Mine(Plugin)\n", "mine.py:2: expected ':'"),
        ("x = '\0'\n", "mine.py:"),
        (HEAD + "\n1 / 0\n", "mine.py:3: while it was loaded: ZeroDivisionError: division by zero"),
        (HEAD + "raise SystemExit(3)\n", "mine.py:2: while it was loaded: SystemExit: 3"),
        (
            "import nowhere\n",
            "mine.py:1: while it was loaded: ModuleNotFoundError: No module named",
        ),
        ("", "mine.py:1: there is no class in it that derives from llmrouterd.hooks.Plugin"),
        (HEAD, "mine.py:1: there is no class in it that derives from"),
        ("class Mine:\n    pass\n", "mine.py:1: there is no class in it that derives from"),
        (
            HEAD
            + "class A(Plugin):\n    def f(self): ...\nclass B(Plugin):\n    def g(self): ...\n",
            "mine.py: more than one class derives from llmrouterd.hooks.Plugin: A (line 3), B (line 5)",
        ),
        (
            HEAD + METHOD.format("def pre_request(self, request, ctx):"),
            "mine.py:3: pre_request must be written with async def",
        ),
        (
            HEAD + METHOD.format("async def on_event(self, request, ctx):"),
            "mine.py:3: on_event must be written with def, without async",
        ),
        (
            HEAD + METHOD.format("async def pre_request(self, request):"),
            "mine.py:3: pre_request must take (self, request, ctx)",
        ),
        (
            HEAD + METHOD.format("async def on_end(self, record, ctx, more):"),
            "mine.py:3: on_end must take (self, record)",
        ),
        (
            HEAD + METHOD.format("async def pre_reqest(self, request, ctx):"),
            "mine.py:3: there is no hook pre_reqest; did you mean pre_request?",
        ),
        (
            HEAD + METHOD.format("async def on_zzzzzzzzzzzzz(self, request, ctx):"),
            "mine.py:3: there is no hook on_zzzzzzzzzzzzz; there are on_arrival, on_start, pre_request, ",
        ),
        (
            HEAD + "class Mine(Plugin):\n    on_start = 3\n",
            "mine.py:1: Mine.on_start must be a method",
        ),
        (
            HEAD + "class Mine(Plugin):\n    def __init__(self):\n        pass\n",
            "mine.py:3: __init__ must take (self, settings)",
        ),
        (
            HEAD + "class Mine(Plugin):\n    def __init__(self, s):\n        s['x']\n",
            "mine.py:4: while it was made: KeyError: 'x'",
        ),
        (
            HEAD
            + "class Mine(Plugin):\n    def __init__(self, s):\n        raise ValueError('x: no')\n",
            "x: no",
        ),
    ],
)
def test_what_is_wrong_is_said_with_file_and_line(tmp_path, text: str, said: str) -> None:
    assert fault(tmp_path, text).startswith(said)


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("classifiers", HEAD, "mine.py:1: there is no class in it that has a classify()"),
        (
            "classifiers",
            "class Mine:\n    def classify(self, request, ctx):\n        return []\n",
            "mine.py:2: classify must be written with async def",
        ),
        (
            "classifiers",
            "class Mine:\n    may_set = 'pii'\n    async def classify(self, request, ctx): ...\n",
            "mine.py:3: may_set must be a list of tags, and not a text",
        ),
        (
            "response_classifiers",
            "class Mine:\n    async def classify(self, request, ctx):\n        return []\n",
            "mine.py:2: classify must take (self, request, response, ctx)",
        ),
    ],
)
def test_a_classifier_that_is_none_is_told_so(tmp_path, kind: str, text: str, said: str) -> None:
    assert fault(tmp_path, text, kind) == said


def test_a_file_that_is_not_there(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"none.py cannot be read: No such file"):
        load(str(tmp_path / "none.py"), "mine", "plugins")


def test_a_file_that_everybody_may_change_is_not_run(tmp_path) -> None:
    file = written(tmp_path, "raise SystemExit('it was run')\n")
    Path(file).chmod(0o666)
    with pytest.raises(ValueError, match=r"can be changed by everybody on this machine: chmod o-w"):
        load(file, "mine", "plugins")


def test_a_file_that_everybody_may_replace_is_not_run(tmp_path) -> None:
    file = written(tmp_path, HEAD + "class Mine(Plugin):\n    pass\n")
    tmp_path.chmod(0o777)
    with pytest.raises(ValueError, match=r"everybody on this machine can replace"):
        load(file, "mine", "plugins")
    tmp_path.chmod(0o1777)  # as /tmp is: others' files stay others'
    assert load(file, "mine", "plugins")({}).id == "mine"
