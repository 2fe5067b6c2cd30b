# SPDX-License-Identifier: Apache-2.0
"""Lets ``torch.distributed.init_process_group("shmrt")`` work without ``import shmrt``.

``import torch`` calls register(), found as an entry point of the group torch.backends. So it loads no
library, imports nothing of shmrt, and never raises, which would break every ``import torch``. shmrt
itself is imported when the first group is made, and what is wrong with it is raised there.
"""

import os


def create(options, backend_options=None):  # type: ignore[no-untyped-def]
    """Import shmrt, which registers its own creator in place of this one, and make the group."""
    from shmrt import _backend

    return _backend.create(options, backend_options)


def register() -> None:
    if os.environ.get("SHMRT_DEEPSPEED") == "1":
        _arm_deepspeed()
    try:
        import torch.distributed as dist

        if dist.is_available() and "shmrt" not in dist.Backend.backend_list:
            dist.Backend.register_backend("shmrt", create, extended_api=True, devices=["cpu"])
    except Exception:  # as where a PyTorch has no torch.distributed, or another one than this was written for
        pass


def _arm_deepspeed() -> None:
    try:
        import shmrt_hooks

        shmrt_hooks.arm_deepspeed()
    except Exception:  # not installed, or broken: DeepSpeed then does without us
        pass
