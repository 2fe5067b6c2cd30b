// SPDX-License-Identifier: Apache-2.0
/*
 * wrong_calls.cpp - wrong calls of shmrt_torch.h, without Python.
 *
 *   wrong_calls JOB
 *
 * A line for each: its errno value, a blank, the text. The last one is a call that works.
 */
#include <shmrt_torch.h>

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>

#include <cstdio>
#include <functional>
#include <stdexcept>

namespace
{

void tell(const std::function<void()> &call)
{
    try {
        call();
        std::printf("0 nothing was thrown\n");
    } catch (const std::runtime_error &error) {
        std::printf("%d %s\n", shmrt::error_code(error), error.what());
    }
}

/* As torch.ops.shmrt.all_reduce(tensor, use_shm=False). */
void reduce_without_shared_memory()
{
    const auto op = c10::Dispatcher::singleton().findSchemaOrThrow("shmrt::all_reduce", "");
    torch::jit::Stack stack{at::ones({4}), "sum", "", false};
    op.callBoxed(&stack);
}

} // namespace

int main(int, char **argv)
{
    shmrt::InitParams half, whole;
    half.rank = 0;
    whole.rank = 0;
    whole.size = 1;
    whole.job = argv[1];
    tell([] { shmrt::rank(); });
    tell([&] { shmrt::init(half); });
    shmrt::init(whole);
    tell(reduce_without_shared_memory);
    tell([] { shmrt::all_reduce(at::ones({4})); });
    shmrt::finalize();
    return 0;
}
