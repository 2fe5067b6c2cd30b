// SPDX-License-Identifier: Apache-2.0
/* pool.h - tensors whose memory is a block of the communicator's pool, which all ranks can map. */
#pragma once

#include "default_comm.h"

#include <ATen/core/Tensor.h>

#include <optional>

namespace shmrt
{

/**
 * A CPU tensor in the pool, not filled. Where the pool has no room or is switched off: an ordinary
 * one, counted as a fallback, or shmrt.Error(ENOMEM, ENOTSUP) if @strict.
 */
at::Tensor new_shared(at::IntArrayRef sizes, at::IntArrayRef strides, at::ScalarType dtype,
                      bool strict);

/**
 * What at::empty_like(self) makes of a contiguous @self, for the result of a reduction: in the pool
 * where a copy is spared by that, so for more than one rank and a long vector.
 */
at::Tensor new_result(const at::Tensor &self, Operator which);

/** Is the memory of @self a block of a pool of this process? */
bool is_shared(const at::Tensor &self);

} // namespace shmrt
