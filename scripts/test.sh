#!/usr/bin/env bash
# Set everything up and run the tests. Arguments go to pytest: bash scripts/test.sh -m slow
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
bash scripts/setup.sh
exec .venv/bin/python -m pytest "$@"
