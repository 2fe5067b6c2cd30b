/* SPDX-License-Identifier: Apache-2.0 */
/*
 * calls.pml - the sequence of calls that all ranks make: any there is, chosen as it is needed
 *
 * The first rank to enter a call chooses its pattern for all. The last to leave it forgets it, so
 * that different pasts with the same shared memory are one state. A model defines EPOCHS first.
 *
 *   -DROOTED     patterns from and to a root may be chosen beside all_to_all
 *   -DIN_ROUNDS  so may two_shot and direct
 */
mtype = { all_to_all, from_root, to_root, two_shot, direct };

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

/* At first the ranks are all alike, so the first call's root may be rank 0. */
inline choose_root(e)
{
    if
    :: e == 1
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
            :: call[e].pattern = all_to_all
#ifdef ROOTED
            :: call[e].pattern = from_root; choose_root(e)
            :: call[e].pattern = to_root; choose_root(e)
#endif
#ifdef IN_ROUNDS
            :: call[e].pattern = two_shot
            :: call[e].pattern = direct
#endif
            fi;
            choose_rounds(call[e].rounds)
        fi
    }
}

inline leave_call(e)
{
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
