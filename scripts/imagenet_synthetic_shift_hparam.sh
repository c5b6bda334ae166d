#!/usr/bin/env bash
# Fine-tune zero-shot CLIP with other epochs, learning rates, batch sizes and weight decays than the best.
#   bash scripts/imagenet_synthetic_shift_hparam.sh tint_p=0.5 [--local] [-- sbatch options]
set -euo pipefail
groups=(--group "CLIP zero-shot" --group "CLIP (ZS-FT) *")
exec bash "$(dirname -- "${BASH_SOURCE[0]}")/launch.sh" imagenet_synthetic_shift hparams=true "${groups[@]}" "$@"
