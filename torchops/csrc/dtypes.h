// SPDX-License-Identifier: Apache-2.0
/* dtypes.h - PyTorch's element types and ours. */
#pragma once

#include <shmrt.h>

#include <c10/core/ScalarType.h>

#include <optional>

namespace shmrt
{

/** Nothing where libshmrt does not reduce @type. */
std::optional<shmrt_dtype> dtype_of(at::ScalarType type);
at::ScalarType scalar_type(shmrt_dtype dtype);

} // namespace shmrt
