/* SPDX-License-Identifier: Apache-2.0 */
/* test_plan.c - plans for machines that this one is not, as a person would check them: the expected
 * text is written down for each machine and request. */
#include "plan_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Two sockets with one node each; two CPUs a core. */
#define DUAL "pack:2 numa:1 core:4 pu:2"
/* EPYC with four nodes a socket, two L3s each. */
#define NPS4 "pack:2 numa:4 l3:2 core:2 pu:1"
/* Xeon with HBM in flat mode: nodes 1 and 3 have no CPUs of their own. */
#define HBM "pack:2 [numa(memory=64GB)] [numa(memory=16GB)] l3:2 core:4 pu:2"
/* Xeon with three nodes a socket. */
#define SNC3      "pack:2 numa:3 core:5 pu:1"
#define THREE_L3  "pack:1 l3:3 core:2 pu:1"
#define TWO_CORES "core:2 pu:1"

/* clang-format off */
static const struct {
    const char *machine;
    struct shmrt_placement_request request;
    const char *plan;
} cases[] = {
    {DUAL,
     {.ranks = 1},
     "0  package 0 (of 0-1)  node 0 (of 0-1)  cores 0-7  cpus 0-15  memory 0-1  threads 8  segment 0  groups 0/0\n"
     "note: rank 0 has cores on more than one socket, and waits for the link between them"
     "; 4 cores a rank would keep each on one\n"},
    {DUAL,
     {.ranks = 2},
     "0  package 0  node 0  cores 0-3  cpus 0-7  memory 0  threads 4  segment 0  groups 0/0\n"
     "1  package 1  node 1  cores 4-7  cpus 8-15  memory 1  threads 4  segment 1  groups 1/1\n"},
    {DUAL,
     {.ranks = 3},
     "0  package 0  node 0  cores 0-2  cpus 0-5  memory 0  threads 3  segment 0  groups 0/0\n"
     "1  package 0 (of 0-1)  node 0 (of 0-1)  cores 3-4  cpus 6-9  memory 0-1  threads 2  segment 0  groups 0/0\n"
     "2  package 1  node 1  cores 5-7  cpus 10-15  memory 1  threads 3  segment 1  groups 1/1\n"
     "note: rank 1 has cores on more than one socket, and waits for the link between them"
     "; 2 cores a rank would keep each on one\n"},
    {DUAL,
     {.ranks = 4},
     "0  package 0  node 0  cores 0-1  cpus 0-3  memory 0  threads 2  segment 0  groups 0/0\n"
     "1  package 0  node 0  cores 2-3  cpus 4-7  memory 0  threads 2  segment 0  groups 0/0\n"
     "2  package 1  node 1  cores 4-5  cpus 8-11  memory 1  threads 2  segment 1  groups 1/1\n"
     "3  package 1  node 1  cores 6-7  cpus 12-15  memory 1  threads 2  segment 1  groups 1/1\n"},
    {DUAL,
     {.ranks = 5},
     "0  package 0  node 0  cores 0-1  cpus 0-3  memory 0  threads 2  segment 0  groups 0/0\n"
     "1  package 0  node 0  cores 2-3  cpus 4-7  memory 0  threads 2  segment 0  groups 0/0\n"
     "2  package 1  node 1  cores 4  cpus 8-9  memory 1  threads 1  segment 1  groups 1/1\n"
     "3  package 1  node 1  cores 5  cpus 10-11  memory 1  threads 1  segment 1  groups 1/1\n"
     "4  package 1  node 1  cores 6-7  cpus 12-15  memory 1  threads 2  segment 1  groups 1/1\n"},
    {DUAL,
     {.ranks = 6},
     "0  package 0  node 0  cores 0  cpus 0-1  memory 0  threads 1  segment 0  groups 0/0\n"
     "1  package 0  node 0  cores 1-2  cpus 2-5  memory 0  threads 2  segment 0  groups 0/0\n"
     "2  package 0  node 0  cores 3  cpus 6-7  memory 0  threads 1  segment 0  groups 0/0\n"
     "3  package 1  node 1  cores 4  cpus 8-9  memory 1  threads 1  segment 1  groups 1/1\n"
     "4  package 1  node 1  cores 5-6  cpus 10-13  memory 1  threads 2  segment 1  groups 1/1\n"
     "5  package 1  node 1  cores 7  cpus 14-15  memory 1  threads 1  segment 1  groups 1/1\n"},
    {DUAL,
     {.ranks = 8},
     "0  package 0  node 0  cores 0  cpus 0-1  memory 0  threads 1  segment 0  groups 0/0\n"
     "1  package 0  node 0  cores 1  cpus 2-3  memory 0  threads 1  segment 0  groups 0/0\n"
     "2  package 0  node 0  cores 2  cpus 4-5  memory 0  threads 1  segment 0  groups 0/0\n"
     "3  package 0  node 0  cores 3  cpus 6-7  memory 0  threads 1  segment 0  groups 0/0\n"
     "4  package 1  node 1  cores 4  cpus 8-9  memory 1  threads 1  segment 1  groups 1/1\n"
     "5  package 1  node 1  cores 5  cpus 10-11  memory 1  threads 1  segment 1  groups 1/1\n"
     "6  package 1  node 1  cores 6  cpus 12-13  memory 1  threads 1  segment 1  groups 1/1\n"
     "7  package 1  node 1  cores 7  cpus 14-15  memory 1  threads 1  segment 1  groups 1/1\n"},
    {NPS4,
     {.ranks = 1},
     "0  package 0 (of 0-1)  node 0 (of 0-7)  cores 0-31  cpus 0-31  memory 0-7  threads 32  segment 0  groups 0/0\n"
     "note: rank 0 has cores on more than one socket, and waits for the link between them"
     "; 16 cores a rank would keep each on one\n"},
    {NPS4,
     {.ranks = 2},
     "0  package 0  node 0 (of 0-3)  cores 0-15  cpus 0-15  memory 0-3  threads 16  segment 0  groups 0/0\n"
     "1  package 1  node 4 (of 4-7)  cores 16-31  cpus 16-31  memory 4-7  threads 16  segment 4  groups 1/1\n"},
    {NPS4,
     {.ranks = 3},
     "0  package 0  node 0 (of 0-2)  cores 0-10  cpus 0-10  memory 0-2  threads 11  segment 0  groups 0/0\n"
     "1  package 1 (of 0-1)  node 3 (of 2-5)  cores 11-21  cpus 11-21  memory 2-5  threads 11  segment 3  groups 1/1\n"
     "2  package 1  node 6 (of 5-7)  cores 22-31  cpus 22-31  memory 5-7  threads 10  segment 6  groups 2/1\n"
     "note: rank 1 has cores on more than one socket, and waits for the link between them"
     "; 8 cores a rank would keep each on one\n"
     "note: ranks 0,2 have cores on more than one NUMA node, and only a part of one\n"},
    {NPS4,
     {.ranks = 4},
     "0  package 0  node 0 (of 0-1)  cores 0-7  cpus 0-7  memory 0-1  threads 8  segment 0  groups 0/0\n"
     "1  package 0  node 2 (of 2-3)  cores 8-15  cpus 8-15  memory 2-3  threads 8  segment 2  groups 1/0\n"
     "2  package 1  node 4 (of 4-5)  cores 16-23  cpus 16-23  memory 4-5  threads 8  segment 4  groups 2/1\n"
     "3  package 1  node 6 (of 6-7)  cores 24-31  cpus 24-31  memory 6-7  threads 8  segment 6  groups 3/1\n"},
    {NPS4,
     {.ranks = 5},
     "0  package 0  node 0 (of 0-1)  cores 0-5  cpus 0-5  memory 0-1  threads 6  segment 0  groups 0/0\n"
     "1  package 0  node 2 (of 1-3)  cores 6-12  cpus 6-12  memory 1-3  threads 7  segment 2  groups 1/0\n"
     "2  package 1 (of 0-1)  node 4 (of 3-4)  cores 13-19  cpus 13-19  memory 3-4  threads 7  segment 4  groups 2/1\n"
     "3  package 1  node 5 (of 5-6)  cores 20-25  cpus 20-25  memory 5-6  threads 6  segment 5  groups 3/1\n"
     "4  package 1  node 7 (of 6-7)  cores 26-31  cpus 26-31  memory 6-7  threads 6  segment 7  groups 4/1\n"
     "note: rank 2 has cores on more than one socket, and waits for the link between them"
     "; 5 cores a rank would keep each on one\n"
     "note: ranks 0-1,3-4 have cores on more than one NUMA node, and only a part of one\n"},
    {NPS4,
     {.ranks = 6},
     "0  package 0  node 0 (of 0-1)  cores 0-5  cpus 0-5  memory 0-1  threads 6  segment 0  groups 0/0\n"
     "1  package 0  node 2 (of 1-2)  cores 6-10  cpus 6-10  memory 1-2  threads 5  segment 2  groups 1/0\n"
     "2  package 0  node 3 (of 2-3)  cores 11-15  cpus 11-15  memory 2-3  threads 5  segment 3  groups 2/0\n"
     "3  package 1  node 4 (of 4-5)  cores 16-21  cpus 16-21  memory 4-5  threads 6  segment 4  groups 3/1\n"
     "4  package 1  node 6 (of 5-6)  cores 22-26  cpus 22-26  memory 5-6  threads 5  segment 6  groups 4/1\n"
     "5  package 1  node 7 (of 6-7)  cores 27-31  cpus 27-31  memory 6-7  threads 5  segment 7  groups 5/1\n"
     "note: ranks 0-5 have cores on more than one NUMA node, and only a part of one\n"},
    {NPS4,
     {.ranks = 8},
     "0  package 0  node 0  cores 0-3  cpus 0-3  memory 0  threads 4  segment 0  groups 0/0\n"
     "1  package 0  node 1  cores 4-7  cpus 4-7  memory 1  threads 4  segment 1  groups 1/0\n"
     "2  package 0  node 2  cores 8-11  cpus 8-11  memory 2  threads 4  segment 2  groups 2/0\n"
     "3  package 0  node 3  cores 12-15  cpus 12-15  memory 3  threads 4  segment 3  groups 3/0\n"
     "4  package 1  node 4  cores 16-19  cpus 16-19  memory 4  threads 4  segment 4  groups 4/1\n"
     "5  package 1  node 5  cores 20-23  cpus 20-23  memory 5  threads 4  segment 5  groups 5/1\n"
     "6  package 1  node 6  cores 24-27  cpus 24-27  memory 6  threads 4  segment 6  groups 6/1\n"
     "7  package 1  node 7  cores 28-31  cpus 28-31  memory 7  threads 4  segment 7  groups 7/1\n"},
    {HBM,
     {.ranks = 1},
     "0  package 0 (of 0-1)  node 0 (of 0,2)  cores 0-15  cpus 0-31  memory 0,2  threads 16  segment 0  groups 0/0\n"
     "note: rank 0 has cores on more than one socket, and waits for the link between them"
     "; 8 cores a rank would keep each on one\n"},
    {HBM,
     {.ranks = 2},
     "0  package 0  node 0  cores 0-7  cpus 0-15  memory 0  threads 8  segment 0  groups 0/0\n"
     "1  package 1  node 2  cores 8-15  cpus 16-31  memory 2  threads 8  segment 2  groups 1/1\n"},
    {HBM,
     {.ranks = 3},
     "0  package 0  node 0  cores 0-4  cpus 0-9  memory 0  threads 5  segment 0  groups 0/0\n"
     "1  package 0 (of 0-1)  node 0 (of 0,2)  cores 5-10  cpus 10-21  memory 0,2  threads 6  segment 0  groups 0/0\n"
     "2  package 1  node 2  cores 11-15  cpus 22-31  memory 2  threads 5  segment 2  groups 1/1\n"
     "note: rank 1 has cores on more than one socket, and waits for the link between them"
     "; 4 cores a rank would keep each on one\n"},
    {HBM,
     {.ranks = 4},
     "0  package 0  node 0  cores 0-3  cpus 0-7  memory 0  threads 4  segment 0  groups 0/0\n"
     "1  package 0  node 0  cores 4-7  cpus 8-15  memory 0  threads 4  segment 0  groups 0/0\n"
     "2  package 1  node 2  cores 8-11  cpus 16-23  memory 2  threads 4  segment 2  groups 1/1\n"
     "3  package 1  node 2  cores 12-15  cpus 24-31  memory 2  threads 4  segment 2  groups 1/1\n"},
    {HBM,
     {.ranks = 5},
     "0  package 0  node 0  cores 0-3  cpus 0-7  memory 0  threads 4  segment 0  groups 0/0\n"
     "1  package 0  node 0  cores 4-6  cpus 8-13  memory 0  threads 3  segment 0  groups 0/0\n"
     "2  package 1 (of 0-1)  node 2 (of 0,2)  cores 7-9  cpus 14-19  memory 0,2  threads 3  segment 2  groups 1/1\n"
     "3  package 1  node 2  cores 10-12  cpus 20-25  memory 2  threads 3  segment 2  groups 1/1\n"
     "4  package 1  node 2  cores 13-15  cpus 26-31  memory 2  threads 3  segment 2  groups 1/1\n"
     "note: rank 2 has cores on more than one socket, and waits for the link between them"
     "; 2 cores a rank would keep each on one\n"},
    {HBM,
     {.ranks = 6},
     "0  package 0  node 0  cores 0-2  cpus 0-5  memory 0  threads 3  segment 0  groups 0/0\n"
     "1  package 0  node 0  cores 3-4  cpus 6-9  memory 0  threads 2  segment 0  groups 0/0\n"
     "2  package 0  node 0  cores 5-7  cpus 10-15  memory 0  threads 3  segment 0  groups 0/0\n"
     "3  package 1  node 2  cores 8-10  cpus 16-21  memory 2  threads 3  segment 2  groups 1/1\n"
     "4  package 1  node 2  cores 11-12  cpus 22-25  memory 2  threads 2  segment 2  groups 1/1\n"
     "5  package 1  node 2  cores 13-15  cpus 26-31  memory 2  threads 3  segment 2  groups 1/1\n"},
    {HBM,
     {.ranks = 8},
     "0  package 0  node 0  cores 0-1  cpus 0-3  memory 0  threads 2  segment 0  groups 0/0\n"
     "1  package 0  node 0  cores 2-3  cpus 4-7  memory 0  threads 2  segment 0  groups 0/0\n"
     "2  package 0  node 0  cores 4-5  cpus 8-11  memory 0  threads 2  segment 0  groups 0/0\n"
     "3  package 0  node 0  cores 6-7  cpus 12-15  memory 0  threads 2  segment 0  groups 0/0\n"
     "4  package 1  node 2  cores 8-9  cpus 16-19  memory 2  threads 2  segment 2  groups 1/1\n"
     "5  package 1  node 2  cores 10-11  cpus 20-23  memory 2  threads 2  segment 2  groups 1/1\n"
     "6  package 1  node 2  cores 12-13  cpus 24-27  memory 2  threads 2  segment 2  groups 1/1\n"
     "7  package 1  node 2  cores 14-15  cpus 28-31  memory 2  threads 2  segment 2  groups 1/1\n"},
    {SNC3,
     {.ranks = 2},
     "0  package 0  node 0 (of 0-2)  cores 0-14  cpus 0-14  memory 0-2  threads 15  segment 0  groups 0/0\n"
     "1  package 1  node 3 (of 3-5)  cores 15-29  cpus 15-29  memory 3-5  threads 15  segment 3  groups 1/1\n"},
    {SNC3,
     {.ranks = 4},
     "0  package 0  node 0 (of 0-1)  cores 0-7  cpus 0-7  memory 0-1  threads 8  segment 0  groups 0/0\n"
     "1  package 0  node 2 (of 1-2)  cores 8-14  cpus 8-14  memory 1-2  threads 7  segment 2  groups 1/0\n"
     "2  package 1  node 3 (of 3-4)  cores 15-22  cpus 15-22  memory 3-4  threads 8  segment 3  groups 2/1\n"
     "3  package 1  node 5 (of 4-5)  cores 23-29  cpus 23-29  memory 4-5  threads 7  segment 5  groups 3/1\n"
     "note: ranks 0-3 have cores on more than one NUMA node, and only a part of one\n"},
    {SNC3,
     {.ranks = 6},
     "0  package 0  node 0  cores 0-4  cpus 0-4  memory 0  threads 5  segment 0  groups 0/0\n"
     "1  package 0  node 1  cores 5-9  cpus 5-9  memory 1  threads 5  segment 1  groups 1/0\n"
     "2  package 0  node 2  cores 10-14  cpus 10-14  memory 2  threads 5  segment 2  groups 2/0\n"
     "3  package 1  node 3  cores 15-19  cpus 15-19  memory 3  threads 5  segment 3  groups 3/1\n"
     "4  package 1  node 4  cores 20-24  cpus 20-24  memory 4  threads 5  segment 4  groups 4/1\n"
     "5  package 1  node 5  cores 25-29  cpus 25-29  memory 5  threads 5  segment 5  groups 5/1\n"},
    {SNC3,
     {.ranks = 8},
     "0  package 0  node 0  cores 0-3  cpus 0-3  memory 0  threads 4  segment 0  groups 0/0\n"
     "1  package 0  node 1 (of 0-1)  cores 4-7  cpus 4-7  memory 0-1  threads 4  segment 1  groups 1/0\n"
     "2  package 0  node 1 (of 1-2)  cores 8-10  cpus 8-10  memory 1-2  threads 3  segment 1  groups 1/0\n"
     "3  package 0  node 2  cores 11-14  cpus 11-14  memory 2  threads 4  segment 2  groups 2/0\n"
     "4  package 1  node 3  cores 15-18  cpus 15-18  memory 3  threads 4  segment 3  groups 3/1\n"
     "5  package 1  node 4 (of 3-4)  cores 19-22  cpus 19-22  memory 3-4  threads 4  segment 4  groups 4/1\n"
     "6  package 1  node 4 (of 4-5)  cores 23-25  cpus 23-25  memory 4-5  threads 3  segment 4  groups 4/1\n"
     "7  package 1  node 5  cores 26-29  cpus 26-29  memory 5  threads 4  segment 5  groups 5/1\n"
     "note: ranks 1-2,5-6 have cores on more than one NUMA node, and only a part of one\n"},
    {THREE_L3,
     {.ranks = 2},
     "0  package 0  node 0  cores 0-2  cpus 0-2  memory 0  threads 3  segment 0  groups 0/0\n"
     "1  package 0  node 0  cores 3-5  cpus 3-5  memory 0  threads 3  segment 0  groups 0/0\n"},
    {THREE_L3,
     {.ranks = 3},
     "0  package 0  node 0  cores 0-1  cpus 0-1  memory 0  threads 2  segment 0  groups 0/0\n"
     "1  package 0  node 0  cores 2-3  cpus 2-3  memory 0  threads 2  segment 0  groups 0/0\n"
     "2  package 0  node 0  cores 4-5  cpus 4-5  memory 0  threads 2  segment 0  groups 0/0\n"},
    {THREE_L3,
     {.ranks = 4},
     "0  package 0  node 0  cores 0-1  cpus 0-1  memory 0  threads 2  segment 0  groups 0/0\n"
     "1  package 0  node 0  cores 2  cpus 2  memory 0  threads 1  segment 0  groups 0/0\n"
     "2  package 0  node 0  cores 3  cpus 3  memory 0  threads 1  segment 0  groups 0/0\n"
     "3  package 0  node 0  cores 4-5  cpus 4-5  memory 0  threads 2  segment 0  groups 0/0\n"},
    {THREE_L3,
     {.ranks = 8},
     "0  package 0  node 0  cores 0  cpus 0  memory 0  threads 1  segment 0  groups 0/0\n"
     "1  package 0  node 0  cores 1  cpus 1  memory 0  threads 1  segment 0  groups 0/0\n"
     "2  package 0  node 0  cores 2  cpus 2  memory 0  threads 1  segment 0  groups 0/0\n"
     "3  package 0  node 0  cores 3  cpus 3  memory 0  threads 1  segment 0  groups 0/0\n"
     "4  package 0  node 0  cores 4  cpus 4  memory 0  threads 1  segment 0  groups 0/0\n"
     "5  package 0  node 0  cores 5  cpus 5  memory 0  threads 1  segment 0  groups 0/0\n"
     "6  package 0  node 0  cores 0  cpus 0  memory 0  threads 1  segment 0  groups 0/0\n"
     "7  package 0  node 0  cores 1  cpus 1  memory 0  threads 1  segment 0  groups 0/0\n"
     "note: 8 ranks share 6 cores and take turns: at most 6 can run at a time\n"},
    {TWO_CORES,
     {.ranks = 1},
     "0  package 0  node 0  cores 0-1  cpus 0-1  memory 0  threads 2  segment 0  groups 0/0\n"},
    {TWO_CORES,
     {.ranks = 3},
     "0  package 0  node 0  cores 0  cpus 0  memory 0  threads 1  segment 0  groups 0/0\n"
     "1  package 0  node 0  cores 1  cpus 1  memory 0  threads 1  segment 0  groups 0/0\n"
     "2  package 0  node 0  cores 0  cpus 0  memory 0  threads 1  segment 0  groups 0/0\n"
     "note: 3 ranks share 2 cores and take turns: at most 2 can run at a time\n"},
    {TWO_CORES,
     {.ranks = 4},
     "0  package 0  node 0  cores 0  cpus 0  memory 0  threads 1  segment 0  groups 0/0\n"
     "1  package 0  node 0  cores 1  cpus 1  memory 0  threads 1  segment 0  groups 0/0\n"
     "2  package 0  node 0  cores 0  cpus 0  memory 0  threads 1  segment 0  groups 0/0\n"
     "3  package 0  node 0  cores 1  cpus 1  memory 0  threads 1  segment 0  groups 0/0\n"
     "note: 4 ranks share 2 cores and take turns: at most 2 can run at a time\n"},
    {"pack:1 numa:2 core:2 pu:2",
     {.ranks = 6},
     "0  package 0  node 0  cores 0  cpus 0-1  memory 0  threads 1  segment 0  groups 0/0\n"
     "1  package 0  node 0  cores 1  cpus 2-3  memory 0  threads 1  segment 0  groups 0/0\n"
     "2  package 0  node 0  cores 0  cpus 0-1  memory 0  threads 1  segment 0  groups 0/0\n"
     "3  package 0  node 1  cores 2  cpus 4-5  memory 1  threads 1  segment 1  groups 1/0\n"
     "4  package 0  node 1  cores 3  cpus 6-7  memory 1  threads 1  segment 1  groups 1/0\n"
     "5  package 0  node 1  cores 2  cpus 4-5  memory 1  threads 1  segment 1  groups 1/0\n"
     "note: 6 ranks share 4 cores: those on the same core have a CPU of it each, and slow each other "
     "down\n"},
    {"pack:1 core:1 pu:2",
     {.ranks = 3},
     "0  package 0  node 0  cores 0  cpus 0-1  memory 0  threads 1  segment 0  groups 0/0\n"
     "1  package 0  node 0  cores 0  cpus 0-1  memory 0  threads 1  segment 0  groups 0/0\n"
     "2  package 0  node 0  cores 0  cpus 0-1  memory 0  threads 1  segment 0  groups 0/0\n"
     "note: 3 ranks share 1 core and take turns: at most 2 can run at a time\n"},
    {DUAL,
     {.per = SHMRT_PLACE_PACKAGE},
     "0  package 0  node 0  cores 0-3  cpus 0-7  memory 0  threads 4  segment 0  groups 0/0\n"
     "1  package 1  node 1  cores 4-7  cpus 8-15  memory 1  threads 4  segment 1  groups 1/1\n"},
    {NPS4,
     {.per = SHMRT_PLACE_PACKAGE},
     "0  package 0  node 0 (of 0-3)  cores 0-15  cpus 0-15  memory 0-3  threads 16  segment 0  groups 0/0\n"
     "1  package 1  node 4 (of 4-7)  cores 16-31  cpus 16-31  memory 4-7  threads 16  segment 4  groups 1/1\n"},
    {HBM,
     {.per = SHMRT_PLACE_NODE},
     "0  package 0  node 0  cores 0-7  cpus 0-15  memory 0  threads 8  segment 0  groups 0/0\n"
     "1  package 1  node 2  cores 8-15  cpus 16-31  memory 2  threads 8  segment 2  groups 1/1\n"},
    {HBM,
     {.per = SHMRT_PLACE_L3},
     "0  package 0  node 0  cores 0-3  cpus 0-7  memory 0  threads 4  segment 0  groups 0/0\n"
     "1  package 0  node 0  cores 4-7  cpus 8-15  memory 0  threads 4  segment 0  groups 0/0\n"
     "2  package 1  node 2  cores 8-11  cpus 16-23  memory 2  threads 4  segment 2  groups 1/1\n"
     "3  package 1  node 2  cores 12-15  cpus 24-31  memory 2  threads 4  segment 2  groups 1/1\n"},
    {DUAL,
     {.per = SHMRT_PLACE_CORE},
     "0  package 0  node 0  cores 0  cpus 0-1  memory 0  threads 1  segment 0  groups 0/0\n"
     "1  package 0  node 0  cores 1  cpus 2-3  memory 0  threads 1  segment 0  groups 0/0\n"
     "2  package 0  node 0  cores 2  cpus 4-5  memory 0  threads 1  segment 0  groups 0/0\n"
     "3  package 0  node 0  cores 3  cpus 6-7  memory 0  threads 1  segment 0  groups 0/0\n"
     "4  package 1  node 1  cores 4  cpus 8-9  memory 1  threads 1  segment 1  groups 1/1\n"
     "5  package 1  node 1  cores 5  cpus 10-11  memory 1  threads 1  segment 1  groups 1/1\n"
     "6  package 1  node 1  cores 6  cpus 12-13  memory 1  threads 1  segment 1  groups 1/1\n"
     "7  package 1  node 1  cores 7  cpus 14-15  memory 1  threads 1  segment 1  groups 1/1\n"},
    {NPS4,
     {.ranks = 3, .per = SHMRT_PLACE_NODE},
     "0  package 0  node 0  cores 0-3  cpus 0-3  memory 0  threads 4  segment 0  groups 0/0\n"
     "1  package 0  node 2  cores 8-11  cpus 8-11  memory 2  threads 4  segment 2  groups 1/0\n"
     "2  package 1  node 5  cores 20-23  cpus 20-23  memory 5  threads 4  segment 5  groups 2/1\n"
     "note: NUMA nodes 1,3-4,6-7: no rank runs there\n"},
    {NPS4,
     {.ranks = 2, .per = SHMRT_PLACE_PACKAGE, .cores_per_rank = 3},
     "0  package 0  node 0  cores 0-2  cpus 0-2  memory 0  threads 3  segment 0  groups 0/0\n"
     "1  package 1  node 4  cores 16-18  cpus 16-18  memory 4  threads 3  segment 4  groups 1/1\n"
     "note: NUMA nodes 1-3,5-7: no rank runs there\n"},
    {DUAL,
     {.ranks = 3, .cores_per_rank = 2},
     "0  package 0  node 0  cores 0-1  cpus 0-3  memory 0  threads 2  segment 0  groups 0/0\n"
     "1  package 0  node 0  cores 2-3  cpus 4-7  memory 0  threads 2  segment 0  groups 0/0\n"
     "2  package 1  node 1  cores 5-6  cpus 10-13  memory 1  threads 2  segment 1  groups 1/1\n"},
    {HBM,
     {.ranks = 3, .cores_per_rank = 4, .reserve = 1},
     "0  package 0  node 0  cores 0-3  cpus 0-7  memory 0  threads 3 reserved 3  segment 0  groups 0/0\n"
     "1  package 0  node 0  cores 4-7  cpus 8-15  memory 0  threads 3 reserved 7  segment 0  groups 0/0\n"
     "2  package 1  node 2  cores 12-15  cpus 24-31  memory 2  threads 3 reserved 15  segment 2  groups 1/1\n"},
    {DUAL,
     {.ranks = 2, .threads_per_core = 1},
     "0  package 0  node 0  cores 0-3  cpus 0,2,4,6  memory 0  threads 4  segment 0  groups 0/0\n"
     "1  package 1  node 1  cores 4-7  cpus 8,10,12,14  memory 1  threads 4  segment 1  groups 1/1\n"},
    {DUAL,
     {.ranks = 2, .threads_per_core = 2},
     "0  package 0  node 0  cores 0-3  cpus 0-7  memory 0  threads 8  segment 0  groups 0/0\n"
     "1  package 1  node 1  cores 4-7  cpus 8-15  memory 1  threads 8  segment 1  groups 1/1\n"},
    {DUAL,
     {.ranks = 2, .threads_per_core = 2, .reserve = 1},
     "0  package 0  node 0  cores 0-3  cpus 0-7  memory 0  threads 6 reserved 3  segment 0  groups 0/0\n"
     "1  package 1  node 1  cores 4-7  cpus 8-15  memory 1  threads 6 reserved 7  segment 1  groups 1/1\n"},
    {TWO_CORES,
     {.ranks = 2, .memory = SHMRT_MEMORY_LOCAL},
     "0  package 0  node 0  cores 0  cpus 0  memory local  threads 1  segment 0  groups 0/0\n"
     "1  package 0  node 0  cores 1  cpus 1  memory local  threads 1  segment 0  groups 0/0\n"},
    {DUAL,
     {0},
     "refused: how many ranks? Give a number, or one rank for each socket, NUMA node, L3 cache or core\n"},
    {DUAL,
     {.ranks = 65},
     "refused: 65 ranks are more than the limit of 64\n"},
    {DUAL,
     {.ranks = 3, .per = SHMRT_PLACE_PACKAGE},
     "refused: 3 ranks with a socket each need 3 sockets, and 2 can be used here; ask for 2, or for an even spread over all cores\n"},
    {DUAL,
     {.ranks = 2, .cores_per_rank = 5},
     "refused: 2 ranks of 5 cores need 10 cores, and 8 can be used here; ask for at most 4 cores a rank\n"},
    {DUAL,
     {.ranks = 2, .cores_per_rank = 9},
     "refused: 2 ranks of 9 cores need 18 cores, and 8 can be used here; ask for at most 4 cores a rank\n"},
    {DUAL,
     {.ranks = 2, .per = SHMRT_PLACE_PACKAGE, .cores_per_rank = 5},
     "refused: 5 cores a rank do not fit: socket 0 has 4\n"},
    {DUAL,
     {.ranks = 2, .threads_per_core = 3},
     "refused: 3 threads a core do not fit: a core has 2 CPUs that can be used here\n"},
    {DUAL,
     {.ranks = 2, .reserve = 4},
     "refused: 4 reserved cores leave nothing of the 4 that rank 0 has; reserve at most 3, or ask for fewer ranks\n"},
    {DUAL,
     {.ranks = 9, .reserve = 1},
     "refused: no core can be reserved: 9 ranks have to share cores; ask for fewer ranks\n"},
    {DUAL,
     {.ranks = 8, .reserve = 1},
     "refused: no core can be reserved: rank 0 has one only; ask for fewer ranks\n"},
    {DUAL,
     {.ranks = 20, .cores_per_rank = 1},
     "refused: 20 ranks of 1 core need 20 cores, and 8 can be used here; ask for 8 ranks or fewer\n"},
    {"pack:2 numa:1 core:64 pu:1",
     {.per = SHMRT_PLACE_CORE},
     "refused: one rank for each of 128 cores is more than the limit of 64 ranks; choose a larger place, or fewer ranks\n"},
};
/* clang-format on */

static struct shmrt_machine *machine_from(const char *text)
{
    struct shmrt_machine *machine = NULL;
    struct shmrt_error error = {0};
    assert_int_equal(shmrt_machine_from_text(text, &machine, &error), 0);
    return machine;
}

static void assert_plan(const struct shmrt_machine *machine,
                        const struct shmrt_placement_request *request, const char *expected)
{
    char *text = plan_text(machine, request);
    assert_non_null(text);
    if (strcmp(text, expected) != 0)
        print_error("%zu ranks, per %d: got\n%s", request->ranks, (int)request->per, text);
    assert_string_equal(text, expected);
    free(text);
}

static void plans_are_as_written(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct shmrt_machine *machine = machine_from(cases[i].machine);
        assert_plan(machine, &cases[i].request, cases[i].plan);
        shmrt_machine_destroy(machine);
    }
}

static void forbid(struct shmrt_machine *machine, size_t first, size_t last)
{
    for (size_t i = 0; i < machine->cpu_count; i++)
        if (machine->cpus[i].number >= first && machine->cpus[i].number <= last)
            machine->cpus[i].allowed = false;
}

/* A core counts as one, whether one of its siblings is forbidden or not. */
static void a_core_with_one_sibling_left_is_a_core(void **state)
{
    (void)state;
    const struct shmrt_placement_request two = {.ranks = 2};
    const struct shmrt_placement_request full = {.ranks = 2, .threads_per_core = 2};
    struct shmrt_machine *machine = machine_from(DUAL);
    forbid(machine, 1, 1);
    forbid(machine, 8, 8);
    assert_plan(
        machine, &two,
        "0  package 0  node 0  cores 0-3  cpus 0,2-7  memory 0  threads 4  segment 0  groups 0/0\n"
        "1  package 1  node 1  cores 4-7  cpus 9-15  memory 1  threads 4  segment 1  groups 1/1\n");
    assert_plan(
        machine, &full,
        "0  package 0  node 0  cores 0-3  cpus 0,2-7  memory 0  threads 7  segment 0  groups 0/0\n"
        "1  package 1  node 1  cores 4-7  cpus 9-15  memory 1  threads 7  segment 1  groups 1/1\n");
    shmrt_machine_destroy(machine);
}

static void a_cpuset_on_one_socket_leaves_the_other_alone(void **state)
{
    (void)state;
    const struct shmrt_placement_request two = {.ranks = 2}, per = {.per = SHMRT_PLACE_PACKAGE};
    struct shmrt_machine *machine = machine_from(DUAL);
    forbid(machine, 0, 7);
    assert_plan(
        machine, &two,
        "0  package 1  node 1  cores 4-5  cpus 8-11  memory 1  threads 2  segment 1  groups 0/0\n"
        "1  package 1  node 1  cores 6-7  cpus 12-15  memory 1  threads 2  segment 1  groups "
        "0/0\n");
    assert_plan(
        machine, &per,
        "0  package 1  node 1  cores 4-7  cpus 8-15  memory 1  threads 4  segment 1  groups 0/0\n");
    forbid(machine, 0, 15);
    assert_plan(machine, &two,
                "refused: none of the machine's 16 CPUs is allowed to this process\n");
    shmrt_machine_destroy(machine);
}

/* As on a Xeon with 43, 43 and 42 cores in a socket's nodes, and worse. */
static void unequal_places_are_trimmed_to_one_core_of_difference(void **state)
{
    (void)state;
    const struct shmrt_placement_request per = {.per = SHMRT_PLACE_NODE};
    struct shmrt_machine *machine = machine_from(SNC3);
    forbid(machine, 4, 4);
    assert_plan(
        machine, &per,
        "0  package 0  node 0  cores 0-3  cpus 0-3  memory 0  threads 4  segment 0  groups 0/0\n"
        "1  package 0  node 1  cores 5-9  cpus 5-9  memory 1  threads 5  segment 1  groups 1/0\n"
        "2  package 0  node 2  cores 10-14  cpus 10-14  memory 2  threads 5  segment 2  groups "
        "2/0\n"
        "3  package 1  node 3  cores 15-19  cpus 15-19  memory 3  threads 5  segment 3  groups "
        "3/1\n"
        "4  package 1  node 4  cores 20-24  cpus 20-24  memory 4  threads 5  segment 4  groups "
        "4/1\n"
        "5  package 1  node 5  cores 25-29  cpus 25-29  memory 5  threads 5  segment 5  groups "
        "5/1\n");
    forbid(machine, 2, 3);
    assert_plan(
        machine, &per,
        "0  package 0  node 0  cores 0-1  cpus 0-1  memory 0  threads 2  segment 0  groups 0/0\n"
        "1  package 0  node 1  cores 5-7  cpus 5-7  memory 1  threads 3  segment 1  groups 1/0\n"
        "2  package 0  node 2  cores 10-12  cpus 10-12  memory 2  threads 3  segment 2  groups "
        "2/0\n"
        "3  package 1  node 3  cores 15-17  cpus 15-17  memory 3  threads 3  segment 3  groups "
        "3/1\n"
        "4  package 1  node 4  cores 20-22  cpus 20-22  memory 4  threads 3  segment 4  groups "
        "4/1\n"
        "5  package 1  node 5  cores 25-27  cpus 25-27  memory 5  threads 3  segment 5  groups "
        "5/1\n"
        "note: 10 cores stay idle: no rank gets more than one core more than another, "
        "since it would only wait\n");
    shmrt_machine_destroy(machine);
}

/* cpuset.mems may forbid a node whose CPUs are allowed, and a node may have no memory at all. */
static void memory_comes_from_the_nearest_node_that_may_give_it(void **state)
{
    (void)state;
    const struct shmrt_placement_request request = {.ranks = 2};
    struct shmrt_machine *machine = machine_from("pack:2 numa:2 core:1 pu:1");
    machine->nodes[0].allowed = false;
    machine->nodes[3].memory_bytes = 0;
    const struct shmrt_placement_request four = {.ranks = 4};
    assert_plan(
        machine, &four,
        "0  package 0  node 0  cores 0  cpus 0  memory 1  threads 1  segment 1  groups 0/0\n"
        "1  package 0  node 1  cores 1  cpus 1  memory 1  threads 1  segment 1  groups 1/0\n"
        "2  package 1  node 2  cores 2  cpus 2  memory 2  threads 1  segment 2  groups 2/1\n"
        "3  package 1  node 3  cores 3  cpus 3  memory 2  threads 1  segment 2  groups 3/1\n"
        "note: ranks 0,3 cannot take memory on their NUMA nodes, and take it from the "
        "nearest ones\n");
    assert_plan(machine, &request,
                "0  package 0  node 0 (of 0-1)  cores 0-1  cpus 0-1  memory 1  threads 2  segment "
                "1  groups 0/0\n"
                "1  package 1  node 2 (of 2-3)  cores 2-3  cpus 2-3  memory 2  threads 2  segment "
                "2  groups 1/1\n");
    machine->nodes[1].allowed = machine->nodes[2].allowed = false;
    assert_plan(machine, &request,
                "0  package 0  node 0 (of 0-1)  cores 0-1  cpus 0-1  memory local  threads 2  "
                "segment 0  groups 0/0\n"
                "1  package 1  node 2 (of 2-3)  cores 2-3  cpus 2-3  memory local  threads 2  "
                "segment 2  groups 1/1\n"
                "note: ranks 0-1 find no NUMA node with memory and CPUs that they may use: first "
                "touch decides where their pages are\n");
    shmrt_machine_destroy(machine);
}

/* HBM is a tier to be asked for, not a stand-in. */
static void memory_without_cpus_stands_in_for_nothing(void **state)
{
    (void)state;
    const struct shmrt_placement_request request = {.per = SHMRT_PLACE_PACKAGE};
    struct shmrt_machine *machine = machine_from(HBM);
    machine->nodes[0].allowed = false;
    assert_plan(
        machine, &request,
        "0  package 0  node 0  cores 0-7  cpus 0-15  memory 2  threads 8  segment 2  groups 0/0\n"
        "1  package 1  node 2  cores 8-15  cpus 16-31  memory 2  threads 8  segment 2  groups 1/1\n"
        "note: rank 0 cannot take memory on its NUMA node, and takes it from the nearest one\n");
    shmrt_machine_destroy(machine);
}

static void more_cpus_than_a_word_or_a_cpu_set_holds(void **state)
{
    (void)state;
    const struct shmrt_placement_request request = {.ranks = 3};
    struct shmrt_machine *machine = machine_from("pack:3 numa:1 core:512 pu:2");
    assert_plan(machine, &request,
                "0  package 0  node 0  cores 0-511  cpus 0-1023  memory 0  threads 512  segment 0  "
                "groups 0/0\n"
                "1  package 1  node 1  cores 512-1023  cpus 1024-2047  memory 1  threads 512  "
                "segment 1  groups 1/1\n"
                "2  package 2  node 2  cores 1024-1535  cpus 2048-3071  memory 2  threads 512  "
                "segment 2  groups 2/2\n");
    shmrt_machine_destroy(machine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plans_are_as_written),
        cmocka_unit_test(a_core_with_one_sibling_left_is_a_core),
        cmocka_unit_test(a_cpuset_on_one_socket_leaves_the_other_alone),
        cmocka_unit_test(unequal_places_are_trimmed_to_one_core_of_difference),
        cmocka_unit_test(memory_comes_from_the_nearest_node_that_may_give_it),
        cmocka_unit_test(memory_without_cpus_stands_in_for_nothing),
        cmocka_unit_test(more_cpus_than_a_word_or_a_cpu_set_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
