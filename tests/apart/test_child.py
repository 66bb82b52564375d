"""The process at the other end: its bounds are its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from llmrouterd.apart import child

ROOT = Path(__file__).parents[2]
HERE = f"import sys; sys.path[:0] = [{str(ROOT)!r}]; from llmrouterd.apart import child; "


def run(code: str, data: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-I", "-S", "-c", HERE + code]
    return subprocess.run(command, input=data, capture_output=True, check=False)


def test_a_function_gets_what_comes_in_and_what_it_returns_goes_out() -> None:
    code = "child.main('llmrouterd.apart.pdftext:extract', "
    settings = json.dumps({"seconds": 9, "max_pages": 1, "max_chars": 1})
    done = run(f"{code}{settings!r}, 1 << 30, 10)", b"junk")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) in ({"error": "missing"}, {"error": "broken"})


def test_it_loads_neither_trio_nor_the_daemon() -> None:
    done = run("print([n for n in sys.modules if n.split('.')[0] in ('trio', 'h11', 'formats')])")
    assert done.stdout == b"[]\n"


def test_memory_is_bounded() -> None:
    done = run(
        "child.bound(256 << 20, 60)\ntry: x = bytearray(1 << 30)\nexcept MemoryError: print('no')"
    )
    assert done.stdout == b"no\n"


@pytest.mark.slow
def test_where_no_limit_can_be_set_memory_is_watched() -> None:
    code = "import resource\ndef no(*a): raise ValueError\nresource.setrlimit = no\n"
    code += (
        "child.bound(100 << 20, 60)\nx = bytearray(b'x') * (300 << 20)\nimport time; time.sleep(60)"
    )
    assert run(code).returncode == child.FULL


def test_no_file_can_be_written(tmp_path: Path) -> None:
    target = tmp_path / "x"
    code = f"child.bound(1 << 30, 60)\nfile = open({str(target)!r}, 'wb', buffering=0)\nfile.write(b'x')"
    assert run(code).returncode != 0
    assert target.read_bytes() == b""


def test_the_memory_of_this_process_is_known_on_linux() -> None:
    assert child.resident() > 1 << 20 or not Path("/proc/self/statm").exists()
