// SPDX-License-Identifier: Apache-2.0
/* operators.h - makes the operators known to PyTorch. */
#pragma once

namespace shmrt
{

/**
 * Define deepspeed::inference_all_reduce, shmrt::inference_all_reduce, shmrt::all_reduce and their
 * in-place twins, and those of fused.h, with all kernels, for the life of the process.
 *
 * A second call does nothing. Where another library has defined one of them already, nothing is
 * registered and shmrt.Error(EEXIST) says who was first: a second definition inside a static
 * initialiser would abort the process.
 */
void register_operators();

} // namespace shmrt
