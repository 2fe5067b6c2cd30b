// SPDX-License-Identifier: Apache-2.0
/*
 * errors.cpp - raises shmrt.Error from any thread. The class is written in Python and looked up
 * here when it is needed, so that no Python object is kept in this library.
 */
#include "errors.h"

namespace py = pybind11;

namespace shmrt
{

void throw_error(int code, const std::string &text)
{
    py::gil_scoped_acquire gil;
    py::object type = py::module_::import("shmrt._errors").attr("Error");
    PyErr_SetObject(type.ptr(), type(text, code).ptr());
    throw py::error_already_set();
}

} // namespace shmrt
