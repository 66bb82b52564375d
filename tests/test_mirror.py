"""Every product file has its test file, at the place where one looks for it.

formats/sse.py <-> tests/formats/test_sse.py
llmrouterd/route/rules.py <-> tests/route/test_rules.py
"""

from fnmatch import filter as filter_by
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# product file, or a pattern of such -> why it has no test file of its own. An `__init__.py` needs none.
EXCEPTIONS: dict[str, str] = {}


def product_files() -> list[str]:
    files = [path for room in ("formats", "llmrouterd") for path in (ROOT / room).rglob("*.py")]
    names = sorted(path.relative_to(ROOT).as_posix() for path in files)
    return ["llmrouter.py", *(name for name in names if not name.endswith("/__init__.py"))]


def mirror_of(name: str) -> str:
    path = Path(name.removeprefix("llmrouterd/"))
    return (Path("tests") / path.parent / f"test_{path.name}").as_posix()


@pytest.mark.parametrize(
    ("name", "mirror"),
    [
        ("llmrouter.py", "tests/test_llmrouter.py"),
        ("formats/sse.py", "tests/formats/test_sse.py"),
        ("llmrouterd/model.py", "tests/test_model.py"),
        ("llmrouterd/commands/tui/chat.py", "tests/commands/tui/test_chat.py"),
    ],
)
def test_the_mirror_of_a_file(name: str, mirror: str) -> None:
    assert mirror_of(name) == mirror


def excepted(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in EXCEPTIONS)


def test_every_file_has_its_test_file() -> None:
    missing = [
        f"{name} wants {mirror_of(name)}"
        for name in product_files()
        if not (ROOT / mirror_of(name)).exists() and not excepted(name)
    ]
    assert not missing, "\n" + "\n".join(missing)


def test_every_exception_is_still_needed() -> None:
    without = [name for name in product_files() if not (ROOT / mirror_of(name)).exists()]
    assert not [pattern for pattern in EXCEPTIONS if not filter_by(without, pattern)]
