// SPDX-License-Identifier: Apache-2.0
/* errors.h - how a failure becomes a Python exception, and how a thread lets go of the GIL. */
#pragma once

#include <pybind11/pybind11.h>

#include <optional>
#include <string>

namespace shmrt
{

/** Throw shmrt.Error(text, code); @code is a positive errno value. Takes the GIL for it. */
[[noreturn]] void throw_error(int code, const std::string &text);

/**
 * Released - the calling thread does without the GIL while this lives
 *
 * Operators arrive without it, plain bindings with it: both may stand in front of a wait that lasts
 * for minutes, and the callbacks of the library take the GIL, so nothing here may wait while
 * holding it.
 */
class Released
{
  public:
    Released()
    {
        if (PyGILState_Check())
            release_.emplace();
    }

  private:
    std::optional<pybind11::gil_scoped_release> release_;
};

} // namespace shmrt
