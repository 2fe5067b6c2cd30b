# SPDX-License-Identifier: Apache-2.0
"""Defining operators of a namespace that belongs to somebody else."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Operator:
    schema: str  # without the name
    function: Callable[..., Any]
    takes_tensors: bool = True


_ours: dict[str, torch.library.Library] = {}  # an operator is gone with its Library


def define(namespace: str, operators: Mapping[str, Operator]) -> bool:
    """Define all of them, once, or none if another library has one of these names: they share their state.

    Return: are they ours?
    """
    if namespace in _ours:
        return True
    if any(hasattr(getattr(torch.ops, namespace), name) for name in operators):
        return False
    library = torch.library.Library(namespace, "FRAGMENT")
    for name, operator in operators.items():
        library.define(name + operator.schema)
        library.impl(name, operator.function, "CPU" if operator.takes_tensors else "CompositeExplicitAutograd")
    _ours[namespace] = library
    return True


def library_of(namespace: str) -> torch.library.Library:
    return _ours[namespace]
