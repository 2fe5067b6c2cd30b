// SPDX-License-Identifier: Apache-2.0
/* group_python.h - what the Python package needs of groups. */
#pragma once

#include "group.h"

#include <pybind11/pybind11.h>

namespace shmrt
{

/** A Python function as an EngineFactory, which may be called and let go of on any thread. */
EngineFactory engine_factory(pybind11::object function);

/** GroupStats as stats() has them. */
pybind11::dict across_dict(const GroupStats &stats);

void bind_groups(pybind11::module_ &module);

} // namespace shmrt
