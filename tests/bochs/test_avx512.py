# SPDX-License-Identifier: Apache-2.0
"""The AVX-512 kernels (F, BW, VL and DQ) on an emulated CPU, against the reference, whatever the CPU here has."""

import pytest
from bochs import PROGRAMS, covered

pytestmark = pytest.mark.long


@pytest.mark.parametrize("program", [name.split("/")[1] for name in PROGRAMS])
def test_program(guest, program):
    outcome = guest.programs.get(program)
    if outcome is None or outcome.code is None:
        pytest.fail("\n".join([f"not finished: {guest.ended}", *guest.lines[-60:]]), pytrace=False)
    if outcome.code != 0:
        pytest.fail("\n".join([f"ended with {outcome.code}", *outcome.lines]), pytrace=False)
    said = [line for line in outcome.lines if line.startswith(("rungs tested:", "kernels: "))]
    covered.append(f"{program}: {said[0]}")
    tested = said[0].split(";")[0].split()
    assert tested[-1] == "avx512"
