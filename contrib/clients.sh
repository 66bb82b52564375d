#!/usr/bin/env bash
# Real clients for the tests in tests/e2e/clients: coding agents and the JavaScript SDKs, in the
# versions that were tried.
#
#   bash contrib/clients.sh [DIR]      installs into DIR (default: .clients), again only if changed
#
# Needs npm. Node 22 comes along as a package, because the agents refuse older ones.
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
dir=${1:-.clients}
if [ "$(cat "$dir/installed" 2>/dev/null)" = "${packages[*]}" ]; then
    exit 0
fi
rm -rf "$dir" && mkdir -p "$dir"
echo '{"private": true}' >"$dir/package.json"
npm install --prefix "$dir" --no-audit --no-fund --no-save --loglevel=error "${packages[@]}" >&2
# Two of them fetch the right binary in a script of their own, which npm does not run unasked.
(cd "$dir/node_modules/node" && [ -x bin/node ] || node installArchSpecificPackage) >&2 || true
(cd "$dir/node_modules/@anthropic-ai/claude-code" && node install.cjs) >&2 || true
echo "${packages[*]}" >"$dir/installed"
