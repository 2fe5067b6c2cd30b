# SPDX-License-Identifier: Apache-2.0
"""Who reads what comes in: one rank, another, all of them, nobody."""

import hashlib
import os
import subprocess

import pytest
from launching import LIMIT_S

SUM = "import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())"


def lines(result):
    assert result.returncode == 0, result.stderr
    return sorted(result.stdout.splitlines())


def test_rank_0_reads_unless_told_otherwise(launcher):
    assert lines(launcher.run("-n", "3", "cat", stdin="a\nb\n")) == ["[0] a", "[0] b"]


@pytest.mark.parametrize("ranks", ["1", "2"])
def test_nobody_reads(launcher, ranks):
    assert lines(launcher.run("-n", ranks, "--stdin", "none", "cat", stdin="a\n")) == []


def test_another_rank_reads(launcher):
    assert lines(launcher.run("-n", "3", "--stdin", "2", "cat", stdin="a\n")) == ["[2] a"]


def test_a_file_is_read_by_the_rank_itself(launcher):
    """Not through a pipe: it can seek."""
    path = launcher.folder / "input"
    path.write_text("0123456789")
    code = "import os\nif os.environ['RANK'] == '1': os.lseek(0, 5, os.SEEK_SET); print(os.read(0, 100))"
    with open(path) as file:
        process = launcher.start("-n", "2", "--stdin", "1", *launcher.python(code), stdin=file)
        assert process.communicate(timeout=LIMIT_S)[0] == "[1] b'56789'\n"


@pytest.mark.parametrize("ranks", [1, 4])
def test_all_read_every_byte(launcher, ranks):
    data = os.urandom(5_000_017)
    process = launcher.start(
        "-n", str(ranks), "--no-prefix", "--stdin", "all", *launcher.python(SUM), stdin=subprocess.PIPE, text=False
    )
    out, err = process.communicate(data, timeout=LIMIT_S)
    assert process.returncode == 0, err
    assert out.decode().splitlines() == [hashlib.sha256(data).hexdigest()] * ranks


def test_a_rank_that_does_not_read_holds_nobody_up(launcher):
    """It goes on only when the others have all, 20 MB ahead of it; then it has all of it, too."""
    code = f"""
import os, time
while os.environ["RANK"] == "1" and not os.path.exists("done"):
    time.sleep(0.02)
{SUM}
open("done", "w")
"""
    data = os.urandom(20_000_000)
    words = ["-n", "2", "--no-prefix", "--stdin", "all", *launcher.python(code)]
    process = launcher.start(*words, stdin=subprocess.PIPE, text=False)
    out, err = process.communicate(data, timeout=LIMIT_S)
    assert process.returncode == 0, err
    assert out.decode().splitlines() == [hashlib.sha256(data).hexdigest()] * 2
    assert b"reads none" not in err


@pytest.mark.long
def test_a_rank_that_never_reads_is_cut_off(launcher):
    code = f"""
import os, time
while os.environ["RANK"] == "1" and not os.path.exists("done"):
    time.sleep(0.02)
{SUM}
open("done", "w")
"""
    data = os.urandom(100_000_000)
    words = ["-n", "3", "--stdin", "all", *launcher.python(code)]
    process = launcher.start(*words, stdin=subprocess.PIPE, text=False)
    out, err = process.communicate(data, timeout=LIMIT_S)
    assert process.returncode == 0, err
    whole = hashlib.sha256(data).hexdigest()
    assert [line.endswith(whole) for line in sorted(out.decode().splitlines())] == [True, False, True]
    assert err.count(b"rank 1 reads none of its input") == 1


def test_a_rank_that_closes_its_input(launcher):
    code = f"import os\nif os.environ['RANK'] == '1': os.close(0)\nelse:\n    {SUM}"
    data = "line\n" * 100_000
    result = launcher.run("-n", "3", "--no-prefix", "--stdin", "all", *launcher.python(code), stdin=data)
    assert lines(result) == [hashlib.sha256(data.encode()).hexdigest()] * 2


@pytest.mark.parametrize("who", ["0", "1", "all"])
def test_who_writes_to_us_learns_that_nobody_reads(launcher, who):
    """While the ranks still run."""
    rank = "read line; exec <&-; while [ ! -e writer-ended ]; do sleep 0.02; done"
    command = f"(yes; touch writer-ended) | {launcher.binary} -n 2 --stdin {who} sh -c '{rank}'"
    result = subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        cwd=launcher.folder,
        env=launcher.environment(),
        timeout=LIMIT_S,
    )
    assert result.returncode == 0, result.stderr
    assert (launcher.folder / "writer-ended").exists()


@pytest.mark.parametrize("who", ["1", "all"])
def test_what_is_typed(launcher, who):
    code = """
import os, sys
print("rank", os.environ["RANK"], "asks")
for line in sys.stdin:
    print("got", line.strip())
"""
    typed = [(b"[1] rank 1 asks", b"one\n"), (b"[1] got one\n", b"two\n"), (b"[1] got two\n", b"\4")]
    seen = launcher.on_terminal("-n", "2", "--stdin", who, *launcher.python(code), typed=typed)
    for text in (b"got one\n", b"got two\n"):
        assert seen.count(b"[1] " + text) == 1
        assert seen.count(b"[0] " + text) == (who == "all")


@pytest.mark.parametrize("words", [["-n", "2", "true"], ["-n", "2", "--dry-run"], ["plan", "-n", "2"]])
def test_a_rank_that_is_not_there(launcher, words):
    plan, words = (["plan"], words[1:]) if words[0] == "plan" else ([], words)
    result = launcher.run(*plan, "--stdin", "2", *words)
    assert result.returncode == 2
    assert result.stderr == "shm-launch: --stdin 2: the job has ranks 0 to 1; give one of these, all or none\n"
    assert result.stdout == ""


def test_the_only_rank_that_is_there(launcher):
    result = launcher.run("-n", "1", "--stdin", "1", "true")
    assert result.returncode == 2
    assert "rank 0 only" in result.stderr


@pytest.mark.parametrize("ranks", ["1", "2"])
def test_ranks_have_no_terminal_to_hang_at(launcher, ranks):
    """Reading from ours, or setting it, would stop a process in its background without a word."""
    code = """
import os
if os.environ["RANK"] == "0":
    try:
        open("/dev/tty")
    except OSError as error:
        print(error.strerror, flush=True)
    os.system("stty -echo <&1; stty echo <&1")
    print("went on", flush=True)
"""
    seen = launcher.on_terminal("-n", ranks, "--no-bind", *launcher.python(code))
    assert b"No such device or address" in seen and b"went on" in seen


def test_a_secret_is_asked_for(launcher):
    code = """
import getpass, os
if os.environ["RANK"] == "0":
    print("got", getpass.getpass("Token? "))
"""
    seen = launcher.on_terminal("-n", "2", "--no-bind", *launcher.python(code), typed=[(b"Token? ", b"abc\n")])
    assert b"got abc" in seen


def test_a_debugger_is_talked_to(launcher):
    code = "import os\nx = 41\nif os.environ['RANK'] == '0':\n    breakpoint()\n    print('left', x)"
    typed = [(b"(Pdb) ", b"p x + 1\n"), (b"42", b"c\n")]
    seen = launcher.on_terminal("-n", "2", "--no-bind", *launcher.python(code), typed=typed)
    assert b"left 41" in seen
