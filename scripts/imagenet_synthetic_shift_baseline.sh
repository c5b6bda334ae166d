#!/usr/bin/env bash
# Train the baseline from scratch, and evaluate it at its epochs.
#   bash scripts/imagenet_synthetic_shift_baseline.sh tint_p=0.5 [--local] [-- sbatch options]
set -euo pipefail
exec bash "$(dirname -- "${BASH_SOURCE[0]}")/launch.sh" imagenet_synthetic_shift --group baseline "$@"
