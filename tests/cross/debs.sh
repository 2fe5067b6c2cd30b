#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# debs.sh ARCHITECTURE FOLDER PACKAGE...: downloads Debian packages of another architecture and unpacks
# them below FOLDER, with an apt of its own: this system's dpkg never hears of that architecture. Exit
# status 77: they are not to be had.
set -euo pipefail
arch=$1 folder=$2
shift 2
mkdir -p "$folder"/apt/{lists/partial,cache/archives/partial,debs}
folder=$(cd "$folder" && pwd)
[[ ! -f $folder/complete || $(<"$folder/complete") != "$*" ]] || exit 0

archive=$("$(dirname "$0")/archive.sh")
suite=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
echo "deb [arch=$arch] $archive $suite main" >"$folder/apt/sources.list"
: >"$folder/apt/status"
here=$(dpkg --print-architecture)
options=(-q -o "APT::Architecture=$here" -o "APT::Architectures::=$here" -o "APT::Architectures::=$arch"
    -o "Dir::Etc::sourcelist=$folder/apt/sources.list" -o Dir::Etc::sourceparts=-
    -o "Dir::State::lists=$folder/apt/lists" -o "Dir::Cache=$folder/apt/cache"
    -o "Dir::State::status=$folder/apt/status")
cd "$folder/apt/debs"
if ! { apt-get "${options[@]}" update && apt-get "${options[@]}" download "${@/%/:$arch}"; }; then
    echo "no packages of $arch to be had here"
    exit 77
fi
for package in *.deb; do
    dpkg-deb -x "$package" "$folder"
done
# pkg-config's files name the place where packages are installed.
find "$folder/usr" -name '*.pc' -exec sed -i "s|^prefix=/usr$|prefix=$folder/usr|" {} +
cd "$folder"
rm -rf apt
echo "$*" >complete
