# SPDX-License-Identifier: Apache-2.0
"""PyTorch's own distributed tests, made to run against a backend of our choice.

Nothing of PyTorch is copied here: the tests are imported from the installed torch (or, for a suite that the
wheel does not have, from a file named on the command line) and steered from outside.
"""

import importlib
import os
import sys
import unittest
from pathlib import Path

GLOO = "gloo"
SPAWNED = "CONFORMANCE_SPAWNED"


def _name_backend_in_lists(backend: str) -> None:
    """What PyTorch's tests ask of a backend's name, answered for `backend` as for Gloo."""
    from torch.testing._internal.common_distributed import DistTestCases

    for feature, names in DistTestCases.backend_feature.items():
        if GLOO in names or feature == "plugin":
            names.add(backend)


def _forked(case: type) -> type:
    """The same test class, with ranks forked from this process, which has imported torch but run nothing."""
    import torch.multiprocessing

    def _spawn_processes(self) -> None:
        self._start_processes(torch.multiprocessing.get_context("fork").Process)

    case._spawn_processes = _spawn_processes
    return case


def _run_as(suite, probe: str, backend: str) -> None:
    """One helper asks for the name while it runs, only to tell CPUs from GPUs: it sees Gloo's."""
    base = suite.DistributedTest._DistTestBase
    helper = base._test_accumulate_gradients_no_sync

    def as_probe(self, *args, **kwargs):
        suite.BACKEND = probe
        try:
            helper(self, *args, **kwargs)
        finally:
            suite.BACKEND = backend

    base._test_accumulate_gradients_no_sync = as_probe


def load_distributed_test(backend: str, as_if: str, fork: bool) -> list[type]:
    """torch.testing._internal.distributed.distributed_test against `backend`.

    Most of its conditions are evaluated when it is imported, and many ask for a name: so it is imported as
    for Gloo (`as_if`), and told the real name afterwards. No test is then skipped that Gloo would run.
    """
    os.environ["BACKEND"] = as_if
    # Both are set again for each test, by its setUp; at import it is only asked whether they are files.
    os.environ.setdefault("TEMP_DIR", "/dev/null/not-set")
    os.environ.setdefault("INIT_METHOD", "file:///dev/null/not-set")
    _name_backend_in_lists(backend)
    if backend != GLOO:
        importlib.import_module(backend)
    from torch.testing._internal.distributed import distributed_test as suite

    os.environ["BACKEND"] = suite.BACKEND = backend
    for names in (
        suite.PROFILING_SUPPORTED_BACKENDS,
        suite.CUDA_PROFILING_SUPPORTED_BACKENDS,
        suite.SEND_RECV_PROFILING_SUPPORTED_BACKENDS,
    ):
        if backend not in names:
            names.append(backend)

    _run_as(suite, GLOO, backend)

    class TestDistBackendWithSpawn(suite.TestDistBackend, suite.DistributedTest._DistTestBase):
        def setUp(self):
            super().setUp()
            suite.INIT_METHOD = os.environ["INIT_METHOD"]
            self._spawn_processes()

    # A spawned rank finds the class by this name, once it has loaded the suite as this process has.
    if not fork:
        os.environ[SPAWNED] = f"{backend} {as_if}"
    TestDistBackendWithSpawn.__module__ = __name__
    TestDistBackendWithSpawn.__qualname__ = TestDistBackendWithSpawn.__name__
    globals()[TestDistBackendWithSpawn.__name__] = TestDistBackendWithSpawn
    others = [
        value
        for value in vars(suite).values()
        if isinstance(value, type)
        and issubclass(value, unittest.TestCase)
        and value.__module__ == suite.__name__
        and value is not suite.TestDistBackend
    ]
    return [_forked(TestDistBackendWithSpawn) if fork else TestDistBackendWithSpawn, *others]


def _for_gloo(function, backend: str):
    """`function`, which makes groups, with `backend` wherever a test asks for Gloo."""

    def call(*args, **kwargs):
        args = tuple(backend if arg == GLOO else arg for arg in args)
        if kwargs.get("backend") == GLOO:
            kwargs["backend"] = backend
        group = function(*args, **kwargs)
        _answer_create_device()
        return group

    return call


def _answer_create_device() -> None:
    """Two tests create a device of Gloo's by way of the group's backend, and do nothing with it."""
    import torch
    from torch.distributed import distributed_c10d as c10d

    if c10d.is_initialized():
        kind = type(c10d._get_default_group()._get_backend(torch.device("cpu")))
        if not hasattr(kind, "create_device"):
            kind.create_device = staticmethod(c10d.ProcessGroupGloo.create_device)


class _WithStandIn:
    """torch.distributed as the tests see it; all others, shmrt's own Gloo groups among them, see the real one."""

    def __init__(self, module, **stand_ins) -> None:
        self.__dict__.update(stand_ins, _module=module)

    def __getattr__(self, name: str):
        return getattr(self._module, name)


class _InPlaceOfGloo:
    """Called as torch.distributed.ProcessGroupGloo is: makes a bare backend, as the plug-in's creator does."""

    def __init__(self, gloo: type, backend: str) -> None:
        self._gloo, self._backend = gloo, backend

    def __getattr__(self, name: str):
        return getattr(self._gloo, name)

    def __call__(self, store, rank: int, size: int, options=None, timeout=None):
        from torch.distributed import distributed_c10d as c10d

        timeout = options._timeout if options is not None else timeout or c10d.default_pg_timeout
        plugin = c10d.Backend._plugins[self._backend.upper()]
        if not plugin.extended_api:
            return plugin.creator_fn(store, rank, size, timeout)
        wanted = c10d._DistributedBackendOptions()
        wanted.store, wanted.group_rank, wanted.group_size = store, rank, size
        wanted.timeout, wanted.group_id, wanted.global_ranks_in_group = timeout, "bare", list(range(size))
        return plugin.creator_fn(wanted, None)


def _stand_in_for_gloo(backend: str) -> None:
    import torch.distributed as dist
    from torch.distributed import distributed_c10d as c10d

    importlib.import_module(backend)
    for name in ("init_process_group", "new_group"):
        stand_in = _for_gloo(getattr(c10d, name), backend)
        setattr(dist, name, stand_in)
        setattr(c10d, name, stand_in)


def load_outside(backend: str, path: Path, fork: bool) -> list[type]:
    """A file of PyTorch's test/distributed, written for Gloo, against `backend`."""
    _name_backend_in_lists(backend)
    if backend != GLOO:
        _stand_in_for_gloo(backend)
    sys.path.insert(0, str(path.resolve().parent))
    suite = importlib.import_module(path.stem)
    if backend != GLOO and hasattr(suite, "c10d"):
        suite.c10d = _WithStandIn(suite.c10d, ProcessGroupGloo=_InPlaceOfGloo(suite.c10d.ProcessGroupGloo, backend))
    classes = [
        value
        for value in vars(suite).values()
        if isinstance(value, type) and issubclass(value, unittest.TestCase) and value.__module__ == suite.__name__
    ]
    return [_forked(case) if fork and hasattr(case, "_spawn_processes") else case for case in classes]


def load_tests_of(classes: list[type]) -> list[unittest.TestCase]:
    loader = unittest.TestLoader()
    return [case(name) for case in classes for name in loader.getTestCaseNames(case)]


if SPAWNED in os.environ:
    load_distributed_test(*os.environ[SPAWNED].split(), fork=False)
