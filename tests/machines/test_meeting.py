# SPDX-License-Identifier: Apache-2.0
"""What a rank makes of the others' facts: here the other one is a text in the store."""

import errno

import pytest
import torch.distributed as dist

FACTS = ["shmrt meeting 1", "VERSION", "2", "another machine", "elsewhere", "", "", "key", "gloo"]
LINES = {"protocol": 0, "version": 1, "ranks": 2, "engine": 8}


def meet(changed: dict[int, str]) -> tuple[int, str]:
    import shmrt
    from shmrt import _C, _engine

    facts = [shmrt.__version__ if one == "VERSION" else one for one in FACTS]
    for line, text in changed.items():
        facts[line] = text
    store = dist.HashStore()
    place = "shmrt/default communicator/1/"
    store.set(place + "facts/1", "".join(f"{line}\n" for line in facts))
    store.add(place + "left", 1)
    try:
        _C.create(0, 2, None, ["rendezvous_timeout=3"], True, store, _engine.make)
    except shmrt.Error as error:
        return error.code, str(error)
    return 0, "met"


@pytest.mark.parametrize(
    "line, text, words",
    [
        ("protocol", "shmrt meeting 2", 'rank 1 (elsewhere) has the protocol "shmrt meeting 2"'),
        ("version", "9.9.9", 'rank 1 (elsewhere) has version "9.9.9"'),
        ("ranks", "3", 'rank 1 (elsewhere) has the number of ranks "3"'),
        ("engine", "ucc", 'rank 1 (elsewhere) has the engine "ucc"'),
    ],
)
def test_ranks_that_differ_are_named(job, line, text, words):
    ((code, said),) = job([0]).call(meet, {LINES[line]: text})
    assert code == errno.EPROTO and words in said, said


def test_a_rank_that_goes_silent_after_its_facts(job):
    ((code, said),) = job([0]).call(meet, {})
    assert code == errno.ETIMEDOUT and "did not come within 6 s: 1" in said, said
