# SPDX-License-Identifier: Apache-2.0
"""What the Python package refuses, in the words of docs/errors.md; then the communicator goes on, or can be made."""

from __future__ import annotations

import logging
import signal
import socket
import struct
import uuid
from pathlib import Path

import pytest
import shmrt
import torch
from error_table import assert_documented
from python_errors import refused, said, wait_for
from shmrt import _engine, _fused, _torch, recorder
from shmrt._environment import complete

OPERATOR = r"(deepspeed|shmrt)::\w+ "
SLURM = {"SLURM_JOB_ID": "4711", "SLURM_STEP_ID": "3", "SLURM_PROCID": "5", "SLURM_NTASKS": "6"}
SLURM |= {"SLURM_LOCALID": "1", "SLURM_NODEID": "2", "SLURM_STEP_NUM_NODES": "3"}
OPENMPI = {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_LOCAL_SIZE": "2"}


def is_usable() -> None:
    assert shmrt.all_reduce(torch.ones(1)).item() == shmrt.size()


@pytest.fixture
def alone():
    """A communicator of one rank in this very process."""
    shmrt.init(0, 1, job=f"errors-{uuid.uuid4().hex}")
    yield
    is_usable()
    shmrt.finalize()


def test_another_pytorch():
    refused("this shmrt was built for PyTorch", lambda: _torch.check_torch_version("9.9.0", "2.13.0"))


def test_variables(monkeypatch):
    monkeypatch.setenv("SHMRT_FUSE", "perhaps")
    refused("is neither 0 nor 1", _fused.fuse_if_environment_says)
    monkeypatch.setenv("SHMRT_DISABLE", "maybe")
    refused("give 1 to do without shared memory, or 0", lambda: shmrt.init(0, 1))
    assert not shmrt.is_initialized()


def test_init(monkeypatch):
    refused("init() takes rank and size together, got", lambda: shmrt.init(rank=0))
    refused("is not a number of seconds above 0", lambda: shmrt.init(0, 1, timeout=-1))
    monkeypatch.setenv("LOCAL_SIZE", "two")
    refused("is not a number of ranks: set it to", lambda: shmrt.init(0, 1))
    assert not shmrt.is_initialized()


def test_init_twice(alone):
    refused("already, and was now asked to be rank", lambda: shmrt.init(0, 2))


def test_before_init():
    refused("or shmrt.initialize(size, rank), once in every rank first", lambda: shmrt.all_reduce(torch.ones(1)))
    refused("was called before the ranks have met: call shmrt.init() first", shmrt.rank)


LAST = 100.0


def reduce_in_a_handler(said_it: Path) -> list[tuple[str, str]]:
    """Rank 0's handler reduces, again and again until that was inside of a wait; rank 1 comes only then. How many
    all-reduces that makes is not known: the last one has another value."""
    shmrt.init()
    is_usable()
    found: list[tuple[str, str]] = []

    def handler(number: int, frame: object) -> None:
        one = said(lambda: shmrt.all_reduce(torch.ones(1)))
        if one[0] != "0":
            signal.setitimer(signal.ITIMER_REAL, 0)
            found.append(one)
            said_it.touch()

    if shmrt.rank() == 0:
        before = signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
        is_usable()
        signal.signal(signal.SIGALRM, before)
        shmrt.all_reduce(torch.full((1,), LAST))
    else:
        wait_for(said_it)
        while shmrt.all_reduce(torch.ones(1)).item() < LAST:
            pass
    is_usable()
    shmrt.finalize()
    return found


@pytest.mark.parametrize(
    ("words", "off"),
    [
        ("there only rank(), size(), is_initialized() and finalize() may be called", None),
        ("{what} was called by a signal or log handler while this very thread is in a collective", "1"),
    ],
)
def test_handlers(two_ranks, tmp_path, words, off):
    (*_, (code, text)), _ = two_ranks(SHMRT_DISABLE=off).call(reduce_in_a_handler, tmp_path / "said", timeout=120)
    assert_documented(words, text, code)


class Leaving(logging.Handler):
    """Leaves the communicator when a call tells which way it goes, before it has gone."""

    def emit(self, record: logging.LogRecord) -> None:
        shmrt.finalize()


def test_closed_under_a_call():
    shmrt.init(0, 1, job=f"errors-{uuid.uuid4().hex}")
    handler, logger = Leaving(), logging.getLogger("shmrt")
    logger.addHandler(handler)
    try:
        words = "was called after its communicator was closed"
        refused(words, lambda: torch.ops.shmrt.all_reduce(torch.ones(1), "sum", use_shm=False))
    finally:
        logger.removeHandler(handler)
    assert not shmrt.is_initialized()


def init_without_shared_memory() -> tuple[str, str]:
    return said(shmrt.init)


def test_off_without_a_way(two_ranks):
    pool = two_ranks(SHMRT_DISABLE="1", MASTER_ADDR=None, MASTER_PORT=None)
    for code, text in pool.call(init_without_shared_memory, timeout=60):
        assert_documented("without shared memory, {error}", text, code)


def reduced_elsewhere() -> list[tuple[str, str]]:
    shmrt.init()
    found = [
        said(lambda: shmrt.all_reduce(torch.ones(1, dtype=torch.int32), "avg")),
        said(lambda: shmrt.empty(3, strict=True)),
    ]
    is_usable()
    shmrt.finalize()
    return found


def test_operators_elsewhere(two_ranks):
    words = "{what}: avg of integers ({dtype}) is not defined", "no other rank shares this machine's memory"
    for found in two_ranks(SHMRT_DISABLE="1").call(reduced_elsewhere, timeout=60):
        for part, (code, text) in zip(words, found, strict=True):
            assert_documented(part, text, code)


def interrupted(said_it: Path) -> list[tuple[str, str]]:
    """Rank 0's handler raises while Gloo waits for rank 1, which comes after that."""
    shmrt.init()
    is_usable()
    found = []
    if shmrt.rank() == 0:
        before = signal.signal(signal.SIGALRM, stop)
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        found = [said(lambda: shmrt.all_reduce(torch.ones(1))) for _ in range(2)]
        signal.signal(signal.SIGALRM, before)
        said_it.touch()
    else:
        wait_for(said_it)
        found = [said(reduce_until_it_fails)]
    shmrt.finalize()
    return found


def stop(number: int, frame: object) -> None:
    raise KeyError("of a handler")


def reduce_until_it_fails() -> None:
    for _ in range(100):
        shmrt.all_reduce(torch.ones(1))


def test_interrupted_elsewhere(two_ranks, tmp_path):
    pool = two_ranks(SHMRT_DISABLE="1")
    (first, second), ((code, text),) = pool.call(interrupted, tmp_path / "said", timeout=120)
    assert first[0] == "KeyError"
    assert_documented("rank {rank} has given up a collective", second[1], second[0])
    assert_documented("{what} with {whom} failed: {why}", text, code)


def late_elsewhere(said_it: Path) -> tuple[str, str]:
    shmrt.init()
    is_usable()
    found = ("0", "")
    if shmrt.rank() == 0:
        found = said(reduce_until_it_fails)
        said_it.touch()
    else:
        wait_for(said_it)
    shmrt.finalize()
    return found


def test_late_elsewhere(two_ranks, tmp_path):
    pool = two_ranks(SHMRT_DISABLE="1", SHMRT_TIMEOUT="1")
    (code, text), _ = pool.call(late_elsewhere, tmp_path / "said", timeout=120)
    assert_documented("{what} with {whom} took more than {seconds} s", text, code)


def test_several_machines(monkeypatch):
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "2"), ("LOCAL_WORLD_SIZE", "1")):
        monkeypatch.setenv(name, value)
    job = f"errors-{uuid.uuid4().hex}"
    words = "the launcher counts {ranks} on this machine"
    refused(words, lambda: shmrt.init(0, 2, job=job, settings={"rendezvous_timeout": 0.2}))
    assert not shmrt.is_initialized()


def test_engine(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = str(taken.getsockname()[1])  # nobody listens there, and nobody else can
        monkeypatch.delenv("MASTER_ADDR", raising=False)
        monkeypatch.setenv("MASTER_PORT", port)
        refused("they do not find each other: set MASTER_ADDR", lambda: _engine.environment_store(1, 2, 0.3))
        monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
        refused("no store of rank 0 at MASTER_ADDR", lambda: _engine.environment_store(1, 2, 0.3))
        taken.listen()
        refused("rank 0 can't hold a store at", lambda: _engine.environment_store(0, 2, 0.3))
    monkeypatch.setenv("MASTER_PORT", "x")
    refused("set it to one that is free", lambda: _engine.environment_store(0, 2, 0.3))
    monkeypatch.setenv("SHMRT_ENGINE", "pigeons")
    refused("this PyTorch ({package}) has", lambda: _engine.make(None, [[0]], 0, 0.3))


def head(**changes: int) -> bytes:
    """The head of a file of the flight recorder, as of a rank of 2."""
    values = {"magic": recorder.MAGIC, "version": recorder.VERSION, "size": 2} | changes
    names = ("magic", "version", "rank", "size", "pid", "newest_at", "ring_at", "records")
    layout = "<" + recorder.HEAD
    numbers = [values.get(name, 0) for name in names]
    rest = len(struct.unpack(layout, bytes(struct.calcsize(layout)))) - len(numbers) - 2
    return struct.pack(layout, *numbers, *[0] * rest, b"", b"")


@pytest.mark.parametrize(
    ("words", "data"),
    [
        ("bytes are too few for a file of SHMRT_RECORDER", b"x"),
        ("{file}: not a file of SHMRT_RECORDER", head(magic=1)),
        ("of the format, not {number}: use the job's own shmrt", head(version=99)),
        ("its head is damaged, or the file is cut", head()),
        ("{file}: too large for a file of SHMRT_RECORDER", bytes(recorder.MOST_BYTES + 1)),
    ],
)
def test_recorder(tmp_path, words, data):
    file = tmp_path / "records"
    file.write_bytes(data)
    refused(words, lambda: recorder.read(str(file)))


@pytest.mark.parametrize(
    ("words", "env"),
    [
        ("or set RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT", {}),
        ("{variable}={value} is not {what}", {"RANK": "0", "WORLD_SIZE": "two"}),
        ("{variable} is set but {other} is not", {"RANK": "0"}),
        ("RANK and WORLD_SIZE are set but MASTER_ADDR", {"RANK": "0", "WORLD_SIZE": "2"}),
        ("ranks on several machines and does not say", OPENMPI),
        ("does not begin with a host: set MASTER_ADDR", SLURM | {"SLURM_STEP_NODELIST": "["}),
        ("is not as Slurm writes it, such as 2(x3),1", SLURM | {"SLURM_STEP_TASKS_PER_NODE": "2 and 1"}),
        ("does not name the job: set MASTER_PORT", {"PMI_RANK": "1", "PMI_SIZE": "4", "MASTER_ADDR": "host"}),
    ],
)
def test_environment(words, env):
    before = dict(env)
    refused(words, lambda: complete(env))
    assert env == before


@pytest.mark.parametrize(
    ("words", "tensor", "op"),
    [
        ("can't reduce dtype {dtype}; it reduces", torch.zeros(3, dtype=torch.complex64), "sum"),
        ("reduces plain (dense, strided) CPU tensors", torch.ones(3).to_sparse(), "sum"),
        ("writes its result into its argument, but several", torch.ones(1).expand(3), "sum"),
        ("is not a reduction; use one of", torch.ones(3), "mean"),
    ],
)
def test_operators(alone, words, tensor, op):
    refused(words, lambda: shmrt.all_reduce(tensor, op))


def test_gradients(alone):
    leaf = torch.ones(3, requires_grad=True)
    words = 'has no gradient for "{op}", only for "sum" and "avg"'
    refused(words, lambda: shmrt.inference_all_reduce(leaf, "max").sum().backward())
    operator = torch.ops.deepspeed.inference_all_reduce
    refused("has no forward-mode derivative; use backward()", lambda: torch.func.jvp(operator, (leaf,), (leaf,)))


def add_norm(x, residual=None, weight=None, bias=None, eps=1e-5, kind="rms"):
    weight = torch.ones(4) if weight is None else weight
    residual = torch.ones_like(x) if residual is None else residual
    if kind == "rms":
        return torch.ops.shmrt.all_reduce_add_rms_norm(x, residual, weight, eps)
    return torch.ops.shmrt.all_reduce_add_layer_norm(x, residual, weight, bias, eps)


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        ("needs all tensors of one dtype on one device", {"residual": torch.ones(2, 4).bfloat16()}),
        ("norms the last dimension of x, so {name} must be", {"weight": torch.ones(3)}),
        ("norms the last dimension of x, so {name} must be", {"bias": torch.ones(3), "kind": "layer"}),
        ("can't norm dtype {dtype}; use float32", {"x": torch.ones(2, 4).double(), "weight": torch.ones(4).double()}),
        ("norms the last dimension of x, but x is a scalar", {"x": torch.ones(())}),
        ("adds without broadcasting: x is", {"residual": torch.ones(4)}),
        ("needs eps of 0 or more, not", {"eps": -1.0}),
        ("has no gradient: call it under torch.no_grad() or", {"weight": torch.ones(4, requires_grad=True)}),
    ],
)
def test_norms(alone, words, arguments):
    refused(words, lambda: add_norm(**({"x": torch.ones(2, 4)} | arguments)), OPERATOR)
