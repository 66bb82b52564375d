"""The one file: the same bytes wherever it is built, complete, and content with a bare Python."""

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import llmrouter
from tests.commands.test_sbom import well_formed
from tests.fakes.pdf import pdf

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
PACKED = (
    "llmrouter.py",
    "formats",
    "llmrouterd",
    "contrib",
    "zipapp.sh",
    "LICENSE",
    "pyproject.toml",
)
COMMIT = "0123456789abcdef0123456789abcdef01234567 2026-11-23"


def copy_of_the_tree(where: Path, commit: str = "") -> Path:
    """The sources at another place, as an unpacked archive has them."""
    where.mkdir(parents=True)
    for name in PACKED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, where / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, where / name)
    if commit:
        (where / "contrib/commit.txt").write_text(f"{commit}\n")
    return where


def build(tree: Path, *options: str, ok: bool = True) -> "subprocess.CompletedProcess[str]":
    command = ["sh", str(tree / "zipapp.sh"), "--python", sys.executable, *options]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
    assert (done.returncode == 0) is ok, done.stderr
    return done


def python(*words: str, cwd: Path | str = "/") -> "subprocess.CompletedProcess[str]":
    """A Python that sees no package but what the file brings."""
    command = [sys.executable, "-I", "-S", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("zipapp")


@pytest.fixture(scope="module")
def wheels(places: Path) -> Path:
    """A folder with what the lock names, as one carries it to a machine without a network."""
    folder = places / "wheels"
    options = "--quiet --no-deps --only-binary :all: --require-hashes --disable-pip-version-check"
    command = [sys.executable, "-m", "pip", "download", *options.split()]
    subprocess.run([*command, "-d", folder, "-r", ROOT / "contrib/vendor.lock"], check=True)
    return folder


@pytest.fixture(scope="module")
def built(places: Path, wheels: Path) -> Path:
    tree = copy_of_the_tree(places / "one", COMMIT)
    build(tree, "--wheels", str(wheels))
    return tree / "llmrouter.pyz"


@pytest.fixture(scope="module")
def names(built: Path) -> list[str]:
    with zipfile.ZipFile(built) as archive:
        return archive.namelist()


# ---- the same bytes ------------------------------------------------------------------------------


def test_another_directory_and_the_network_give_the_same_bytes(built: Path, places: Path) -> None:
    """The directory's name is one that the code uses too, should a path ever get into bytecode."""
    tree = copy_of_the_tree(places / "deeper/open_nursery/llmrouter", COMMIT)
    build(tree, "--output", str(places / "other.pyz"))
    assert (places / "other.pyz").read_bytes() == built.read_bytes()
    beside = built.with_name("llmrouter.cdx.json")
    assert (places / "other.cdx.json").read_bytes() == beside.read_bytes()
    assert not (tree / "llmrouter.pyz").exists()


def test_a_clone_gives_the_same_bytes_as_an_archive_of_its_commit(
    places: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    origin = copy_of_the_tree(places / "origin")
    shutil.copy(ROOT / ".gitattributes", origin)
    shutil.copy(ROOT / ".gitignore", origin)
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    git(origin, "init", "-q")
    git(origin, "add", ".")
    git(origin, *identity, "commit", "-q", "-m", "one")
    git(places, "clone", "-q", str(origin), "clone")
    git(origin, "archive", "--format=tar", "-o", str(places / "archive.tar"), "HEAD")
    shutil.unpack_archive(places / "archive.tar", places / "archive", filter="data")
    for name in ("clone", "archive"):
        build(places / name, "--wheels", str(wheels))
    files = [places / name / "llmrouter.pyz" for name in ("clone", "archive")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert " (unknown" not in python(str(files[0]), "--version").stdout
    assert git(places / "clone", "status", "--porcelain") == ""


def test_a_changed_source_is_dirty_in_the_version(places: Path, wheels: Path) -> None:
    tree = copy_of_the_tree(places / "dirty")
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    git(tree, "init", "-q")
    git(tree, "add", ".")
    git(tree, *identity, "commit", "-q", "-m", "one")
    with (tree / "formats/__init__.py").open("a") as file:
        file.write("\n")
    build(tree, "--wheels", str(wheels))
    assert "-dirty, " in python(str(tree / "llmrouter.pyz"), "--version").stdout


def git(where: Path, *words: str) -> str:
    command = ["git", "-C", str(where), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_nothing_of_the_machine_is_in_it(built: Path, places: Path) -> None:
    data = built.read_bytes()
    assert str(places).encode() not in data
    assert str(ROOT).encode() not in data
    assert str(Path.home()).encode() + b"/" not in data


def test_entries_are_sorted_alike_and_stored(built: Path) -> None:
    with zipfile.ZipFile(built) as archive:
        infos = archive.infolist()
    names = [info.filename for info in infos if not info.filename.endswith(".pyc")]
    assert names == sorted(names)
    assert {info.date_time for info in infos} == {(1980, 1, 1, 0, 0, 0)}
    assert {info.external_attr >> 16 for info in infos} == {0o100644}
    assert {info.create_system for info in infos} == {3}
    assert {info.compress_type for info in infos} == {zipfile.ZIP_STORED}


# ---- what is in it -------------------------------------------------------------------------------


def test_every_product_file_is_in_it(names: list[str]) -> None:
    files = [p for room in ("formats", "llmrouterd") for p in (ROOT / room).rglob("*")]
    wanted = {p.relative_to(ROOT).as_posix() for p in files if p.is_file()}
    wanted = {name for name in wanted if "__pycache__" not in name}
    kinds = {Path(name).suffix for name in wanted}
    assert kinds >= {".py", ".html", ".css", ".js", ".toml", ".service", ".socket"}
    assert not (wanted | {"llmrouter.py", "__main__.py", "_build.py"}) - set(names)


def test_what_it_is_made_of_is_in_it_and_beside_it(built: Path) -> None:
    beside = built.with_name("llmrouter.cdx.json").read_text()
    with zipfile.ZipFile(built) as archive:
        assert archive.read("llmrouter.cdx.json").decode() == beside
    done = python(str(built), "version", "--sbom")
    assert (done.returncode, done.stderr, done.stdout) == (0, "", beside)
    told = json.loads(beside)
    well_formed(told)
    locked = re.findall(
        r"^(\w+)==(\S+) .*\n.*sha256:(\w+)",
        (ROOT / "contrib/vendor.lock").read_text(),
        re.MULTILINE,
    )
    hashes = [(e["name"], e["version"], e["hashes"][0]["content"]) for e in told["components"]]
    assert hashes == locked
    assert all(each["licenses"] for each in told["components"])
    properties = {e["name"]: e["value"] for e in told["metadata"]["component"]["properties"]}
    assert properties["llmrouter:commit"] == "0123456"


def test_every_source_has_its_bytecode(names: list[str]) -> None:
    sources = {name for name in names if name.endswith(".py")}
    assert {f"{name}c" for name in sources} == {name for name in names if name.endswith(".pyc")}


def test_what_no_program_asks_for_is_left_out(names: list[str]) -> None:
    unwanted = re.compile(
        r"(^|/)_?tests?/|\.pyi$|\.so$|^bin/|/RECORD$|direct_url|INSTALLER|__pycache__"
    )
    assert not [name for name in names if unwanted.search(name)]


def test_the_licences_are_in_it(built: Path, names: list[str]) -> None:
    with zipfile.ZipFile(built) as archive:
        listed = archive.read("THIRD_PARTY.txt").decode()
    assert "LICENSE" in names
    locked = re.findall(r"^(\w+)==(\S+)", (ROOT / "contrib/vendor.lock").read_text(), re.MULTILINE)
    assert {name for name, _ in locked} >= {"trio", "h11", "attrs", "idna", "outcome", "sniffio"}
    for name, version in locked:
        assert f"{name} {version}: " in listed
        assert f"{name}-{version}.dist-info/METADATA" in names
    texts = re.findall(r"^    (\S+)$", listed, re.MULTILINE)
    assert len(texts) >= len(locked)
    assert not set(texts) - set(names)


# ---- how it runs ---------------------------------------------------------------------------------


def test_it_runs_alone_from_a_read_only_directory(built: Path, places: Path) -> None:
    bare = places / "bare"
    bare.mkdir()
    shutil.copy(built, bare)
    bare.chmod(0o555)
    done = python("llmrouter.pyz", "--version", cwd=bare)
    version = ".".join(map(str, sys.version_info[:3]))
    assert done.stderr == ""
    assert done.stdout.startswith(f"llmrouter 0.1.0 (0123456, 2026-11-23) python {version}")
    assert "missing" not in done.stdout
    assert [path.name for path in bare.iterdir()] == ["llmrouter.pyz"]


def test_it_is_a_program_by_itself(built: Path) -> None:
    done = subprocess.run([built, "-h"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_version_loads_no_trio(built: Path) -> None:
    done = python("-X", "importtime", str(built), "--version")
    imported = set(re.findall(r"\| +(\S+)$", done.stderr, re.MULTILINE))
    assert "llmrouter" in imported
    assert not imported & {"trio", "h11", "formats", "llmrouterd"}


def test_every_module_comes_from_its_bytecode(built: Path) -> None:
    """A stale or foreign .pyc is skipped in silence, and the start is three times as slow."""
    code = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); import trio, trio.testing, h11, formats;"
        "files = [str(getattr(m, '__file__', '')) for m in sys.modules.values()];"
        "print(json.dumps([f for f in files if f.startswith(sys.argv[1])]))"
    )
    done = python("-c", code, str(built))
    assert done.stderr == ""
    files = json.loads(done.stdout)
    assert len(files) > 100
    assert not [file for file in files if not file.endswith(".pyc")]


def test_every_module_can_be_loaded_from_it(built: Path) -> None:
    """Also what only a terminal, or half a minute, would come by: `tui` and `selftest`."""
    code = (
        "import importlib, pkgutil, sys; sys.path.insert(0, sys.argv[1]); import formats, llmrouterd\n"
        "for room in (formats, llmrouterd):\n"
        "    for each in pkgutil.walk_packages(room.__path__, room.__name__ + '.'):\n"
        "        print(importlib.import_module(each.name).__name__)"
    )
    done = python("-c", code, str(built))
    assert (done.returncode, done.stderr) == (0, "")
    assert {"llmrouterd.commands.tui.app", "llmrouterd.selftest.run"} < set(done.stdout.split())


CONFIG = '[logging]\nenabled = true\naudit = true\n[[providers]]\nname = "e"\nformat = "echo"\n'
ASKED = b'{"model": "echo", "messages": [{"role": "user", "content": "hello"}]}'
COMMANDS = (
    ("init", "made.toml"),
    ("serve", "--check", "x.toml"),
    ("check", "x.toml"),
    ("check", "--online", "x.toml"),
    ("check", "--offline", "--seconds", "0", "x.toml"),
    ("explain", "x.toml", "--model", "echo"),
    ("stats", "log.jsonl", "--json"),
    ("audit", "verify", "log.jsonl"),
    ("replay", "log.jsonl", "--config", "x.toml", "--json"),
    ("service", "print", "--socket", "--config", "x.toml"),
    ("service", "print", "--user", "--config", "x.toml"),
    ("version", "--sbom"),
    *((name, "-h") for name in llmrouter.COMMANDS),
)
RUNNING = (
    ("provider", "list", "--url"),
    ("explain", "--model", "echo", "--url"),
    ("replay", "log.jsonl", "--config", "x.toml", "--send", "--url"),
)


@pytest.fixture(scope="module")
def yard(built: Path, places: Path) -> Iterator[Path]:
    """A folder with a configuration, and with the log of a daemon that runs from the file beside it;
    `url` in it says where."""
    folder = places / "yard"
    folder.mkdir()
    (folder / "x.toml").write_text(CONFIG)
    command = [sys.executable, "-I", "-S", str(built), "serve", "x.toml", "--port", "0"]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as daemon:
        assert daemon.stderr
        said = iter(daemon.stderr)
        url = next(m[1] for line in said if (m := re.search(r"listens on (http\S+)", line)))
        (folder / "url").write_text(url)
        for path in ("/dashboard", "/dashboard/api/state", "/metrics"):  # its page and its figures
            assert urllib.request.urlopen(url + path, timeout=60).read()
        urllib.request.urlopen(f"{url}/v1/chat/completions", ASKED, timeout=60).read()
        until = time.monotonic() + 60
        while not (folder / "logs/requests.jsonl").exists():
            assert time.monotonic() < until
            time.sleep(0.05)
        shutil.copy(folder / "logs/requests.jsonl", folder / "log.jsonl")
        yield folder
        daemon.send_signal(signal.SIGTERM)
        assert (daemon.wait(60), "Traceback" in daemon.stderr.read()) == (0, False)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_each_command_works_from_the_file_alone(built: Path, yard: Path, words) -> None:
    done = python(str(built), *words, cwd=yard)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert done.stdout or words[0] == "init"


@pytest.mark.parametrize("words", RUNNING, ids=" ".join)
def test_each_command_that_asks_a_router_works_from_the_file(
    built: Path, yard: Path, words
) -> None:
    done = python(str(built), *words, (yard / "url").read_text(), cwd=yard)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert done.stdout


def test_a_file_that_is_replaced_disturbs_nothing_that_runs(built: Path, places: Path) -> None:
    """An upgrade: what the daemon needs it has loaded by the time it listens."""
    folder = places / "upgraded"
    folder.mkdir()
    old, config = shutil.copy(built, folder / "x.pyz"), folder / "x.toml"
    config.write_text(CONFIG)
    command = [sys.executable, "-I", "-S", str(old), "serve", "x.toml", "--port", "0"]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as daemon:
        assert daemon.stderr
        said = iter(daemon.stderr)
        url = next(m[1] for line in said if (m := re.search(r"listens on (http\S+)", line)))
        (folder / "new").write_bytes(b"PK, and nothing that one could read")
        (folder / "new").replace(folder / "x.pyz")
        config.write_text(
            CONFIG + "[classifiers.pii]\nenabled = true\n[plugins.redact]\nenabled = true\n"
        )
        asked = json.loads(ASKED) | {"max_tokens": 9}
        for reloaded in (False, True):
            if reloaded:
                daemon.send_signal(signal.SIGHUP)
                assert any("generation 2" in line for line in said)
            for path in ("/v1/chat/completions", "/v1/messages", "/api/chat", "/v1/responses"):
                for stream in (False, True):
                    body = asked | {"stream": stream}
                    if path == "/v1/responses":
                        body = {"model": "echo", "input": "hello", "stream": stream}
                    sent = json.dumps(body).encode()
                    assert urllib.request.urlopen(f"{url}{path}", sent, timeout=60).read()
            for path in ("/metrics", "/v1/models", "/api/tags", "/dashboard/api/state"):
                assert urllib.request.urlopen(url + path, timeout=60).read()
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(60) == 0
        assert "Error" not in daemon.stderr.read()


def test_watching_and_launching_work_from_the_file(built: Path, yard: Path) -> None:
    url = (yard / "url").read_text()
    command = [sys.executable, "-I", "-S", str(built), "watch", url, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout
        until = time.monotonic() + 60
        while not select.select([watching.stdout], [], [], 0.3)[0] and time.monotonic() < until:
            urllib.request.urlopen(f"{url}/v1/chat/completions", ASKED, timeout=60).read()
        assert json.loads(watching.stdout.readline())["type"]
        watching.kill()
    agent = yard / "claude"
    agent.write_text("#!/bin/sh\n")
    agent.chmod(0o755)
    words = [sys.executable, "-I", "-S", str(built), "launch", "claude", "--url", url, "--print"]
    env = {"PATH": str(yard)}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"ANTHROPIC_BASE_URL={url}" in done.stdout


# ---- what the script refuses ---------------------------------------------------------------------


def test_a_wheel_that_is_not_the_locked_one_is_refused(places: Path, wheels: Path) -> None:
    other = places / "tampered"
    shutil.copytree(wheels, other)
    with next(other.glob("h11-*.whl")).open("ab") as wheel:
        wheel.write(b"\0")
    tree = copy_of_the_tree(places / "refusing", COMMIT)
    done = build(tree, "--wheels", str(other), ok=False)
    assert "could not install contrib/vendor.lock" in done.stderr
    assert not (tree / "llmrouter.pyz").exists()


def test_a_shared_object_is_refused(places: Path, wheels: Path) -> None:
    tree = copy_of_the_tree(places / "binary", COMMIT)
    (tree / "formats/quick.so").write_bytes(b"\x7fELF")
    assert "formats/quick.so" in build(tree, "--wheels", str(wheels), ok=False).stderr
    assert not [path for path in tree.iterdir() if "pyz" in path.name]


def test_a_failed_build_leaves_the_old_file(places: Path) -> None:
    tree = copy_of_the_tree(places / "old", COMMIT)
    (tree / "llmrouter.pyz").write_bytes(b"old")
    build(tree, "--wheels", str(tree), ok=False)
    assert (tree / "llmrouter.pyz").read_bytes() == b"old"


def test_an_unknown_option_is_wrong_usage() -> None:
    done = subprocess.run(
        ["sh", ROOT / "zipapp.sh", "--outptu", "x"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "--outptu" in done.stderr


def test_with_pdf_it_reads_documents_by_itself(places: Path) -> None:
    output = places / "pdf.pyz"
    build(ROOT, "--with", "pdf", "--output", str(output))
    with zipfile.ZipFile(output) as archive:
        assert "pypdf/__init__.pyc" in archive.namelist()
        assert "pypdf 7.1.0: BSD-3-Clause" in archive.read("THIRD_PARTY.txt").decode()
    (places / "pdf.toml").write_text(
        '[[providers]]\nname = "e"\nformat = "echo"\n[plugins.pdf]\nenabled = true\n'
    )
    done = python(str(output), "check", str(places / "pdf.toml"))
    assert done.returncode == 0, done.stderr
    read = "import sys; sys.path[:0] = sys.argv[1:]; from llmrouterd.apart.pdftext import extract; "
    read += "print(extract(sys.stdin.buffer.read(), dict(seconds=9, max_pages=9, max_chars=9)))"
    command = [sys.executable, "-I", "-S", "-c", read, str(output)]
    said = subprocess.run(command, input=pdf("Hello"), capture_output=True, check=True).stdout
    assert b"Hello" in said


def test_without_it_that_plugin_says_what_to_do(built: Path, places: Path) -> None:
    (places / "no.toml").write_text(
        '[[providers]]\nname = "e"\nformat = "echo"\n[plugins.pdf]\nenabled = true\n'
    )
    done = python(str(built), "check", str(places / "no.toml"))
    assert done.returncode == 2
    assert "sh zipapp.sh --with pdf" in done.stderr


def test_only_what_there_is_can_be_packed_too() -> None:
    done = subprocess.run(["sh", str(ROOT / "zipapp.sh"), "--with", "x"], capture_output=True)
    assert done.returncode == 2
