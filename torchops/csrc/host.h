// SPDX-License-Identifier: Apache-2.0
/*
 * host.h - what this library needs of the program that it is loaded into.
 *
 * The library knows nothing of Python: shmrt._C tells it how errors are raised there, how to log,
 * when a signal handler wants to be heard, and how a thread lets go of the GIL. A C++ program need
 * tell it nothing: then errors are thrown as Failure, and lines go to stderr.
 */
#pragma once

#include <shmrt.h>

#include <exception>
#include <stdexcept>
#include <string>

namespace shmrt
{

/** An error without Python: @code is a positive errno value, what() the text for a person. */
class Failure : public std::runtime_error
{
  public:
    Failure(int code, const std::string &text) : std::runtime_error(text), code_(code)
    {
    }
    int code() const noexcept
    {
        return code_;
    }

  private:
    int code_;
};

struct Host {
    /** Throws the host's own kind of error; called by threads of the host only, see Background. */
    void (*raise)(int code, const std::string &text);
    void (*log)(shmrt_log_level level, const char *line);
    /** What a signal handler has raised since the last time; usually nothing. */
    std::exception_ptr (*check_signals)();
    /** Let go of what the calling thread holds of the host (the GIL); the answer is for restore. */
    void *(*release)();
    void (*restore)(void *released);
};

/** Called once, before anything else of this library. */
void set_host(const Host &host);
const Host &host();

/**
 * Background - a thread that this library has started, as long as it lives; or a scope like one
 *
 * Its errors are stored, and seen by other threads later: they are Failures until throw_error()
 * raises them again on a thread of the host. Scopes may nest.
 */
class Background
{
  public:
    Background();
    ~Background();
    Background(const Background &) = delete;
    Background &operator=(const Background &) = delete;

  private:
    const bool before_; /* one may live inside another, or around a few calls of a host's thread */
};

/**
 * Foreground - a scope in which code of the host runs, a signal or log handler for example
 *
 * It may run inside of a Background, as handlers do during a wait; what it calls of this library
 * fails in the host's own kind of error.
 */
class Foreground
{
  public:
    Foreground();
    ~Foreground();
    Foreground(const Foreground &) = delete;
    Foreground &operator=(const Foreground &) = delete;

  private:
    const bool before_;
};

/**
 * Released - the calling thread does without the GIL while this lives
 *
 * Operators arrive without it, plain bindings with it: both may stand in front of a wait that lasts
 * for minutes, and the hooks take it, so nothing here may wait while holding it.
 */
class Released
{
  public:
    Released() : released_(host().release())
    {
    }
    ~Released()
    {
        if (released_)
            host().restore(released_);
    }
    Released(const Released &) = delete;
    Released &operator=(const Released &) = delete;

  private:
    void *released_;
};

} // namespace shmrt
