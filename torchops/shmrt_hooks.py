# SPDX-License-Identifier: Apache-2.0
"""Runs a function when a module of another package has been imported.

It stands outside the package shmrt, because importing that loads PyTorch and our library, and what
is here may run in a process that never needs either.
"""

import importlib
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

# Where DeepSpeed keeps the builder of its own shared-memory library, installed and in a checkout of its
# sources, and where it calls the operator.
DEEPSPEED_MODULES = ("deepspeed.ops.op_builder.cpu.comm", "op_builder.cpu.comm", "deepspeed.comm.torch")


class _AfterImport(MetaPathFinder):
    """Finds nothing itself: adds the function to the loader that another finder gives."""

    def __init__(self, names: Sequence[str], function: Callable[[], None]) -> None:
        self.names, self.function = names, function

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self.names:
            return None
        for finder in sys.meta_path:
            spec = finder.find_spec(fullname, path, target) if finder is not self else None
            if spec is not None and spec.loader is not None:
                self._add_to(spec.loader)
                return spec
        return None

    def _add_to(self, loader: Loader) -> None:
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            self.function()

        loader.exec_module = exec_module  # type: ignore[method-assign]


def after_import(names: Sequence[str], function: Callable[[], None]) -> None:
    """Call function() each time that one of the modules `names` has just been imported."""
    sys.meta_path.insert(0, _AfterImport(names, function))


class _Refuse(MetaPathFinder):
    def __init__(self, name: str, reason: str) -> None:
        self.name, self.reason = name, reason

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if fullname == self.name:
            raise ImportError(self.reason, name=fullname)


def refuse_import(name: str, reason: str) -> None:
    """From now on importing `name` is an ImportError that gives the reason."""
    if not any(isinstance(finder, _Refuse) and finder.name == name for finder in sys.meta_path):
        sys.meta_path.insert(0, _Refuse(name, reason))


def _adopt_deepspeed() -> None:
    importlib.import_module("shmrt._deepspeed").adopt()


def arm_deepspeed() -> None:
    """From now on DeepSpeed's modules get our operators as they are imported. Once is enough."""
    if not any(isinstance(finder, _AfterImport) and finder.names is DEEPSPEED_MODULES for finder in sys.meta_path):
        after_import(DEEPSPEED_MODULES, _adopt_deepspeed)
