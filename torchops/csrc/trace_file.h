// SPDX-License-Identifier: Apache-2.0
/* trace_file.h - a file of events as chrome://tracing and Perfetto read them; for trace.cpp. */
#pragma once

#include <chrono>
#include <string>
#include <string_view>

namespace shmrt
{

/**
 * Begin this process's file: @path with the rank in front of its extension. NULL or "": none is
 * wanted. @rank is for a process whose launcher told none. False where there is no file; where one
 * was wanted the log says why.
 */
bool open_trace_file(const char *path, int rank);

/** @arguments: the inside of a JSON object. Any thread, at any time. */
void write_trace_span(std::string_view name, std::chrono::steady_clock::time_point start,
                      std::chrono::steady_clock::time_point stop, const std::string &arguments);
void write_trace_instant(std::string_view name, const std::string &arguments);

/** With its quotes. */
std::string json_string(std::string_view text);

} // namespace shmrt
