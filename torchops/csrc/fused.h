// SPDX-License-Identifier: Apache-2.0
/* fused.h - the operators that reduce, add a residual and norm in one call. */
#pragma once

#include <torch/library.h>

namespace shmrt
{

/**
 * Define all_reduce_add_rms_norm, all_reduce_add_layer_norm and their in-place twins in @library,
 * which is shmrt's, with all kernels.
 */
void define_fused_operators(torch::Library &library);

} // namespace shmrt
