#!/usr/bin/env bash
# Real clients for the tests in tests/e2e/clients: coding agents, SDKs and frameworks, in the
# versions that were tried.
#
#   bash contrib/clients.sh [DIR]          installs into DIR (default: .clients), again only if changed
#   bash contrib/clients.sh --all [DIR]    more of them: 1 GB
#
# CI runs the first. After the second, `bash contrib/clients.sh --test` runs all tests of real clients,
# and one that is missing fails; the ollama command is to be put on the PATH by hand. Needs npm, --all
# also python3. Node 22 comes along as a package, because the agents refuse older ones.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

packages=(
    node@22.23.3
    @anthropic-ai/claude-code@2.1.330
    @openai/codex@0.169.0
    openai@7.57.0
    @anthropic-ai/sdk@1.12.0
    ollama@0.6.4
)
more=(
    @github/copilot@1.0.102
    opencode-ai@1.18.33
    @qwen-code/qwen-code@0.24.4
    ai@7.0.173
    @ai-sdk/openai@4.0.118
    @ai-sdk/anthropic@4.0.105
    @ai-sdk/openai-compatible@3.0.92
)
python=(
    langchain-openai==1.7.4
    langchain-anthropic==1.7.10
    langchain-ollama==1.1.0
    litellm==1.110.2
)

if [ "${1:-}" = --test ]; then
    export CLIENTS=all
    exec .venv/bin/pytest tests/e2e/clients -m e2e
fi
all=false
if [ "${1:-}" = --all ]; then
    all=true
    packages+=("${more[@]}")
    shift
fi
dir=${1:-.clients}
case "$(cat "$dir/installed" 2>/dev/null)" in
"${packages[*]}"*) exit 0 ;;
esac
rm -rf "$dir" && mkdir -p "$dir"
echo '{"private": true}' >"$dir/package.json"
npm install --prefix "$dir" --no-audit --no-fund --no-save --loglevel=error "${packages[@]}" >&2
# Two of them fetch the right binary in a script of their own, which npm does not run unasked.
(cd "$dir/node_modules/node" && [ -x bin/node ] || node installArchSpecificPackage) >&2 || true
(cd "$dir/node_modules/@anthropic-ai/claude-code" && node install.cjs) >&2 || true
if $all; then
    python3 -m venv "$dir/python"
    "$dir/python/bin/python" -m pip --disable-pip-version-check install --quiet "${python[@]}"
fi
echo "${packages[*]}" >"$dir/installed"
