// SPDX-License-Identifier: Apache-2.0
/*
 * fused.cpp - all-reduce, residual and norm as one operator; a kernel per dispatch key.
 *
 *   Autograd          refuses where a gradient would be needed: these are for inference
 *   ADInplaceOrView   in place: bumps the residual's version counter
 *   Functionalize     in place: becomes the out-of-place operator and a replacement
 *   CPU               the work
 *   Meta              shapes and refusals, without data
 *   anything else     an error that names the device or layout
 *
 * Results are contiguous, whatever the arguments' strides. The in-place operators write the sum
 * into the residual and return the norm.
 */
#include "fused.h"

#include "errors.h"
#include "host.h"
#include "pool.h"
#include "reduce.h"
#include "registration.h"

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/FunctionalTensorWrapper.h>
#include <torch/csrc/autograd/VariableTypeUtils.h>

#include <cerrno>
#include <chrono>
#include <optional>
#include <string>
#include <tuple>
#include <utility>

namespace shmrt
{

namespace
{

using at::Tensor;
using Clock = std::chrono::steady_clock;
using MaybeTensor = std::optional<Tensor>;

constexpr const char *COPIED = "not contiguous: normed through a contiguous copy";

/* The arguments of either operator. An absent tensor is an undefined one. */
struct Inputs {
    Operator which;
    shmrt_norm norm;
    Tensor x, residual, weight, bias;
    double epsilon;
};

struct Rms {
    static constexpr Operator PLAIN = Operator::RMS_NORM;
    static constexpr Operator INPLACE = Operator::RMS_NORM_INPLACE;
    static constexpr const char *TAIL = ", float eps";
    static Inputs inputs(Operator which, const Tensor &x, const MaybeTensor &residual,
                         const Tensor &weight, double epsilon)
    {
        return {which, SHMRT_RMS_NORM, x, residual.value_or(Tensor()), weight, Tensor(), epsilon};
    }
};

struct Layer {
    static constexpr Operator PLAIN = Operator::LAYER_NORM;
    static constexpr Operator INPLACE = Operator::LAYER_NORM_INPLACE;
    static constexpr const char *TAIL = ", Tensor? bias, float eps";
    static Inputs inputs(Operator which, const Tensor &x, const MaybeTensor &residual,
                         const Tensor &weight, const MaybeTensor &bias, double epsilon)
    {
        return {which,  SHMRT_LAYER_NORM,        x,      residual.value_or(Tensor()),
                weight, bias.value_or(Tensor()), epsilon};
    }
};

[[noreturn]] void refuse(const Inputs &in, int code, const std::string &why)
{
    throw_error(code, std::string(operator_name(in.which)) + " " + why);
}

std::string described(const Tensor &tensor)
{
    return c10::str(c10::getDtypeNames(tensor.scalar_type()).first, " of shape ",
                    tensor.sym_sizes(), " on ", tensor.device());
}

/* x decides type and device; all others must be as it is. */
void check_alike(const Inputs &in, const Tensor &other, const char *name)
{
    if (other.defined() &&
        (other.scalar_type() != in.x.scalar_type() || other.device() != in.x.device()))
        refuse(in, EINVAL,
               "needs all tensors of one dtype on one device; x is " + described(in.x) + ", " +
                   name + " is " + described(other));
}

void check_vector(const Inputs &in, const Tensor &vector, const char *name)
{
    if (vector.defined() &&
        (vector.dim() != 1 || vector.sym_size(0) != in.x.sym_size(in.x.dim() - 1)))
        refuse(in, EINVAL,
               std::string("norms the last dimension of x, so ") + name +
                   " must be a vector of its length; x is " + described(in.x) + ", " + name +
                   " is " + described(vector));
}

shmrt_dtype check(const Inputs &in)
{
    const shmrt_dtype dtype = checked_dtype(in.x, in.which);
    if (dtype != SHMRT_FLOAT32 && dtype != SHMRT_BFLOAT16 && dtype != SHMRT_FLOAT16)
        refuse(in, ENOTSUP,
               std::string("can't norm dtype ") + shmrt_dtype_name(dtype) +
                   "; use float32, bfloat16 or float16");
    if (in.x.dim() == 0)
        refuse(in, EINVAL, "norms the last dimension of x, but x is a scalar");
    check_alike(in, in.residual, "residual");
    check_alike(in, in.weight, "weight");
    check_alike(in, in.bias, "bias");
    check_vector(in, in.weight, "weight");
    check_vector(in, in.bias, "bias");
    if (in.residual.defined() && !in.residual.sym_sizes().equals(in.x.sym_sizes()))
        refuse(in, EINVAL,
               "adds without broadcasting: x is " + described(in.x) + ", residual is " +
                   described(in.residual));
    if (!(in.epsilon >= 0))
        refuse(in, EINVAL, "needs eps of 0 or more, not " + std::to_string(in.epsilon));
    return dtype;
}

Tensor new_result(const Inputs &in)
{
    return at::empty_symint(in.x.sym_sizes(), in.x.options().memory_format(std::nullopt));
}

/* Contiguous copies of what is not; how long that took, or a negative number if nothing was. */
double make_contiguous(Inputs &in)
{
    const auto start = Clock::now();
    bool copied = false;
    for (Tensor *tensor : {&in.x, &in.residual, &in.weight, &in.bias})
        if (tensor->defined() && !tensor->is_contiguous()) {
            *tensor = tensor->contiguous();
            copied = true;
        }
    const std::chrono::duration<double> copying = Clock::now() - start;
    return copied ? copying.count() : -1;
}

const void *data_of(const Tensor &tensor)
{
    return tensor.defined() ? tensor.const_data_ptr() : nullptr;
}

/* All of it contiguous; @sum may be the residual. */
void run(const Inputs &in, shmrt_dtype dtype, const Tensor &sum, const Tensor &out)
{
    const int64_t columns = in.x.size(-1);
    shmrt_norm_args args{};
    args.in = data_of(in.x);
    args.residual = data_of(in.residual);
    args.sum_out = sum.mutable_data_ptr();
    args.out = out.mutable_data_ptr();
    args.weight = data_of(in.weight);
    args.bias = data_of(in.bias);
    args.rows = columns ? static_cast<size_t>(in.x.numel() / columns) : 0;
    args.columns = static_cast<size_t>(columns);
    args.dtype = dtype;
    args.norm = in.norm;
    args.epsilon = in.epsilon;
    DefaultComm::get().allreduce_norm(args, in.which);
}

std::tuple<Tensor, Tensor> work(Inputs in)
{
    const Released released;
    const at::AutoDispatchBelowADInplaceOrView below;
    const shmrt_dtype dtype = check(in);
    const double copying = make_contiguous(in);
    Tensor out = new_result(in), sum = shmrt::new_result(in.x, in.which);
    run(in, dtype, sum, out);
    if (copying >= 0)
        DefaultComm::get().count_fallback(COPIED, copying);
    return {out, sum};
}

Tensor work_inplace(Inputs in)
{
    const Released released;
    const at::AutoDispatchBelowADInplaceOrView below;
    const shmrt_dtype dtype = check(in);
    const Tensor residual = in.residual;
    refuse_overlap(residual, in.which);
    const double copying = make_contiguous(in);
    Tensor out = new_result(in);
    run(in, dtype, in.residual, out);
    if (!residual.is_same(in.residual))
        residual.copy_(in.residual);
    if (copying >= 0)
        DefaultComm::get().count_fallback(COPIED, copying);
    return out;
}

void refuse_gradient(const Inputs &in)
{
    for (const Tensor *tensor : {&in.x, &in.residual, &in.weight, &in.bias}) {
        if (!tensor->defined())
            continue;
        if ((at::GradMode::is_enabled() && tensor->requires_grad()) ||
            tensor->_fw_grad(/*level=*/0).defined())
            refuse(in, ENOTSUP,
                   "has no gradient: call it under torch.no_grad() or torch.inference_mode(), or "
                   "use shmrt.inference_all_reduce, + and the norm one by one");
    }
}

/* What a wrapper of torch.func or torch.compile stands for now. */
Tensor unwrapped(const Tensor &tensor)
{
    namespace functional = at::functionalization::impl;
    if (!tensor.defined() || !functional::isFunctionalTensor(tensor))
        return tensor;
    functional::sync(tensor);
    return functional::from_functional_tensor(tensor);
}

MaybeTensor unwrapped(const MaybeTensor &tensor)
{
    return tensor ? MaybeTensor(unwrapped(*tensor)) : tensor;
}

double unwrapped(double number)
{
    return number;
}

/* @Tail: what follows weight; a bias, for layer norms, and epsilon. */
template <class Norm, class... Tail> struct Kernels {
    using Result = std::tuple<Tensor, Tensor>;

    static const auto &plain_handle()
    {
        static const auto handle = c10::Dispatcher::singleton()
                                       .findSchemaOrThrow(operator_name(Norm::PLAIN), "")
                                       .template typed<Result(const Tensor &, const MaybeTensor &,
                                                              const Tensor &, Tail...)>();
        return handle;
    }
    static const auto &inplace_handle()
    {
        static const auto handle =
            c10::Dispatcher::singleton()
                .findSchemaOrThrow(operator_name(Norm::INPLACE), "")
                .template typed<Tensor(const Tensor &, Tensor &, const Tensor &, Tail...)>();
        return handle;
    }

    static Result cpu(const Tensor &x, const MaybeTensor &residual, const Tensor &weight,
                      Tail... tail)
    {
        return work(Norm::inputs(Norm::PLAIN, x, residual, weight, tail...));
    }
    static Tensor cpu_inplace(const Tensor &x, Tensor &residual, const Tensor &weight, Tail... tail)
    {
        return work_inplace(Norm::inputs(Norm::INPLACE, x, residual, weight, tail...));
    }

    static Result meta(const Tensor &x, const MaybeTensor &residual, const Tensor &weight,
                       Tail... tail)
    {
        const Inputs in = Norm::inputs(Norm::PLAIN, x, residual, weight, tail...);
        (void)check(in);
        return {new_result(in), new_result(in)};
    }
    static Tensor meta_inplace(const Tensor &x, Tensor &residual, const Tensor &weight,
                               Tail... tail)
    {
        const Inputs in = Norm::inputs(Norm::INPLACE, x, residual, weight, tail...);
        (void)check(in);
        return new_result(in);
    }

    static Result elsewhere(const Tensor &x, const MaybeTensor &, const Tensor &, Tail...)
    {
        refuse_backend(x, Norm::PLAIN);
    }
    static Tensor elsewhere_inplace(const Tensor &x, Tensor &, const Tensor &, Tail...)
    {
        refuse_backend(x, Norm::INPLACE);
    }

    static Tensor functionalize_inplace(const Tensor &x, Tensor &residual, const Tensor &weight,
                                        Tail... tail)
    {
        namespace functional = at::functionalization::impl;
        TORCH_INTERNAL_ASSERT(functional::isFunctionalTensor(residual));
        Result result;
        {
            const Tensor inner = unwrapped(residual);
            const at::AutoDispatchSkipFunctionalize skip;
            result =
                plain_handle().call(unwrapped(x), inner, unwrapped(weight), unwrapped(tail)...);
        }
        functional::replace_(residual, std::get<1>(result));
        functional::commit_update(residual);
        functional::sync(residual);
        return functional::to_functional_tensor(std::get<0>(result));
    }

    static Tensor bump_inplace(c10::DispatchKeySet keys, const Tensor &x, Tensor &residual,
                               const Tensor &weight, Tail... tail)
    {
        Tensor out;
        {
            const at::AutoDispatchBelowADInplaceOrView below;
            out = inplace_handle().redispatch(keys & c10::after_ADInplaceOrView_keyset, x, residual,
                                              weight, tail...);
        }
        torch::autograd::increment_version(residual);
        return out;
    }

    static Result autograd(c10::DispatchKeySet keys, const Tensor &x, const MaybeTensor &residual,
                           const Tensor &weight, Tail... tail)
    {
        refuse_gradient(Norm::inputs(Norm::PLAIN, x, residual, weight, tail...));
        return plain_handle().redispatch(keys & c10::after_autograd_keyset, x, residual, weight,
                                         tail...);
    }
    static Tensor autograd_inplace(c10::DispatchKeySet keys, const Tensor &x, Tensor &residual,
                                   const Tensor &weight, Tail... tail)
    {
        refuse_gradient(Norm::inputs(Norm::INPLACE, x, residual, weight, tail...));
        return inplace_handle().redispatch(keys & c10::after_autograd_keyset, x, residual, weight,
                                           tail...);
    }
};

template <class Norm, class... Tail> void define(torch::Library &library)
{
    using K = Kernels<Norm, Tail...>;
    const std::string plain = unqualified(Norm::PLAIN), inplace = unqualified(Norm::INPLACE);
    const std::vector<at::Tag> tags{at::Tag::pt2_compliant_tag};
    const std::string tail = std::string(", Tensor weight") + Norm::TAIL;
    library.def(
        torch::schema(
            (plain + "(Tensor x, Tensor? residual" + tail + ") -> (Tensor, Tensor)").c_str()),
        tags);
    library.def(
        torch::schema((inplace + "(Tensor x, Tensor(a!) residual" + tail + ") -> Tensor").c_str()),
        tags);

    implement<K>(library, plain, inplace);
}

} // namespace

void define_fused_operators(torch::Library &library)
{
    define<Rms, double>(library);
    define<Layer, const MaybeTensor &, double>(library);
}

} // namespace shmrt
