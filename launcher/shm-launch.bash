# SPDX-License-Identifier: Apache-2.0
# Completion of shm-launch for bash. The options are those that --help of the program at hand lists.
# shellcheck shell=bash

# The names of the configurations that the program finds.
_shm_launch_configs() {
    local program=$1 folder
    program=$(readlink -f "$(type -P "$program")")
    for folder in "$SHMRT_CONFIG_DIR" "${program%/*}/../share/shmrt/configs"; do
        [[ -n $folder ]] && compgen -G "$folder/*.yaml"
    done | sed 's|.*/||; s|\.yaml$||' | sort -u
}

# The word at which the command begins, or the number of words: nothing but options so far.
_shm_launch_command_at() {
    local help=$1 at=1 word
    [[ ${COMP_WORDS[1]} == plan ]] && at=2
    while ((at < COMP_CWORD)); do
        word=${COMP_WORDS[at]}
        case $word in
        --)
            echo $((at + 1))
            return
            ;;
        --*=* | -n?*) ;;
        --diff) ((at += 2)) ;;
        -n | --*) grep -qE -- "^ .*$word [A-Z]" <<<"$help" && ((at++)) ;;
        -*) ;;
        *)
            echo "$at"
            return
            ;;
        esac
        ((at++))
    done
    echo ${#COMP_WORDS[@]}
}

_shm_launch() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} help command_at
    help=$("$1" --help 2>/dev/null)
    command_at=$(_shm_launch_command_at "$help")
    if ((command_at <= COMP_CWORD)) && declare -F _command_offset >/dev/null; then
        _command_offset "$command_at"
        return
    fi
    local words=""
    [[ $COMP_CWORD -ge 2 && ${COMP_WORDS[COMP_CWORD - 2]} == --diff ]] && previous=--diff
    case $previous in
    --per) words="socket numa l3 core spread" ;;
    --mem) words="bind prefer interleave local" ;;
    --tier) words="dram hbm cxl any" ;;
    --rank-order) words="near cyclic" ;;
    --stdin) words="0 all none" ;;
    --config | --diff) words=$(_shm_launch_configs "$1") ;;
    -n | --ranks | --cpus | --nodes | --env | --preload | --timeout | --grace | --restarts | --reserve | \
        --cores-per-rank | --threads-per-core | --nnodes | --node-rank | --master-addr | --master-port) return ;;
    --topology | --draw | --log-dir) ;;
    *)
        if [[ $current == -* ]]; then
            words=$(grep -oE -- '^  (-., |    )--[a-z-]+' <<<"$help" | grep -oE -- '--[a-z-]+')
        elif ((COMP_CWORD == 1)); then
            mapfile -t COMPREPLY < <(compgen -c -- "$current"; compgen -W plan -- "$current")
            return
        else
            mapfile -t COMPREPLY < <(compgen -c -- "$current")
            return
        fi
        ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
    # Files too, where an option takes them.
    case $previous in
    --config | --diff | --topology | --draw | --log-dir) mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -f -- "$current") ;;
    esac
}

complete -F _shm_launch shm-launch
