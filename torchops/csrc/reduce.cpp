// SPDX-License-Identifier: Apache-2.0
/*
 * reduce.cpp - tensors in, vectors out.
 *
 * Ranks are matched element by element in logical (row-major) order, never in memory order: strides
 * are private to a rank, and two ranks may hold the same matrix, one of them transposed. So a
 * contiguous tensor is reduced from where it lies, any other through one contiguous copy.
 */
#include "reduce.h"

#include "dtypes.h"
#include "errors.h"
#include "group.h"
#include "host.h"
#include "pool.h"

#include <ATen/ATen.h>
#include <ATen/core/LegacyTypeDispatch.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <numeric>

namespace shmrt
{

namespace
{

using Clock = std::chrono::steady_clock;

constexpr const char *COPIED = "not contiguous: reduced through a contiguous copy";

std::string dtype_name(const at::Tensor &self)
{
    return std::string(c10::getDtypeNames(self.scalar_type()).first);
}

std::string listed_dtypes()
{
    std::string list;
    for (int i = 0; i < SHMRT_DTYPE_COUNT; i++)
        list += (i ? ", " : "") + std::string(shmrt_dtype_name(static_cast<shmrt_dtype>(i)));
    return list;
}

/*
 * Do two elements share memory? With the dimensions in order of stride, each stride beyond the
 * reach of all smaller ones proves that they don't; that settles every slice and transpose of a
 * normal tensor. Only the odd rest (as_strided) is counted out.
 */
bool overlaps_itself(const at::Tensor &self)
{
    std::vector<int64_t> dims;
    for (int64_t d = 0; d < self.dim(); d++)
        if (self.size(d) > 1)
            dims.push_back(d);
    std::sort(dims.begin(), dims.end(),
              [&](int64_t a, int64_t b) { return self.stride(a) < self.stride(b); });
    int64_t reach = 0;
    bool certain = true;
    for (const int64_t d : dims) {
        certain = certain && self.stride(d) > reach;
        reach += (self.size(d) - 1) * self.stride(d);
    }
    if (certain || self.numel() == 0)
        return false;
    if (self.stride(dims.front()) == 0)
        return true;

    std::vector<int64_t> offsets{0};
    for (const int64_t d : dims) {
        const std::vector<int64_t> inner = offsets;
        for (int64_t i = 1; i < self.size(d); i++)
            for (const int64_t offset : inner)
                offsets.push_back(offset + i * self.stride(d));
    }
    std::sort(offsets.begin(), offsets.end());
    return std::adjacent_find(offsets.begin(), offsets.end()) != offsets.end();
}

bool is_default(const Target &target)
{
    return target.group.empty() && target.use_shm;
}

void allreduce(const void *in, void *out, const at::Tensor &self, shmrt_dtype dtype, shmrt_op op,
               const Target &target, Operator which)
{
    const auto count = static_cast<size_t>(self.numel());
    DefaultComm &comm = DefaultComm::get();
    if (is_default(target)) {
        comm.allreduce(in, out, count, dtype, op, which);
        return;
    }
    const auto start = Clock::now();
    const std::shared_ptr<Group> group =
        target.group.empty() ? comm.alive(operator_name(which)) : find_group(target.group);
    group->allreduce(in, out, count, dtype, op, operator_name(which), CallFacts{target.use_shm});
    const std::chrono::duration<double> passed = Clock::now() - start;
    comm.count_call(which, passed.count());
}

/* A contiguous copy of @self, reduced. The copying is counted; the caller counts its own. */
at::Tensor reduce_copy(const at::Tensor &self, shmrt_dtype dtype, shmrt_op op, const Target &target,
                       Operator which)
{
    const auto start = Clock::now();
    at::Tensor copy = self.contiguous();
    const std::chrono::duration<double> copying = Clock::now() - start;
    void *data = copy.mutable_data_ptr();
    allreduce(data, data, copy, dtype, op, target, which);
    DefaultComm::get().count_fallback(COPIED, copying.count());
    return copy;
}

} // namespace

void refuse_overlap(const at::Tensor &self, Operator which)
{
    if (!overlaps_itself(self))
        return;
    throw_error(EINVAL,
                std::string(operator_name(which)) +
                    " writes its result into its argument, but several elements of this one "
                    "share memory (shape " +
                    c10::str(self.sizes()) + ", strides " + c10::str(self.strides()) +
                    ", as after expand()): pass tensor.contiguous(), or use the operator "
                    "without the underscore");
}

shmrt_dtype checked_dtype(const at::Tensor &self, Operator which)
{
    if (const auto dtype = dtype_of(self.scalar_type()))
        return *dtype;
    throw_error(ENOTSUP, std::string(operator_name(which)) + " can't reduce dtype " +
                             dtype_name(self) + "; it reduces " + listed_dtypes() +
                             ": convert with tensor.to(...) first");
}

shmrt_op checked_op(std::string_view name)
{
    std::string list;
    for (int i = 0; i < SHMRT_OP_COUNT; i++) {
        const auto op = static_cast<shmrt_op>(i);
        if (name == shmrt_op_name(op))
            return op;
        list += (i ? ", " : "") + std::string(shmrt_op_name(op));
    }
    throw_error(EINVAL, "\"" + std::string(name) + "\" is not a reduction; use one of: " + list);
}

at::Tensor reduce(const at::Tensor &self, shmrt_op op, const Target &target, Operator which)
{
    const Released released;
    const at::AutoDispatchBelowADInplaceOrView below;
    const shmrt_dtype dtype = checked_dtype(self, which);
    if (!self.is_contiguous()) {
        at::Tensor out = at::empty_like(self);
        out.copy_(reduce_copy(self, dtype, op, target, which));
        return out;
    }
    at::Tensor out = is_default(target) ? new_result(self, which) : at::empty_like(self);
    allreduce(self.const_data_ptr(), out.mutable_data_ptr(), self, dtype, op, target, which);
    return out;
}

void reduce_inplace(const at::Tensor &self, shmrt_op op, const Target &target, Operator which)
{
    const Released released;
    const at::AutoDispatchBelowADInplaceOrView below;
    const shmrt_dtype dtype = checked_dtype(self, which);
    if (!self.is_contiguous()) {
        refuse_overlap(self, which);
        self.copy_(reduce_copy(self, dtype, op, target, which));
        return;
    }
    void *data = self.mutable_data_ptr();
    allreduce(data, data, self, dtype, op, target, which);
}

void refuse_backend(const at::Tensor &self, Operator which)
{
    throw_error(ENOTSUP, std::string(operator_name(which)) +
                             " reduces plain (dense, strided) CPU tensors; this one is " +
                             c10::str(self.device()) + ", layout " + c10::str(self.layout()) +
                             ", dtype " + dtype_name(self) +
                             ": move it with tensor.cpu(), make it dense or dequantize it, or "
                             "use torch.distributed for that device");
}

} // namespace shmrt
