// SPDX-License-Identifier: Apache-2.0
/* api.cpp - shmrt_torch.h: the default communicator and the operators, for C++ programs. */
#include "../include/shmrt_torch.h"

#include "default_comm.h"
#include "errors.h"
#include "host.h"

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>

#include <cerrno>

namespace shmrt
{

namespace
{

Request request_of(const InitParams &params)
{
    if (params.rank.has_value() != params.size.has_value())
        throw_error(EINVAL, "shmrt::init() takes rank and size together, or neither, which leaves "
                            "them to the launcher");
    Request request;
    request.job = params.job;
    request.settings = params.settings;
    if (params.rank) {
        request.rank = *params.rank;
        request.size = *params.size;
        return request;
    }
    shmrt_params found{};
    shmrt_error error{};
    const int rc = shmrt_params_from_env(&found, &error);
    if (rc)
        throw_error(-rc, error.text);
    request.rank = found.rank;
    request.size = found.size;
    return request;
}

Request present(const char *what)
{
    const std::optional<Request> request = DefaultComm::get().request();
    if (!request)
        throw_error(ENOTCONN, std::string(what) + " was called before the ranks have met: call "
                                                  "shmrt::init() first");
    return *request;
}

/* Through the dispatcher, boxed: arguments of the schema that are not given have their defaults. */
at::Tensor call(Operator which, const at::Tensor &tensor, std::string_view op)
{
    register_operators();
    const auto handle = c10::Dispatcher::singleton().findSchemaOrThrow(operator_name(which), "");
    torch::jit::Stack stack{tensor, std::string(op)};
    const auto &arguments = handle.schema().arguments();
    for (std::size_t i = stack.size(); i < arguments.size(); i++)
        stack.push_back(arguments[i].default_value().value());
    handle.callBoxed(&stack);
    return stack.front().toTensor();
}

} // namespace

int error_code(const std::exception &error) noexcept
{
    const auto *failure = dynamic_cast<const Failure *>(&error);
    return failure ? failure->code() : 0;
}

bool init(const InitParams &params)
{
    register_operators();
    return DefaultComm::get().create(request_of(params));
}

void finalize()
{
    DefaultComm::get().destroy();
}

int rank()
{
    return present("shmrt::rank()").rank;
}

int size()
{
    return present("shmrt::size()").size;
}

void barrier()
{
    DefaultComm::get().barrier();
}

at::Tensor all_reduce(const at::Tensor &tensor, std::string_view op)
{
    return call(Operator::NAMED, tensor, op);
}

at::Tensor &all_reduce_(at::Tensor &tensor, std::string_view op)
{
    call(Operator::NAMED_INPLACE, tensor, op);
    return tensor;
}

} // namespace shmrt
