# SPDX-License-Identifier: Apache-2.0
"""The c10d backend, used as it should not be: an error on every rank, and the processes go on."""

import datetime
import errno
import os
import threading

import pytest
import shmrt
import torch
import torch.distributed as dist
import trouble
from rankpool import free_port
from trouble import told

# For ranks that wait for nobody: PyTorch's own waits, and ours.
SHORT = {"LIMIT_S": "4", "SHMRT_RENDEZVOUS_TIMEOUT": "4"}


def env(name: str) -> int:
    return int(os.environ[name])


def start(**keywords) -> None:
    dist.init_process_group("shmrt", timeout=datetime.timedelta(seconds=int(os.environ.get("LIMIT_S", 60))), **keywords)


def total(value: float, group=None) -> float:
    x = torch.full((1000,), value)
    dist.all_reduce(x, group=group)
    return x[0].item()


def stop() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def start_and_add(value: float) -> tuple[tuple[int, str], float]:
    came = told(start)
    return came, total(value) if came == (0, "") else 0.0


def new_job() -> float:
    """A group can be made again, and adds up."""
    stop()
    start()
    result = total(1.0)
    stop()
    return result


@pytest.fixture
def again(ranks, request):
    """After a test: the same processes as a new job."""
    used = []

    def get(*args, **keywords):
        pool = ranks(*args, **keywords)
        used.append(pool)
        return pool

    yield get
    for pool in [] if getattr(request.node, "has_failed", False) else used:
        pool.call(stop)
        pool.renew()
        assert pool.call(new_job) == [float(pool.size)] * pool.size


def test_two_jobs_with_one_port(again):
    """The second job's rank 0 can't have the port, its rank 1 finds nobody. The first doesn't notice."""
    same = {"MASTER_PORT": str(free_port())}
    first, second = again(2, same), again(2, same | SHORT, which=1)
    assert first.call(start_and_add, 1.0) == [((0, ""), 2.0)] * 2
    second.start(start_and_add, 10.0)
    assert first.call(total, 1.0) == [2.0] * 2
    (_, text), came = (value[0] for ok, value in second.collect(timeout=90))
    assert "address already in use" in text.lower() or "EADDRINUSE" in text, text
    assert came != (0, "")
    assert first.call(total, 1.0) == [2.0] * 2


class OtherVersion(dist.Store):
    """Lets a rank publish another version of the library."""

    def __init__(self, inner: dist.Store) -> None:
        super().__init__()
        self.inner = inner

    def set(self, key, value):
        data = value.encode() if isinstance(value, str) else bytes(value)
        self.inner.set(key, data.replace(shmrt.__version__.encode(), b"0.0.7") if "facts" in key else data)

    def get(self, key):
        return self.inner.get(key)

    def add(self, key, value):
        return self.inner.add(key, value)

    def check(self, keys):
        return self.inner.check(keys)

    def wait(self, keys, *limit):
        self.inner.wait(keys, *limit)


def start_with_another_version(path: str) -> tuple[int, str]:
    store = dist.FileStore(path, env("WORLD_SIZE"))
    if env("RANK") == 1:
        store = OtherVersion(store)
    return told(lambda: start(store=store, rank=env("RANK"), world_size=env("WORLD_SIZE")))


def test_another_version(again, tmp_path):
    for _, text in again(2).call(start_with_another_version, str(tmp_path / "store")):
        assert shmrt.__version__ in text and "0.0.7" in text and "rank 1" in text, text


def test_off_on_one_rank_only(again):
    """All take the other way together, and stats() says why."""
    pool = again(2, {"SHMRT_DISABLE": [None, "1"]})
    assert pool.call(start_and_add, 1.0) == [((0, ""), 2.0)] * 2
    for fallbacks in pool.call(fallbacks_of_the_world):
        assert fallbacks == {"shared memory is off: SHMRT_DISABLE=1 on rank 1": 1}


def fallbacks_of_the_world() -> dict[str, int]:
    return shmrt.stats()["groups"][dist.group.WORLD.group_name]["fallbacks"]


def start_with_own_size() -> tuple[int, str]:
    return told(lambda: start(rank=env("RANK"), world_size=2 + env("RANK")))


def test_ranks_that_disagree_on_their_number(again):
    pool = again(2, SHORT)
    outcomes = pool.call(start_with_own_size, timeout=100)
    assert all(code != 0 for code, _ in outcomes) and any("WORLD_SIZE" in text for _, text in outcomes), outcomes


def fork_and_go_on() -> tuple[str, float]:
    start()
    total(1.0)
    dist.all_reduce(torch.ones(8), async_op=True).wait()  # there is a thread now, which the child lacks
    return trouble.told_in_a_child(lambda: total(1.0)), total(1.0)


def test_a_forked_child(again):
    for rank, (said, after) in enumerate(again(2).call(fork_and_go_on)):
        assert f"forked from rank {rank}" in said and after == 2.0, said


def in_threads(*works) -> list[str]:
    wrong: list[str] = []

    def run(work) -> None:
        for turn in range(100):
            if not work(turn):
                wrong.append(f"{work.__name__} {turn}")

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    return wrong + [thread.name for thread in threads if thread.is_alive()]


def use_threads() -> list[str]:
    """Two on one group, which give the same; two on groups of their own; one of them on the operators."""
    start()
    shmrt.init()
    size = dist.get_world_size()
    first, second = dist.new_group(), dist.new_group()

    def same(_) -> bool:
        return total(3.0) == 3.0 * size

    def on_first(turn) -> bool:
        return total(float(turn), first) == float(turn) * size

    def on_second(turn) -> bool:
        x = torch.full((turn + 1,), 2.0)
        dist.all_reduce(x, op=dist.ReduceOp.MAX, group=second, async_op=True).wait()
        return bool((x == 2.0).all())

    def on_operators(turn) -> bool:
        return trouble.sum_of(float(turn)) == float(turn) * size

    wrong = in_threads(same, same) + in_threads(on_first, on_second, on_operators)
    shmrt.finalize()
    return wrong


def test_threads(again):
    assert again(2).call(use_threads, timeout=300) == [[], []]


class Squares(torch.utils.data.Dataset):
    def __len__(self):
        return 6

    def __getitem__(self, index):
        return torch.tensor(float(index * index))


class CallsAGroup(Squares):
    def __getitem__(self, index):
        dist.all_reduce(torch.ones(2))
        return torch.ones(1)


def load_beside_async() -> tuple[list[float], tuple[int, str], float]:
    """Workers are forked while the group's own thread has work; then workers that call the group."""
    start()
    works, tensors, seen = [], [], []
    for batch in torch.utils.data.DataLoader(Squares(), num_workers=2):
        tensors.append(torch.ones(100))
        works.append(dist.all_reduce(tensors[-1], async_op=True))
        seen.append(batch.item())
    for work in works:
        work.wait()
    bad = told(lambda: list(torch.utils.data.DataLoader(CallsAGroup(), num_workers=2)))
    return seen + [t.sum().item() for t in tensors], bad, total(1.0)


def test_workers_of_a_data_loader(again):
    for seen, (code, text), after in again(2).call(load_beside_async):
        assert seen == [index * index for index in range(6)] + [200.0] * 6
        assert code == 0 and "DataLoader worker" in text and "forked" in text and after == 2.0, (code, text)


def two_shapes() -> tuple[tuple[int, str], tuple[int, str]]:
    start()
    first = told(lambda: dist.all_reduce(torch.ones(100 + env("RANK"))))
    return first, told(lambda: dist.all_reduce(torch.ones(4)))


def test_other_shapes(again):
    for (_, text), (_, later) in again(2).call(two_shapes):
        assert "100" in text and "101" in text and "disagree" in text, text
        assert "disagree" in later, later


def reduce_meta() -> tuple[tuple[int, str], float]:
    start()
    return told(lambda: dist.all_reduce(torch.ones(4, device="meta"))), total(1.0)


def test_a_tensor_without_data(again):
    """PyTorch itself has that call do nothing: no rank waits in it."""
    assert again(2).call(reduce_meta) == [((0, ""), 2.0)] * 2


def wait_for_the_other() -> tuple[int, str]:
    return told(lambda: dist.all_reduce(torch.ones(4)))


def test_a_rank_leaves_while_another_waits(again):
    pool = again(2)
    pool.call(start)
    pool.start(wait_for_the_other, only=[0])
    pool.call(stop, only=[1])
    ((ok, (_, text)),) = pool.collect(timeout=60, only=[0])
    assert ok and "rank 1" in text and "destroyed" in text, text


def start_twice() -> tuple[str, float]:
    start()
    _, text = told(start)
    return text, total(1.0)


def test_started_twice(again):
    for text, after in again(2).call(start_twice):
        assert "twice" in text and after == 2.0, text


def start_apart(path: str) -> tuple[int, str]:
    try:
        with trouble.own_network(env("RANK") == 1):
            store = dist.FileStore(path, env("WORLD_SIZE"))
            return told(lambda: start(store=store, rank=env("RANK"), world_size=env("WORLD_SIZE")))
    except PermissionError as error:
        return -2, str(error)


def test_machines_that_do_not_reach_each_other(again, tmp_path):
    pool = again(2, SHORT)
    outcomes = pool.call(start_apart, str(tmp_path / "store"))
    if any(code == -2 for code, _ in outcomes):
        pytest.skip("no network namespace can be made here")
    for code, text in outcomes:
        assert code == errno.ENETUNREACH and "can't connect" in text and "ranks 0, 1" in text, text
