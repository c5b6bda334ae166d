#!/usr/bin/env bash
# Set up everything: system libraries (by apt where that is possible) and .venv from requirements.lock.
# Safe to run again: when nothing has changed it ends at once.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

python=${PYTHON:-python3}
stamp=.venv/.shiftline-setup

fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

command -v "$python" >/dev/null || fail "python3 is not installed: install Python 3.11 or later, or set PYTHON=/path/to/python3."
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
"$python" -c 'import sys; raise SystemExit(sys.version_info < (3, 11))' ||
    fail "$python is Python $version, 3.11 or later is needed: install one, or set PYTHON=/path/to/python3.12."

wanted="$version $(cat requirements.lock pyproject.toml | sha256sum | cut -d' ' -f1) $PWD"
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
    exit 0
fi

# FFCV is compiled here: it needs a compiler, Python's headers, OpenCV and libjpeg-turbo.
missing=()
command -v g++ >/dev/null || missing+=(g++)
command -v pkg-config >/dev/null || missing+=(pkg-config)
pkg-config --exists opencv4 2>/dev/null || missing+=(libopencv-dev)
pkg-config --exists libturbojpeg 2>/dev/null || missing+=(libturbojpeg0-dev)
"$python" -c 'import sysconfig, os; raise SystemExit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' ||
    missing+=(python3-dev)
"$python" -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
if [ ${#missing[@]} -gt 0 ]; then
    sudo=
    [ "$(id -u)" = 0 ] || sudo="sudo -n"
    if command -v apt-get >/dev/null && { [ -z "$sudo" ] || sudo -n true 2>/dev/null; }; then
        echo "setup: installing ${missing[*]} with apt"
        $sudo apt-get update -qq
        DEBIAN_FRONTEND=noninteractive $sudo apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    else
        cat >&2 <<MESSAGE
setup: these system packages are missing, and cannot be installed from here: ${missing[*]}
Nothing has been set up yet. Install them, then run this script again:
  Debian, Ubuntu:  sudo apt-get install g++ pkg-config libopencv-dev libturbojpeg0-dev python3-dev python3-venv
  Fedora, RHEL:    sudo dnf install gcc-c++ pkgconf-pkg-config opencv-devel turbojpeg-devel python3-devel
  conda:           conda env create -f environment.yml && conda activate shiftline
MESSAGE
        exit 1
    fi
fi

uv=$(command -v uv || true)
if [ -z "$uv" ]; then
    [ -x .uv/bin/uv ] || { "$python" -m venv .uv && .uv/bin/python -m pip install --quiet --disable-pip-version-check uv; }
    uv=.uv/bin/uv
fi
rm -f "$stamp"
[ -x .venv/bin/python ] || "$uv" venv --quiet --python "$python" --no-python-downloads .venv
echo "setup: installing Python packages (about a minute and a half)"
# Compiled once: where Python may not write (or is told not to), every process would compile torch again, for seconds.
"$uv" pip sync --quiet --compile-bytecode --python .venv/bin/python --require-hashes requirements.lock
"$uv" pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation --editable .
printf '%s' "$wanted" >"$stamp"
echo "setup: done (.venv)"
