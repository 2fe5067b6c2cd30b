#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Formatting of C and C++, lint and types of Python, lint of shell scripts. Changes nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH"

folders=()
for folder in runtime launcher bench torchops tests examples scripts; do
    [[ -d $folder ]] && folders+=("$folder")
done
files_named() {
    find "${folders[@]}" -type f \( "$@" \) -print0 | sort -z
}

status=0
mapfile -d '' -t sources < <(files_named -name '*.c' -o -name '*.h' -o -name '*.cpp' -o -name '*.hpp')
mapfile -d '' -t scripts < <(files_named -name '*.sh' -o -name '*.bash')
echo "clang-format: ${#sources[@]} files"
clang-format --dry-run -Werror "${sources[@]}" || status=1
echo "ruff"
ruff check "${folders[@]}" || status=1
echo "mypy"
mypy || status=1
echo "shellcheck: $((${#scripts[@]} + 1)) files"
shellcheck "${scripts[@]}" .ci/run || status=1
exit $status
