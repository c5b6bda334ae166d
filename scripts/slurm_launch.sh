#!/usr/bin/env bash
# Submit what is missing of a study to SLURM, one array per wave.
#   bash scripts/slurm_launch.sh STUDY [name=value ...] [options of `shiftline submit`] [-- options of sbatch]
# The lines for your own cluster (partition, GPUs, time) are at the top of scripts/slurm_job.sbatch.
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
bash "$here/scripts/setup.sh"
exec "$here/.venv/bin/shiftline" submit --script "$here/scripts/slurm_job.sbatch" "$@"
