// SPDX-License-Identifier: Apache-2.0
/* python_host.h - Python as the host program of the library; part of shmrt._C. */
#pragma once

namespace shmrt
{

/** Errors become shmrt.Error, lines go to the logger "shmrt", Ctrl-C ends a wait. */
void use_python_as_host();

/** Is there an interpreter, and not one that is at its end? */
bool python_is_usable();

} // namespace shmrt
