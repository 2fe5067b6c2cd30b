// SPDX-License-Identifier: Apache-2.0
/* reduce.h - from tensors to vectors: checks, layouts, and the call into the communicator. */
#pragma once

#include "default_comm.h"

#include <ATen/core/Tensor.h>

#include <string>
#include <string_view>

namespace shmrt
{

/** Which ranks reduce, and may they in shared memory? All ranks of a group say the same. */
struct Target {
    std::string group; /* as find_group() knows it; "" is the default communicator */
    bool use_shm = true;
};

/** The type to reduce @self as; shmrt.Error(ENOTSUP) names the dtype and lists those there are. */
shmrt_dtype checked_dtype(const at::Tensor &self, Operator which);

/** "sum", "min", ... as an operation; shmrt.Error(EINVAL) lists those there are. */
shmrt_op checked_op(std::string_view name);

/**
 * Sum (or @op) over all ranks of @target into a new tensor that is laid out as
 * at::empty_like(self). @self is only read, and goes to the other ranks from where it is when it is
 * contiguous.
 */
at::Tensor reduce(const at::Tensor &self, shmrt_op op, const Target &target, Operator which);

/** The same in place. @self may have any strides, as long as no two elements share memory. */
void reduce_inplace(const at::Tensor &self, shmrt_op op, const Target &target, Operator which);

/** shmrt.Error(EINVAL) where elements of @self, which is to be written, share memory. */
void refuse_overlap(const at::Tensor &self, Operator which);

/** shmrt.Error(ENOTSUP): @self is on a device, or in a layout, that this library doesn't reduce. */
[[noreturn]] void refuse_backend(const at::Tensor &self, Operator which);

} // namespace shmrt
