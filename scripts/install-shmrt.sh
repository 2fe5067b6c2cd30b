#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the project and installs it into .venv. The build folder is kept, so that a later run
# compiles only what changed; so is the wheel, build/wheel/shmrt-*.whl.
set -euo pipefail
cd "$(dirname "$0")/.."

echo "==> Building shmrt"
pip=(.venv/bin/python -m pip -qq --disable-pip-version-check)
export PATH="$PWD/.venv/bin:$PATH"
rm -rf build/wheel
"${pip[@]}" wheel --no-build-isolation --no-deps --wheel-dir build/wheel \
    --config-settings=build-dir=build/python .
"${pip[@]}" install --no-deps --force-reinstall build/wheel/shmrt-*.whl
