// SPDX-License-Identifier: Apache-2.0
/* dtypes.cpp - one table, read both ways. */
#include "dtypes.h"

#include <array>

namespace shmrt
{

namespace
{

/* By shmrt_dtype. */
constexpr std::array<at::ScalarType, SHMRT_DTYPE_COUNT> TYPES = [] {
    std::array<at::ScalarType, SHMRT_DTYPE_COUNT> types{};
    types[SHMRT_FLOAT32] = at::kFloat;
    types[SHMRT_FLOAT64] = at::kDouble;
    types[SHMRT_BFLOAT16] = at::kBFloat16;
    types[SHMRT_FLOAT16] = at::kHalf;
    types[SHMRT_INT8] = at::kChar;
    types[SHMRT_UINT8] = at::kByte;
    types[SHMRT_INT16] = at::kShort;
    types[SHMRT_INT32] = at::kInt;
    types[SHMRT_INT64] = at::kLong;
    return types;
}();

} // namespace

std::optional<shmrt_dtype> dtype_of(at::ScalarType type)
{
    for (std::size_t i = 0; i < TYPES.size(); i++)
        if (TYPES[i] == type)
            return static_cast<shmrt_dtype>(i);
    return std::nullopt;
}

at::ScalarType scalar_type(shmrt_dtype dtype)
{
    return TYPES.at(static_cast<std::size_t>(dtype));
}

} // namespace shmrt
