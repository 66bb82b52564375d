#!/bin/sh
# Builds llmrouter.pyz: the whole program in one file, for any machine with Python >= 3.11.
#
#   sh zipapp.sh [--output FILE] [--python PY] [--wheels DIR] [--with pdf]
#
#   --output FILE   where to write (default: llmrouter.pyz beside this script); what it is made of
#                   is written beside it, as CycloneDX JSON (llmrouter.cdx.json)
#   --python PY     the Python to build with (default: the first of python3, python3.14 ... 3.11
#                   that is new enough and has pip); its bytecode is what starts quickly
#   --wheels DIR    take the third-party wheels from this folder: no network is used
#   --with pdf      pack pypdf, too, which the plugin `pdf` reads documents with
#
# Same commit and same Python version: same bytes. So nothing of this machine, this moment or this
# directory may get in: entries are sorted and carry one date, one mode and one system; bytecode is
# compiled in a bare interpreter, with names inside the archive in place of build paths; what pip
# records about its own run is dropped. Entries are stored and not deflated: no compressor's version
# matters, and the start is the quickest.
#
# The checkout is only read; everything is put together in a temporary directory.
set -eu
umask 022
LC_ALL=C
PYTHONHASHSEED=0
PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_REQUIRE_VIRTUALENV=0
PIP_USER=0 PIP_ROOT_USER_ACTION=ignore
export LC_ALL PYTHONHASHSEED PIP_DISABLE_PIP_VERSION_CHECK PIP_NO_INPUT PIP_REQUIRE_VIRTUALENV
export PIP_USER PIP_ROOT_USER_ACTION
unset PYTHONPATH PYTHONHOME PYTHONOPTIMIZE PYTHONSTARTUP PYTHONWARNINGS || :

fail() {
    printf 'zipapp.sh: %s\n' "$*" >&2
    exit 1
}

here=$(cd "$(dirname "$0")" && pwd)
output=$here/llmrouter.pyz
python=
wheels=
extra=
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help)
        sed -n '2,10s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
    --output | --python | --wheels | --with)
        [ $# -ge 2 ] || { printf 'zipapp.sh: %s wants a value\n' "$1" >&2; exit 2; }
        case $1 in
        --output) output=$2 ;;
        --python) python=$2 ;;
        --wheels) wheels=$2 ;;
        --with)
            [ "$2" = pdf ] || { printf 'zipapp.sh: --with takes pdf, and not %s\n' "$2" >&2; exit 2; }
            extra=$2
            ;;
        esac
        shift 2
        ;;
    *)
        printf 'zipapp.sh: unknown argument %s, see zipapp.sh --help\n' "$1" >&2
        exit 2
        ;;
    esac
done

usable() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null &&
        "$1" -c 'import pip' 2>/dev/null
}

if [ -n "$python" ]; then
    usable "$python" || fail "$python is no Python >= 3.11 with pip"
else
    for python in python3 python3.14 python3.13 python3.12 python3.11 none; do
        usable "$python" && break
    done
    [ "$python" != none ] || fail "no Python >= 3.11 with pip found (on Debian: apt-get install python3-pip)"
fi
[ -d "$(dirname "$output")" ] || fail "there is no directory $(dirname "$output") for the output"

# The commit: from git, when this directory itself is a checkout; from contrib/commit.txt, which
# git archive fills in; else unknown. Only what is packed, or decides how, makes a build -dirty.
commit=unknown
date=
if [ -e "$here/.git" ]; then
    described=$(git --no-optional-locks -C "$here" log -1 --format='%H %cs' 2>/dev/null) || described=
else
    described=$(cat "$here/contrib/commit.txt" 2>/dev/null) || described=
fi
case $described in
[0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f]*' '[0-9]*-[0-9]*-[0-9]*)
    commit=$(printf '%.7s' "$described")
    date=${described#* }
    if [ -e "$here/.git" ] && [ -n "$(git --no-optional-locks -C "$here" status --porcelain -- \
        llmrouter.py formats llmrouterd contrib/vendor.lock ${extra:+"contrib/$extra.lock"} \
        zipapp.sh LICENSE)" ]; then
        commit=$commit-dirty
    fi
    ;;
esac

work=$(mktemp -d "${TMPDIR:-/tmp}/llmrouter-zipapp.XXXXXX")
fresh=$output.new.$$ # beside the output, so that it takes the old file's place in one step
parts=${output%.pyz}.cdx.json
trap 'rm -rf "$work" "$fresh" "$fresh.cdx"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

mkdir "$work/stage"
set -- --quiet --require-hashes --only-binary :all: --no-deps --no-compile --target "$work/stage"
if [ -n "$wheels" ]; then
    [ -d "$wheels" ] || fail "there is no folder $wheels"
    set -- "$@" --no-index --find-links "$wheels"
fi
"$python" -m pip install "$@" -r "$here/contrib/vendor.lock" ${extra:+-r "$here/contrib/$extra.lock"} >&2 ||
    fail "pip could not install contrib/vendor.lock${extra:+ and contrib/$extra.lock}${wheels:+ from $wheels}"

# -S -s -P: no site-packages, no user's packages, no current directory: the compiling process is the
# same everywhere, whatever is installed on the machine.
"$python" -S -s -P - "$here" "$work/stage" "$fresh" "$commit" "$date" <<'PYTHON'
import email
import importlib.util
import marshal
import re
import shutil
import sys
import zipfile
from pathlib import Path

SOURCES = ("llmrouter.py", "formats", "llmrouterd")
MAIN = "from llmrouter import main\nraise SystemExit(main())\n"
DATE = (1980, 1, 1, 0, 0, 0)
NOT_OURS = shutil.ignore_patterns("__pycache__", "*.py[co]", ".*", "*~", "*.orig", "*.rej")


def prune(stage):
    """Drop what a running program never asks for, and what pip says about itself."""
    for path in sorted(stage.rglob("*"), reverse=True):
        inside = path.relative_to(stage)
        if path.is_dir():
            if path.name in {"tests", "_tests", "_tools", "__pycache__"} or str(inside) == "bin":
                shutil.rmtree(path)
        elif path.suffix in {".pyi", ".pyc"} or path.name == "py.typed":
            path.unlink()
        elif inside.parts[0].endswith(".dist-info") and not kept(inside):
            path.unlink()


def kept(inside):
    """METADATA is what importlib.metadata reads; the licences ask to be passed on."""
    return inside.name == "METADATA" or re.match(r"(?i)licen[cs]e|copying|notice|authors", inside.name)


def third_party(stage):
    """One readable list of what is inside, and where its licence stands in the archive."""
    lines = ["Third-party software in this file, and where in it the licences stand.", ""]
    for metadata in sorted(stage.glob("*.dist-info/METADATA")):
        head = email.message_from_string(metadata.read_text("utf-8"))
        texts = sorted(p.relative_to(stage).as_posix() for p in metadata.parent.rglob("*") if p.is_file())
        texts.remove(metadata.relative_to(stage).as_posix())
        if not texts:
            raise SystemExit(f"zipapp.sh: {head['Name']} comes without its licence text")
        licence = head["License-Expression"] or head["License"] or "see its licence text"
        lines += [f"{head['Name']} {head['Version']}: {licence}", *(f"    {text}" for text in texts), ""]
    return "\n".join(lines)


def add_project(here, stage, commit, date):
    for name in SOURCES:
        if (here / name).is_dir():
            shutil.copytree(here / name, stage / name, ignore=NOT_OURS)
        else:
            shutil.copyfile(here / name, stage / name)
    shutil.copyfile(here / "LICENSE", stage / "LICENSE")
    version = re.search(r'^__version__ = "([^"]+)"', (stage / "llmrouter.py").read_text("utf-8"), re.M)[1]
    build = f"VERSION = {version!r}\nCOMMIT = {commit!r}\nDATE = {date!r}\n"
    (stage / "_build.py").write_text(build, "utf-8")
    (stage / "__main__.py").write_text(MAIN, "utf-8")
    (stage / "THIRD_PARTY.txt").write_text(third_party(stage), "utf-8")
    written = made_of(here, stage, version, commit)
    (stage / "llmrouter.cdx.json").write_text(written, "utf-8")
    output.with_name(f"{output.name}.cdx").write_text(written, "utf-8")


def made_of(here, stage, version, commit):
    """The parts list. It is the program's own, so that it can be printed by what is not packed, too."""
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(stage))
    from llmrouterd.commands import sbom

    hashes = sbom.locked((here / "contrib/vendor.lock").read_text("utf-8"))
    parts = []
    for metadata in stage.glob("*.dist-info/METADATA"):
        head = email.message_from_string(metadata.read_text("utf-8"))
        sha256 = hashes[sbom.normal(head["Name"])]
        parts.append(sbom.part(head, head.get_all("Requires-Dist") or (), sha256))
    known = "" if commit == "unknown" else commit
    return sbom.document(version, known, sys.version.split()[0], parts)


def refuse_binaries(stage):
    binaries = [str(p.relative_to(stage)) for p in stage.rglob("*") if p.suffix in {".so", ".pyd", ".dylib"}]
    if binaries:
        raise SystemExit(f"zipapp.sh: a file for every machine cannot hold {', '.join(sorted(binaries))}")


def compiled(path, name):
    """What py_compile writes with UNCHECKED_HASH: no time of a file, and a source never looked at."""
    source = path.read_bytes()
    try:
        code = compile(source, f"llmrouter.pyz/{name}", "exec", dont_inherit=True, optimize=0)
    except SyntaxError as exc:
        raise SystemExit(f"zipapp.sh: {name}:{exc.lineno}: {exc.msg}") from None
    head = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + importlib.util.source_hash(source)
    return head + marshal.dumps(code)


def write(stage, output):
    entries = {p.relative_to(stage).as_posix(): p for p in stage.rglob("*") if p.is_file()}
    with open(output, "wb") as file:
        file.write(b"#!/usr/bin/env python3\n")
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name in sorted(entries):
                put(archive, name, entries[name].read_bytes())
                if name.endswith(".py"):
                    put(archive, f"{name}c", compiled(entries[name], name))


def put(archive, name, data):
    info = zipfile.ZipInfo(name, DATE)
    info.create_system = 3
    info.external_attr = 0o100644 << 16
    archive.writestr(info, data)


here, stage, output = map(Path, sys.argv[1:4])
prune(stage)
add_project(here, stage, *sys.argv[4:])
refuse_binaries(stage)
write(stage, output)
PYTHON

chmod 755 "$fresh"
mv -f "$fresh" "$output"
mv -f "$fresh.cdx" "$parts"
"$python" -S -s -P - "$output" "$commit" <<'PYTHON'
import hashlib
import sys
from pathlib import Path

data = Path(sys.argv[1]).read_bytes()
python = sys.version.split()[0]
print(f"{sys.argv[1]}: {len(data)} bytes, commit {sys.argv[2]}, python {python}")
print(f"sha256 {hashlib.sha256(data).hexdigest()}")
PYTHON
