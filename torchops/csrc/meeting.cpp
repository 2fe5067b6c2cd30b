// SPDX-License-Identifier: Apache-2.0
/*
 * meeting.cpp - the collective verdict, over a c10d::Store.
 *
 *   each rank                            all ranks
 *   publishes its facts                  read all facts: equal input, so equal conclusions
 *   meets those of its machine           (shmrt_comm_create proves what the facts promise)
 *   publishes how that went              read all outcomes: go on, or throw the same error
 *   says that it has read them           rank 0, which may hold the store, waits for that
 *
 * Keys carry a number that each rank counts up for itself with every meeting under this name, so
 * that what an earlier group of the same name left in the store is not taken for an answer. The
 * ranks of a machine meet under a random key of rank 0, so that neither a second job that uses the
 * same port nor a second group of the same name meets them across.
 */
#include "meeting.h"

#include "errors.h"
#include "host.h"
#include "route.h"

#include <sys/stat.h>
#include <unistd.h>

#include <torch/csrc/distributed/c10d/PrefixStore.hpp>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <map>
#include <random>
#include <sstream>
#include <thread>

namespace shmrt
{

namespace
{

using Clock = std::chrono::steady_clock;

constexpr const char *IMPATIENT = "impatient"; /* a key, and who that rank has waited for */
constexpr const char *PROTOCOL = "shmrt meeting 1";

/* Rank 0 waits so long for ranks that have come and may have died since, each of them a moment from
 * its end. */
constexpr double FAREWELL_S = 10;

/* What a rank publishes of itself, a line for each. */
enum Fact { FORMAT, VERSION, SIZE, MACHINE, HOST, JOB, OFF, RANDOM, ENGINE, FACTS };
using Facts = std::array<std::string, FACTS>;

std::string first_line(const char *path)
{
    std::ifstream file(path);
    std::string line;
    std::getline(file, line);
    return line;
}

std::string host_name()
{
    std::array<char, 256> name{};
    if (gethostname(name.data(), name.size() - 1))
        return "unknown";
    return name.data();
}

/*
 * Processes with the same of all three can meet: abstract sockets belong to a network namespace,
 * and only a user's own processes are let in.
 */
std::string machine_id()
{
    struct stat net{};
    std::string id = first_line("/proc/sys/kernel/random/boot_id");
    if (id.empty())
        id = host_name();
    if (stat("/proc/self/ns/net", &net) == 0)
        id += " net " + std::to_string(net.st_dev) + ":" + std::to_string(net.st_ino);
    return id + " user " + std::to_string(geteuid());
}

/* What launchers call the job, on all of its machines alike. */
std::string job_id()
{
    std::string id;
    for (const char *name : {"TORCHELASTIC_RUN_ID", "SLURM_JOB_ID", "SLURM_STEP_ID"})
        if (const char *value = std::getenv(name))
            id += (id.empty() ? "" : " ") + std::string(name) + "=" + value;
    return id;
}

/* What SHMRT_ENGINE chooses, as _engine.py reads it. */
std::string engine_name()
{
    const char *value = std::getenv("SHMRT_ENGINE");
    std::string name;
    std::istringstream(value ? value : "") >> name;
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return name.empty() ? "gloo" : name;
}

std::vector<std::uint8_t> bytes_of(const std::string &text)
{
    return {text.begin(), text.end()};
}

std::string joined(const Facts &facts)
{
    std::string text;
    for (const std::string &fact : facts)
        text += fact + "\n";
    return text;
}

Facts split(const std::string &text)
{
    Facts facts;
    std::istringstream lines(text);
    for (std::string &fact : facts)
        std::getline(lines, fact);
    return facts;
}

Facts own_facts(const MeetingParams &params)
{
    Facts facts;
    facts[FORMAT] = PROTOCOL;
    facts[VERSION] = shmrt_version();
    facts[SIZE] = std::to_string(params.size);
    facts[MACHINE] = machine_id();
    facts[HOST] = host_name();
    facts[JOB] = job_id();
    facts[OFF] = params.off;
    facts[RANDOM] = random_key();
    facts[ENGINE] = engine_name();
    return facts;
}

/* One meeting's part of the store, with waits that end for a signal and name who is missing. */
class Board
{
  public:
    Board(const MeetingParams &params)
        : name_(params.name), rank_(params.rank), size_(params.size),
          limit_(
              seconds_option(params.settings, "rendezvous_timeout", "SHMRT_RENDEZVOUS_TIMEOUT", 60))
    {
        const std::string prefix = "shmrt/" + params.name;
        c10d::PrefixStore names(prefix, params.store);
        const auto nth = names.add("meetings/" + std::to_string(rank_), 1);
        store_ = c10::make_intrusive<c10d::PrefixStore>(prefix + "/" + std::to_string(nth),
                                                        params.store);
    }

    const c10::intrusive_ptr<c10d::Store> &store() const
    {
        return store_;
    }

    /* What every rank says to @topic, by rank; this one says @own. Waits @times the limit. */
    std::vector<std::string> exchange(const char *topic, const std::string &own, int times)
    {
        store_->set(key(topic, rank_), bytes_of(own));
        const std::vector<std::string> keys = keys_of(topic);
        wait(keys, times * limit_);
        std::vector<std::string> said;
        for (const std::string &one : keys) {
            const std::vector<std::uint8_t> value = store_->get(one);
            said.emplace_back(value.begin(), value.end());
        }
        return said;
    }

    /*
     * The process of rank 0 may hold the store: it stays until the others that have come at all
     * have read what they need.
     */
    void leave()
    {
        store_->add("left", 1);
        if (rank_ != 0)
            return;
        const auto come = size_ - static_cast<int>(missing(keys_of("facts")).size());
        const auto until =
            Clock::now() + std::chrono::duration<double>(std::min(limit_, FAREWELL_S));
        while (store_->add("left", 0) < come && Clock::now() < until) {
            if (const std::exception_ptr raised = host().check_signals())
                std::rethrow_exception(raised);
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
    }

  private:
    static std::string key(const char *topic, int rank)
    {
        return std::string(topic) + "/" + std::to_string(rank);
    }

    std::vector<std::string> keys_of(const char *topic) const
    {
        std::vector<std::string> keys;
        for (int rank = 0; rank < size_; rank++)
            keys.push_back(key(topic, rank));
        return keys;
    }

    std::vector<int> missing(const std::vector<std::string> &keys)
    {
        std::vector<int> ranks;
        for (int rank = 0; rank < size_; rank++)
            if (!store_->check({keys[static_cast<std::size_t>(rank)]}))
                ranks.push_back(rank);
        return ranks;
    }

    /* The first to lose patience says so, and what it says is the error of all. */
    void wait(const std::vector<std::string> &keys, double seconds)
    {
        const auto until = Clock::now() + std::chrono::duration<double>(seconds);
        auto pause = std::chrono::microseconds(200);
        while (!store_->check(keys)) {
            if (const std::exception_ptr raised = host().check_signals())
                std::rethrow_exception(raised);
            if (Clock::now() > until)
                store_->set(IMPATIENT, bytes_of(missing_text(keys, seconds)));
            if (store_->check({IMPATIENT})) {
                const std::vector<std::uint8_t> said = store_->get(IMPATIENT);
                throw_error(ETIMEDOUT, std::string(said.begin(), said.end()));
            }
            std::this_thread::sleep_for(pause);
            pause = std::min(pause * 2, std::chrono::microseconds(20000));
        }
    }

    std::string missing_text(const std::vector<std::string> &keys, double seconds)
    {
        std::ostringstream text;
        text << "of the " << size_ << " ranks of group \"" << name_
             << "\" these did not come within " << seconds << " s: ";
        const char *before = "";
        for (const int rank : missing(keys)) {
            text << before << rank;
            before = ", ";
        }
        text << ". Look at what they printed, or give them longer with SHMRT_RENDEZVOUS_TIMEOUT";
        return text.str();
    }

    const std::string name_;
    const int rank_;
    const int size_;
    const double limit_;
    c10::intrusive_ptr<c10d::Store> store_;
};

/* Equal on all ranks, so they all throw or none does. */
void check_agreement(const std::vector<Facts> &all)
{
    for (std::size_t rank = 1; rank < all.size(); rank++) {
        const auto differ = [&](Fact fact, const char *what, const char *advice) {
            throw_error(EPROTO, "rank " + std::to_string(rank) + " (" + all[rank][HOST] + ") has " +
                                    what + " \"" + all[rank][fact] + "\", rank 0 (" + all[0][HOST] +
                                    ") \"" + all[0][fact] + "\": " + advice);
        };
        const char *same_version = "install the same version of shmrt on all machines";
        if (all[rank][FORMAT] != all[0][FORMAT])
            differ(FORMAT, "the protocol", same_version);
        if (all[rank][VERSION] != all[0][VERSION])
            differ(VERSION, "version", same_version);
        if (all[rank][SIZE] != all[0][SIZE])
            differ(SIZE, "the number of ranks", "start all ranks with one WORLD_SIZE");
        if (!all[rank][JOB].empty() && !all[0][JOB].empty() && all[rank][JOB] != all[0][JOB])
            differ(JOB, "the job", "give each job a MASTER_PORT of its own");
        if (all[rank][ENGINE] != all[0][ENGINE])
            differ(ENGINE, "the engine", "set SHMRT_ENGINE to the same on all ranks, or on none");
    }
}

/* The outcome that all ranks throw: a rank's own trouble before that of those it left waiting. */
void check_outcomes(const std::vector<std::string> &outcomes, const Partition &partition)
{
    int worst = -1;
    int worst_code = 0;
    for (std::size_t rank = 0; rank < outcomes.size(); rank++) {
        const int code = std::atoi(outcomes[rank].c_str());
        const bool is_echo = code == ECONNABORTED || code == ETIMEDOUT;
        if (code &&
            (worst < 0 || (!is_echo && (worst_code == ECONNABORTED || worst_code == ETIMEDOUT)))) {
            worst = static_cast<int>(rank);
            worst_code = code;
        }
    }
    if (worst < 0)
        return;
    const std::string &said = outcomes[static_cast<std::size_t>(worst)];
    throw_error(worst_code,
                "rank " + std::to_string(worst) + " of " +
                    partition.describe(partition.machine_of[static_cast<std::size_t>(worst)]) +
                    " could not join: " + said.substr(said.find('\n') + 1));
}

/* "0", or the code and text of what @work threw. Ctrl-C here is an error there. */
template <class Work> std::string outcome_of(Work work, std::exception_ptr &raised_out)
{
    try {
        const Background as_failure;
        work();
        return "0\n";
    } catch (const Failure &failure) {
        return std::to_string(failure.code()) + "\n" + failure.what();
    } catch (const std::exception &error) {
        raised_out = std::current_exception();
        return std::to_string(ECANCELED) + "\n" + error.what();
    }
}

std::vector<std::string> local_settings(const MeetingParams &params, const Partition &partition)
{
    std::vector<std::string> settings = params.settings;
    if (partition.machines() == 1)
        return settings;
    const double timeout = seconds_option(params.settings, "timeout", "SHMRT_TIMEOUT", 1800);
    std::erase_if(settings, [](const std::string &one) { return one.starts_with("timeout="); });
    settings.push_back("timeout=" + std::to_string(timeout_within_machine(timeout)));
    /* A wait here is mostly one for the network, whose threads need the CPU. */
    const bool is_set = std::any_of(settings.begin(), settings.end(), [](const std::string &one) {
        return one.starts_with("spin=");
    });
    if (!is_set && !std::getenv("SHMRT_SPIN_US"))
        settings.push_back("spin=0");
    return settings;
}

/* The group's name as a communicator may have it: without a slash, and not long. */
std::string name_in_traces(const std::string &group)
{
    if (group == "default communicator")
        return "";
    std::string name = group.substr(0, 64);
    std::replace(name.begin(), name.end(), '/', '_');
    return name;
}

void join_machine(const MeetingParams &params, const std::string &key, Meeting &meeting)
{
    const auto self = static_cast<std::size_t>(params.rank);
    const auto machine = static_cast<std::size_t>(meeting.partition.machine_of[self]);
    const auto &locals = meeting.partition.ranks[machine];
    if (!meeting.off.empty() || (locals.size() == 1 && meeting.partition.machines() > 1))
        return;
    CommParams comm;
    comm.rank = meeting.partition.local_of[self];
    comm.size = static_cast<int>(locals.size());
    comm.job = key;
    comm.name = name_in_traces(params.name);
    comm.settings = local_settings(params, meeting.partition);
    meeting.comm = Comm::create(comm);
}

} // namespace

std::string random_key()
{
    std::random_device device;
    std::ostringstream text;
    for (int i = 0; i < 4; i++)
        text << std::hex << device();
    return text.str();
}

double seconds_option(const std::vector<std::string> &settings, const char *key,
                      const char *variable, double otherwise)
{
    const std::string start = std::string(key) + "=";
    const char *text = std::getenv(variable);
    for (const std::string &setting : settings)
        if (setting.starts_with(start))
            text = setting.c_str() + start.size();
    const double value = text ? std::atof(text) : 0;
    return value > 0 ? value : otherwise;
}

double timeout_within_machine(double timeout_s)
{
    return timeout_s * 1.2 + 1;
}

int Partition::smallest() const
{
    std::size_t fewest = ranks.front().size();
    for (const auto &members : ranks)
        fewest = std::min(fewest, members.size());
    return static_cast<int>(fewest);
}

std::string Partition::describe(int machine) const
{
    const auto index = static_cast<std::size_t>(machine);
    std::string text = "machine " + std::to_string(machine) + " (" + host[index] + ": rank";
    const auto &members = ranks[index];
    text += members.size() > 1 ? "s " : " ";
    for (std::size_t i = 0; i < members.size(); i++)
        text += (i ? ", " : "") + std::to_string(members[i]);
    return text + ")";
}

Partition one_machine(int size)
{
    return partition_of(std::vector<std::string>(static_cast<std::size_t>(size)),
                        std::vector<std::string>(static_cast<std::size_t>(size), host_name()));
}

Partition partition_of(const std::vector<std::string> &machines,
                       const std::vector<std::string> &hosts)
{
    Partition partition;
    std::map<std::string, int> numbers;
    for (std::size_t rank = 0; rank < machines.size(); rank++) {
        const auto [found, is_new] = numbers.emplace(machines[rank], partition.machines());
        if (is_new) {
            partition.ranks.emplace_back();
            partition.host.push_back(hosts[rank]);
        }
        auto &members = partition.ranks[static_cast<std::size_t>(found->second)];
        partition.machine_of.push_back(found->second);
        partition.local_of.push_back(static_cast<int>(members.size()));
        members.push_back(static_cast<int>(rank));
    }
    return partition;
}

namespace
{

/* What follows from the facts of all ranks, on all of them alike. */
Meeting concluded(const std::vector<Facts> &all, const c10::intrusive_ptr<c10d::Store> &store)
{
    check_agreement(all);
    std::vector<std::string> machines, hosts;
    std::vector<RankFacts> ranks;
    for (const Facts &facts : all) {
        machines.push_back(facts[MACHINE]);
        hosts.push_back(facts[HOST]);
        ranks.push_back({facts[MACHINE], facts[OFF]});
    }
    Meeting meeting;
    meeting.store = store;
    meeting.partition = partition_of(machines, hosts);
    meeting.off = why_off(ranks);
    return meeting;
}

Meeting met(const MeetingParams &params, Board &board)
{
    std::vector<Facts> all;
    for (const std::string &text : board.exchange("facts", joined(own_facts(params)), 1))
        all.push_back(split(text));
    Meeting meeting = concluded(all, board.store());

    std::exception_ptr raised;
    const auto agree = [&](const char *topic, const std::string &outcome) {
        const std::vector<std::string> outcomes = board.exchange(topic, outcome, 2);
        if (raised)
            std::rethrow_exception(raised);
        check_outcomes(outcomes, meeting.partition);
    };
    agree("joined", outcome_of([&] { join_machine(params, all[0][RANDOM], meeting); }, raised));
    if (params.prepare)
        agree("prepared", outcome_of([&] { params.prepare(meeting); }, raised));
    return meeting;
}

} // namespace

Meeting meet_over_store(const MeetingParams &params)
{
    try {
        Board board(params);
        try {
            Meeting meeting = met(params, board);
            board.leave();
            return meeting;
        } catch (const c10::Error &) {
            throw;
        } catch (...) {
            try {
                board.leave();
            } catch (const c10::Error &) { /* what it was about goes first */
            }
            throw;
        }
    } catch (const c10::Error &error) {
        throw_error(ECONNABORTED,
                    "the store over which the ranks of group \"" + params.name +
                        "\" meet is gone, with rank 0 perhaps: " + error.what_without_backtrace());
    }
}

} // namespace shmrt
