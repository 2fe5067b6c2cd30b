// SPDX-License-Identifier: Apache-2.0
/*
 * shmrt_torch.h - shmrt's operators in a C++ program, without Python.
 *
 * The program links shmrt::torch and calls init() in every rank, which are processes that
 * shm-launch or another launcher has started. From then on the operators can be called, and models
 * that have them loaded: packages of AOTInductor, for one. docs/cpp.md shows it.
 *
 * Every function here may be called from any thread. What fails throws an exception derived from
 * std::runtime_error, whose what() says what to do; log lines go to stderr.
 */
#pragma once

#include <exception>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace at
{
class Tensor;
}

namespace shmrt
{

/** The errno value of what a function here has thrown, as EPROTO; 0 for anything else. */
int error_code(const std::exception &error) noexcept;

/**
 * Make deepspeed::inference_all_reduce, shmrt::all_reduce and all the others known to PyTorch, for
 * the life of the process. A second call does nothing. EEXIST if another library has defined one.
 */
void register_operators();

/** Whom to meet. @rank and @size come from the launcher unless both are given. */
struct InitParams {
    std::optional<int> rank;
    std::optional<int> size;
    std::optional<std::string> job;    /* a name that only this job's ranks share */
    std::vector<std::string> settings; /* options of the runtime, each "key=value" */
};

/**
 * init - register the operators and meet the other ranks
 *
 * Waits for them 60 s at most (the option rendezvous_timeout). False if this very communicator
 * exists already; EALREADY if one with other parameters does, ENOENT without a launcher.
 */
bool init(const InitParams &params = {});

/** Leave the other ranks. Never waits for them; nothing happens where there is no communicator. */
void finalize();

/** ENOTCONN before init(). */
int rank();
int size();

/** Return when all ranks have called it. */
void barrier();

/** As the operators shmrt::all_reduce and all_reduce_; @op is sum, min, max, prod or avg. */
at::Tensor all_reduce(const at::Tensor &tensor, std::string_view op = "sum");
at::Tensor &all_reduce_(at::Tensor &tensor, std::string_view op = "sum");

} // namespace shmrt
