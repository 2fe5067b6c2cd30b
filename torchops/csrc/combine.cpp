// SPDX-License-Identifier: Apache-2.0
/*
 * combine.cpp - arithmetic between machines, as loops for the compiler to vectorise: a network is
 * slower than any of them.
 */
#include "combine.h"

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <vector>

namespace shmrt
{

namespace
{

constexpr std::size_t BLOCK = 1024; /* elements that stay in the first-level cache meanwhile */

template <class T> T combined(shmrt_op op, T a, T b)
{
    if constexpr (std::is_floating_point_v<T>) {
        const auto less = [](T x, T y) { return x < y || (x == y && std::signbit(x)); };
        switch (op) {
        case SHMRT_MIN:
            return std::isnan(a) || less(a, b) ? a : b;
        case SHMRT_MAX:
            return std::isnan(a) || less(b, a) ? a : b;
        case SHMRT_PROD:
            return a * b;
        default:
            return a + b;
        }
    } else {
        /* Unsigned and at least as wide as int, so that it wraps instead of overflowing. */
        using U = std::conditional_t<sizeof(T) <= 4, std::uint32_t, std::uint64_t>;
        switch (op) {
        case SHMRT_MIN:
            return std::min(a, b);
        case SHMRT_MAX:
            return std::max(a, b);
        case SHMRT_PROD:
            return static_cast<T>(static_cast<U>(a) * static_cast<U>(b));
        default:
            return static_cast<T>(static_cast<U>(a) + static_cast<U>(b));
        }
    }
}

template <class T, class Out> Out finished(T sum)
{
    if constexpr (std::is_floating_point_v<T>)
        return static_cast<Out>(std::isnan(sum) ? std::numeric_limits<T>::quiet_NaN() : sum);
    else
        return sum;
}

/* OP is AVG where the sum is divided at the end, by @ranks. */
template <class T, class Out, shmrt_op OP>
void combine_with(Out *out, const T *const *terms, int n, std::size_t count, int ranks)
{
    const auto last = [&](T sum) {
        return finished<T, Out>(OP == SHMRT_AVG ? sum / static_cast<T>(ranks) : sum);
    };
    if (n == 2) { /* the usual case, in one go */
        const T *__restrict first = terms[0], *__restrict second = terms[1];
        Out *__restrict to = out;
        for (std::size_t i = 0; i < count; i++)
            to[i] = last(combined(OP, first[i], second[i]));
        return;
    }
    std::array<T, BLOCK> sum;
    for (std::size_t at = 0; at < count; at += BLOCK) {
        const std::size_t length = std::min(BLOCK, count - at);
        std::copy_n(terms[0] + at, length, sum.data());
        for (int k = 1; k < n; k++)
            for (std::size_t i = 0; i < length; i++)
                sum[i] = combined(OP, sum[i], terms[k][at + i]);
        for (std::size_t i = 0; i < length; i++)
            out[at + i] = last(sum[i]);
    }
}

template <class T, class Out>
void combine_as(void *out, const void *const *terms, int n, std::size_t count, shmrt_op op,
                int ranks)
{
    std::vector<const T *> of_type(static_cast<std::size_t>(n));
    std::transform(terms, terms + n, of_type.begin(),
                   [](const void *term) { return static_cast<const T *>(term); });
    auto *to = static_cast<Out *>(out);
    switch (op) {
    case SHMRT_MIN:
        return combine_with<T, Out, SHMRT_MIN>(to, of_type.data(), n, count, ranks);
    case SHMRT_MAX:
        return combine_with<T, Out, SHMRT_MAX>(to, of_type.data(), n, count, ranks);
    case SHMRT_PROD:
        return combine_with<T, Out, SHMRT_PROD>(to, of_type.data(), n, count, ranks);
    case SHMRT_AVG:
        return combine_with<T, Out, SHMRT_AVG>(to, of_type.data(), n, count, ranks);
    default:
        return combine_with<T, Out, SHMRT_SUM>(to, of_type.data(), n, count, ranks);
    }
}

template <class Half> void widen_as(float *out, const void *in, std::size_t count)
{
    const auto *halves = static_cast<const Half *>(in);
    for (std::size_t i = 0; i < count; i++)
        out[i] = static_cast<float>(halves[i]);
}

} // namespace

shmrt_dtype wide_dtype(shmrt_dtype dtype)
{
    return dtype == SHMRT_BFLOAT16 || dtype == SHMRT_FLOAT16 ? SHMRT_FLOAT32 : dtype;
}

void widen(float *out, const void *in, std::size_t count, shmrt_dtype dtype)
{
    if (dtype == SHMRT_BFLOAT16)
        widen_as<c10::BFloat16>(out, in, count);
    else
        widen_as<c10::Half>(out, in, count);
}

void combine(void *out, const void *const *terms, int n, std::size_t count, shmrt_dtype dtype,
             shmrt_op op, int ranks)
{
    switch (dtype) {
    case SHMRT_FLOAT32:
        return combine_as<float, float>(out, terms, n, count, op, ranks);
    case SHMRT_FLOAT64:
        return combine_as<double, double>(out, terms, n, count, op, ranks);
    case SHMRT_BFLOAT16:
        return combine_as<float, c10::BFloat16>(out, terms, n, count, op, ranks);
    case SHMRT_FLOAT16:
        return combine_as<float, c10::Half>(out, terms, n, count, op, ranks);
    case SHMRT_INT8:
        return combine_as<std::int8_t, std::int8_t>(out, terms, n, count, op, ranks);
    case SHMRT_UINT8:
        return combine_as<std::uint8_t, std::uint8_t>(out, terms, n, count, op, ranks);
    case SHMRT_INT16:
        return combine_as<std::int16_t, std::int16_t>(out, terms, n, count, op, ranks);
    case SHMRT_INT32:
        return combine_as<std::int32_t, std::int32_t>(out, terms, n, count, op, ranks);
    case SHMRT_INT64:
        return combine_as<std::int64_t, std::int64_t>(out, terms, n, count, op, ranks);
    case SHMRT_DTYPE_COUNT:
        break;
    }
}

} // namespace shmrt
