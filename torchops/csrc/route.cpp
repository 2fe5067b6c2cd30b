// SPDX-License-Identifier: Apache-2.0
/* route.cpp - decisions, as pure functions of facts; only switched_off() looks at the process. */
#include "route.h"

#include "errors.h"

#include <cerrno>
#include <cstdlib>
#include <map>
#include <string_view>

namespace shmrt
{

namespace
{

constexpr const char *OFF_IN_CALL = "use_shm=False in the call";

bool is_set(const char *variable)
{
    const char *value = std::getenv(variable);
    const std::string_view text = value ? value : "";
    return !text.empty() && text != "0";
}

/* "rank 1", "ranks 1, 3 and 5", with an end for long lists. */
std::string listed(const std::vector<int> &ranks)
{
    constexpr std::size_t SHOWN = 8;
    std::string text = ranks.size() == 1 ? "rank " : "ranks ";
    for (std::size_t i = 0; i < ranks.size() && i < SHOWN; i++) {
        if (i)
            text += i + 1 == ranks.size() ? " and " : ", ";
        text += std::to_string(ranks[i]);
    }
    if (ranks.size() > SHOWN)
        text += " and " + std::to_string(ranks.size() - SHOWN) + " more";
    return text;
}

} // namespace

Decision route(const GroupFacts &group, const CallFacts &call)
{
    if (!group.off.empty())
        return {Way::FALLBACK, group.off};
    if (!call.use_shm)
        return {Way::FALLBACK, OFF_IN_CALL};
    if (group.machines > 1)
        return {Way::ACROSS, ""};
    return {Way::SHARED_MEMORY, ""};
}

std::string why_off(const std::vector<RankFacts> &ranks)
{
    std::map<std::string, std::vector<int>> by_switch;
    std::map<std::string, std::vector<int>> by_machine;
    for (std::size_t rank = 0; rank < ranks.size(); rank++) {
        if (!ranks[rank].off.empty())
            by_switch[ranks[rank].off].push_back(static_cast<int>(rank));
        by_machine[ranks[rank].machine].push_back(static_cast<int>(rank));
    }
    std::string why;
    for (const auto &[name, which] : by_switch) {
        why += why.empty() ? "shared memory is off: " : "; ";
        why += name + " on ";
        why += which.size() == ranks.size() ? "all ranks" : listed(which);
    }
    if (!why.empty())
        return why;
    for (const auto &[machine, which] : by_machine)
        if (which.size() > SHMRT_MAX_RANKS)
            return std::to_string(which.size()) + " ranks on one machine, from rank " +
                   std::to_string(which.front()) + " on: shared memory serves " +
                   std::to_string(SHMRT_MAX_RANKS) + " at most";
    return "";
}

std::string switched_off(bool use_shm)
{
    const char *ours = std::getenv("SHMRT_DISABLE");
    if (const std::string_view text = ours ? ours : "";
        text.size() > 1 || (text.size() == 1 && text != "0" && text != "1"))
        throw_error(EINVAL, "SHMRT_DISABLE=" + std::string(text) +
                                ": give 1 to do without shared memory, or 0");
    if (!use_shm)
        return "use_shm=False in init()";
    for (const char *variable : {"SHMRT_DISABLE", "DS_SHM_COMM_ALL_REDUCE_OFF"})
        if (is_set(variable))
            return std::string(variable) + "=" + std::getenv(variable);
    return "";
}

} // namespace shmrt
