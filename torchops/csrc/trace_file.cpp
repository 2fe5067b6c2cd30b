// SPDX-License-Identifier: Apache-2.0
/*
 * trace_file.cpp - the Chrome trace of one process: an array of events in JSON.
 *
 * Each event is written when it ends, with the closing bracket behind it that the next one
 * overwrites. So the file is whole at any time, also after a kill -9. Times are those of
 * CLOCK_MONOTONIC, which all processes of a machine have in common.
 */
#include "trace_file.h"

#include "comm.h"
#include "host.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>

namespace shmrt
{

namespace
{

constexpr std::string_view END = "\n]\n";

/* The one file of this process. A forked child begins another one; it may have a copy of the lock
 * that nobody lets go of. */
struct TraceFile {
    std::mutex lock; /* guards what follows */
    std::string path;
    int fd = -1;
    off_t end = 0; /* where the next event goes */
    int rank = 0;
    unsigned forks = 0;
};

TraceFile *file = nullptr; /* set once; changes only in the child of a fork */

/* trace.json of rank 3 is trace.rank3.json */
std::string path_of_rank(const std::string &path, int rank, bool is_child)
{
    const std::size_t slash = path.rfind('/');
    std::size_t dot = path.rfind('.');
    if (dot == std::string::npos || (slash != std::string::npos && dot < slash))
        dot = path.size();
    std::string mark = ".rank" + std::to_string(rank);
    if (is_child)
        mark += ".pid" + std::to_string(getpid());
    return path.substr(0, dot) + mark + path.substr(dot);
}

/* 0, or the errno value of the failure that ends the trace. */
int write_all(TraceFile &f, const std::string &text)
{
    const std::lock_guard lock(f.lock);
    if (f.fd < 0)
        return 0;
    ssize_t written;
    do
        written = pwrite(f.fd, text.data(), text.size(), f.end);
    while (written < 0 && errno == EINTR);
    if (written == static_cast<ssize_t>(text.size())) {
        f.end += written - static_cast<off_t>(END.size());
        return 0;
    }
    const int why = written < 0 ? errno : ENOSPC;
    close(f.fd);
    f.fd = -1;
    return why;
}

/* No lock is held: a log handler may do anything. */
void write_or_warn(TraceFile &f, const std::string &text)
{
    const int why = write_all(f, text);
    if (why)
        host().log(SHMRT_LOG_WARNING, (std::string("the trace (SHMRT_TRACE) ends here: ") +
                                       std::strerror(why) + " while writing it")
                                          .c_str());
}

/* The name of the process in the viewer: what it shows events of @rank under. */
std::string metadata(int rank)
{
    char host_name[256] = "?";
    gethostname(host_name, sizeof host_name - 1);
    const std::string pid = std::to_string(rank);
    return "{\"ph\":\"M\",\"name\":\"process_name\",\"pid\":" + pid +
           ",\"tid\":0,\"args\":{\"name\":" +
           json_string("rank " + pid + " (pid " + std::to_string(getpid()) + " on " + host_name +
                       ")") +
           "}},\n{\"ph\":\"M\",\"name\":\"process_sort_index\",\"pid\":" + pid +
           ",\"tid\":0,\"args\":{\"sort_index\":" + pid + "}}";
}

/* In a folder that others may write to, a link of theirs would have us empty a file of ours, a pipe
 * would hold us up, and a file of theirs is theirs to read. Return: -1 with errno. */
int open_own(const std::string &path)
{
    const int flags = O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    int fd = open(path.c_str(), flags | O_CREAT | O_EXCL, 0666);
    if (fd >= 0 || errno != EEXIST)
        return fd;
    struct stat status{};
    fd = open(path.c_str(), flags);
    if (fd < 0)
        return -1;
    const bool is_own = fstat(fd, &status) == 0 && S_ISREG(status.st_mode) &&
                        status.st_uid == geteuid() && ftruncate(fd, 0) == 0;
    if (is_own || S_ISCHR(status.st_mode))
        return fd;
    close(fd);
    errno = EPERM;
    return -1;
}

bool start_file(TraceFile &f, const std::string &path)
{
    f.fd = open_own(path);
    if (f.fd < 0) {
        host().log(
            SHMRT_LOG_WARNING,
            ("there is no trace: SHMRT_TRACE names " + path + ": " + std::strerror(errno)).c_str());
        return false;
    }
    write_or_warn(f, "[\n" + metadata(f.rank) + std::string(END));
    return true;
}

/* The file to write to; in a forked child a fresh one beside its parent's. */
TraceFile &current_file()
{
    if (file->forks != fork_count()) {
        auto *fresh = new TraceFile;
        fresh->path = file->path;
        fresh->rank = file->rank;
        fresh->forks = fork_count();
        file = fresh;
        start_file(*fresh, path_of_rank(fresh->path, fresh->rank, true));
    }
    return *file;
}

double us(std::chrono::nanoseconds time)
{
    return std::chrono::duration<double, std::micro>(time).count();
}

void write_event(const std::string &head, std::string_view name, double at_us,
                 const std::string &arguments)
{
    TraceFile &f = current_file();
    char times[128];
    std::snprintf(times, sizeof times, ",\"pid\":%d,\"tid\":%ld,\"ts\":%.3f", f.rank,
                  syscall(SYS_gettid), at_us);
    write_or_warn(f, ",\n{\"cat\":\"shmrt\"," + head + ",\"name\":" + json_string(name) + times +
                         ",\"args\":{" + arguments + "}}" + std::string(END));
}

} // namespace

bool open_trace_file(const char *path, int rank)
{
    if (!path || !*path)
        return false;
    shmrt_params params{};
    auto *fresh = new TraceFile; /* events may come until the process is gone */
    fresh->path = path;
    fresh->rank = shmrt_params_from_env(&params, nullptr) == 0 ? params.rank : rank;
    fresh->forks = fork_count();
    file = fresh;
    return start_file(*fresh, path_of_rank(path, fresh->rank, false));
}

void write_trace_span(std::string_view name, std::chrono::steady_clock::time_point start,
                      std::chrono::steady_clock::time_point stop, const std::string &arguments)
{
    char head[64];
    std::snprintf(head, sizeof head, "\"ph\":\"X\",\"dur\":%.3f", us(stop - start));
    write_event(head, name, us(start.time_since_epoch()), arguments);
}

void write_trace_instant(std::string_view name, const std::string &arguments)
{
    write_event("\"ph\":\"i\",\"s\":\"p\"", name,
                us(std::chrono::steady_clock::now().time_since_epoch()), arguments);
}

std::string json_string(std::string_view text)
{
    std::string out = "\"";
    for (const char c : text) {
        char escaped[8];
        if (c == '"' || c == '\\') {
            out += '\\';
            out += c;
        } else if (static_cast<unsigned char>(c) < 0x20) {
            std::snprintf(escaped, sizeof escaped, "\\u%04x", static_cast<unsigned>(c));
            out += escaped;
        } else {
            out += c;
        }
    }
    return out + '"';
}

} // namespace shmrt
