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
#include <stdlib.h>
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

/* To standard output, all of it or an error. */
static int show(const struct launch_shown *shown)
{
    int rc = shown->options->json
                 ? launch_show_json(shown, stdout)
                 : launch_show_table(shown, launch_terminal_width(STDOUT_FILENO), stdout);
    if (rc == 0 && (fflush(stdout) || ferror(stdout)))
        rc = -errno;
    if (rc)
        launch_say("the plan cannot be shown: %s", strerror(-rc));
    return rc ? LAUNCH_EXIT_TROUBLE : 0;
}

/* In one write, so that another job's lines can't get in between. A stream that is gone does not
 * hold the job up. */
static void report(const struct launch_shown *shown)
{
    char *text = NULL;
    size_t bytes = 0;
    if (!shown->options->report) {
        launch_say_warnings(shown->options, shown->plan);
        return;
    }
    FILE *out = open_memstream(&text, &bytes);
    int rc = out ? launch_show_table(shown, launch_terminal_width(STDERR_FILENO), out) : -ENOMEM;
    if (out && (fputc('\n', out) == EOF || fclose(out)))
        rc = -ENOMEM;
    if (rc == 0)
        (void)!write(STDERR_FILENO, text, bytes);
    free(text);
}

static int run(const struct launch_shown *shown, char **argv)
{
    struct shmrt_error error;
    struct launch_job job = {
        .options = shown->options,
        .plan = shown->plan,
        .own_threads = launch_own_threads(),
        .argv = argv,
        .piped = shown->plan->rank_count > 1,
    };
    int rc = launch_job_make_key(job.key);
    if (rc) {
        launch_say("no random job key: %s", strerror(-rc));
        return LAUNCH_EXIT_TROUBLE;
    }
    if (launch_port_hold(shown->options->port, &job.port, &job.port_fd, &error)) {
        launch_say("%s", error.text);
        return LAUNCH_EXIT_TROUBLE;
    }
    report(shown);
    return launch_supervise(&job);
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
    const struct launch_shown shown = {options, machine, plan};
    int code = options->dry_run ? show(&shown) : run(&shown, argv);
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
