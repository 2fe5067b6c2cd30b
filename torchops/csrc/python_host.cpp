// SPDX-License-Identifier: Apache-2.0
/*
 * python_host.cpp - the hooks of host.h in Python.
 *
 * Each takes the GIL for itself; who calls them holds none (see Released), so that can't deadlock.
 * No Python object is kept here: classes and loggers are looked up when they are needed.
 */
#include "python_host.h"

#include "host.h"

#include <pybind11/pybind11.h>

#include <cstdio>

namespace py = pybind11;

namespace shmrt
{

bool python_is_usable()
{
#if PY_VERSION_HEX >= 0x030D0000
    return Py_IsInitialized() && !Py_IsFinalizing();
#else
    return Py_IsInitialized() && !_Py_IsFinalizing();
#endif
}

namespace
{

void raise_error(int code, const std::string &text)
{
    py::gil_scoped_acquire gil;
    py::object type = py::module_::import("shmrt._errors").attr("Error");
    PyErr_SetObject(type.ptr(), type(text, code).ptr());
    throw py::error_already_set();
}

/* The method of a logger. */
const char *name_of(shmrt_log_level level)
{
    return level == SHMRT_LOG_WARNING ? "warning" : level == SHMRT_LOG_INFO ? "info" : "debug";
}

void log_line(shmrt_log_level level, const char *line)
{
    if (!python_is_usable()) {
        std::fprintf(stderr, "shmrt: %s\n", line);
        return;
    }
    py::gil_scoped_acquire gil;
    const Foreground handlers;
    try {
        py::object logger = py::module_::import("logging").attr("getLogger")("shmrt");
        logger.attr(name_of(level))("%s", py::str(line));
    } catch (py::error_already_set &error) {
        error.discard_as_unraisable("the log callback of shmrt");
    }
}

/* Runs the signal handlers of Python in the middle of a wait: Ctrl-C must end it. */
std::exception_ptr check_signals()
{
    if (!python_is_usable())
        return nullptr;
    py::gil_scoped_acquire gil;
    const Foreground handlers;
    if (PyErr_CheckSignals() == 0)
        return nullptr;
    return std::make_exception_ptr(py::error_already_set());
}

void *release_gil()
{
    return PyGILState_Check() ? new py::gil_scoped_release : nullptr;
}

void restore_gil(void *released)
{
    delete static_cast<py::gil_scoped_release *>(released);
}

} // namespace

void use_python_as_host()
{
    set_host({raise_error, log_line, check_signals, release_gil, restore_gil});
}

} // namespace shmrt
