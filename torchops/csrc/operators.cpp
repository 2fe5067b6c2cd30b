// SPDX-License-Identifier: Apache-2.0
/*
 * operators.cpp - the operators and their kernels, one per dispatch key.
 *
 *   Autograd          the gradient of a sum over ranks is the sum over ranks of the gradients, so
 *                     backward is the same operator again: a collective, which all ranks must run
 *   ADInplaceOrView   in place: bumps the version counter, so that autograd notices stale values
 *   Functionalize     in place: becomes the out-of-place operator and a replacement (torch.compile)
 *   CPU               the work
 *   Meta              shapes, strides and refusals, without data
 *   anything else     an error that names the device or layout
 *
 * Three families share the kernels: they differ in name, and in whether the reduction and the group
 * of ranks are arguments.
 */
#include "operators.h"

#include "errors.h"
#include "fused.h"
#include "reduce.h"
#include "registration.h"

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/FunctionalTensorWrapper.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/VariableTypeUtils.h>
#include <torch/library.h>

#include <cerrno>
#include <mutex>
#include <string>
#include <string_view>
#include <type_traits>

namespace shmrt
{

namespace
{

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

template <Operator Plain, Operator Inplace> struct SumFamily {
    static constexpr Operator PLAIN = Plain;
    static constexpr Operator INPLACE = Inplace;
    static shmrt_op op()
    {
        return SHMRT_SUM;
    }
    static Target target()
    {
        return {};
    }
};

struct NamedFamily {
    static constexpr Operator PLAIN = Operator::NAMED;
    static constexpr Operator INPLACE = Operator::NAMED_INPLACE;
    static shmrt_op op(std::string_view name, std::string_view, bool)
    {
        return checked_op(name);
    }
    static Target target(std::string_view, std::string_view group, bool use_shm)
    {
        return {std::string(group), use_shm};
    }
};

/* Calls through the dispatcher, for the kernels that pass the work on. */
template <class Family, class... Args> struct Handles {
    static const auto &plain()
    {
        static const auto handle = c10::Dispatcher::singleton()
                                       .findSchemaOrThrow(operator_name(Family::PLAIN), "")
                                       .template typed<Tensor(const Tensor &, Args...)>();
        return handle;
    }
    static const auto &inplace()
    {
        static const auto handle = c10::Dispatcher::singleton()
                                       .findSchemaOrThrow(operator_name(Family::INPLACE), "")
                                       .template typed<Tensor &(Tensor &, Args...)>();
        return handle;
    }
};

/* Only linear reductions have a gradient here: that of min, max and prod needs every rank's term.
 */
void remember(AutogradContext *ctx, Operator which, shmrt_op op, const Target &target)
{
    ctx->saved_data["which"] = operator_name(which);
    ctx->saved_data["op"] = shmrt_op_name(op);
    ctx->saved_data["group"] = target.group;
    ctx->saved_data["use_shm"] = target.use_shm;
    ctx->saved_data["linear"] = op == SHMRT_SUM || op == SHMRT_AVG;
}

void check_linear(AutogradContext *ctx)
{
    if (!ctx->saved_data["linear"].toBool())
        throw_error(ENOTSUP, ctx->saved_data["which"].toStringRef() + " has no gradient for \"" +
                                 ctx->saved_data["op"].toStringRef() +
                                 "\", only for \"sum\" and \"avg\": call it under torch.no_grad()");
}

/* all_reduce of the gradient with the same reduction; itself differentiable. */
template <class Family>
variable_list reduced_gradient(AutogradContext *ctx, const variable_list &grads)
{
    check_linear(ctx);
    if constexpr (std::is_same_v<Family, NamedFamily>) {
        return {Handles<Family, std::string_view, std::string_view, bool>::plain().call(
                    grads[0], ctx->saved_data["op"].toStringView(),
                    ctx->saved_data["group"].toStringView(), ctx->saved_data["use_shm"].toBool()),
                Tensor(), Tensor(), Tensor()};
    } else {
        return {Handles<Family>::plain().call(grads[0])};
    }
}

template <class Family, class... Args>
struct PlainFunction : torch::autograd::Function<PlainFunction<Family, Args...>> {
    static Tensor forward(AutogradContext *ctx, const Tensor &self, Args... args)
    {
        remember(ctx, Family::PLAIN, Family::op(args...), Family::target(args...));
        const at::AutoDispatchBelowAutograd below;
        return Handles<Family, Args...>::plain().call(self, args...);
    }
    static variable_list backward(AutogradContext *ctx, const variable_list &grads)
    {
        return reduced_gradient<Family>(ctx, grads);
    }
};

template <class Family, class... Args>
struct InplaceFunction : torch::autograd::Function<InplaceFunction<Family, Args...>> {
    static Tensor forward(AutogradContext *ctx, Tensor self, Args... args)
    {
        remember(ctx, Family::INPLACE, Family::op(args...), Family::target(args...));
        {
            /* mark_dirty bumps the version, so the kernel that does only that is passed over. */
            const at::AutoDispatchBelowADInplaceOrView below;
            Handles<Family, Args...>::inplace().call(self, args...);
        }
        ctx->mark_dirty({self});
        return self;
    }
    static variable_list backward(AutogradContext *ctx, const variable_list &grads)
    {
        return reduced_gradient<Family>(ctx, grads);
    }
};

template <class Family, class... Args> struct Kernels {
    using Handle = Handles<Family, Args...>;

    static Tensor cpu(const Tensor &self, Args... args)
    {
        return reduce(self, Family::op(args...), Family::target(args...), Family::PLAIN);
    }
    static Tensor &cpu_inplace(Tensor &self, Args... args)
    {
        reduce_inplace(self, Family::op(args...), Family::target(args...), Family::INPLACE);
        return self;
    }

    static Tensor meta(const Tensor &self, Args... args)
    {
        (void)Family::op(args...);
        (void)checked_dtype(self, Family::PLAIN);
        return at::empty_like(self);
    }
    static Tensor &meta_inplace(Tensor &self, Args... args)
    {
        (void)Family::op(args...);
        (void)checked_dtype(self, Family::INPLACE);
        return self;
    }

    static Tensor elsewhere(const Tensor &self, Args...)
    {
        refuse_backend(self, Family::PLAIN);
    }
    static Tensor &elsewhere_inplace(Tensor &self, Args...)
    {
        refuse_backend(self, Family::INPLACE);
    }

    static Tensor &functionalize_inplace(Tensor &self, Args... args)
    {
        namespace functional = at::functionalization::impl;
        TORCH_INTERNAL_ASSERT(functional::isFunctionalTensor(self));
        functional::sync(self);
        const Tensor inner = functional::from_functional_tensor(self);
        Tensor result;
        {
            const at::AutoDispatchSkipFunctionalize skip;
            result = Handle::plain().call(inner, args...);
        }
        functional::replace_(self, result);
        functional::commit_update(self);
        functional::sync(self);
        return self;
    }

    static Tensor &bump_inplace(c10::DispatchKeySet keys, Tensor &self, Args... args)
    {
        {
            const at::AutoDispatchBelowADInplaceOrView below;
            Handle::inplace().redispatch(keys & c10::after_ADInplaceOrView_keyset, self, args...);
        }
        torch::autograd::increment_version(self);
        return self;
    }

    static bool needs_gradient(const Tensor &self, Operator which)
    {
        if (self._fw_grad(/*level=*/0).defined())
            throw_error(ENOTSUP, std::string(operator_name(which)) +
                                     " has no forward-mode derivative; use backward()");
        return at::GradMode::is_enabled() && self.requires_grad();
    }
    static Tensor autograd(c10::DispatchKeySet keys, const Tensor &self, Args... args)
    {
        if (needs_gradient(self, Family::PLAIN))
            return PlainFunction<Family, Args...>::apply(self, args...);
        return Handle::plain().redispatch(keys & c10::after_autograd_keyset, self, args...);
    }
    static Tensor &autograd_inplace(c10::DispatchKeySet keys, Tensor &self, Args... args)
    {
        if (!needs_gradient(self, Family::INPLACE))
            return Handle::inplace().redispatch(keys & c10::after_autograd_keyset, self, args...);
        /* A leaf is refused now: afterwards its value would be gone, and the other ranks have it.
         */
        torch::autograd::check_inplace(self, /*requires_grad=*/true);
        InplaceFunction<Family, Args...>::apply(self, args...);
        return self;
    }
};

void refuse_redefinition(Operator which)
{
    const auto found = c10::Dispatcher::singleton().findSchema({operator_name(which), ""});
    if (!found)
        return;
    throw_error(EEXIST, std::string("shmrt can't define the operator ") + operator_name(which) +
                            ", because this process has one already (" + found->debug() +
                            "). Import shmrt before anything that loads DeepSpeed's shm_comm "
                            "library, as deepspeed.init_distributed() does: it then gets these "
                            "operators, as it does with SHMRT_DEEPSPEED=1");
}

template <class Family, class... Args>
void define(torch::Library &library, const std::string &arguments)
{
    using K = Kernels<Family, Args...>;
    const std::string plain = unqualified(Family::PLAIN);
    const std::string inplace = unqualified(Family::INPLACE);
    const std::vector<at::Tag> tags{at::Tag::pt2_compliant_tag};

    library.def(torch::schema((plain + "(Tensor self" + arguments + ") -> Tensor").c_str()), tags);
    library.def(
        torch::schema((inplace + "(Tensor(a!) self" + arguments + ") -> Tensor(a!)").c_str()),
        tags);

    implement<K>(library, plain, inplace);
}

/*
 * Never freed: an operator taken away while the interpreter shuts down is one more way to crash.
 */
torch::Library &new_fragment(const char *name)
{
    return *new torch::Library(torch::Library::FRAGMENT, name, std::nullopt, "shmrt", __LINE__);
}

void define_operators()
{
    for (int i = 0; i < static_cast<int>(Operator::COUNT); i++)
        refuse_redefinition(static_cast<Operator>(i));
    torch::Library &deepspeed = new_fragment("deepspeed");
    torch::Library &own = new_fragment("shmrt");
    define<SumFamily<Operator::DEEPSPEED, Operator::DEEPSPEED_INPLACE>>(deepspeed, "");
    define<SumFamily<Operator::SHMRT, Operator::SHMRT_INPLACE>>(own, "");
    define<NamedFamily, std::string_view, std::string_view, bool>(
        own, ", str op=\"sum\", str group=\"\", bool use_shm=True");
    define_fused_operators(own);
}

} // namespace

void register_operators()
{
    static std::once_flag once;
    std::call_once(once, define_operators);
}

} // namespace shmrt
