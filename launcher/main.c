/* SPDX-License-Identifier: Apache-2.0 */
/* main.c - options, plan, job, supervision: four steps, and the exit code of the one that ends it.
 */
#include "job.h"
#include "parse.h"
#include "plan.h"
#include "say.h"
#include "show.h"
#include "supervise.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int read_options(int argc, char **argv, struct launch_options *options)
{
    struct shmrt_error error;
    int rc = launch_parse(argc, argv, options, &error);
    if (rc == 0 && (options->help || options->version))
        return 0;
    if (rc == 0 && options->config)
        rc = launch_config_read(options->config, options, &error);
    if (rc == 0)
        rc = launch_check(options, &error);
    if (rc)
        launch_say("%s", error.text);
    return rc;
}

static int run(struct launch_options *options, const struct shmrt_plan *plan, char **argv)
{
    struct shmrt_error error;
    struct launch_job job = {
        .options = options,
        .plan = plan,
        .own_threads = launch_own_threads(),
        .argv = argv,
        .piped = plan->rank_count > 1,
    };
    int rc = launch_job_make_key(job.key);
    if (rc) {
        launch_say("no random job key: %s", strerror(-rc));
        return LAUNCH_EXIT_TROUBLE;
    }
    if (launch_port_hold(options->port, &job.port, &job.port_fd, &error)) {
        launch_say("%s", error.text);
        return LAUNCH_EXIT_TROUBLE;
    }
    launch_say_warnings(options, plan);
    return launch_supervise(&job);
}

/* Descriptors 0 to 2 are open from here on, so that none of ours takes such a number. */
static void fill_standard_descriptors(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

static int show(const struct launch_options *options, const struct shmrt_machine *machine,
                const struct shmrt_plan *plan)
{
    const struct launch_shown shown = {options, machine, plan};
    int rc = options->json ? launch_show_json(&shown, stdout) : launch_show(options, machine, plan);
    if (rc == 0 && fflush(stdout))
        rc = -errno;
    if (rc)
        launch_say("the plan cannot be shown: %s", strerror(-rc));
    return rc ? LAUNCH_EXIT_TROUBLE : 0;
}

static int show_about(const struct launch_options *options)
{
    if (options->help)
        launch_options_help();
    else
        printf("shm-launch %s\n", shmrt_version());
    return fflush(stdout) == 0 ? 0 : LAUNCH_EXIT_TROUBLE;
}

static int plan_and_run(struct launch_options *options, char **argv)
{
    struct shmrt_machine *machine;
    struct shmrt_plan *plan;
    struct shmrt_error error;
    if (launch_plan(options, &machine, &plan, &error)) {
        launch_say("%s", error.text);
        return LAUNCH_EXIT_USAGE;
    }
    int code = options->dry_run ? show(options, machine, plan) : run(options, plan, argv);
    shmrt_plan_destroy(plan);
    shmrt_machine_destroy(machine);
    return code;
}

int main(int argc, char **argv)
{
    struct launch_options options = launch_options_default();
    fill_standard_descriptors();
    int code = read_options(argc, argv, &options) ? LAUNCH_EXIT_USAGE
               : options.help || options.version  ? show_about(&options)
                                                  : plan_and_run(&options, argv);
    launch_options_free(&options);
    return code;
}
