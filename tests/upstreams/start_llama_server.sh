#!/usr/bin/env bash
# start_llama_server.sh PORT [MODE] [more options of llama_server.py]
#   MODE  chat (default) | think | tools | loop | embed | slow
#
# Starts llama.cpp's own HTTP server with a tiny model made on the spot, for tests against a server
# that nobody here wrote. Installs what is missing from PyPI into $UPSTREAMS_DIR (default: .upstreams
# at the top of the checkout, which git ignores) and uses it again the next time. Serves on
# 127.0.0.1:PORT (0: the system picks one) in the foreground and prints "READY http://127.0.0.1:PORT"
# once it answers; TERM to this process stops it.
#   PYTHON=python3.12                        makes the environment (default python3)
#   UPSTREAMS_LLAMA_BIN=/path/llama-server   uses that binary instead of the wheel
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
port=${1:?usage: start_llama_server.sh PORT [chat|think|tools|loop|embed|slow] [options]}
mode=${2:-chat}
shift $(($# > 1 ? 2 : 1))
dir=${UPSTREAMS_DIR:-$here/../../.upstreams}
wants='xllamacpp==2026.10.11549 gguf==0.19.0'
mkdir -p "$dir/models"
dir=$(cd "$dir" && pwd)
py=$dir/venv-llama/bin/python

installed() {
    [ "$(cat "$dir/venv-llama/wants" 2>/dev/null)" = "$wants" ] && "$py" -c 'import gguf, xllamacpp' 2>/dev/null
}

# One installs, the others wait for it.
if ! installed; then
    exec 9>"$dir/lock"
    if command -v flock >/dev/null; then flock 9; fi
    if ! installed; then
        "${PYTHON:-python3}" -m venv --clear "$dir/venv-llama"
        # shellcheck disable=SC2086 # the words are the requirements
        "$dir/venv-llama/bin/pip" --disable-pip-version-check install -q $wants >&2
        printf '%s\n' "$wants" >"$dir/venv-llama/wants"
    fi
    exec 9>&-
fi

model=$dir/models/tiny-$mode.gguf
opts=(--mode "$mode")
if [ "$mode" = slow ]; then
    # 78 M parameters, 150 MB: about 30 tokens/s on one thread, never ends by itself
    opts=(--mode loop --dim 768 --layers 12 --ff 2048 --heads 12)
fi
if [ ! -s "$model" ] || [ "$here/make_tiny_gguf.py" -nt "$model" ]; then
    "$py" "$here/make_tiny_gguf.py" "$model.$$" "${opts[@]}" >&2
    mv "$model.$$" "$model"
fi

if [ -n "${UPSTREAMS_LLAMA_BIN:-}" ]; then
    extra=()
    [ "$mode" = embed ] && extra+=(--embeddings --pooling mean)
    (for _ in $(seq 200); do
        if curl -sf -o /dev/null "http://127.0.0.1:$port/health"; then
            echo "READY http://127.0.0.1:$port"
            break
        fi
        sleep 0.1
    done) &
    exec "$UPSTREAMS_LLAMA_BIN" --model "$model" --alias "tiny-$mode" --host 127.0.0.1 --port "$port" \
        -c 8192 -np 2 -t 1 --offline --no-warmup --metrics "${extra[@]}" "$@"
fi
args=(--model "$model" --alias "tiny-$mode" --port "$port")
[ "$mode" = embed ] && args+=(--embeddings)
exec "$py" "$here/llama_server.py" "${args[@]}" "$@"
