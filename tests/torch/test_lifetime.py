# SPDX-License-Identifier: Apache-2.0
"""init and its kin, LOCAL_SIZE, what stats() and report() say, fork, and the process itself."""

import errno
import os
import subprocess
import sys
import textwrap

import pytest
import shmrt
import torch
from rankpool import rank_environment


def run_python(code: str, env: dict[str, str | None] | None = None) -> subprocess.CompletedProcess:
    """A lone process that no launcher started."""
    variables = rank_environment(0, 1, f"lone-{os.getpid()}", 29511)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_SIZE"):
        del variables[name]
    variables |= {k: v for k, v in (env or {}).items() if v is not None}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=variables, capture_output=True, text=True, timeout=120
    )


def init_and_sum() -> float:
    shmrt.init()
    return shmrt.all_reduce(torch.ones(1)).item()


def initialize_and_sum() -> float:
    shmrt.initialize(int(os.environ["WORLD_SIZE"]), int(os.environ["RANK"]))
    return shmrt.all_reduce(torch.ones(1)).item()


@pytest.mark.parametrize("start", [init_and_sum, initialize_and_sum])
def test_local_size_is_no_number(fresh_ranks, start):
    for ok, text in fresh_ranks(2, {"LOCAL_SIZE": "two"}).outcomes(start):
        assert not ok and "shmrt._errors.Error: LOCAL_SIZE='two'" in text


@pytest.mark.parametrize(
    "local_size, start, warnings",
    [
        (None, initialize_and_sum, 1),
        ("8", initialize_and_sum, 1),
        ("2", initialize_and_sum, 0),
        ("8", init_and_sum, 1),
        (None, init_and_sum, 0),
    ],
)
def test_local_size_is_not_believed(fresh_ranks, local_size, start, warnings):
    """init() is for launchers that have never heard of LOCAL_SIZE, so there its absence is no news."""
    pool = fresh_ranks(2, {"LOCAL_SIZE": local_size})
    assert pool.call(start) == [2.0, 2.0]
    assert pool.call(start) == [2.0, 2.0]
    for rank in range(2):
        assert pool.output(rank).count("LOCAL_SIZE is") == warnings, pool.output(rank)


@pytest.mark.parametrize(
    "names",
    [
        ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
        ("PMI_RANK", "PMI_SIZE"),
        ("SLURM_PROCID", "SLURM_NTASKS"),
    ],
)
def test_init_under_other_launchers(fresh_ranks, names):
    env = {"RANK": None, "WORLD_SIZE": None, "LOCAL_SIZE": None, names[0]: ["0", "1"], names[1]: "2"}
    assert fresh_ranks(2, env).call(init_and_sum) == [2.0, 2.0]


def test_init_without_a_launcher():
    done = run_python(
        """
        import shmrt
        try:
            shmrt.init()
        except shmrt.Error as error:
            print(error.code, error)
        shmrt.init(0, 1)
        print("alone:", shmrt.rank(), shmrt.size(), shmrt.is_initialized())
        """
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{errno.ENOENT} ") and "shm-launch -n N" in done.stdout
    assert "alone: 0 1 True" in done.stdout


def init_again() -> dict[str, object]:
    found: dict[str, object] = {"before": shmrt.is_initialized()}
    shmrt.init()
    shmrt.init()
    shmrt.init(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    found["between"] = shmrt.is_initialized()
    try:
        shmrt.init(0, 1)
    except shmrt.Error as error:
        found["other size"] = str(error)
    try:
        shmrt.init(timeout=5)
    except shmrt.Error as error:
        found["other timeout"] = str(error)
    shmrt.finalize()
    shmrt.finalize()
    found["after"] = shmrt.is_initialized()
    shmrt.init(timeout=5, settings={"lanes": 1})
    found["sum"] = shmrt.all_reduce(torch.ones(1)).item()
    return found


def test_init_twice(fresh_ranks):
    for rank, found in enumerate(fresh_ranks(2).call(init_again)):
        assert (found["before"], found["between"], found["after"]) == (False, True, False)
        assert f"rank {rank} of 2" in found["other size"] and "rank 0 of 1" in found["other size"]
        assert "finalize()" in found["other timeout"]
        assert found["sum"] == 2.0


def bad_arguments() -> list[str]:
    texts = []
    for arguments, keywords in (
        ((0,), {}),
        ((2, 2), {}),
        ((0, 0), {}),
        ((0, 1000), {}),
        ((0, 1), {"timeout": -1}),
        ((0, 1), {"settings": {"lane": 1}}),
        ((0, 1), {"settings": {"kernel": "sse9"}}),
    ):
        try:
            shmrt.init(*arguments, **keywords)
            texts.append("accepted")
            shmrt.finalize()
        except (shmrt.Error, TypeError, ValueError) as error:
            texts.append(str(error))
    return texts


def test_bad_arguments_of_init(fresh_ranks):
    pool = fresh_ranks(1)
    (texts,) = pool.call(bad_arguments)
    words = ("together", "2", "0", "1000", "-1", "lane", "sse9")
    for text, word in zip(texts, words, strict=True):
        assert word in text and text != "accepted", texts
    assert pool.call(init_and_sum) == [1.0]


def counted() -> tuple[dict, dict, str]:
    shmrt.init()
    for _ in range(3):
        torch.ops.deepspeed.inference_all_reduce_(torch.ones(1000))
    torch.ops.deepspeed.inference_all_reduce(torch.ones(100_000))
    shmrt.all_reduce(torch.ones(10, 10).t())
    shmrt.barrier()
    report = shmrt.report()
    return shmrt.stats(), dict(report), str(report)


def test_stats_and_report(fresh_ranks):
    moved = 0
    for rank, (stats, report, text) in enumerate(fresh_ranks(2).call(counted)):
        assert stats["operators"]["deepspeed::inference_all_reduce_"] == 3
        assert stats["operators"]["deepspeed::inference_all_reduce"] == 1
        assert stats["operators"]["shmrt::all_reduce_"] == 1
        assert stats["bytes"] == 3 * 4000 + 400_000 + 400
        assert stats["calls"] >= 5 and stats["seconds"] > 0
        (reason,) = stats["fallbacks"]
        assert "contiguous" in reason and stats["fallbacks"][reason] == 1
        traffic = stats["traffic"]
        assert traffic["groups"] == [0, 0]
        assert traffic["read_from"][rank] == traffic["written_to"][rank] == 0
        moved += sum(traffic["read_from"]) + sum(traffic["written_to"])
        assert (report["rank"], report["size"]) == (rank, 2)
        assert report["kernel"] in shmrt.options() and report["lanes"] >= 1
        assert report["affinity"] and report["pages"] > 0
        assert report["pages_on_node"] + report["pages_unknown"] <= report["pages"]
        assert f"rank {rank} of 2" in text and report["kernel"] in text and "pages" in text
        assert text == report["text"].rstrip("\n")
        assert [line.split()[0] for line in text.splitlines()[1:4]] == ["runs", "segment", "pool"]
        assert report["pages"] * report["page_bytes"] >= 8 << 20
        assert report["pool_pages"] * report["pool_page_bytes"] == report["pool"]["taken"]
        assert report["cpu_nodes"] == report["nodes"] or not report["bound"]
        assert not report["moved"] and "  moved" not in text
    # Between two ranks each way of an all-reduce moves its size twice, be it read or pushed.
    assert moved == 2 * (3 * 4000 + 400_000 + 400)


def in_a_child() -> str:
    """What a forked child gets to hear; the parent goes on afterwards."""
    shmrt.init()
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            shmrt.all_reduce(torch.ones(1))
            text = "no error"
        except shmrt.Error as error:
            text = f"{shmrt.is_initialized()} {error}"
        os.write(write, text.encode())
        os._exit(0)
    os.waitpid(pid, 0)
    text = os.read(read, 4096).decode()
    assert shmrt.all_reduce(torch.ones(1)).item() == 2.0
    return text


def test_a_forked_child_is_not_the_rank(fresh_ranks):
    for rank, text in enumerate(fresh_ranks(2).call(in_a_child)):
        assert text.startswith("False ") and f"forked from rank {rank}" in text


def test_exit_without_finalize(fresh_ranks):
    """A script that just ends is a script that ended well."""
    pool = fresh_ranks(2)
    pool.call(init_and_sum)
    for worker in pool.workers:
        worker.pipe.close()
    assert [w.process.wait(30) for w in pool.workers] == [0, 0]


def test_one_openmp_runtime():
    done = run_python(
        """
        import shmrt, torch
        shmrt.init(0, 1)
        torch.ops.deepspeed.inference_all_reduce_(torch.ones(1 << 20))
        with open("/proc/self/maps") as maps:
            paths = {line.split()[-1] for line in maps if ".so" in line}
        names = ("libgomp", "libomp", "libiomp")
        print(*sorted(p for p in paths if p.rsplit("/", 1)[-1].startswith(names)))
        """
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == 1 and "libgomp" in done.stdout, done.stdout


def test_an_operator_that_exists_already():
    """Somebody else, DeepSpeed's own library perhaps, was first: an exception and no abort."""
    done = run_python(
        """
        import torch
        library = torch.library.Library("deepspeed", "DEF")
        library.define("inference_all_reduce(Tensor self) -> Tensor")
        try:
            import shmrt
        except RuntimeError as error:
            print(type(error).__name__, error)
        torch.ones(1)
        """
    )
    assert done.returncode == 0, done.stderr
    assert "deepspeed::inference_all_reduce" in done.stdout and "Import shmrt before" in done.stdout


def test_the_module_that_deepspeed_expects():
    assert shmrt.vector_kernel_level() == 2
    assert shmrt.__version__ == "0.1.0"
    for name in ("inference_all_reduce", "inference_all_reduce_"):
        for namespace in ("deepspeed", "shmrt"):
            assert hasattr(getattr(torch.ops, namespace), name)


def test_the_error_type():
    import pickle

    error = shmrt.Error("a text", errno.EPROTO)
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, RuntimeError) and (str(again), again.code) == ("a text", errno.EPROTO)
