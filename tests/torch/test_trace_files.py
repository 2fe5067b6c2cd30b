# SPDX-License-Identifier: Apache-2.0
"""SHMRT_TRACE in a folder where others can write: what they have put there is neither emptied nor waited for."""

import os
from pathlib import Path

import shmrt
from rankpool import Ranks


def test_no_trace_goes_where_somebody_leads_it(tmp_path: Path):
    precious = tmp_path / "precious"
    precious.write_text("untouched")
    names = [str(tmp_path / f"{kind}.json") for kind in ("link", "pipe", "file")]
    link, pipe, file = (Path(name.replace(".json", f".rank{rank}.json")) for rank, name in enumerate(names))
    link.symlink_to(precious)
    os.mkfifo(pipe)
    file.write_text("an earlier trace")
    is_root = os.geteuid() == 0
    if is_root:
        os.chown(file, 65534, 65534)
    ranks = Ranks(3, {"SHMRT_TRACE": names})
    try:
        ranks.call(shmrt.init)
        said = [ranks.output(rank) for rank in range(3)]
    finally:
        ranks.close()
    assert precious.read_text() == "untouched"
    assert "there is no trace" in said[0] and "there is no trace" in said[1]
    if is_root:
        assert "there is no trace" in said[2] and file.read_text() == "an earlier trace"
    else:
        assert "there is no trace" not in said[2] and file.read_text().startswith("[")
