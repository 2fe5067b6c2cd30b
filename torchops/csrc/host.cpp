// SPDX-License-Identifier: Apache-2.0
/* host.cpp - the hooks, and what serves where a program has set none. */
#include "host.h"

#include "errors.h"
#include "trace.h"

#include <cstdio>

namespace shmrt
{

namespace
{

void raise_failure(int code, const std::string &text)
{
    throw Failure(code, text);
}

void log_to_stderr(shmrt_log_level level, const char *line)
{
    if (is_logged(level))
        std::fprintf(stderr, "shmrt: %s\n", line);
}

std::exception_ptr no_signals()
{
    return nullptr;
}

void *release_nothing()
{
    return nullptr;
}

void restore_nothing(void *)
{
}

/* Set once, by the import of shmrt._C, before there is a second thread in here. */
Host hooks{raise_failure, log_to_stderr, no_signals, release_nothing, restore_nothing};

thread_local bool is_background = false;

} // namespace

void set_host(const Host &host)
{
    hooks = host;
}

const Host &host()
{
    return hooks;
}

Background::Background() : before_(is_background)
{
    is_background = true;
}

Background::~Background()
{
    is_background = before_;
}

Foreground::Foreground() : before_(is_background)
{
    is_background = false;
}

Foreground::~Foreground()
{
    is_background = before_;
}

void throw_error(int code, const std::string &text)
{
    if (!is_background)
        hooks.raise(code, text);
    throw Failure(code, text);
}

} // namespace shmrt
