#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs the Debian packages of requirements/debian.txt, or of the file given, that are missing.
# Without root it prints the command to run and stops. SKIP_PACKAGES=1 leaves the matter to the user.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ ${SKIP_PACKAGES:-} == 1 ]]; then
    exit 0
fi
mapfile -t wanted < <(grep -v "^#" "${1:-requirements/debian.txt}")
if ! command -v dpkg-query >/dev/null; then
    echo "This is not Debian or a relative of it. Install these, by whatever name they have here:" >&2
    echo "  ${wanted[*]}" >&2
    echo "then run make again with SKIP_PACKAGES=1." >&2
    exit 1
fi

missing=()
for package in "${wanted[@]}"; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [[ $state == installed ]] || missing+=("$package")
done
if [[ ${#missing[@]} -eq 0 ]]; then
    exit 0
fi

if [[ $(id -u) -ne 0 ]]; then
    echo "These Debian packages are missing, and only root can install them. Run" >&2
    echo "  sudo apt-get update && sudo apt-get install -y ${missing[*]}" >&2
    echo "then run make again. (SKIP_PACKAGES=1 goes on without them.)" >&2
    exit 1
fi
echo "==> Debian packages: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { apt-get update && apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -n 40 "$log" >&2
    exit 1
fi
