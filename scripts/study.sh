#!/usr/bin/env bash
# Set everything up and run the digits study: results/figures/digits holds the figures at the end.
#   bash scripts/study.sh [--store DIR]
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
bash "$here/scripts/setup.sh"
shiftline="$here/.venv/bin/shiftline"
[ $# -gt 0 ] || set -- --store "$here/results"
"$shiftline" run digits "$@"
"$shiftline" robustness digits "$@"
"$shiftline" plot digits "$@"
