/* SPDX-License-Identifier: Apache-2.0 */
/* test_options.c - defaults, environment, settings, and what a mistake is answered. */
#include "base/options.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct shmrt_options load(const char *const *settings)
{
    struct shmrt_options options;
    struct shmrt_error error;
    assert_int_equal(shmrt_options_load(settings, &options, &error), 0);
    return options;
}

static void defaults_are_the_documented_ones(void **state)
{
    (void)state;
    struct shmrt_options options = load(NULL);
    assert_int_equal(options.segment_bytes, 8 << 20);
    assert_int_equal(options.timeout_ms, 30 * 60 * 1000);
    assert_int_equal(options.rendezvous_timeout_ms, 60 * 1000);
    assert_int_equal(options.warn_ms, 10 * 1000);
    assert_string_equal(options.kernel, "auto");
}

static void settings_win_over_environment(void **state)
{
    (void)state;
    setenv("SHMRT_TIMEOUT", "2.5", 1);
    setenv("SHMRT_SEGMENT", "16M", 1);
    static const char *const settings[] = {"timeout=0.25", "kernel=avx2", NULL};
    struct shmrt_options options = load(settings);
    unsetenv("SHMRT_TIMEOUT");
    unsetenv("SHMRT_SEGMENT");
    assert_int_equal(options.timeout_ms, 250);
    assert_int_equal(options.segment_bytes, 16 << 20);
    assert_string_equal(options.kernel, "avx2");
}

static void nodes_are_a_list(void **state)
{
    (void)state;
    static const char *const settings[] = {"nodes=0,8-10,1023", NULL};
    static const int expected[] = {0, 8, 9, 10, 1023};
    struct shmrt_options options = load(settings), usual = load(NULL);
    size_t at = 0;
    for (int node = 0; node < SHMRT_NODES_MAX; node++) {
        bool is_expected = at < sizeof expected / sizeof expected[0] && expected[at] == node;
        assert_int_equal(shmrt_nodeset_has(&options.nodes, node), is_expected);
        assert_false(shmrt_nodeset_has(&usual.nodes, node));
        at += is_expected;
    }
}

static void mistakes_name_the_value_and_the_range(void **state)
{
    (void)state;
    static const char *const wrong[][2] = {
        {"segment=1K", "262144"}, {"segment=8Q", "8Q"},
        {"timeout=-1", "0.001"},  {"timeout=soon", "soon"},
        {"lanes=1.5", "1.5"},     {"segment=", "segment="},
        {"kernel=", "kernel"},    {"turbo=1", "oneshot_max"},
        {"nodes=0-", "0-"},       {"nodes=", "such as 0"},
        {"nodes=3-1", "3-1"},     {"nodes=1024", "1023"},
        {"nodes=0,", "0,"},       {"nodes=0,,1", "0,,1"},
        {"nodes=0 1", "0 1"},     {"timeout", "key=value"},
        {"segment=8MB", "8MB"},   {"lanes=inf", "inf"},
        {"bind=2", "0 to 1"},     {"kernel=averyveryverylongname", "averyveryverylongname"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        const char *const settings[] = {wrong[i][0], NULL};
        struct shmrt_options options;
        struct shmrt_error error;
        assert_int_equal(shmrt_options_load(settings, &options, &error), -EINVAL);
        assert_non_null(strstr(error.text, wrong[i][1]));
        assert_int_equal(options.segment_bytes, 8 << 20); /* as if it had not been given */
        assert_string_equal(options.kernel, "auto");
    }
    struct shmrt_options options;
    struct shmrt_error error;
    const char *const settings[] = {"lanes=many", "yield=7", NULL};
    setenv("SHMRT_SPIN_US", "fast", 1);
    assert_int_equal(shmrt_options_load(settings, &options, &error), -EINVAL);
    unsetenv("SHMRT_SPIN_US");
    assert_non_null(strstr(error.text, "SHMRT_SPIN_US=fast")); /* the first of several */
    assert_int_equal(options.yield_us, 7);
}

static void description_lists_every_option(void **state)
{
    (void)state;
    size_t bytes = shmrt_options_describe(NULL, 0);
    char *text = malloc(bytes + 1);
    assert_int_equal(shmrt_options_describe(text, bytes + 1), bytes);
    assert_int_equal(strlen(text), bytes);
    static const char *const keys[] = {"SHMRT_SEGMENT", "SHMRT_TIMEOUT", "SHMRT_KERNEL",
                                       "SHMRT_LANES",   "default 8M",    "1800"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        assert_non_null(strstr(text, keys[i]));
    char cut[20];
    assert_int_equal(shmrt_options_describe(cut, sizeof cut), bytes);
    assert_int_equal(strlen(cut), sizeof cut - 1);
    free(text);
}

/* What is told is whole numbers: never a 1 of a 12. */
static void a_list_is_cut_between_numbers(void **state)
{
    (void)state;
    struct shmrt_nodeset nodes = {0};
    char text[16];
    for (size_t node = 100; node < 1000; node += 20)
        shmrt_nodeset_add(&nodes, node);
    assert_string_equal(shmrt_nodeset_text(&nodes).text,
                        "100,120,140,160,180,200,220,240,260,280,300,320,340,360,380,...");
    shmrt_list_format_cut(nodes.words, 161, text, sizeof text);
    assert_string_equal(text, "100,120,140,160"); /* fits to the last byte */
    shmrt_list_format_cut(nodes.words, 161, text, sizeof text - 1);
    assert_string_equal(text, "100,120,...");
    shmrt_list_format_cut(nodes.words, 161, text, 8);
    assert_string_equal(text, "100,...");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_the_documented_ones),
        cmocka_unit_test(settings_win_over_environment),
        cmocka_unit_test(nodes_are_a_list),
        cmocka_unit_test(mistakes_name_the_value_and_the_range),
        cmocka_unit_test(description_lists_every_option),
        cmocka_unit_test(a_list_is_cut_between_numbers),
    };
    return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
