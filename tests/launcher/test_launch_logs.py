# SPDX-License-Identifier: Apache-2.0
"""--log-dir: every byte of each rank in files of its own, also when a disk is full."""

import os
import resource
import shutil
import signal
import subprocess

import pytest
from launching import LIMIT_S

BYTES = rb"a\r10%\r20%\n\xff\x00\n\nend without a newline"
SPEAK = f"""
import os
rank = os.environ["RANK"].encode()
os.write(1, b"out " + rank + b"{BYTES.decode()}")
os.write(2, b"err " + rank + b"{BYTES.decode()}")
"""
SPOKEN = b"a\r10%\r20%\n\xff\x00\n\nend without a newline"


def logs(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("ranks", [1, 3])
def test_each_rank_has_its_bytes(launcher, ranks):
    process = launcher.start("-n", str(ranks), "--log-dir", "logs", *launcher.python(SPEAK), text=False)
    process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0
    expected = {}
    for rank in range(ranks):
        for stream in ("out", "err"):
            expected[f"rank-{rank}.{stream}"] = f"{stream} {rank}".encode() + SPOKEN
    assert logs(launcher.folder / "logs") == expected


def test_output_of_one_rank_is_raw_with_logs_too(launcher):
    process = launcher.start("-n", "1", "--log-dir", "logs", *launcher.python(SPEAK), text=False)
    out, err = process.communicate(timeout=LIMIT_S)
    assert out == b"out 0" + SPOKEN
    assert err.endswith(b"err 0" + SPOKEN), "after warnings, if any"


def test_our_lines_begin_anew_after_raw_output(launcher):
    result = launcher.run("-n", "1", "--log-dir", "logs", "sh", "-c", "printf half >&2; exit 3")
    assert result.returncode == 3
    assert "half\nshm-launch: rank 0 (pid " in result.stderr


def test_output_here_is_as_without_logs(launcher):
    words = ["-n", "2", "sh", "-c", "echo out $RANK; echo err $RANK >&2"]
    result = launcher.run("--log-dir", "logs", *words)
    assert sorted(result.stdout.splitlines()) == ["[0] out 0", "[1] out 1"]
    assert [line for line in sorted(result.stderr.splitlines()) if line[0] == "["] == ["[0] err 0", "[1] err 1"]


def test_an_earlier_run_is_replaced(launcher):
    for text in ("a longer text", "short"):
        assert launcher.run("-n", "2", "--log-dir", "logs", "echo", text).returncode == 0
    assert logs(launcher.folder / "logs")["rank-1.out"] == b"short\n"


def test_a_restart_goes_on_in_the_same_file(launcher):
    command = "printf 'attempt %s' $TORCHELASTIC_RESTART_COUNT; exit $((1 - TORCHELASTIC_RESTART_COUNT))"
    result = launcher.run("-n", "2", "--restarts", "1", "--log-dir", "logs", "sh", "-c", command)
    assert result.returncode == 0, result.stderr
    text = b"attempt 0\n--- shm-launch: restart 1 of 1 ---\nattempt 1"
    assert logs(launcher.folder / "logs")["rank-0.out"] == text


def test_folders_above_it_are_not_made(launcher):
    result = launcher.run("-n", "2", "--log-dir", "no/logs", "touch", "started")
    assert result.returncode == 125
    assert "--log-dir no/logs: the folder that it should lie in does not exist" in result.stderr
    assert not os.listdir(launcher.folder)


def test_a_file_is_no_folder(launcher):
    (launcher.folder / "logs").write_text("kept")
    result = launcher.run("-n", "2", "--log-dir", "logs", "touch", "started")
    assert result.returncode == 125
    assert "--log-dir logs: this is no folder" in result.stderr
    assert os.listdir(launcher.folder) == ["logs"]


def test_a_file_that_cannot_be_written(launcher):
    (launcher.folder / "logs" / "rank-1.err").mkdir(parents=True)
    result = launcher.run("-n", "2", "--log-dir", "logs", "touch", "started")
    assert result.returncode == 125
    assert "logs/rank-1.err cannot be written: Is a directory" in result.stderr
    assert not (launcher.folder / "started").exists()


def test_a_pipe_in_place_of_a_file(launcher):
    """Nobody reads it: to open it as a file would wait for ever."""
    (launcher.folder / "logs").mkdir()
    os.mkfifo(launcher.folder / "logs" / "rank-0.out")
    result = launcher.run("-n", "1", "--log-dir", "logs", "touch", "started")
    assert result.returncode == 125
    assert "logs/rank-0.out cannot be written: it is neither a file nor a device" in result.stderr
    assert not (launcher.folder / "started").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make another user's link")
def test_a_link_that_another_user_planted(launcher):
    (launcher.folder / "precious").write_text("mine")
    (launcher.folder / "logs").mkdir()
    link = launcher.folder / "logs" / "rank-0.out"
    link.symlink_to("../precious")
    os.chown(link, 65534, 65534, follow_symlinks=False)
    result = launcher.run("-n", "1", "--log-dir", "logs", "true")
    assert result.returncode == 125
    assert "it is a link of another user" in result.stderr
    assert (launcher.folder / "precious").read_text() == "mine"


def test_a_link_of_our_own(launcher):
    (launcher.folder / "logs").mkdir()
    (launcher.folder / "logs" / "rank-0.out").symlink_to("../elsewhere")
    assert launcher.run("-n", "1", "--log-dir", "logs", "echo", "text").returncode == 0
    assert (launcher.folder / "elsewhere").read_text() == "text\n"


def test_a_limit_on_the_size_of_files(launcher):
    """Its signal would kill us; the ranks get theirs back."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    words = ["sh", "-c", "seq 5000; grep SigIgn /proc/self/status"]
    result = launcher.run("-n", "1", "--log-dir", "logs", *words, preexec_fn=limit)
    assert result.returncode == 125
    assert result.stderr.count("File too large: what follows is missing there") == 1
    lines = result.stdout.splitlines()
    assert lines[:-1] == [str(i) for i in range(1, 5001)]
    assert int(lines[-1].split()[1], 16) >> (signal.SIGXFSZ - 1) & 1 == 0


def with_a_full_disk(launcher, *words):
    (launcher.folder / "logs").mkdir()
    (launcher.folder / "logs" / "rank-1.out").symlink_to("/dev/full")
    return launcher.run("-n", "2", "--log-dir", "logs", *words)


def test_a_full_disk_costs_the_log_and_the_exit_code(launcher):
    result = with_a_full_disk(launcher, "sh", "-c", "for i in 1 2 3; do echo $RANK $i; sleep 0.1; done")
    assert result.returncode == 125
    expected = sorted(f"[{rank}] {rank} {i}" for rank in (0, 1) for i in (1, 2, 3))
    assert sorted(result.stdout.splitlines()) == expected, "all of it is on the screen"
    assert (launcher.folder / "logs" / "rank-0.out").read_text() == "0 1\n0 2\n0 3\n"
    assert result.stderr.count("logs: No space left on device: what follows is missing there") == 1
    assert result.stderr.splitlines()[-1].startswith("shm-launch: output was lost")


def test_a_rank_that_fails_counts_for_more_than_a_full_disk(launcher):
    result = with_a_full_disk(launcher, "sh", "-c", "echo text; sleep 0.2; exit 6")
    assert result.returncode == 6
    assert result.stderr.count("No space left on device") == 1


def test_a_disk_that_fills_up(launcher):
    """A file system of 64 KiB of our own: the log ends where the space did."""
    if not shutil.which("unshare"):
        pytest.skip("no unshare(1) to mount a small file system with")
    (launcher.folder / "logs").mkdir()
    job = f"{launcher.binary} -n 2 --log-dir logs sh -c 'for i in $(seq 5000); do echo $RANK line $i of many; done'"
    script = f"mount -t tmpfs -o size=64k none logs || exit 77; {job}; code=$?; cp logs/rank-*.out .; exit $code"
    result = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script],
        capture_output=True,
        text=True,
        cwd=launcher.folder,
        env=launcher.environment(),
        timeout=LIMIT_S,
    )
    if result.returncode in (1, 77):
        pytest.skip(f"no file system can be mounted here: {result.stderr.strip()}")
    assert result.returncode == 125, result.stderr
    expected = [f"[{rank}] {rank} line {i} of many" for rank in (0, 1) for i in range(1, 5001)]
    assert sorted(result.stdout.splitlines()) == sorted(expected)
    assert result.stderr.count("what follows is missing there") == 1
    kept = [(launcher.folder / f"rank-{rank}.out").read_text() for rank in (0, 1)]
    whole = ["".join(f"{rank} line {i} of many\n" for i in range(1, 5001)) for rank in (0, 1)]
    assert all(all_of_it.startswith(part) for all_of_it, part in zip(whole, kept, strict=True))
    assert 0 < len("".join(kept)) < len("".join(whole))
