"""The import table, and the few habits of the house that an AST can see.

A room may import itself and what its row names, and nothing else of the project or from a package.
A name that starts with a row's entry belongs to it. Each test lists every offence at once.
"""

import ast
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# room -> what it may import besides the standard library and itself. The longest match rules.
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "formats": (),
    "llmrouterd": (),
    "llmrouterd.model": ("formats", "llmrouterd.spans"),
    "llmrouterd.spans": (),
    "llmrouterd.hooks": ("formats", "llmrouterd.model"),
    "llmrouterd.config": ("llmrouterd.model", "llmrouterd.tomlpos"),
    "llmrouterd.tomlpos": ("llmrouterd.model",),
    "llmrouterd.route": ("formats", "llmrouterd.model"),
    "llmrouterd.guard": ("formats.errors", "llmrouterd.model"),
    "llmrouterd.edge": (
        "formats.errors",
        "llmrouterd.model",
        "llmrouterd.guard.egress",
        "trio",
        "h11",
    ),
    "llmrouterd.pipeline": (
        "formats",
        "llmrouterd.model",
        "llmrouterd.spans",
        "llmrouterd.hooks",
        "llmrouterd.route",
        "llmrouterd.guard",
        "llmrouterd.edge",
        "llmrouterd.apart",
        "trio",
    ),
    "llmrouterd.apart": ("pypdf",),
    "llmrouterd.detect": (),
    "llmrouterd.plugins": ("formats", "llmrouterd.model", "llmrouterd.hooks", "llmrouterd.detect"),
    "llmrouterd.classifiers": (
        "formats",
        "llmrouterd.model",
        "llmrouterd.hooks",
        "llmrouterd.detect",
    ),
    "llmrouterd.observe": (
        "formats",
        "llmrouterd.model",
        "llmrouterd.spans",
        "llmrouterd.route.recorded",
        "trio",
    ),
    "llmrouterd.ops": ("formats", "llmrouterd", "trio"),
    "llmrouterd.selftest": ("formats", "llmrouterd", "trio"),
    "llmrouterd.commands": ("formats", "llmrouterd", "llmrouter", "trio"),
    "llmrouter": (),  # a command's module is imported by name, when it runs
}

# ops is the top of the daemon: only the self-test and the commands stand above it.
MAY_NOT_IMPORT: dict[str, tuple[str, ...]] = {
    "llmrouterd.ops": ("llmrouterd.commands", "llmrouterd.selftest", "llmrouter"),
    "llmrouterd.selftest": ("llmrouterd.commands", "llmrouter"),
}

# Pure rooms decide from values: a clock, chance, a log or a socket would make the same question
# give two answers. `from random import Random` is allowed: seeded by the caller, it is a value.
PURE = (
    *("formats", "llmrouterd.model", "llmrouterd.spans", "llmrouterd.route", "llmrouterd.guard"),
    "llmrouterd.detect",
)
IMPURE = (
    *(
        "asyncio",
        "http",
        "multiprocessing",
        "select",
        "selectors",
        "socket",
        "ssl",
        "urllib.request",
    ),
    *("logging", "os", "signal", "subprocess", "tempfile", "threading"),
    *("random", "secrets", "time", "uuid"),
)
CLOCKS = ("datetime.now", "datetime.utcnow", "datetime.today", "date.today")

# Who may catch everything: file -> why.
CATCH_ALL: dict[str, str] = {
    "llmrouter.py": "the outermost frame: one line instead of a traceback",
    "llmrouterd/edge/connection.py": "one client's request must not end the daemon",
    "llmrouterd/apart/pdftext.py": "a PDF may raise anything in its reader, and has no text then",
    "llmrouterd/pipeline/extend.py": "a plugin or classifier is somebody else's code",
    "llmrouterd/plugins/own.py": "the owner's file may do anything while it is loaded",
}


@dataclass(frozen=True, slots=True)
class Source:
    """A product file, read once."""

    path: Path
    tree: ast.Module
    nodes: tuple[ast.AST, ...]  # all of the tree's

    @property
    def name(self) -> str:
        return self.path.relative_to(ROOT).as_posix()

    @property
    def module(self) -> str:
        parts = self.path.relative_to(ROOT).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    def at(self, node: ast.AST) -> str:
        return f"{self.name}:{getattr(node, 'lineno', 0)}"


def read(path: Path, text: str | None = None) -> Source:
    tree = ast.parse(path.read_text("utf-8") if text is None else text, str(path))
    return Source(path, tree, tuple(ast.walk(tree)))


def product_files() -> list[Path]:
    packages = (ROOT / "formats", ROOT / "llmrouterd")
    return [ROOT / "llmrouter.py", *sorted(p for room in packages for p in room.rglob("*.py"))]


@pytest.fixture(scope="module")
def sources() -> list[Source]:
    return [read(path) for path in product_files()]


def within(name: str, rooms: tuple[str, ...]) -> bool:
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


def room_of(module: str) -> str:
    fitting = [room for room in MAY_IMPORT if within(module, (room,))]
    return max(fitting, key=len)


def imports(source: Source) -> Iterator[tuple[ast.stmt, str]]:
    """Every imported name, in functions and under TYPE_CHECKING too: knowing a type is knowing."""
    for node in source.nodes:
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from ((node, f"{node.module}.{alias.name}") for alias in node.names)


# ---- the rules: a source in, its offences out ----------------------------------------------------


def forbidden_imports(source: Source) -> Iterator[str]:
    room = room_of(source.module)
    for node, name in imports(source):
        if name.split(".")[0] in sys.stdlib_module_names or name.startswith("__future__"):
            continue
        allowed = within(name, (room, *MAY_IMPORT[room])) if room != "llmrouterd" else False
        if not allowed or within(name, MAY_NOT_IMPORT.get(room, ())):
            yield f"{source.at(node)}: {room} must not import {name}"


def impurities(source: Source) -> Iterator[str]:
    if not within(source.module, PURE):
        return
    for node, name in imports(source):
        if name != "random.Random" and within(name, IMPURE):
            yield f"{source.at(node)}: a pure room must not import {name}"
    for call in source.nodes:
        if isinstance(call, ast.Call) and ast.unparse(call.func).endswith(CLOCKS):
            yield f"{source.at(call)}: a pure room must not read the clock"


def relative_imports(source: Source) -> Iterator[str]:
    for node in source.nodes:
        if isinstance(node, ast.ImportFrom) and node.level:
            yield f"{source.at(node)}: relative import, write the whole name"


def async_generators(source: Source) -> Iterator[str]:
    """Cancelled half-way, an async generator is cleaned up by the collector, at a time of its own."""
    for node in source.nodes:
        if not isinstance(node, ast.AsyncFunctionDef) or not yields(node):
            continue
        if not any("asynccontextmanager" in ast.unparse(each) for each in node.decorator_list):
            yield f"{source.at(node)}: {node.name} is an async generator"


def yields(function: ast.AsyncFunctionDef) -> bool:
    """Whether the function's own body yields, not one that is defined inside it."""
    todo: list[ast.AST] = list(function.body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Yield | ast.YieldFrom):
            return True
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            todo += ast.iter_child_nodes(node)
    return False


def boundless_channels(source: Source) -> Iterator[str]:
    """A channel without a bound is a buffer without a bound."""
    for node in source.nodes:
        if isinstance(node, ast.Call) and "open_memory_channel" in ast.unparse(node.func):
            sizes = [ast.unparse(each) for each in [*node.args, *(k.value for k in node.keywords)]]
            if any(size in {"inf", "math.inf"} or "float(" in size for size in sizes):
                yield f"{source.at(node)}: a memory channel without a bound"


def catch_alls(source: Source) -> Iterator[str]:
    if source.name in CATCH_ALL:
        return
    for node in source.nodes:
        if isinstance(node, ast.ExceptHandler) and catches_all(node):
            yield f"{source.at(node)}: catches everything"


def catches_all(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    if isinstance(last, ast.Raise) and last.exc is None:
        return False  # it cleans up and lets go
    if handler.type is None:
        return True
    types = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(isinstance(t, ast.Name) and t.id in {"Exception", "BaseException"} for t in types)


def module_state(source: Source) -> Iterator[str]:
    """A mutable container at module level is a global; a table is upper-case, and nobody writes it."""
    for node in source.tree.body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or not is_mutable(node.value):
            continue
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            name = ast.unparse(target)
            if name.islower() and not name.startswith("__"):
                yield f"{source.at(node)}: {name} is mutable state of the module"


def is_mutable(value: ast.expr | None) -> bool:
    if isinstance(value, ast.Call):
        return ast.unparse(value.func).rsplit(".", 1)[-1] in CONTAINERS
    literals = ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp
    return isinstance(value, literals)


CONTAINERS = ("list", "dict", "set", "bytearray", "deque", "defaultdict", "Counter", "OrderedDict")

RULES: tuple[Callable[[Source], Iterator[str]], ...] = (
    forbidden_imports,
    impurities,
    relative_imports,
    async_generators,
    boundless_channels,
    catch_alls,
    module_state,
)


# ---- the tests -----------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_product_keeps_the_rule(
    rule: Callable[[Source], Iterator[str]], sources: list[Source]
) -> None:
    offences = [offence for source in sources for offence in rule(source)]
    assert not offences, "\n" + "\n".join(offences)


def test_every_package_directory_has_its_init() -> None:
    """Without it the directory works in a checkout and is missing from the zip."""
    rooms = {path.parent for path in product_files()} - {ROOT}
    assert not [
        room.relative_to(ROOT).as_posix()
        for room in sorted(rooms)
        if not (room / "__init__.py").exists()
    ]


def test_every_exception_is_still_needed(sources: list[Source]) -> None:
    catching = {
        s.name
        for s in sources
        for n in s.nodes
        if isinstance(n, ast.ExceptHandler) and catches_all(n)
    }
    assert not CATCH_ALL.keys() - catching


@pytest.mark.parametrize(
    ("rule", "file", "text"),
    [
        (forbidden_imports, "formats/x.py", "import trio"),
        (forbidden_imports, "formats/x.py", "from llmrouterd import model"),
        (forbidden_imports, "formats/x.py", "def f():\n    import llmrouterd.model"),
        (forbidden_imports, "llmrouterd/route/x.py", "from llmrouterd.guard import limits"),
        (forbidden_imports, "llmrouterd/edge/x.py", "from formats.sse import SSEDecoder"),
        (forbidden_imports, "llmrouterd/edge/x.py", "from llmrouterd.guard import limits"),
        (forbidden_imports, "llmrouterd/pipeline/x.py", "from llmrouterd.observe.feed import Feed"),
        (forbidden_imports, "llmrouterd/pipeline/x.py", "import h11"),
        (forbidden_imports, "llmrouterd/plugins/x.py", "import llmrouterd.edge.dial as d"),
        (forbidden_imports, "llmrouterd/ops/x.py", "from llmrouterd.commands import serve"),
        (forbidden_imports, "llmrouterd/ops/x.py", "from llmrouterd.selftest import upstream"),
        (forbidden_imports, "llmrouterd/selftest/x.py", "from llmrouterd.commands import serve"),
        (forbidden_imports, "llmrouterd/__init__.py", "from llmrouterd import model"),
        (forbidden_imports, "llmrouter.py", "import trio"),
        (impurities, "llmrouterd/route/x.py", "import time"),
        (impurities, "llmrouterd/guard/x.py", "from random import random"),
        (impurities, "formats/x.py", "from datetime import datetime\nx = datetime.now(tz)"),
        (relative_imports, "formats/x.py", "from . import sse"),
        (async_generators, "llmrouterd/edge/x.py", "async def f():\n    if 1:\n        yield 1"),
        (
            boundless_channels,
            "llmrouterd/ops/x.py",
            "a, b = trio.open_memory_channel[int](math.inf)",
        ),
        (boundless_channels, "llmrouterd/ops/x.py", "a, b = open_memory_channel(float('inf'))"),
        (catch_alls, "llmrouterd/ops/x.py", "try:\n    f()\nexcept Exception:\n    pass"),
        (
            catch_alls,
            "llmrouterd/ops/x.py",
            "try:\n    f()\nexcept (OSError, BaseException):\n    pass",
        ),
        (catch_alls, "llmrouterd/ops/x.py", "try:\n    f()\nexcept:\n    pass"),
        (module_state, "llmrouterd/ops/x.py", "seen: dict[str, int] = {}"),
        (module_state, "llmrouterd/ops/x.py", "_cache = collections.deque()"),
    ],
)
def test_an_offence_is_found(rule: Callable[[Source], Iterator[str]], file: str, text: str) -> None:
    assert list(rule(read(ROOT / file, text)))


@pytest.mark.parametrize(
    ("rule", "file", "text"),
    [
        (forbidden_imports, "llmrouterd/edge/x.py", "from llmrouterd.guard.egress import may"),
        (
            forbidden_imports,
            "llmrouterd/edge/x.py",
            "from llmrouterd.edge.pool import Pool\nimport h11, ssl",
        ),
        (forbidden_imports, "llmrouterd/ops/x.py", "from llmrouterd.observe.feed import Feed"),
        (impurities, "llmrouterd/route/x.py", "from random import Random"),
        (impurities, "llmrouterd/edge/x.py", "import socket"),
        (
            async_generators,
            "llmrouterd/edge/x.py",
            "@asynccontextmanager\nasync def f():\n    yield 1",
        ),
        (async_generators, "llmrouterd/edge/x.py", "async def f():\n    def g():\n        yield 1"),
        (boundless_channels, "llmrouterd/ops/x.py", "a, b = trio.open_memory_channel[int](64)"),
        (
            catch_alls,
            "llmrouterd/ops/x.py",
            "try:\n    f()\nexcept (OSError, ValueError):\n    pass",
        ),
        (
            catch_alls,
            "llmrouterd/ops/x.py",
            "try:\n    f()\nexcept BaseException:\n    g()\n    raise",
        ),
        (module_state, "llmrouterd/ops/x.py", "__all__ = ['a']\nTABLE = {}\nsize = 3"),
    ],
)
def test_what_is_allowed_passes(
    rule: Callable[[Source], Iterator[str]], file: str, text: str
) -> None:
    assert not list(rule(read(ROOT / file, text)))
