#!/usr/bin/env bash
# Send a study to SLURM, or with --local run it here.
#   bash scripts/launch.sh STUDY [--local] [name=value ...] [--group NAME] [--kind KIND] [--store DIR] [-- sbatch options]
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
words=() local=
for word in "$@"; do
    [ "$word" = -- ] && [ -n "$local" ] && break # Options of sbatch mean nothing here.
    if [ "$word" = --local ]; then local=yes; else words+=("$word"); fi
done
[ -n "$local" ] || exec bash "$here/scripts/slurm_launch.sh" "${words[@]}"
bash "$here/scripts/setup.sh"
exec "$here/.venv/bin/shiftline" run "${words[@]}"
