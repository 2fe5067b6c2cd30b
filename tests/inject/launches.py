# SPDX-License-Identifier: Apache-2.0
"""One case of shm-launch: run it, and say what became of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import uuid
from dataclasses import dataclass, field
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))
from processes import eventually, marked
from ranks import Outcome
from recording import Call, recorded

LIMIT_S = 60
GONE_S = 30  # the last process that the launcher has started may end a moment after it

READER_LEFT = 128 + signal.SIGPIPE


@dataclass(frozen=True)
class Launch:
    """What shm-launch is asked to do; {library} among the words is the library of faults."""

    words: tuple[str, ...]
    follows: bool = False  # strace goes into what it forks, up to their exec
    files: dict[str, str] = field(default_factory=dict)
    code: int = 0  # where nothing fails
    also_preloaded: str = ""  # with the library of faults, which takes itself out
    which: str = "all"  # of its calls may fail: "own" leaves out those of what it forks


CPU = str(min(os.sched_getaffinity(0)))
LAUNCHES = {
    "plan": Launch(("plan", "-n", "2", "--draw", "plan.svg")),
    "start": Launch(("-n", "2", "--env", "A=B", "--log-dir", "logs", "sh", "-c", "echo of rank $RANK")),
    "children": Launch(("-n", "2", "--log-dir", "logs", "sh", "-c", "echo of rank $RANK"), follows=True),
    "listed": Launch(("plan", "-n", "1", "--cpus", CPU)),
    "configured": Launch(("plan", "--config", "./c.yaml"), files={"c.yaml": "ranks: 1\nenv:\n  A: B\n  C: D\n"}),
    "preloading": Launch(
        ("-n", "1", "--preload", "{library}", "echo", "of the rank"), also_preloaded="libm.so.6", which="own"
    ),
    "diff": Launch(
        ("plan", "-n", "1", "--diff", "./a.yaml", "./b.yaml"),
        files={"a.yaml": "no-bind: false\n", "b.yaml": "no-bind: true\n"},
        code=1,
    ),
}
# Notes are of what else runs on the machine, and come and go. Of two plans that are compared, a call that fails in the
# making of one is taken for a container that denies it.
PASSING = ("note: ", "note, of", "machine  memory denied")
DROPPED = ("OMP_", "SHMRT_", "SHM_LAUNCH_", "LD_PRELOAD", "RANK", "WORLD_SIZE", "MASTER_", "SLURM_", "PMI")


def left_behind(marker: str, wait_s: float) -> dict[int, str]:
    """Processes that have the marker in their environment; who is about to end has `wait_s` for it."""
    try:
        eventually(lambda: not marked(marker), "all processes end", wait_s)
    except AssertionError:
        pass
    return marked(marker)


class Launches:
    def __init__(self, program: Path, library: Path):
        self.program, self.library = program, library
        self.usual: dict[str, str] = {}

    def preload(self, scenario: str, kind: str, number: int) -> dict[str, str]:
        launch = LAUNCHES[scenario]
        libraries = ":".join(filter(None, [str(self.library), launch.also_preloaded]))
        return {"LD_PRELOAD": libraries, "SHMRT_INJECT": f"{kind}:{number}:{launch.which}"}

    def run(self, scenario: str, *command: str, env: dict[str, str] | None = None):
        """Exit code (None: it hung), output, errors, and what is left behind."""
        marker = f"SHMRT_TEST_MARKER={uuid.uuid4().hex}"
        clean = {key: value for key, value in os.environ.items() if not key.startswith(DROPPED)}
        name, value = marker.split("=")
        launch = LAUNCHES[scenario]
        words = [str(self.library) if word == "{library}" else word for word in launch.words]
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "tmp").mkdir()
            for file, text in launch.files.items():
                (Path(folder) / file).write_text(text)
            process = subprocess.Popen(
                [*command, self.program, *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                cwd=folder,
                env={**clean, name: value, "TMPDIR": f"{folder}/tmp", **(env or {})},
            )
            try:
                out, err = process.communicate(timeout=LIMIT_S)
                code = process.returncode
            except subprocess.TimeoutExpired:
                code = None
            processes = left_behind(marker, 0 if code is None else GONE_S)
            left = [f"file {path.name}" for path in (Path(folder) / "tmp").iterdir()]
            for pid, words in processes.items():
                left.append(f"process {pid}: {words}")
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            if code is None:
                out, err = process.communicate()
        lines = [line for line in out.splitlines() if line and not line.startswith(PASSING)]
        return code, "\n".join(sorted(lines)), err, left

    def learn(self, scenario: str) -> None:
        code, out, err, left = self.run(scenario)
        if code != LAUNCHES[scenario].code or left:
            raise SystemExit(f"{scenario} goes wrong without any fault: {code} {err} {left}")
        self.usual[scenario] = out

    def follow(self, scenario: str) -> list[str]:
        return ["-f", "-b", "execve"] if LAUNCHES[scenario].follows else []

    def calls(self, scenario: str, folder: Path) -> list[Call]:
        log = folder / "launch.log"
        self.run(scenario, "strace", *(self.follow(scenario) or ["-f", "-b", "execve"]), "-k", "-o", str(log))
        everything = recorded(log, "shm-launch", False, "")
        # strace counts in each process by itself: what the dynamic linker does first would fail with a child's call.
        linking = {(c.syscall, c.occurrence) for c in everything if c.is_first_thread and "main" not in c.site}
        return [
            call
            for call in everything
            if "main" in call.site
            and call.is_first_thread != LAUNCHES[scenario].follows
            and (call.is_first_thread or (call.syscall, call.occurrence) not in linking)
        ]

    def count(self, scenario: str, kind: str) -> int:
        if LAUNCHES[scenario].follows:
            return 0
        with tempfile.NamedTemporaryFile() as told:
            self.run(scenario, env=self.preload(scenario, kind, 0) | {"SHMRT_INJECT_TELL": told.name})
            return int(Path(told.name).read_text() or 0)

    def fail_library_call(self, scenario: str, kind: str, number: int) -> Outcome:
        return self.judged(scenario, *self.run(scenario, env=self.preload(scenario, kind, number)))

    def fail_syscall(self, scenario: str, call: Call, error: str, folder: Path) -> Outcome:
        how = "retval=0" if error == "end" else f"error={error}"
        log = folder / f"{uuid.uuid4().hex}.log"
        result = self.run(
            scenario,
            *("strace", *self.follow(scenario), "-o", str(log), "-e", f"trace={call.syscall}"),
            *("-e", f"inject={call.syscall}:{how}:when={call.occurrence}"),
        )
        outcome = self.judged(scenario, *result, is_read=error != "EPIPE")
        outcome.is_reached = log.exists() and "INJECTED" in log.read_text(errors="replace")
        log.unlink(missing_ok=True)
        return outcome

    def judged(
        self, scenario: str, code: int | None, out: str, err: str, left: list[str], is_read: bool = True
    ) -> Outcome:
        """`is_read`: somebody reads what is written to the end (else EPIPE), so it has to be whole."""
        outcome = Outcome([f"left behind: {what}" for what in left])
        words = [line for line in err.splitlines() if line.startswith("shm-launch: ")]
        is_usual = code == LAUNCHES[scenario].code
        if code is None:
            outcome.unclean.append("hangs")
        elif code == READER_LEFT and any("killed by signal 13" in line for line in words):
            pass  # the launcher's output went nowhere, so the ranks' did: they end as any writer does
        elif code < 0 or code > 128:
            outcome.unclean.append(f"exit code {code}: {err}")
        elif code and not words and not is_usual:
            outcome.unclean.append(f"exit code {code} without a word: {err}")
        elif is_usual and is_read and out != self.usual[scenario] and not words:
            outcome.unclean.append(f"says success, but wrote: {out!r}, not {self.usual[scenario]!r}; {err}")
        outcome.result = "ok" if is_usual else "error"
        outcome.texts = [line.removeprefix("shm-launch: ") for line in words]
        return outcome
