// SPDX-License-Identifier: Apache-2.0
/* process_group_python.h - what shmrt._backend needs of the c10d backend. */
#pragma once

#include <pybind11/pybind11.h>

namespace shmrt
{

void bind_process_group(pybind11::module_ &module);

} // namespace shmrt
