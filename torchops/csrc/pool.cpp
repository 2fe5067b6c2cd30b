// SPDX-License-Identifier: Apache-2.0
/*
 * pool.cpp - a block of the pool as the storage of a tensor.
 *
 * The block is freed with its storage, by whichever thread drops the last tensor on it: shmrt_free
 * needs no communicator, no lock of ours and no GIL. In a forked child it is not freed: the memory
 * is not there, and a pool of the child's own may lie in its place. Only the memory is the pool's,
 * the storage's allocator is PyTorch's own: what grows by resize_(), or goes elsewhere by
 * share_memory_(), leaves the pool.
 */
#include "pool.h"

#include <ATen/EmptyTensor.h>
#include <c10/core/CPUAllocator.h>

#include <memory>
#include <utility>

namespace shmrt
{

namespace
{

/*
 * Shorter vectors go in one shot, which copies in any case; where that threshold is higher, the
 * blocks of those in between are taken in vain, which costs little beside their reduction.
 */
constexpr std::size_t MIN_RESULT_BYTES = 32 * 1024;

struct Block {
    void *memory;
    const DefaultComm *owner; /* a forked child has another */
};

bool is_ours(const Block &block)
{
    return block.owner == &DefaultComm::get();
}

void free_block(void *context)
{
    const std::unique_ptr<Block> block(static_cast<Block *>(context));
    if (is_ours(*block))
        shmrt_free(block->memory);
}

/* @strides are dense, so that the elements fill @bytes. */
at::Tensor tensor_on(void *memory, std::size_t bytes, at::IntArrayRef sizes,
                     at::IntArrayRef strides, at::ScalarType dtype)
{
    auto *block = new Block{memory, &DefaultComm::get()};
    auto storage = c10::make_intrusive<c10::StorageImpl>(
        c10::StorageImpl::use_byte_size_t(), static_cast<int64_t>(bytes),
        c10::DataPtr(memory, block, &free_block, c10::kCPU), c10::GetCPUAllocator(),
        /*resizable=*/true);
    at::Tensor tensor = at::detail::make_tensor<c10::TensorImpl>(
        std::move(storage), c10::DispatchKeySet(c10::DispatchKey::CPU),
        c10::scalarTypeToTypeMeta(dtype));
    tensor.unsafeGetTensorImpl()->set_sizes_and_strides(sizes, strides);
    return tensor;
}

} // namespace

at::Tensor new_shared(at::IntArrayRef sizes, at::IntArrayRef strides, at::ScalarType dtype,
                      bool strict)
{
    const std::size_t bytes =
        static_cast<std::size_t>(c10::multiply_integers(sizes)) * c10::elementSize(dtype);
    void *memory = DefaultComm::get().alloc(bytes, strict);
    if (!memory)
        return at::Tensor(at::detail::empty_strided_cpu(sizes, strides, dtype));
    return tensor_on(memory, bytes, sizes, strides, dtype);
}

at::Tensor new_result(const at::Tensor &self, Operator which)
{
    const std::size_t bytes = self.nbytes();
    void *memory =
        bytes < MIN_RESULT_BYTES ? nullptr : DefaultComm::get().alloc_result(bytes, which);
    if (!memory)
        return at::Tensor(
            at::detail::empty_strided_cpu(self.sizes(), self.strides(), self.scalar_type()));
    return tensor_on(memory, bytes, self.sizes(), self.strides(), self.scalar_type());
}

bool is_shared(const at::Tensor &self)
{
    if (!self.has_storage())
        return false;
    const c10::DataPtr &data = self.storage().data_ptr();
    return data.get_deleter() == &free_block && is_ours(*static_cast<Block *>(data.get_context()));
}

} // namespace shmrt
