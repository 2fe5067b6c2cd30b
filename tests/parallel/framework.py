# SPDX-License-Identifier: Apache-2.0
"""In a rank: the process group, and the proof that our backend did the work and nothing took a longer way."""

import collections
import contextlib

import torch
import torch.distributed as dist

joined = {"backend": ""}


def join(backend: str) -> None:
    """Without `import shmrt`: torch finds the backend by its entry point."""
    torch.set_num_threads(1)
    dist.init_process_group(backend)
    joined["backend"] = backend.split(":")[-1]


def leave() -> None:
    dist.destroy_process_group()


def still_usable() -> None:
    """After each test: what it left behind is found out in it, not in the next."""
    dist.barrier()


def backend_of(group=None) -> str:
    """The name of the backend that serves tensors on the CPU."""
    return (group or dist.group.WORLD)._get_backend(torch.device("cpu")).name()


def titles(profile) -> collections.Counter:
    """What backends did, by the names that their works have in a profile: "shmrt:all_reduce"."""
    names = (event.name for event in profile.events())
    return collections.Counter(name for name in names if name.startswith(("shmrt:", "gloo:")))


def fallbacks() -> dict[str, int]:
    import shmrt

    return dict(shmrt.stats()["c10d"]["fallback"])


@contextlib.contextmanager
def native(*collectives: str):
    """What runs inside calls these collectives of our backend, and nothing takes a longer way."""
    before = fallbacks() if joined["backend"] == "shmrt" else {}
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        yield
    done = titles(profile)
    assert all(name.startswith(joined["backend"]) for name in done), f"another backend has worked: {done}"
    if joined["backend"] == "shmrt":
        assert done.keys() >= {f"shmrt:{name}" for name in collectives}, f"called: {done}, expected {collectives}"
        assert fallbacks() == before, f"another way: {before} before, {fallbacks()} after"


def same_on_all(tensor: torch.Tensor) -> None:
    """All ranks hold the same bits."""
    every = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
    dist.all_gather(every, tensor.contiguous())
    for other in every:
        assert torch.equal(other, every[0])


def close(actual: torch.Tensor, expected: torch.Tensor, what: str) -> None:
    torch.testing.assert_close(actual, expected, msg=lambda text: f"{what}: {text}")
