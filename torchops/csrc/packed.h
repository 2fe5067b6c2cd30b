// SPDX-License-Identifier: Apache-2.0
/* packed.h - tensors as one run of bytes, which is what a collective moves. */
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <cstddef>
#include <vector>

namespace shmrt
{

/** While it lives, operators that this thread calls are seen by no mode of its caller. */
class PlainDispatch
{
  public:
    PlainDispatch();

  private:
    c10::impl::ForceDispatchKeyGuard guard_;
};

/** Do the elements of @tensor lie in its memory in logical order, each as its value? */
bool is_plain(const at::Tensor &tensor);

/** Copy values, whatever the modes of the calling thread (autograd, inference, tracing) are. */
void copy_values(const at::Tensor &from, const at::Tensor &to);

/**
 * Packed - tensors of any strides, one after the other
 *
 * Where plain tensors lie so already, as the chunks of one tensor do, that is their own memory;
 * else a buffer, made at the first data() and copied from and to the tensors by load() and store().
 */
class Packed
{
  public:
    explicit Packed(std::vector<at::Tensor> tensors);
    explicit Packed(const at::Tensor &tensor) : Packed(std::vector<at::Tensor>{tensor})
    {
    }

    std::size_t bytes() const
    {
        return bytes_;
    }
    void *data();
    /** data(), with the values of the tensors. */
    void *load();
    /** The tensors get the values in data(). */
    void store();
    /**
     * Before data() and load(): where the two share memory, the smaller one gets a buffer. Callers
     * in place are usual: FSDP's all-gather has its input in the middle of its output.
     */
    static void keep_apart(Packed &a, Packed &b);

  private:
    bool overlaps(const Packed &other) const;

    std::vector<at::Tensor> tensors_;
    std::size_t bytes_ = 0;
    void *memory_ = nullptr;
    bool is_direct_ = false;
    at::Tensor buffer_;
};

} // namespace shmrt
