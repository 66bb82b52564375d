#!/usr/bin/env bash
# The gate: everything that must hold before a commit lands.
#
#   bash contrib/test.sh          format, lint, types, the fast tests, the built file
#   bash contrib/test.sh --all    also the tests marked slow, real and e2e, and the property tests
#                                 with all their examples (so does CI=true)
#
# Makes .venv from contrib/dev.lock by itself, anew when the lock has changed. Stops at the first
# stage that fails.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
unset PYTHONPATH PYTHONHOME VIRTUAL_ENV PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX=$PWD/.cache/pycache # compiled once; the tree stays clean

all=false
[ "${CI:-}" = true ] && all=true
case "${1:-}" in
--all) all=true ;;
-h | --help)
    sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    exit 0
    ;;
"") ;;
*)
    echo "test.sh: unknown argument $1, see test.sh --help" >&2
    exit 2
    ;;
esac

bin=.venv/bin
work=$(mktemp -d "${TMPDIR:-/tmp}/llmrouter-test.XXXXXX")
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
summary=

# stage NAME COMMAND...: a heading, the command, its seconds; the end of it all if it fails.
stage() {
    local name=$1 start=$SECONDS
    shift
    printf '\n== %s\n' "$name"
    if ! "$@"; then
        printf '== %s FAILED after %d s (passed before:%s)\n' "$name" $((SECONDS - start)) "${summary:- none}"
        exit 1
    fi
    printf -- '-- %s: %d s\n' "$name" $((SECONDS - start))
    summary+=" $name $((SECONDS - start)) s;"
}

find_python() {
    local each
    for each in python3 python3.14 python3.13 python3.12 python3.11; do
        if "$each" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$each"
            return
        fi
    done
    echo "test.sh: no Python >= 3.11 with venv found (on Debian: apt-get install python3-venv)" >&2
    return 1
}

make_venv() {
    local stamp
    stamp=$("$python" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())' \
        <contrib/dev.lock) || return
    if [ "$(cat .venv/lock.sha256 2>/dev/null)" = "$stamp" ] && "$bin/python" -c '' 2>/dev/null; then
        return
    fi
    "$python" -m venv --clear .venv &&
        "$bin/python" -m pip --disable-pip-version-check install --quiet --require-hashes -r contrib/dev.lock &&
        echo "$stamp" >.venv/lock.sha256
}

# trio's own linter has what ruff has not: awaits in finally, in except, and async generators.
# Left out: 910 to 913 want a checkpoint on every path, which costs the hot path what it saves by
# doing things synchronously (a loop whose only await is a receive of ours looks like none to them);
# 124 wants an async method without an await to be sync, and a hook's signature is not its own to
# choose; 114 wants to be told in its options about every function a nursery may start.
async_lint() {
    "$bin/flake8" --isolated --select ASYNC --disable ASYNC114,ASYNC124,ASYNC910,ASYNC911,ASYNC912,ASYNC913 formats llmrouterd
}

# A file's tests stay together: what one of them starts for all is started once.
run_tests() {
    local many
    many=$(nproc 2>/dev/null || echo 1)
    "$bin/pytest" -n $((many > 4 ? 4 : many)) --dist loadfile "$@"
}

marked_tests() {
    run_tests --hypothesis-profile=full -m "slow or real or e2e or hypothesis"
    local code=$?
    [ $code -eq 5 ] && echo "no test carries one of the marks" && code=0
    return $code
}

# The strong version of this, over different directories and without git, is tests/test_zipapp.py.
build_twice() {
    sh zipapp.sh --python "$python" && sh zipapp.sh --python "$python" --output "$work/again.pyz" || return
    cmp llmrouter.pyz "$work/again.pyz" && echo "two builds, the same bytes"
}

# The built file as a stranger meets it: in a read-only directory, without a home, a configuration,
# or a package of this Python's.
ask_built_file() {
    mkdir -p "$work/bare" "$work/home" && cp llmrouter.pyz "$work/bare/" && chmod 555 "$work/bare" &&
        "$python" - "$work/bare/llmrouter.pyz" "$work/home" <<'PYTHON'
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

built, home = map(Path, sys.argv[1:])
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait_for(url: str, daemon: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + 30
    while True:
        try:
            opener.open(url, timeout=5).close()
        except OSError:
            if daemon.poll() is not None or time.monotonic() > until:
                raise SystemExit("the built file does not come up") from None
            time.sleep(0.02)
        else:
            return


def ask(url: str) -> str:
    question = {"model": "any", "max_tokens": 16, "messages": [{"role": "user", "content": "Are you there?"}]}
    request = urllib.request.Request(
        f"{url}/v1/chat/completions", json.dumps(question).encode(), {"Content-Type": "application/json"}
    )
    with opener.open(request, timeout=60) as answer:
        said = json.load(answer)["choices"][0]["message"]["content"]
    if not (isinstance(said, str) and said):
        raise SystemExit(f"no text came back: {said!r}")
    return said


port = free_port()
command = [sys.executable, "-I", "-S", str(built), "serve", "--port", str(port)]
env = {"PATH": os.environ["PATH"], "HOME": str(home)}
start = time.monotonic()
with subprocess.Popen(command, cwd=built.parent, env=env, stdin=subprocess.DEVNULL) as daemon:
    try:
        wait_for(f"http://127.0.0.1:{port}/health", daemon)
        print(f"answers after {time.monotonic() - start:.2f} s")
        print(f"asked a question, it says: {ask(f'http://127.0.0.1:{port}')!r}")
        daemon.send_signal(signal.SIGTERM)
        if (code := daemon.wait(30)) != 0:
            raise SystemExit(f"SIGTERM ended it with exit code {code}, not 0")
    finally:
        daemon.kill()
left = [path.name for where in (built.parent, home) for path in where.iterdir() if path != built]
if left:
    raise SystemExit(f"it left files behind: {', '.join(left)}")
print("stopped by SIGTERM, nothing left behind")
PYTHON
}

python=$(find_python) || exit 1
stage venv make_venv
stage format "$bin/ruff" format --check .
stage lint "$bin/ruff" check .
stage async-lint async_lint
stage types "$bin/mypy"
stage tests run_tests
$all && stage marked-tests marked_tests
stage zipapp build_twice
stage ask ask_built_file
printf '\nall stages passed:%s together %d s\n' "${summary%;}," "$SECONDS"
