# SPDX-License-Identifier: Apache-2.0
"""One case of inject_rank: run it, and say what became of it."""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from recording import BEGIN, END, Call, recorded

LIMIT_S = 200  # inject_rank itself ends ranks that hang before

# Name: number of ranks, and which is the victim. The first rank alone measures and keeps thresholds.
SCENARIOS = {
    "calls": (3, 1),
    "tuning": (3, 0),
    "measuring": (2, 0),
    "huge": (2, 1),
    "hugetlb": (2, 1),
    "threads": (2, 1),
    "differing": (2, 1),
    "off": (2, 1),
    "lonely": (2, 1),
    "taken": (2, 1),
    "blocks": (2, 1),
    "recording": (2, 1),
}


# Of those that end slowly, only what is theirs.
MEETINGS = {"differing", "off", "lonely", "taken"}
MEETING = {
    *("shmrt_rendezvous_meet", "shmrt_rendezvous_agree", "shmrt_links_close"),
    *("shmrt_name_close", "shmrt_name_listen"),
}


@dataclass
class Outcome:
    """Of one case: `unclean` says what is wrong, or nothing; `texts` are what the victim was told."""

    unclean: list[str] = field(default_factory=list)
    is_reached: bool = True
    result: str = "ok"
    texts: list[str] = field(default_factory=list)


@dataclass
class Ran:
    """Lines that ranks have told, what else was said, and whether libgomp has ended a rank."""

    told: list[list[str]]
    strange: list[str]
    ended_by_libgomp: bool


class Ranks:
    def __init__(self, program: Path, library: Path):
        self.program, self.library = program, library
        self.usual: dict[str, dict] = {}

    def run(self, scenario: str, *command: str) -> Ran:
        size, victim = SCENARIOS[scenario]
        with tempfile.TemporaryDirectory() as cache:
            words = [self.program, "case", scenario, str(size), str(victim), f"XDG_CACHE_HOME={cache}", *command]
            done = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=LIMIT_S)
        lines = [line.split("\t") for line in done.stdout.splitlines()]
        strange = ["rank " + " ".join(line) for line in lines if len(line) != 8 and line[0] != "counted"]
        return Ran([line for line in lines if len(line) == 8], strange, "\nlibgomp: " in "\n" + done.stderr)

    def learn(self, scenario: str) -> None:
        """How it ends where nothing fails."""
        ran = self.run(scenario)
        if ran.strange or any(line[6] != "clean" for line in ran.told):
            raise SystemExit(f"{scenario} goes wrong without any fault: {ran.told} {ran.strange}")
        self.usual[scenario] = {(line[0], line[1]): (line[2], line[3]) for line in ran.told}

    def calls(self, scenario: str, folder: Path) -> list[Call]:
        log = folder / f"{scenario}.log"
        self.run(scenario, "strace", "-f", "-k", "-o", str(log))
        calls = recorded(log, "inject_rank", True, "")
        # With threads a number may come to one of libgomp's own, which waits for ever where a wake-up is lost. `calls`
        # has those of the library, asleep and awake.
        if scenario == "threads":
            calls = [call for call in calls if call.syscall != "futex"]
        return [call for call in calls if scenario not in MEETINGS or MEETING & set(call.site)]

    def count(self, scenario: str, kind: str) -> int:
        if scenario in MEETINGS and kind in ("malloc", "close"):
            return 0
        size, victim = SCENARIOS[scenario]
        words = [self.program, "case", scenario, str(size), str(victim), *self.preload(kind, 0)]
        out = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT_S).stdout
        return int(out.split("counted\t")[1].split()[0])

    def preload(self, kind: str, number: int) -> list[str]:
        return [f"LD_PRELOAD={self.library}", f"SHMRT_INJECT={kind}:{number}"]

    def fail_library_call(self, scenario: str, kind: str, number: int) -> Outcome:
        ran = self.run(scenario, *self.preload(kind, number))
        if ran.ended_by_libgomp:
            return self.judged_death(scenario, ran, 1)
        return self.judged(scenario, ran, 1, must_go_on=kind == "close")

    def fail_syscall(self, scenario: str, call: Call, error: str, folder: Path) -> Outcome:
        log = folder / f"{scenario}-{call.syscall}-{call.occurrence}-{error}.log"
        how = "retval=0" if error == "end" else f"error={error}"
        ran = self.run(
            scenario,
            *("strace", "-f", "--seccomp-bpf", "-o", str(log), "-e", f"trace={call.syscall},getpgid"),
            *("-e", f"inject={call.syscall}:{how}:when={call.occurrence}"),
        )
        text = log.read_text(errors="replace") if log.exists() else ""
        log.unlink(missing_ok=True)
        if "INJECTED" not in text:
            outcome = self.judged(scenario, ran, None, must_go_on=True)
            outcome.is_reached = False
            return outcome
        before = text[: text.index("INJECTED")]
        run = 0 if BEGIN not in before else 1 if END not in before else 2
        if ran.ended_by_libgomp:
            return self.judged_death(scenario, ran, run)
        return self.judged(scenario, ran, run, must_go_on=error == "EINTR", may_stay_mapped=call.syscall == "munmap")

    def judged_death(self, scenario: str, ran: Ran, faulty: int) -> Outcome:
        """A rank for which there is no thread: libgomp says so and ends it. The others are told that it has died."""
        victim, outcome = SCENARIOS[scenario][1], Outcome(result="error")
        for rank, run, verdict, code, at, text, is_left, left in ran.told:
            where = f"rank {rank}, run {run}: {verdict} {code} {at} {text}"
            if is_left != "clean":
                outcome.unclean.append(f"{where}; left behind: {left}")
            if int(rank) != victim and int(run) == faulty:
                outcome.texts.append(text)
                if verdict != "error" or not text.startswith(f"rank {victim} (pid "):
                    outcome.unclean.append(f"{where}, where rank {victim} had ended")
        if not outcome.texts:
            outcome.unclean.append("nobody was told")
        return outcome

    def judged(
        self,
        scenario: str,
        ran: Ran,
        faulty: int | None,
        must_go_on: bool,
        may_stay_mapped: bool = False,
    ) -> Outcome:
        victim = SCENARIOS[scenario][1]
        usual = self.usual[scenario]
        outcome = Outcome(list(ran.strange))
        if {(line[0], line[1]) for line in ran.told} != set(usual):
            outcome.unclean.append(f"not all ranks told of all runs: {len(ran.told)} of {len(usual)}")
        # libgomp keeps its threads' memory from the first call in parallel on: that of run 2, where run 1 failed.
        failed_first = {rank for rank, run, verdict, *_ in ran.told if run == "1" and verdict == "error"}
        for rank, run, verdict, code, at, text, is_left, left in ran.told:
            where = f"rank {rank}, run {run}: "
            expected = usual.get((rank, run))
            is_first = run == "1" or rank in failed_first
            is_cold = scenario == "threads" and left.startswith("0 descriptors, 0 mappings") and is_first
            is_munmap = may_stay_mapped and left.startswith("0 descriptors, 1 mappings, 0 blocks, 0")
            if is_left != "clean" and not is_cold and not is_munmap:
                outcome.unclean.append(f"{where}left behind: {left}")
            if verdict == "wrong":
                outcome.unclean.append(f"{where}a wrong result: {at}")
            elif verdict == "error" and not text:
                outcome.unclean.append(f"{where}{at} failed with {code} and no words")
            if int(run) != faulty and (verdict, code) != expected:
                outcome.unclean.append(f"{where}{verdict} {code} {at} {text}, where nothing failed")
            elif must_go_on and (verdict, code) != expected:
                outcome.unclean.append(f"{where}{verdict} {code} {at} {text}, where it should have gone on")
            if int(run) == faulty and int(rank) == victim and verdict == "error":
                outcome.result, outcome.texts = "error", [text]
        return outcome
