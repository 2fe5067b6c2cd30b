# SPDX-License-Identifier: Apache-2.0
"""Many ranks' output in one stream: every byte, whole lines, and bars that still move."""

import contextlib
import datetime
import fcntl
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import termios
import time

import pytest
from launching import LIMIT_S, eventually


def test_lines_have_their_rank_and_streams_stay_apart(launcher):
    result = launcher.run("-n", "3", "sh", "-c", "echo out $RANK; echo err $RANK >&2")
    assert sorted(result.stdout.splitlines()) == ["[0] out 0", "[1] out 1", "[2] out 2"]
    errors = sorted(line for line in result.stderr.splitlines() if line.startswith("["))
    assert errors == ["[0] err 0", "[1] err 1", "[2] err 2"]


def test_one_rank_is_raw(launcher):
    process = launcher.start("-n", "1", "printf", "a\\nb\\rc", text=False)
    assert process.communicate(timeout=LIMIT_S)[0] == b"a\nb\rc"


def test_no_prefix(launcher):
    result = launcher.run("-n", "2", "--no-prefix", "sh", "-c", "echo line $RANK")
    assert sorted(result.stdout.splitlines()) == ["line 0", "line 1"]


def moments(text):
    """The time in front of each line, and the rest."""
    form = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}) (.*)")
    found = [form.fullmatch(line).groups() for line in text.splitlines()]
    return [(datetime.datetime.fromisoformat(moment), rest) for moment, rest in found]


@pytest.mark.parametrize("ranks, prefix", [(1, ""), (2, "[0] ")])
def test_timestamps(launcher, ranks, prefix):
    command = "[ $RANK = 0 ] || exit 0; echo one; echo two; sleep 0.3; echo three; echo four >&2; sleep 0.2; exit 3"
    start = datetime.datetime.now()
    result = launcher.run("-n", str(ranks), "--timestamps", "sh", "-c", command)
    lines = moments(result.stdout)
    assert [rest for _, rest in lines] == [prefix + text for text in ("one", "two", "three")]
    times = [moment for moment, _ in lines]
    assert start - datetime.timedelta(milliseconds=1) <= times[0] <= times[1] <= times[2] <= datetime.datetime.now()
    assert times[2] - times[1] >= datetime.timedelta(milliseconds=250)
    # From the start on our own lines have it, too; what is told before the start is about the plan.
    timed = "\n".join(line for line in result.stderr.splitlines() if not line.startswith("shm-launch: "))
    (_, own), *_, (_, last) = moments(timed)
    assert own == prefix + "four"
    assert last.startswith("shm-launch: rank 0 (pid ")


def test_a_bar_with_timestamps(launcher):
    code = "import os; os.environ['RANK'] == '0' and os.write(1, b'10%\\r20%\\rdone\\n')"
    process = launcher.start("-n", "2", "--timestamps", *launcher.python(code), text=False)
    out, _ = process.communicate(timeout=LIMIT_S)
    assert re.fullmatch(rb"([-0-9]+ [0-9:.]+ \[0\] 10%)?(\r[-0-9]+ [0-9:.]+ \[0\] (20%|done))*\n", out), out


def test_odd_lines(launcher):
    """Empty ones, a last one without its end, bytes that are no text, CRLF."""
    code = r"import os; os.write(1, b'\nfirst\r\n\xff\x00\xfe\n\r\nlast')"
    for options, prefix in ((("-n", "2"), b"[0] "), (("-n", "2", "--no-prefix"), b"")):
        words = [*options, *launcher.python("import os\nif os.environ['RANK'] == '0':\n    " + code)]
        process = launcher.start(*words, text=False)
        out, _ = process.communicate(timeout=LIMIT_S)
        lines = [b"\n", b"first\r\n", b"\xff\x00\xfe\n", b"\r\n", b"last\n"]
        assert out == b"".join(prefix + line for line in lines)


def test_much_output_comes_whole_and_unmixed(launcher):
    ranks, lines = 4, 20000
    code = f"""
import os, sys
rank = os.environ["RANK"]
for i in range({lines}):
    sys.stdout.write(rank * (i % 400) + f" {{i}}\\n")
"""
    result = launcher.run("-n", str(ranks), *launcher.python(code), env={"PYTHONUNBUFFERED": ""})
    assert result.returncode == 0
    seen = [0] * ranks
    for line in result.stdout.splitlines():
        rank = int(line[1])
        i = seen[rank]
        assert line == f"[{rank}] {str(rank) * (i % 400)} {i}"
        seen[rank] += 1
    assert seen == [lines] * ranks


def test_two_jobs_into_one_pipe_keep_their_lines_whole(launcher):
    """A pipe takes a write of up to 4 KiB in one piece, and no line is split over two writes."""
    code = "for i in range(4000): print(str(i) * (i % 700) + '.')"
    job = " ".join([launcher.binary, "-n", "2", "--no-prefix", sys.executable, "-c", f'"{code}"'])
    result = subprocess.run(
        ["bash", "-c", f"({job} & {job} & wait) | cat"],
        capture_output=True,
        text=True,
        env=launcher.environment(PYTHONUNBUFFERED=""),
        timeout=LIMIT_S,
    )
    expected = sorted([str(i) * (i % 700) + "." for i in range(4000)] * 4)
    assert sorted(result.stdout.splitlines()) == expected


def test_a_line_longer_than_any_buffer(launcher):
    size = 3 * 1024 * 1024 + 17
    code = f"import os; os.environ['RANK'] == '1' and print('x' * {size})"
    result = launcher.run("-n", "2", *launcher.python(code))
    pieces = result.stdout.splitlines()
    assert all(piece.startswith("[1] x") for piece in pieces)
    assert sum(len(piece) - 4 for piece in pieces) == size


def test_what_is_written_last_is_not_lost(launcher):
    code = "import os; os.write(1, b'y' * 60000 + b'\\n'); os._exit(3)"
    result = launcher.run("-n", "4", *launcher.python(code))
    assert result.returncode == 3
    assert sorted(map(len, result.stdout.splitlines())) == [60004] * 4


def test_lines_come_at_once(launcher):
    """Not when a buffer is full, nor at the end: Python ranks are told not to keep them."""
    process = launcher.start("-n", "2", *launcher.python("import time; print('now'); time.sleep(600)"))
    assert sorted(process.stdout.readline() for _ in range(2)) == ["[0] now\n", "[1] now\n"]
    process.terminate()
    process.wait(LIMIT_S)


def test_a_bar_moves_before_its_line_ends(launcher):
    code = """
import os, sys, time
if os.environ["RANK"] == "0":
    for percent in (10, 20, 30):
        os.write(2, b"\\r%d%%" % percent)
        time.sleep(0.1)
    time.sleep(600)
"""
    process = launcher.start("-n", "2", "--no-bind", *launcher.python(code), text=False, bufsize=0)
    seen = b""
    while b"30%" not in seen:
        chunk = process.stderr.read(100)
        assert chunk
        seen += chunk
    assert seen.endswith(b"\r[0] 10%\r[0] 20%\r[0] 30%")
    process.terminate()
    process.communicate(timeout=LIMIT_S)


def test_another_line_ends_an_unfinished_bar(launcher):
    code = """
import os, sys, time
if os.environ["RANK"] == "0":
    os.write(1, b"\\rbar 1")
    time.sleep(1)
    os.write(1, b"\\rbar 2\\n")
else:
    time.sleep(0.5)
    print("a line")
"""
    process = launcher.start("-n", "2", *launcher.python(code), text=False)
    out, _ = process.communicate(timeout=LIMIT_S)
    assert out == b"\r[0] bar 1\n[1] a line\n\r[0] bar 2\n"


def test_bars_on_a_terminal_leave_no_remains(launcher):
    code = """
import os, time
if os.environ["RANK"] == "0":
    os.write(2, b"\\ra rather long bar")
    time.sleep(1)
    os.write(2, b"\\rshort\\n")
else:
    time.sleep(0.5)
    print("a line")
"""
    seen = launcher.on_terminal("-n", "2", "--no-bind", *launcher.python(code))
    erase = b"\x1b[K"
    bar = b"\r[0] a rather long bar" + erase
    # The line takes the bar's place, and the bar comes back below it.
    assert bar + b"\r" + erase + b"[1] a line\n" + bar + b"\r[0] short" + erase + b"\n" in seen


def test_a_question_on_a_terminal_is_shown_and_answered(launcher):
    code = """
import os, sys
if os.environ["RANK"] == "0":
    print("Your name?", end=" ", flush=True)
    print("Hello", sys.stdin.readline().strip())
"""
    seen = launcher.on_terminal("-n", "2", *launcher.python(code), typed=[(b"[0] Your name? ", b"Ada\n")])
    assert b"Hello Ada\n" in seen


def test_a_reader_that_leaves_ends_the_job(launcher):
    code = "while True: print('line')"
    words = " ".join([launcher.binary, "-n", "2", sys.executable, "-c", f'"{code}"'])
    result = subprocess.run(
        ["bash", "-c", f"{words} 2>/dev/null | head -3"],
        capture_output=True,
        text=True,
        env=launcher.environment(),
        timeout=LIMIT_S,
    )
    assert len(result.stdout.splitlines()) == 3
    eventually(lambda: not launcher.relatives(), "the job ends")


def test_a_slow_reader_loses_nothing_and_delays_no_signal(launcher):
    def waiting():
        return int.from_bytes(fcntl.ioctl(process.stdout, termios.FIONREAD, bytes(4)), sys.byteorder)

    code = "import os\nwhile True: os.write(1, b'z' * 999 + b'\\n')"
    process = launcher.start("-n", "2", *launcher.python(code), text=False, bufsize=0)
    eventually(lambda: waiting() > 50000, "our pipe fills")
    time.sleep(0.5)  # and so do the queue and the ranks' pipes
    process.terminate()
    eventually(lambda: len(launcher.relatives()) <= 1, "ranks and keeper end")
    out, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 143, err
    assert len(out) > 70000, "what was in the queue and in the ranks' pipes came too"
    assert {line[3:] for line in out.splitlines()} == {b" " + b"z" * 999}


@pytest.mark.parametrize("ranks", ["1", "2"])
def test_a_terminal_that_takes_nothing_delays_no_signal(launcher, ranks):
    """Ctrl-S, a frozen ssh. With one rank only our own lines are ours to write."""
    leader, follower = pty.openpty()
    ends = {"stdin": subprocess.DEVNULL, "stdout": follower, "stderr": follower}
    code = "while :; do echo hello; done"
    process = launcher.start("-n", ranks, "--no-bind", "--grace", "0.5", "bash", "-c", code, **ends)
    os.close(follower)
    time.sleep(0.5)  # the terminal fills
    process.terminate()
    eventually(lambda: len(launcher.relatives()) <= 1, "ranks and keeper end")
    process.terminate()
    assert process.wait(LIMIT_S) == 143
    os.close(leader)


def test_a_pipe_that_takes_nothing_delays_no_signal(launcher):
    read, write = os.pipe()
    os.set_blocking(write, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(write, b"x" * 4096)
    os.set_blocking(write, True)
    process = launcher.start("-n", "1", "--no-bind", "--timeout", "0.3", "sleep", "600", stderr=write)
    os.close(write)
    eventually(lambda: len(launcher.relatives()) == 3, "launcher, keeper and rank are there")
    eventually(lambda: len(launcher.relatives()) == 1, "the rank ends, for all that nobody reads why")
    process.terminate()
    assert process.wait(LIMIT_S) == 124
    os.close(read)


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTSTP])
def test_a_signal_after_the_end_costs_no_output(launcher, number):
    """The ranks have ended, and a slow reader has not got all of it yet."""
    process = launcher.start("-n", "2", "--no-bind", "seq", "12000")
    assert select.select([process.stdout], [], [], LIMIT_S)[0]
    eventually(lambda: len(launcher.relatives()) == 1, "only the launcher is left")
    process.send_signal(number)
    time.sleep(0.2)
    process.send_signal(signal.SIGCONT)
    out, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, err
    assert len(out.splitlines()) == 24000


def test_a_full_disk_is_told(launcher):
    with open("/dev/full", "w") as full:
        result = launcher.run("-n", "2", "echo", "text", stdout=full)
    assert result.returncode == 125
    assert "No space left on device" in result.stderr


def test_an_outsider_holding_the_pipe_does_not_hold_us(launcher):
    """A descriptor handed to a process that is not of the job stays open after the end."""
    code = """
import array, os, socket
with socket.socket(socket.AF_UNIX) as s:
    s.connect(os.environ["OUTSIDER"])
    s.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [1]))])
print("done")
"""
    path = str(launcher.folder / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        process = launcher.start("-n", "2", *launcher.python(code), env={"OUTSIDER": path})
        held = []
        for _ in range(2):
            with listener.accept()[0] as connection:
                held += socket.recv_fds(connection, 1, 1)[1]
        out, _ = process.communicate(timeout=LIMIT_S)
        for fd in held:
            os.close(fd)
    assert process.returncode == 0
    assert sorted(out.splitlines()) == ["[0] done", "[1] done"]
