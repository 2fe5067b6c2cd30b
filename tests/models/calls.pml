/* SPDX-License-Identifier: Apache-2.0 */
/*
 * calls.pml - the sequence of calls that all ranks make: any there is, chosen as it is needed
 *
 * The first rank to enter a call chooses its pattern for all. The last to leave it forgets it, so
 * that different pasts with the same shared memory are one state. A model defines EPOCHS first.
 *
 *   -DROOTED     patterns from and to a root may be chosen beside all_to_all
 *   -DIN_ROUNDS  so may two_shot and direct
 *   -DBY_GROUPS  so may the patterns by groups
 *   -DONLY=p     nothing but pattern p; -DFIRST=q, nothing but q in the first call
 */
#ifndef FIRST
#define FIRST ONLY
#endif

mtype = {
    all_to_all, from_root, to_root, two_shot, direct, group_allreduce, group_reduce_scatter,
    group_allgather, group_root
};

typedef call_args {
    bool chosen;
    mtype pattern;
    byte root;
    byte rounds; /* 1, or as the model's choose_rounds says */
    byte left;
};
call_args call[EPOCHS + 1];

inline choose_rank(out)
{
    if
    :: out = 0
    :: out = 1
#if RANKS > 2
    :: out = 2
#endif
    fi
}

/* At first the ranks are all alike but for their groups, so the first call's root may be rank 0. */
inline choose_root(e)
{
    if
#ifdef BY_GROUPS
    :: e == 1 -> choose_rank(call[e].root)
#else
    :: e == 1
#endif
    :: e > 1 -> choose_rank(call[e].root)
    fi
}

#ifndef choose_rounds
#define choose_rounds(out) out = 1
#endif

inline enter_call(e)
{
    atomic {
        if
        :: call[e].chosen
        :: else ->
            call[e].chosen = true;
            if
#ifdef ONLY
            :: e == 1 -> call[e].pattern = FIRST; choose_root(e)
            :: e > 1 -> call[e].pattern = ONLY; choose_root(e)
#else
            :: call[e].pattern = all_to_all
#ifdef ROOTED
            :: call[e].pattern = from_root; choose_root(e)
            :: call[e].pattern = to_root; choose_root(e)
#endif
#ifdef IN_ROUNDS
            :: call[e].pattern = two_shot
            :: call[e].pattern = direct
#endif
#ifdef BY_GROUPS
            :: call[e].pattern = group_allreduce
            :: call[e].pattern = group_reduce_scatter
            :: call[e].pattern = group_allgather
            :: call[e].pattern = group_root; choose_root(e)
#endif
#endif
            fi;
            choose_rounds(call[e].rounds)
        fi
    }
}

inline leave_call(e)
{
    ACCEPT(me);
    d_step {
        call[e].left++;
        if
        :: call[e].left == RANKS ->
            call[e].pattern = 0;
            call[e].root = 0;
            call[e].rounds = 0
        :: else
        fi
    }
}

inline start_ranks()
{
    run rank(0);
    run rank(1);
#if RANKS > 2
    run rank(2)
#endif
}
