// SPDX-License-Identifier: Apache-2.0
/*
 * registration.h - what makes a pair of kernels' sets an operator and its in-place twin, the same
 * for every family of operators. operators.cpp says what each dispatch key is for.
 */
#pragma once

#include "default_comm.h"

#include <torch/library.h>

#include <string>

namespace shmrt
{

/** The name without its namespace. */
inline std::string unqualified(Operator which)
{
    const std::string name = operator_name(which);
    return name.substr(name.rfind(':') + 1);
}

/** Give @plain and @inplace, defined in @library, their kernels, one for each dispatch key. */
template <class K>
void implement(torch::Library &library, const std::string &plain, const std::string &inplace)
{
    using torch::dispatch;
    const auto impl = [&](const std::string &name, c10::DispatchKey key, auto *kernel) {
        library.impl(name.c_str(), dispatch(key, kernel));
    };
    impl(plain, c10::DispatchKey::CPU, &K::cpu);
    impl(plain, c10::DispatchKey::Meta, &K::meta);
    impl(plain, c10::DispatchKey::CompositeExplicitAutograd, &K::elsewhere);
    impl(plain, c10::DispatchKey::Autograd, &K::autograd);
    impl(inplace, c10::DispatchKey::CPU, &K::cpu_inplace);
    impl(inplace, c10::DispatchKey::Meta, &K::meta_inplace);
    impl(inplace, c10::DispatchKey::CompositeExplicitAutograd, &K::elsewhere_inplace);
    impl(inplace, c10::DispatchKey::Functionalize, &K::functionalize_inplace);
    impl(inplace, c10::DispatchKey::ADInplaceOrView, &K::bump_inplace);
    impl(inplace, c10::DispatchKey::Autograd, &K::autograd_inplace);
}

} // namespace shmrt
