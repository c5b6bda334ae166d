#!/usr/bin/env bash
# Check shiftline on a machine with an NVIDIA GPU and torch, which need have neither a network nor FFCV.
#   bash scripts/gpu_check.sh pack [VERSION]   here: put wheels of what such a machine lacks into .gpu-wheels, for its version of Python (3.12)
#   bash scripts/gpu_check.sh                  there: install them into a folder of their own, run the tests marked gpu, and the benchmarks of prediction
# The folder goes along with the checkout. What the machine has is used as it is; PACKAGES says what is packed.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
packages=${PACKAGES:-ftfy lightning_fabric lightning_utilities open_clip_torch wcwidth lazy_loader}
wheels=.gpu-wheels

fail() { printf 'gpu_check: %s\n' "$*" >&2; exit 1; }

if [ "${1:-}" = pack ]; then
    mkdir -p "$wheels"
    for name in $packages; do
        # The version of the lock file.
        pinned=$(grep -iE "^${name//_/[-_]}==[^ ]+" -o requirements.lock) || fail "$name is not in requirements.lock."
        python3 -m pip download --quiet --no-deps --only-binary=:all: --python-version "${2:-3.12}" --dest "$wheels" "$pinned"
    done
    ls "$wheels"
    exit
fi
[ $# = 0 ] || fail "say pack, or nothing."
python3 -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' || fail "torch sees no GPU here: python3 -c 'import torch; print(torch.cuda.is_available())'."
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
if [ -d "$wheels" ]; then python3 -m pip install --quiet --no-deps --no-index --target "$site" "$wheels"/*.whl; fi
# Versions are recorded with results: an installed shiftline has them, a checkout does not.
mkdir "$site/shiftline-0.1.0.dist-info"
printf 'Metadata-Version: 2.1\nName: shiftline\nVersion: 0.1.0\n' >"$site/shiftline-0.1.0.dist-info/METADATA"
export PYTHONPATH="$PWD/src:$site"
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader || true
python3 -m pytest -p no:cacheprovider -m gpu --durations=10 tests/test_gpu.py
python3 benchmarks/prediction_rate.py
