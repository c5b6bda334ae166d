#!/usr/bin/env bash
# Write requirements.lock again: every version and hash of every extra, for all platforms and Pythons.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
export UV_CUSTOM_COMPILE_COMMAND="bash scripts/lock.sh"
uv=$(command -v uv || echo .uv/bin/uv)
"$uv" pip compile pyproject.toml --universal --python-version 3.11 --all-extras --generate-hashes \
    --no-emit-index-url --no-emit-find-links --quiet --output-file requirements.lock "$@"
