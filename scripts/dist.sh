#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes what is handed out: dist/shmrt-*.tar.gz and dist/shmrt-*-manylinux_*.whl, for the Python and PyTorch of .venv.
# auditwheel says which C library a machine must have at least, in the wheel's tag. It puts nothing into the wheel:
# PyTorch's libraries and its libgomp must be the process's only ones, and nothing else is needed.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH"

rm -rf dist
scripts/install-shmrt.sh
python -m build --no-isolation --sdist --outdir dist . >/dev/null
auditwheel --quiet repair --exclude 'libtorch*.so' --exclude libc10.so --exclude libgomp.so.1 \
    --exclude 'libshmrt*.so*' --wheel-dir dist build/wheel/shmrt-*.whl
ls -l dist
