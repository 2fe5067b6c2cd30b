# SPDX-License-Identifier: Apache-2.0
"""Is this the PyTorch that the operators were compiled against? Importing this asks, before any of them is loaded."""

import torch

from ._build import TORCH_VERSION


def check_torch_version(found: str = torch.__version__, built: str = TORCH_VERSION) -> None:
    """PyTorch's C++ interface holds within a minor version, and changes without notice from one to the next:
    with another one the module would fail to load with the name of a symbol, or crash in a call."""
    if _minor(found) == _minor(built):
        return
    raise ImportError(
        f"this shmrt was built for PyTorch {_minor(built)} (with {built}), but PyTorch {found} is installed here: "
        f"install torch=={_minor(built)}.*, or build shmrt for the one that is here, "
        "from its source with pip install --no-build-isolation --no-deps --no-cache-dir ."
    )


def _minor(version: str) -> str:
    return ".".join(version.split("+")[0].split(".")[:2])


check_torch_version()
