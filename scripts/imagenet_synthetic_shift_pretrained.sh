#!/usr/bin/env bash
# Fine-tune CLIP and AugReg at every learning rate, and copies with the best one.
#   bash scripts/imagenet_synthetic_shift_pretrained.sh tint_p=0.5 [--local] [-- sbatch options]
set -euo pipefail
groups=(--group "CLIP (FT)" --group "CLIP (LP-FT)" --group "CLIP (ZS-FT)" --group "AugReg*")
exec bash "$(dirname -- "${BASH_SOURCE[0]}")/launch.sh" imagenet_synthetic_shift "${groups[@]}" "$@"
