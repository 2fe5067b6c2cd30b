// SPDX-License-Identifier: Apache-2.0
/*
 * combine.h - the machines' partial results, combined and finished.
 *
 * The rules are those of shmrt_allreduce(): 16-bit floats in fp32, rounded once; integers wrap; min
 * and max propagate NaN and take -0 for less than +0; a NaN result is the type's canonical one.
 */
#pragma once

#include <shmrt.h>

#include <cstddef>

namespace shmrt
{

/** The type that partial results of @dtype have: fp32 for 16-bit floats, else @dtype itself. */
shmrt_dtype wide_dtype(shmrt_dtype dtype);

/** @count 16-bit floats of @dtype as fp32. */
void widen(float *out, const void *in, std::size_t count, shmrt_dtype dtype);

/**
 * Combine @n vectors of wide_dtype(@dtype) in their order, divide by @ranks if @op is avg, and
 * store @count elements of @dtype. @out may be none of @terms.
 */
void combine(void *out, const void *const *terms, int n, std::size_t count, shmrt_dtype dtype,
             shmrt_op op, int ranks);

} // namespace shmrt
