/* SPDX-License-Identifier: Apache-2.0 */
/* main.c - options, machines, plan, job, supervision: five steps, and the exit code of the one
 * that ends it.
 */
#include "common/say.h"
#include "io/input.h"
#include "options/parse.h"
#include "parent/attempts.h"
#include "plan/plan.h"
#include "rank/environment.h"
#include "rank/preload.h"
#include "show/plan_diff.h"
#include "show/show.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

static int read_options(int argc, char **argv, struct launch_options *options)
{
    struct shmrt_error error;
    int rc = launch_parse(argc, argv, options, &error);
    if (rc == 0 && (options->help || options->version))
        return 0;
    if (rc == 0 && options->config && !options->diff[0])
        rc = launch_config_read(options->config, options, &error);
    if (rc == 0)
        rc = launch_check(options, &error);
    if (rc == 0)
        rc = launch_environment_check(&options->env, &error);
    if (rc)
        launch_say("%s", error.text);
    return rc;
}

/* It runs what it is told to, as who it is: with more rights than its caller has, anything. */
static bool has_borrowed_rights(void)
{
    if (!getauxval(AT_SECURE))
        return false;
    launch_say("shm-launch does not run with set-user-ID, set-group-ID or file capabilities: take "
               "them off its file; it needs none");
    return true;
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

static int draw(const struct launch_shown *shown)
{
    struct shmrt_error error;
    if (!shown->options->draw || launch_draw(shown, shown->options->draw, &error) == 0)
        return 0;
    launch_say("%s", error.text);
    return LAUNCH_EXIT_TROUBLE;
}

/* To standard output, all of it or an error; unless the drawing is there already. */
static int show(const struct launch_shown *shown)
{
    if (shown->options->draw && strcmp(shown->options->draw, "-") == 0)
        return 0;
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
    if (out)
        fputc('\n', out);
    if (out && launch_close(out, &text))
        rc = -ENOMEM;
    if (rc == 0)
        (void)!write(STDERR_FILENO, text, bytes);
    free(text);
}

static void add_note(void *notes, const char *line)
{
    struct launch_words *to = notes;
    if (to->count < LAUNCH_WORDS_MAX && (to->words[to->count] = strdup(line)))
        to->count++;
}

/* A start would refuse what this names. */
static void note_preload(const struct launch_options *options, struct launch_words *notes)
{
    struct shmrt_error error;
    char *preload = NULL;
    if (launch_preload_find(&options->preload, getenv("LD_PRELOAD"), &preload, &error))
        add_note(notes, error.text);
    free(preload);
}

/* What a start of the job would say, for who only looks. */
static void gather_notes(const struct launch_shown *shown, const struct launch_cluster *cluster,
                         struct launch_words *notes)
{
    const struct launch_job job = {
        .options = shown->options,
        .plan = shown->plan,
        .cluster = *cluster,
        .own_threads = launch_own_threads(),
        .first_rank = cluster->machine * shown->plan->rank_count,
    };
    if (shown->options->verify)
        add_note(notes, "--verify looks at ranks that run, and a plan starts none");
    if (!shown->machine->is_here)
        return;
    note_preload(shown->options, notes);
    launch_environment_conflicts(&job, add_note, notes);
}

static int show_only(struct launch_shown *shown, const struct launch_cluster *cluster)
{
    struct launch_words notes = {0};
    gather_notes(shown, cluster, &notes);
    shown->notes = &notes;
    int code = show(shown);
    shown->notes = NULL;
    for (size_t i = 0; i < notes.count; i++)
        free(notes.words[i]);
    return code;
}

static void say_line(void *context, const char *line)
{
    (void)context;
    launch_say("%s", line);
}

static const char *from_environment(const char *name, const void *context)
{
    (void)context;
    return getenv(name);
}

/* Only machine 0 has the port that all meet at. Return: 0, or a negative errno with a sentence. */
static int prepare(const struct launch_shown *shown, struct launch_job *job,
                   struct shmrt_error *error_out)
{
    const struct launch_cluster *cluster = &job->cluster;
    int rc = launch_job_make_key(job->key);
    if (rc)
        return launch_error(error_out, rc, "no random job key: %s", strerror(-rc));
    job->plan_line = launch_plan_json_line(shown->options, shown->machine, shown->plan);
    if (!job->plan_line)
        return launch_error(error_out, -ENOMEM, "no memory for SHM_LAUNCH_PLAN");
    job->port = (int)cluster->port;
    job->port_fd = -1;
    if (cluster->machines == 1)
        snprintf(job->run_id, sizeof job->run_id, "%s", job->key);
    else
        snprintf(job->run_id, sizeof job->run_id, "%s:%zu", cluster->address, cluster->port);
    return cluster->machine ? 0
                            : launch_port_hold(cluster->port, &job->port, &job->port_fd, error_out);
}

static int run(const struct launch_shown *shown, const struct launch_cluster *cluster, char **argv)
{
    struct shmrt_error error;
    int code = LAUNCH_EXIT_TROUBLE;
    struct launch_job job = {
        .options = shown->options,
        .plan = shown->plan,
        .cluster = *cluster,
        .own_threads = launch_own_threads(),
        .argv = argv,
        .first_rank = cluster->machine * shown->plan->rank_count,
        .piped =
            shown->plan->rank_count > 1 || shown->options->log_dir || shown->options->timestamps,
    };
    if (launch_preload_find(&shown->options->preload, getenv("LD_PRELOAD"), &job.preload, &error)) {
        launch_say("%s", error.text);
        return LAUNCH_EXIT_USAGE;
    }
    if (prepare(shown, &job, &error) == 0) {
        report(shown);
        launch_environment_conflicts(&job, say_line, NULL);
        code = launch_run(&job);
    } else {
        launch_say("%s", error.text);
    }
    free(job.preload);
    free(job.plan_line);
    return code;
}

static int show_about(const struct launch_options *options)
{
    if (options->help)
        launch_options_help();
    else
        printf("shm-launch %s\n", shmrt_version());
    return fflush(stdout) == 0 ? 0 : LAUNCH_EXIT_TROUBLE;
}

static int adopt_environment(const struct launch_options *options)
{
    launch_outer_drop(&options->env);
    int rc = launch_environment_adopt(&options->env);
    launch_threads_drop_bad();
    return rc;
}

static int plan_and_run(struct launch_options *options, const struct launch_cluster *cluster,
                        char **argv)
{
    struct shmrt_machine *machine;
    struct shmrt_plan *plan;
    struct shmrt_error error;
    if (launch_plan(options, &machine, &plan, &error)) {
        launch_say("%s", error.text);
        return LAUNCH_EXIT_USAGE;
    }
    struct launch_shown shown = {options, machine, plan, NULL};
    int code = LAUNCH_EXIT_USAGE;
    if (launch_input_check(options, plan, &error)) {
        launch_say("%s", error.text);
    } else if (adopt_environment(options)) {
        launch_say("no memory for --env");
        code = LAUNCH_EXIT_TROUBLE;
    } else {
        code = draw(&shown);
        if (code == 0)
            code = options->dry_run ? show_only(&shown, cluster) : run(&shown, cluster, argv);
    }
    shmrt_plan_destroy(plan);
    shmrt_machine_destroy(machine);
    return code;
}

static int compare(const struct launch_options *options, int argc, char **argv)
{
    struct shmrt_error error;
    int code = launch_plan_diff(options->diff, argc, argv, &error);
    if (code == LAUNCH_EXIT_USAGE)
        launch_say("%s", error.text);
    return code;
}

/* A manager may have started several of us on this machine; one of them does it all. */
static int start(struct launch_options *options, char **argv)
{
    struct launch_cluster cluster = {.machines = 1};
    struct shmrt_error error;
    if (launch_cluster_find(options, from_environment, NULL, &cluster, &error)) {
        cluster = (struct launch_cluster){.machines = 1};
        if (!options->dry_run) {
            launch_say("%s", error.text);
            return LAUNCH_EXIT_USAGE;
        }
    }
    if (!cluster.task || options->dry_run)
        return plan_and_run(options, &cluster, argv);
    launch_say("task %zu of this machine starts nothing, since task 0 starts all ranks; with one "
               "task a machine, the ranks have its CPUs too: %s",
               cluster.task, launch_manager_advice(cluster.manager));
    return 0;
}

int main(int argc, char **argv)
{
    struct launch_options options = launch_options_default();
    fill_standard_descriptors();
    if (has_borrowed_rights())
        return LAUNCH_EXIT_USAGE;
    int code = read_options(argc, argv, &options) ? LAUNCH_EXIT_USAGE
               : options.help || options.version  ? show_about(&options)
               : options.diff[0]                  ? compare(&options, argc, argv)
                                                  : start(&options, argv);
    launch_options_free(&options);
    return code;
}
