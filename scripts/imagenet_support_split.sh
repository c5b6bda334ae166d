#!/usr/bin/env bash
# Evaluate the models of timm, tune the domain classifiers of a shift, estimate its support and score both subsets.
#   bash scripts/imagenet_support_split.sh evaluate|tune|estimate v2|sketch|r|all [--local] [name=value ...] [-- sbatch options]
set -euo pipefail
stage=${1:-} shift_=${2:-}
case $stage in
evaluate) chosen=(subsets=false) ;;
tune) chosen=(--kind domain-tuning --kind domain-features) ;;
estimate) chosen=() ;;
*) echo "error: there is no stage '$stage': choose evaluate, tune or estimate, then v2, sketch, r or all." >&2 && exit 1 ;;
esac
[ -n "$shift_" ] || { echo "error: which shift? Say $stage v2, sketch, r or all." >&2 && exit 1; }
shift 2
exec bash "$(dirname -- "${BASH_SOURCE[0]}")/launch.sh" imagenet_support_split "shift=$shift_" ${chosen[@]+"${chosen[@]}"} "$@"
