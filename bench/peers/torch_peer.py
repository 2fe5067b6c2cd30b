#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""PyTorch's collectives and the shared-memory operators take turns in a run of shm-bench.

Usage, as a peer of shm-bench: torch_peer.py KIND, where KIND is one of

  gloo            c10d's Gloo, called from C++; each rank and its threads on the rank's CPUs
  gloo-unpinned   the same with all CPUs for every rank
  c10d-python     torch.distributed's functions with Gloo, called from Python, as scripts do
  c10d-python-shmrt  the same with our backend
  deepspeed       DeepSpeed's own operator, called from C++ through PyTorch's dispatcher
  shmrt-op        our operator of that name, called in the same way

The first process starts one process a rank and cleans up after them. It never imports torch: shmrt
and DeepSpeed's library define the same operators, and each rank loads one of the two at most.

Of Gloo's settings only pinned and not pinned were tried; both are contenders. Its number of threads was left as
PyTorch sets it. DeepSpeed's operator is built with the flags of its own builder, and has no setting but
OpenMP's threads.
"""

import ctypes
import glob
import importlib.util
import os
import signal
import struct
import subprocess
import sys
import tempfile
from datetime import timedelta

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.environ.get("SHM_BENCH_BUILD", os.path.join(HERE, "..", "..", "build", "bench"))
KINDS = ("gloo", "gloo-unpinned", "c10d-python", "c10d-python-shmrt", "deepspeed", "shmrt-op")
PR_SET_PDEATHSIG = 1
ENOTSUP = 95


def read_page() -> tuple[int, int]:
    """Ranks, and threads of each, from the page that shm-bench made (struct bench_peer_page)."""
    path = os.environ.get("SHM_BENCH_CONTROL")
    if not path:
        sys.exit("torch_peer.py is started by shm-bench, which sets SHM_BENCH_CONTROL")
    with open(path, "rb") as page:
        _, _, _, ranks, _, threads = struct.unpack("IIIIiI", page.read(24))
    return ranks, max(threads, 1)


# ---------------------------------------------------------------- the first process


def remove_segments(key: str) -> None:
    """DeepSpeed leaves its segments; those of this run have its address and key in their names."""
    for path in glob.glob(f"/dev/shm/deepspeed_*_127.0.0.1_{key}_*"):
        os.unlink(path)


def start_ranks(kind: str, ranks: int, threads: int, folder: str, key: str) -> list[subprocess.Popen]:
    environment = os.environ | {
        "OMP_NUM_THREADS": str(threads),
        "GLOO_SOCKET_IFNAME": "lo",
        "PYTHONWARNINGS": "ignore::FutureWarning",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": key,
        "LOCAL_SIZE": str(ranks),
        "PEER_PARENT": str(os.getpid()),
    }
    command = [sys.executable, os.path.abspath(__file__), kind]
    return [subprocess.Popen([*command, str(r), str(ranks), folder], env=environment) for r in range(ranks)]


def wait_for(ranks: list[subprocess.Popen]) -> int:
    """The first failure ends the others, which would wait for it forever."""
    left = {process.pid: process for process in ranks}
    status = 0
    while left:
        pid, wait_status = os.wait()
        code = os.waitstatus_to_exitcode(wait_status)
        left.pop(pid, None)
        if code and not status:
            status = code if code > 0 else 128 - code
            for process in left.values():
                process.kill()
    return status


def launch(kind: str) -> int:
    ranks, threads = read_page()
    key = str(os.getpid())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with tempfile.TemporaryDirectory(prefix="shm-bench-") as folder:
            return wait_for(start_ranks(kind, ranks, threads, folder, key))
    finally:
        remove_segments(key)


# ---------------------------------------------------------------- a rank


class Task(ctypes.Structure):
    """struct bench_task"""

    _fields_ = (
        *((name, ctypes.c_uint32) for name in "collective dtype op buffers in_place ranks root zero".split()),
        ("count", ctypes.c_uint64),
    )


RUN = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(Task), ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int
)


class Ops(ctypes.Structure):
    """struct bench_peer_ops"""

    _fields_ = (
        ("setting", ctypes.c_char_p),
        ("run", RUN),
        ("alloc", ctypes.c_void_p),
        ("arg", ctypes.c_void_p),
    )


class PythonCalls:
    """torch.distributed's functions, as a peer's run()."""

    def __init__(self, library: ctypes.CDLL, rank: int):
        self.library, self.rank = library, rank
        for sizer in (library.bench_in_bytes, library.bench_out_bytes):
            sizer.restype = ctypes.c_size_t
        self.key: bytes | None = None
        self.call = None

    def tensor(self, task: Task, address: int, bytes_of):
        import torch

        dtypes = "float32 float64 bfloat16 float16 int8 uint8 int16 int32 int64".split()
        size = bytes_of(ctypes.byref(task), self.rank)
        if size == 0:
            return torch.empty(0)
        memory = (ctypes.c_char * size).from_address(address)
        return torch.frombuffer(memory, dtype=getattr(torch, dtypes[task.dtype]))

    def bind(self, task: Task, start: int, end: int):
        """The call with its arguments, or None where there is no such thing."""
        import torch.distributed as dist

        x = self.tensor(task, start, self.library.bench_in_bytes)
        y = self.tensor(task, end, self.library.bench_out_bytes)
        op = [dist.ReduceOp.SUM, dist.ReduceOp.MIN, dist.ReduceOp.MAX, dist.ReduceOp.PRODUCT, dist.ReduceOp.AVG][
            task.op
        ]

        def copied(function, *arguments):
            def both():
                y.copy_(x)
                function(y, *arguments)

            return (lambda: function(y, *arguments)) if task.in_place else both

        return {
            0: copied(dist.all_reduce, op),
            1: lambda: dist.broadcast(y, task.root),
            3: lambda: dist.all_gather_into_tensor(y, x),
            4: lambda: dist.reduce_scatter_tensor(y, x, op),
            5: lambda: dist.all_to_all_single(y, x),
            9: dist.barrier,
        }.get(task.collective)

    def run(self, _arg, task_at, start, end, calls) -> int:
        try:
            key = bytes(task_at.contents) + struct.pack("QQ", start, end)
            if key != self.key:
                task = Task.from_buffer_copy(task_at.contents)
                self.call, self.key = self.bind(task, start, end), key
            if self.call is None:
                return -ENOTSUP
            for _ in range(calls):
                self.call()
        except Exception as error:
            print(f"torch_peer.py: {error}".splitlines()[0], file=sys.stderr)
            return -ENOTSUP
        return 0


def load_deepspeed(rank: int, ranks: int, store) -> bool:
    """Load DeepSpeed's operators and let the ranks meet. Has this CPU what its 16-bit types need?"""
    found = glob.glob(os.path.join(BUILD, "deepspeed", "**", "deepspeed_shm_comm.so"), recursive=True)
    if not found:
        sys.exit("DeepSpeed's operator has not been built: scripts/bench.sh does it")
    spec = importlib.util.spec_from_file_location("deepspeed_shm_comm", found[0])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.initialize(ranks, rank)
    store.set(f"mapped {rank}", "1")
    store.wait([f"mapped {r}" for r in range(ranks)])
    if rank == 0:  # mapped by all: the names are not needed any more, and a crash leaves none
        remove_segments(os.environ["MASTER_PORT"])
    return module.vector_kernel_level() >= 2


def die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(os.environ["PEER_PARENT"]):
        sys.exit(1)


def describe(kind: str) -> str:
    import torch

    threads = os.environ["OMP_NUM_THREADS"]
    return {
        "gloo": f"Gloo of PyTorch {torch.__version__}: from C++, pinned",
        "gloo-unpinned": f"Gloo of PyTorch {torch.__version__}: from C++, not pinned",
        "c10d-python": f"torch.distributed {torch.__version__} with Gloo: from Python, pinned",
        "c10d-python-shmrt": f"torch.distributed {torch.__version__} with shmrt: from Python, pinned",
        "deepspeed": f"DeepSpeed's shm operator: from C++, pinned, {threads} OpenMP thread(s)",
        "shmrt-op": f"shmrt's operator: from C++ through PyTorch {torch.__version__}, pinned",
    }[kind]


def serve(kind: str, rank: int, ranks: int, folder: str) -> int:
    roam = os.sched_getaffinity(0)
    import torch  # noqa: F401  (its libraries have to be there before the peer's)
    import torch.distributed as dist

    library = ctypes.CDLL(os.path.join(BUILD, "torch", "libtorch-peer.so"))
    if kind != "gloo-unpinned" and library.bench_peer_pin(None, rank) != 0:
        sys.exit("torch_peer.py: could not go to the rank's CPUs")
    store = dist.FileStore(os.path.join(folder, "store"), ranks)
    halves = True
    group = mask = None
    if kind == "deepspeed":
        halves = load_deepspeed(rank, ranks, store)
    elif kind == "shmrt-op":
        import shmrt

        shmrt.init(rank, ranks, job=f"shm-bench-op-{os.environ['PEER_PARENT']}")
    else:
        backend = "shmrt" if kind == "c10d-python-shmrt" else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=ranks, timeout=timedelta(minutes=2))
        group = dist.group.WORLD.group_name.encode()
    setting = describe(kind).encode()
    if kind.startswith("c10d-python"):
        calls = PythonCalls(library, rank)
        ops = Ops(setting, RUN(calls.run), None, None)
        return library.bench_peer_serve(None, rank, ctypes.byref(ops))
    if kind == "gloo-unpinned":
        mask = sum(1 << cpu for cpu in roam).to_bytes(128, sys.byteorder)
    return library.torch_peer_serve(rank, ranks, group, setting, mask, int(halves))


def main() -> int:
    if len(sys.argv) == 2 and sys.argv[1] in KINDS:
        return launch(sys.argv[1])
    if len(sys.argv) != 5 or sys.argv[1] not in KINDS:
        sys.exit(f"Usage: torch_peer.py {'|'.join(KINDS)}")
    kind, rank, ranks, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    die_with_parent()
    rc = serve(kind, rank, ranks, folder)
    if rc:
        print(f"torch_peer.py: rank {rank}: {os.strerror(-rc)}", file=sys.stderr)
    sys.stdout.flush()
    os._exit(rc != 0)  # the process group's own end may wait for ranks that are gone


if __name__ == "__main__":
    sys.exit(main())
