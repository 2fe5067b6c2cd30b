// SPDX-License-Identifier: Apache-2.0
/* group_python.cpp - groups that meet over a store: the default communicator, and attached ones. */
#include "group_python.h"

#include "default_comm.h"
#include "group.h"
#include "host.h"
#include "python_host.h"

#include <torch/csrc/utils/pybind.h>

#include <array>
#include <memory>
#include <utility>

namespace py = pybind11;

namespace shmrt
{

namespace
{

using StorePtr = c10::intrusive_ptr<c10d::Store>;

/* @store may be None: then the ranks meet directly. */
bool create(int rank, int size, std::optional<std::string> job, std::vector<std::string> settings,
            bool use_shm, const StorePtr &store, py::object engine)
{
    const Request request{rank, size, std::move(job), std::move(settings), use_shm};
    const EngineFactory make = engine_factory(std::move(engine));
    const Released without_gil;
    return DefaultComm::get().create(request, store, make);
}

bool is_present(int rank, int size, std::optional<std::string> job,
                std::vector<std::string> settings, bool use_shm)
{
    const Request request{rank, size, std::move(job), std::move(settings), use_shm};
    const Released without_gil;
    return DefaultComm::get().is_present(request);
}

/* What an attach() has made, however its name is used later. */
struct Attached {
    std::weak_ptr<Group> group;
};

Attached attach(const std::string &name, int rank, int size, const StorePtr &store,
                py::object engine, std::vector<std::string> settings, bool use_shm)
{
    GroupParams params;
    params.rank = rank;
    params.size = size;
    params.name = name;
    params.store = store;
    params.engine = engine_factory(std::move(engine));
    params.settings = std::move(settings);
    params.use_shm = use_shm;
    const Released without_gil;
    const std::shared_ptr<Group> group = Group::create(params);
    register_group(name, group);
    return {group};
}

void detach(const std::string &name, const Attached &attached)
{
    const Released without_gil;
    const std::shared_ptr<Group> made = attached.group.lock();
    if (const std::shared_ptr<Group> group = made ? unregister_group(name, made.get()) : nullptr)
        group->close("shmrt.detach() was called while another thread of this rank was in a "
                     "collective");
}

std::shared_ptr<Group> named(const std::string &name)
{
    return name.empty() ? DefaultComm::get().alive("shmrt") : find_group(name);
}

/* Where the ranks of a group are; @name "" is the default communicator. */
py::dict layout(const std::string &name)
{
    std::shared_ptr<Group> group;
    {
        const Released without_gil;
        group = named(name);
    }
    const Partition &partition = group->partition();
    py::dict out;
    out["rank"] = group->rank();
    out["size"] = group->size();
    out["local_rank"] = partition.local_of[static_cast<std::size_t>(group->rank())];
    out["machine"] = partition.machine_of[static_cast<std::size_t>(group->rank())];
    out["machines"] = partition.ranks;
    out["hosts"] = partition.host;
    out["off"] = group->off();
    return out;
}

/* What the ranks of this machine have done together, of a group that has any. */
struct LocalStats {
    int size = 0;
    shmrt_counters counters{};
    std::array<std::uint64_t, SHMRT_MAX_RANKS> late_ns{};
};

LocalStats local_stats(Group &group)
{
    LocalStats stats;
    if (!group.comm())
        return stats;
    stats.size = group.comm()->size();
    group.comm()->call("shmrt.stats()", [&](shmrt_comm *comm) {
        shmrt_comm_counters(comm, &stats.counters);
        shmrt_comm_skew(comm, stats.late_ns.data());
        return 0;
    });
    return stats;
}

py::dict group_stats(const std::string &name)
{
    GroupStats stats;
    LocalStats local;
    {
        const Released without_gil;
        const std::shared_ptr<Group> group = named(name);
        stats = group->stats();
        local = local_stats(*group);
    }
    py::list late;
    for (int rank = 0; rank < local.size; rank++)
        late.append(static_cast<double>(local.late_ns[static_cast<std::size_t>(rank)]) * 1e-9);
    py::dict out;
    out["across"] = across_dict(stats);
    out["fallbacks"] = stats.fallbacks;
    out["calls"] = local.counters.calls;
    out["bytes"] = local.counters.bytes;
    out["wait_seconds"] = static_cast<double>(local.counters.wait_ns) * 1e-9;
    out["late_seconds"] = static_cast<double>(local.counters.late_ns) * 1e-9;
    out["late_by_rank"] = late;
    return out;
}

/* What shmrt doesn't reduce goes through torch.distributed: counted, and told once. */
void route_unsupported(const std::string &what)
{
    const Released without_gil;
    if (DefaultComm::get().count_fallback(what, 0))
        host().log(SHMRT_LOG_WARNING, ("through torch.distributed: " + what).c_str());
}

} // namespace

py::dict across_dict(const GroupStats &stats)
{
    py::dict out;
    out["machines"] = stats.machines;
    out["calls"] = stats.across.calls;
    out["bytes"] = stats.across.bytes;
    return out;
}

EngineFactory engine_factory(py::object function)
{
    const std::shared_ptr<py::object> kept(new py::object(std::move(function)), [](py::object *o) {
        if (!python_is_usable())
            return; /* with the process, which is at its end */
        const py::gil_scoped_acquire gil;
        delete o;
    });
    return [kept](const StorePtr &store, const std::vector<std::vector<int>> &groups, int rank,
                  double timeout_s) {
        const py::gil_scoped_acquire gil;
        return (*kept)(store, groups, rank, timeout_s).cast<c10::intrusive_ptr<c10d::Backend>>();
    };
}

void bind_groups(py::module_ &module)
{
    module.def("create", &create);
    module.def("is_present", &is_present);
    py::class_<Attached>(module, "Attached");
    module.def("attach", &attach);
    module.def("detach", &detach);
    module.def("group_names", [] {
        const Released without_gil;
        return group_names();
    });
    module.def("layout", &layout);
    module.def("group_stats", &group_stats);
    module.def("route_unsupported", &route_unsupported);
}

} // namespace shmrt
