// SPDX-License-Identifier: Apache-2.0
/* errors.h - how everything in this library fails. */
#pragma once

#include <string>

namespace shmrt
{

/**
 * Throw what a failure is in the host program (in Python shmrt.Error(text, code)), or a Failure on
 * a thread of this library. @code is a positive errno value.
 */
[[noreturn]] void throw_error(int code, const std::string &text);

/** Of words that go to other ranks: no traceback, which follows in other lines. */
inline std::string first_line(const std::string &text)
{
    return text.substr(0, text.find('\n'));
}

} // namespace shmrt
