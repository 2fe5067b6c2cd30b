#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# archive.sh: prints where this system's apt gets Debian's packages from. Exit status 77: it does not say.
set -euo pipefail
# shellcheck disable=SC2016  # apt fills these in
archive=$(apt-get indextargets --format '$(LABEL)|$(REPO_URI)' 'Identifier: Packages' 2>/dev/null |
    awk -F '|' '$1 == "Debian" && !found { print $2; found = 1 }') || true
if [[ -z $archive ]]; then # apt's lists are empty: what is configured first
    archive=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.{list,sources} 2>/dev/null |
        awk '!/^#/ && !found && match($0, /https?:[^ ]*/) { print substr($0, RSTART, RLENGTH); found = 1 }') || true
fi
if [[ -z $archive ]]; then
    echo "apt names no archive here" >&2
    exit 77
fi
echo "$archive"
