/* SPDX-License-Identifier: Apache-2.0 */
/**
 * shmrt_placement.h - which CPUs and which memory each rank of a job gets
 *
 * Three steps, each usable alone: read a machine (this one, or a description of another) into plain
 * data; make a plan from a machine and a request, which is a pure function; apply one rank of a
 * plan to the calling process.
 *
 * Words: a CPU is what the kernel numbers and schedules on; a core has one or more CPUs (SMT
 * siblings); a node is a NUMA node; a package is a socket. CPUs and nodes are known by the kernel's
 * numbers, cores, L3 caches and packages by their position on the machine, counted from 0.
 *
 * Errors, for every function that returns int: 0, or a negative errno value with a sentence for a
 * person in @error_out (may be NULL). Outputs are untouched on failure.
 */
#ifndef SHMRT_PLACEMENT_H
#define SHMRT_PLACEMENT_H

#include "shmrt.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A set of small numbers, as large as the machine needs. All-zero is an empty set. */
struct shmrt_bitmap {
    size_t bits; /* numbers from 0 to bits - 1 can be in it */
    uint64_t *words;
};

static inline bool shmrt_bitmap_has(const struct shmrt_bitmap *set, size_t number)
{
    return number < set->bits && (set->words[number / 64] >> (number % 64) & 1);
}

/** The smallest number of the set from @from on; set->bits when there is none. */
static inline size_t shmrt_bitmap_next(const struct shmrt_bitmap *set, size_t from)
{
    while (from < set->bits && !shmrt_bitmap_has(set, from))
        from++;
    return from < set->bits ? from : set->bits;
}

/** How many numbers are in the set. */
SHMRT_API size_t shmrt_bitmap_count(const struct shmrt_bitmap *set);

/**
 * shmrt_bitmap_format - the set as the kernel writes lists: "0-3,8"; nothing for an empty set
 *
 * Return: the bytes needed, without the NUL, as snprintf does.
 */
SHMRT_API size_t shmrt_bitmap_format(const struct shmrt_bitmap *set, char *buffer, size_t bytes);

/**
 * shmrt_bitmap_parse - a set from the same notation: "0-3,8"; numbers up to 65535
 *
 * Return: 0, -EINVAL (what is no such list, or names nothing) or -ENOMEM. shmrt_bitmap_free()
 * releases it.
 */
SHMRT_API SHMRT_WARN_UNUSED int shmrt_bitmap_parse(const char *text, struct shmrt_bitmap *set_out,
                                                   struct shmrt_error *error_out);

/** Release the words of a set, and make it empty. */
SHMRT_API void shmrt_bitmap_free(struct shmrt_bitmap *set);

/** One CPU and where it sits. */
struct shmrt_machine_cpu {
    size_t number; /* the kernel's */
    size_t core;
    size_t l3;   /* where no L3 is reported, the CPUs of a node count as sharing one */
    size_t node; /* position in nodes[], not the kernel's number */
    size_t package;
    size_t kind;  /* 0: the fastest kind of core; 1 and up: slower ones (E cores, LITTLE), but not
                     cores of the same kind that may clock higher */
    bool allowed; /* by the cgroup's cpuset and by the affinity of the calling thread */
    bool taken;   /* a rank of another job is bound to it; nothing here finds out: the caller may */
};

/** What a node's memory is made of; see runtime/topo/machine_nodes.c for how that is found out. */
enum shmrt_tier {
    SHMRT_TIER_DRAM,
    SHMRT_TIER_HBM, /* faster and smaller than DRAM */
    SHMRT_TIER_CXL, /* slower than DRAM */
    SHMRT_TIER_ANY, /* in a request only: all of them */
};

/** Which CPUs a node's memory is nearest to. */
enum shmrt_scope {
    SHMRT_SCOPE_NODE,    /* those of its host */
    SHMRT_SCOPE_PACKAGE, /* all of its package, equally: memory-only nodes may be so */
    SHMRT_SCOPE_MACHINE, /* all of the machine, equally */
};

/** One NUMA node. */
struct shmrt_machine_node {
    size_t number; /* the kernel's */
    uint64_t memory_bytes;
    size_t package;
    size_t host; /* position in nodes[] of a node with CPUs, the nearest; its own if it has some */
    enum shmrt_scope scope;
    enum shmrt_tier tier;
    bool has_cpus; /* false: memory only (HBM, CXL), never a place for ranks */
    bool allowed;  /* by the cgroup's cpuset; never the memory of a GPU */
};

/** A machine as plain data. CPUs and nodes are in order of nearness, not of the kernel's numbers.
 */
struct shmrt_machine {
    size_t cpu_count, node_count;
    struct shmrt_machine_cpu *cpus;
    struct shmrt_machine_node *nodes;
    size_t core_count, l3_count, package_count; /* positions are below these; allowed or not */
    size_t kind_count;                          /* of cores; 1 where all are alike */
    unsigned *distances; /* [node_count][node_count], relative latency, 10: local; NULL: unknown */
    size_t quota_milli;  /* the tightest cpu.max (or cfs quota) of our cgroups, in thousandths of a
                            CPU; 0: none, or another machine */
    bool is_memory_denied; /* set_mempolicy is refused to this process (seccomp, no NUMA) */
    bool is_hidden;        /* no /sys is mounted, which would tell what its CPUs belong to */
    bool is_here;          /* the machine that runs this process: plans for it can be applied */
};

/** Read the machine that runs this process, with what it allows the calling thread. */
SHMRT_API SHMRT_WARN_UNUSED int shmrt_machine_read(struct shmrt_machine **machine_out,
                                                   struct shmrt_error *error_out);

/** Build a machine from hwloc's synthetic notation: "pack:2 numa:4 l3:2 core:2 pu:1". */
SHMRT_API SHMRT_WARN_UNUSED int shmrt_machine_from_text(const char *text,
                                                        struct shmrt_machine **machine_out,
                                                        struct shmrt_error *error_out);

/** Load a machine that `lstopo file.xml` has saved. */
SHMRT_API SHMRT_WARN_UNUSED int shmrt_machine_from_xml(const char *path,
                                                       struct shmrt_machine **machine_out,
                                                       struct shmrt_error *error_out);

SHMRT_API void shmrt_machine_destroy(struct shmrt_machine *machine);

/** What a rank gets one of. */
enum shmrt_place {
    SHMRT_PLACE_SPREAD, /* nothing in particular: all cores are shared out evenly */
    SHMRT_PLACE_PACKAGE,
    SHMRT_PLACE_NODE,
    SHMRT_PLACE_L3,
    SHMRT_PLACE_CORE,
};

/** Where the pages of a rank may come from. */
enum shmrt_memory_policy {
    SHMRT_MEMORY_BIND,   /* from its memory nodes only */
    SHMRT_MEMORY_LOCAL,  /* from the node of whoever touches them first, as without any policy */
    SHMRT_MEMORY_PREFER, /* from its memory nodes while they have any, then from others */
    SHMRT_MEMORY_INTERLEAVE, /* page by page from its memory nodes in turn */
};

/** Which rank gets which of the places that were found. */
enum shmrt_rank_order {
    SHMRT_ORDER_NEAR,   /* neighbouring ranks on neighbouring cores */
    SHMRT_ORDER_CYCLIC, /* neighbouring ranks on different packages, in turn */
};

/**
 * struct shmrt_placement_request - what a person asks for; zero what you do not set
 * @ranks:            1 to SHMRT_MAX_RANKS; 0 with a @per: as many as the machine has of these
 * @per:              each rank gets one whole package, node, L3 or core of its own
 * @cores_per_rank:   a rank gets exactly so many cores; 0: its even share, or all of its place
 * @threads_per_core: so many CPUs of each core are used, each with an OpenMP thread; 0: all CPUs of
 *                    a core are used, with one OpenMP thread a core
 * @reserve:          of a rank's cores, so many get no OpenMP thread and are free for the threads
 *                    that the framework starts itself
 * @memory:           bind (the default), local, prefer or interleave
 * @tier:             what the memory nodes are made of: DRAM stands for the memory of nodes with
 *                    CPUs, whatever it is (the default); HBM and CXL for nodes of that tier next
 *                    to a rank's nodes; ANY for all of these. Not with local memory
 * @order:            near (the default), or cyclic: the packages take turns
 * @cpus:             use no others, by the kernel's numbers; NULL: all allowed ones. Slower kinds
 *                    of core are used only when they are named here, or when there are fewer
 *                    faster cores than ranks
 * @nodes:            use no other nodes' CPUs and memory, by the kernel's numbers; NULL: all
 */
struct shmrt_placement_request {
    size_t ranks;
    enum shmrt_place per;
    size_t cores_per_rank;
    size_t threads_per_core;
    size_t reserve;
    enum shmrt_memory_policy memory;
    enum shmrt_tier tier;
    enum shmrt_rank_order order;
    const struct shmrt_bitmap *cpus, *nodes;
};

/** The place of one rank. */
struct shmrt_plan_rank {
    struct shmrt_bitmap cpus;         /* the kernel's numbers */
    struct shmrt_bitmap cores;        /* positions on the machine */
    struct shmrt_bitmap reserved;     /* of cores: those without an OpenMP thread */
    struct shmrt_bitmap nodes;        /* the kernel's numbers: where its CPUs are */
    struct shmrt_bitmap packages;     /* positions: where its CPUs are */
    struct shmrt_bitmap memory_nodes; /* the kernel's numbers; empty when memory is LOCAL */
    enum shmrt_memory_policy memory;  /* as asked for; LOCAL where no node may give memory */
    size_t threads;                   /* OpenMP's */
    size_t node;                      /* the kernel's number of the node with most of its cores */
    size_t package;                   /* the package with most of its cores */
    /* Where its segment goes: of the memory nodes the one nearest to @node (an HBM node, where the
     * tier is HBM); with local memory the one that would be bound to. */
    size_t segment_node;
    /* Ranks with the same @node, or @package, have the same number here, counted from 0 in the
     * order of ranks. */
    size_t node_group, package_group;
};

struct shmrt_plan {
    size_t rank_count;
    struct shmrt_plan_rank *ranks;
    size_t warning_count; /* sentences that a person wants to read before starting */
    char **warnings;
};

/**
 * shmrt_plan_create - place ranks on a machine
 *
 * Looks at nothing but its arguments. Ranks lie on the cores in order, so that neighbours are near;
 * cores are never split, so that SMT siblings belong to one rank; the widest rank has at most one
 * core more than the narrowest. A share that has to cross a border crosses that of an L3 rather
 * than that of a node, and that of a node rather than that of a package. More ranks than cores
 * share them, round robin within each node. Where the machine has a CPU quota, all ranks lose
 * threads until their sum is within it, but each keeps one.
 *
 * Return: 0, -EINVAL (the request does not fit the machine: the text says what would) or -ENOMEM.
 */
SHMRT_API SHMRT_WARN_UNUSED int shmrt_plan_create(const struct shmrt_machine *machine,
                                                  const struct shmrt_placement_request *request,
                                                  struct shmrt_plan **plan_out,
                                                  struct shmrt_error *error_out);

SHMRT_API void shmrt_plan_destroy(struct shmrt_plan *plan);

/** struct shmrt_plan_applied - what the kernel accepted: 0 or a negative errno value each */
struct shmrt_plan_applied {
    int cpus;   /* sched_setaffinity */
    int memory; /* set_mempolicy: -EPERM in containers without CAP_SYS_NICE, -ENOSYS without NUMA */
};

/**
 * shmrt_plan_apply - bind the calling thread to the CPUs and the memory of one rank
 *
 * What it starts afterwards inherits both, and exec keeps them. The two are independent: where the
 * kernel refuses one, the other is set all the same, and first touch serves for memory.
 *
 * Return: 0, or the first error of @applied_out, which is always written.
 */
SHMRT_API SHMRT_WARN_UNUSED int shmrt_plan_apply(const struct shmrt_plan_rank *rank,
                                                 struct shmrt_plan_applied *applied_out);

#ifdef __cplusplus
}
#endif
#endif
