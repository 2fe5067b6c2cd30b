#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# one_build.sh LIBSHMRT.A: instructions beyond SSE2 are nowhere but in the files of the rungs that need them, and
# these give nothing but their tables to others (a function that the linker takes from there would be
# run on every CPU).
set -euo pipefail
archive=$1
command -v objdump >/dev/null || { echo "skipped: no objdump"; exit 77; }
rungs='^(norm_)?avx[0-9a-z]*\.c\.o$'

# Everything of AVX and later that moves data is encoded anew and begins with v; the rest of SSE after SSE2 by name.
outside=$(objdump -d --no-show-raw-insn "$archive" | awk -v rungs="$rungs" '
    / file format / { member = $1; sub(/:$/, "", member); found = member ~ rungs; next }
    found { next }
    $2 ~ /^v/ && /%[xyz]mm/ ||
    $2 ~ /^(pshufb|palignr|pabs[bwd]|ph(add|sub)s?[wd]|p?blendv?(p[sd]|b|w)|ptest|round[ps][sd]|pmulld)$/ ||
    $2 ~ /^(pm(in|ax)(s[bd]|u[wd])|pcmp(gt|eq)q|p(extr|insr)[bdq]|packusdw|pmov[sz]x..|h(add|sub)p[sd])$/ ||
    $2 ~ /^(lddqu|mov(d|sh|sl)dup|addsubp[sd]|crc32[bwlq]?|popcnt|lzcnt|andn|bextr|bls(r|i|msk)|pdep|pext)$/ ||
    $2 ~ /^(bzhi|mulx|rorx|s(ar|hl|hr)x)$/ {
        print member ": " $0
    }')
members=$(ar t "$archive" | grep -cE "$rungs") || { echo "no files of AVX rungs in $archive"; exit 1; }
if [[ -n $outside ]]; then
    echo "instructions that not every x86-64 CPU has, outside the rungs that need them:"
    head -n 20 <<<"$outside"
    exit 1
fi
others=$(nm -A --defined-only --extern-only "$archive" 2>/dev/null |
    awk -F '[: ]+' -v rungs="$rungs" '$2 ~ rungs && $NF !~ /^shmrt_(kernels|norms)_/')
if [[ -n $others ]]; then
    echo "files of rungs define more than their tables:"
    echo "$others"
    exit 1
fi
echo "$members files of rungs beyond SSE2; $(ar t "$archive" | grep -cvE "$rungs") others have nothing of these"
