#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the project and installs it into .venv. The build folder is kept, so that a later run
# compiles only what changed.
set -euo pipefail
cd "$(dirname "$0")/.."

echo "==> Building shmrt"
PATH="$PWD/.venv/bin:$PATH" .venv/bin/python -m pip install -qq --disable-pip-version-check \
    --no-build-isolation --no-deps --force-reinstall \
    --config-settings=build-dir=build/python .
