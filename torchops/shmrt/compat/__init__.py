# SPDX-License-Identifier: Apache-2.0
"""Other projects' names of operators for shared memory, defined on request, so that these projects need no change.

import shmrt.compat.vllm
shmrt.compat.vllm.define()        # before vLLM looks for torch.ops._C.init_shm_manager

import shmrt.compat.sglang
shmrt.compat.sglang.define()      # before SGLang calls torch.ops.sgl_kernel.initialize
"""
