#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# cmocka.sh PRESET PREFIX: builds cmocka for the CPU of a preset and installs it below PREFIX. Its source
# is Debian's: packages of it for other CPUs would need dpkg to know them, and RISC-V has none in Debian
# 12. Downloads stay next to PREFIX. Nothing else of the system is touched, and no root is needed. Exit
# status 77: there is no source to be had.
set -euo pipefail
preset=$1 prefix=$2
root=$(cd "$(dirname "$0")/../.." && pwd)
toolchain=$root/cmake/toolchains/$preset-linux-gnu.cmake
[[ ! -f $prefix/lib/pkgconfig/cmocka.pc ]] || exit 0
downloads=$(dirname "$prefix")/cmocka-source
mkdir -p "$downloads/lists/partial"
cd "$downloads"

# An apt of its own, which knows source packages of this system's archive.
if ! compgen -G 'cmocka_*.orig.tar.*' >/dev/null; then
    archive=$("$root/tests/cross/archive.sh")
    suite=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
    echo "deb-src $archive $suite main" >sources.list
    options=(-q -o "Dir::Etc::sourcelist=$PWD/sources.list" -o Dir::Etc::sourceparts=-
        -o "Dir::State::lists=$PWD/lists" -o "Dir::Cache::pkgcache=" -o "Dir::Cache::srcpkgcache=")
    if ! { apt-get "${options[@]}" update && apt-get "${options[@]}" source --download-only cmocka; }; then
        echo "no source package of cmocka to be had here"
        exit 77
    fi
    rm -rf lists
fi

tarball=$(compgen -G 'cmocka_*.orig.tar.?z' | head -n 1)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
tar -C "$scratch" --strip-components=1 -xf "$tarball"
cmake -S "$scratch" -B "$scratch/build" -DCMAKE_TOOLCHAIN_FILE="$toolchain" -DCMAKE_BUILD_TYPE=Release \
    -DCMAKE_POLICY_VERSION_MINIMUM=3.5 -DCMAKE_INSTALL_PREFIX="$prefix" -DCMAKE_INSTALL_LIBDIR=lib \
    -DWITH_EXAMPLES=OFF -DPICKY_DEVELOPER=OFF --log-level=WARNING
cmake --build "$scratch/build"
cmake --install "$scratch/build" >/dev/null
