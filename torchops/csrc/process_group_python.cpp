// SPDX-License-Identifier: Apache-2.0
/* process_group_python.cpp - making groups from Python, and letting go of them at exit. */
#include "process_group_python.h"

#include "group_python.h"
#include "host.h"
#include "process_group.h"

#include <torch/csrc/utils/pybind.h>

#include <pybind11/chrono.h>

#include <memory>
#include <utility>

namespace py = pybind11;

namespace shmrt
{

namespace
{

/* Does not keep the group alive. */
class Handle
{
  public:
    explicit Handle(const c10::intrusive_ptr<ProcessGroupShmrt> &group)
        : group_(group), counts_(group->counts())
    {
    }

    bool is_alive() const
    {
        return !group_.expired();
    }
    void leave()
    {
        const Released released;
        if (const c10::intrusive_ptr<ProcessGroupShmrt> group = group_.lock())
            group->leave("its process has come to its end");
    }

    /* Of a group that is gone, too. */
    py::tuple counts() const
    {
        py::dict native, fallbacks;
        for (std::size_t type = 0; type < counts_->native.size(); type++)
            if (const std::uint64_t calls = counts_->native[type])
                native[py::str(c10d::opTypeToString(static_cast<c10d::OpType>(type)))] = calls;
        const std::lock_guard lock(counts_->lock);
        for (const auto &[reason, calls] : counts_->fallbacks)
            fallbacks[py::str(reason)] = calls;
        return py::make_tuple(native, fallbacks);
    }

  private:
    c10::weak_intrusive_ptr<ProcessGroupShmrt> group_;
    std::shared_ptr<ProcessGroupCounts> counts_;
};

std::pair<c10::intrusive_ptr<c10d::Backend>, Handle>
make_process_group(const c10::intrusive_ptr<c10d::Store> &store, int rank, int size,
                   std::chrono::milliseconds timeout, std::string name,
                   std::vector<std::uint64_t> global_ranks, py::object engine)
{
    ProcessGroupParams params;
    params.store = store;
    params.rank = rank;
    params.size = size;
    params.timeout = timeout;
    params.name = std::move(name);
    params.global_ranks = std::move(global_ranks);
    params.engine = engine_factory(std::move(engine));
    const Released released;
    auto group = c10::make_intrusive<ProcessGroupShmrt>(std::move(params));
    return {group, Handle(group)};
}

} // namespace

void bind_process_group(py::module_ &module)
{
    py::class_<Handle>(module, "GroupHandle")
        .def("is_alive", &Handle::is_alive)
        .def("leave", &Handle::leave)
        .def("counts", &Handle::counts);
    /* Its base is known to pybind11 from here on. What a group gives back is then of this class. */
    py::module_::import("torch.distributed");
    py::class_<ProcessGroupShmrt, c10d::Backend, c10::intrusive_ptr<ProcessGroupShmrt>>(
        module, "ProcessGroupShmrt")
        .def_property_readonly("options", &ProcessGroupShmrt::getBackendOptions)
        .def("_set_default_timeout", &ProcessGroupShmrt::setTimeout, py::arg("timeout"),
             py::call_guard<py::gil_scoped_release>());
    module.def("make_process_group", &make_process_group);
}

} // namespace shmrt
