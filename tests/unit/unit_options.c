#include "tests/test.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/log.h" /* together with options.h: they once named the same enum */
#include "base/options.h"
#include "base/options_value.h"

static struct far_options options;
static char err[FAR_OPTION_ERROR];

static int fresh(void **state)
{
    far_options_init(&options, FAR_WHERE_SHIM);
    memset(err, 0, sizeof(err));
    return 0;
}

static int set(const char *name, const char *value)
{
    return far_options_set(&options, name, value, err, sizeof(err));
}

static void expect_error(int ret, const char *part)
{
    assert_int_equal(ret, -EINVAL);
    if (!strstr(err, part))
        fail_msg("\"%s\" is not in \"%s\"", part, err);
}

/* --- values --- */

static void parse_size__forms(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {
        {"0", 0},
        {"4096", 4096},
        {"64M", 64 << 20},
        {"64m", 64 << 20},
        {"1k", 1024},
        {"3G", UINT64_C(3) << 30},
        {"2GiB", UINT64_C(2) << 30},
        {"2gib", UINT64_C(2) << 30},
        {"16777215T", UINT64_C(16777215) << 40},
        {"007", 7},
        {"18446744073709551615", UINT64_MAX},
    };
    static const char *const bad[] = {"",     "K",    "-1",  "+1",  " 1",   "1 ",     "1Q",  "1.5G", "1MB",
                                      "64 M", "0x10", "1MM", "1iB", "64Mi", "64MiB ", "1e3", "1,000"};
    static const char *const large[] = {"18446744073709551616", "16777216T", "99999999999999999999999G",
                                        "18014398509481984K"};
    uint64_t bytes;

    for (unsigned i = 0; i < FAR_ARRAY_LEN(good); i++) {
        assert_int_equal(far_parse_size(good[i].text, &bytes), 0);
        assert_true(bytes == good[i].bytes);
    }
    for (unsigned i = 0; i < FAR_ARRAY_LEN(bad); i++)
        if (far_parse_size(bad[i], &bytes) != -EINVAL)
            fail_msg("\"%s\" was taken for a size", bad[i]);
    for (unsigned i = 0; i < FAR_ARRAY_LEN(large); i++)
        assert_int_equal(far_parse_size(large[i], &bytes), -ERANGE);
}

static void parse_duration__forms(void **state)
{
    static const char *const bad[] = {"", "30", "s", "30 s", "30S", "-1s", "1m", "1h", "1.5s", "30sec"};
    uint64_t ns;

    assert_int_equal(far_parse_duration("30s", &ns), 0);
    assert_true(ns == 30 * FAR_NS_PER_SEC);
    assert_int_equal(far_parse_duration("20ms", &ns), 0);
    assert_true(ns == 20 * FAR_NS_PER_MS);
    assert_int_equal(far_parse_duration("500us", &ns), 0);
    assert_true(ns == 500 * FAR_NS_PER_US);
    assert_int_equal(far_parse_duration("7ns", &ns), 0);
    assert_true(ns == 7);
    assert_int_equal(far_parse_duration("0", &ns), 0);
    assert_true(ns == 0);
    assert_int_equal(far_parse_duration("18446744074s", &ns), -ERANGE);
    for (unsigned i = 0; i < FAR_ARRAY_LEN(bad); i++)
        if (far_parse_duration(bad[i], &ns) != -EINVAL)
            fail_msg("\"%s\" was taken for a duration", bad[i]);
}

static void pattern__alternatives(void **state)
{
    const char *policy = "annotated|all|size>=SIZE";

    assert_true(far_option_pattern_matches(policy, "annotated"));
    assert_true(far_option_pattern_matches(policy, "all"));
    assert_true(far_option_pattern_matches(policy, "size>=64K"));
    assert_false(far_option_pattern_matches(policy, "size>="));
    assert_false(far_option_pattern_matches(policy, "size>=x"));
    assert_false(far_option_pattern_matches(policy, "size"));
    assert_false(far_option_pattern_matches(policy, "al"));
    assert_false(far_option_pattern_matches(policy, "all|annotated"));
    assert_false(far_option_pattern_matches(policy, ""));
    assert_true(far_option_pattern_matches("none|PATH", "./log"));
    assert_true(far_option_pattern_matches("none|PATH", "/var/log/far"));
    assert_false(far_option_pattern_matches("none|PATH", "stdrr")); /* a slip, not a file */
    assert_true(far_option_pattern_matches("", "anything"));
}

static void urls__lists(void **state)
{
    const char *cursor = options.nodes;
    char url[64];

    assert_int_equal(set("nodes", " tcp://a:1 ,unix:///run/x.sock,\tdpdk://10.0.0.2:7170?core=1 "), 0);
    assert_string_equal(options.nodes, "tcp://a:1,unix:///run/x.sock,dpdk://10.0.0.2:7170?core=1");
    assert_int_equal(far_options_next_url(&cursor, url, sizeof(url)), 9);
    assert_string_equal(url, "tcp://a:1");
    assert_int_equal(far_options_next_url(&cursor, url, 5), -ENOSPC);
    assert_int_equal(far_options_next_url(&cursor, url, sizeof(url)), 27);
    assert_string_equal(url, "dpdk://10.0.0.2:7170?core=1");
    assert_int_equal(far_options_next_url(&cursor, url, sizeof(url)), 0);
    assert_int_equal(set("nodes", ""), 0);
    assert_string_equal(options.nodes, "");
    assert_int_equal(set("nodes", "unix:/run/x.sock,unix:@abstract,inproc:"), 0); /* short forms */
    expect_error(set("nodes", "localhost:7170"), "tcp://host:7170");
    expect_error(set("nodes", "tcp://a,"), "nodes");
    expect_error(set("nodes", ",tcp://a"), "nodes");
    expect_error(set("nodes", "tcp://"), "nodes");
    expect_error(set("nodes", "://a"), "nodes");
    expect_error(set("nodes", "tcp"), "nodes");
    expect_error(set("nodes", "TCP://a:1"), "nodes");
    expect_error(set("nodes", "tcp://a b"), "nodes");
    expect_error(set("nodes", "tcp://a\nb"), "nodes");
}

/* --- the table --- */

static void table__rows_are_sound(void **state)
{
    for (int id = 0; id < FAR_OPTION_COUNT; id++) {
        const struct far_option_row *row = &far_option_rows[id];

        assert_int_equal(far_option_find(row->name), id);
        assert_int_equal(far_option_nearest(row->name), id);
        assert_true(strlen(row->name) < 32);
        assert_int_equal(strspn(row->name, "abcdefghijklmnopqrstuvwxyz0123456789_"), strlen(row->name));
        assert_true(*row->help && row->help[strlen(row->help) - 1] != '.');
        assert_true(row->min <= row->max || row->type == FAR_TYPE_INT);
    }
    assert_int_equal(far_option_find("nonsense"), -ENOENT);
}

static void init__defaults(void **state)
{
    assert_true(options.local == 0);
    assert_true(options.window == FAR_TIB);
    assert_true(options.base == UINT64_C(0x200000000000));
    assert_true(options.deadline == 30 * FAR_NS_PER_SEC);
    assert_int_equal(options.copies, 1);
    assert_int_equal(options.readahead, 64);
    assert_int_equal(options.fallback, FAR_FALLBACK_FAIL);
    assert_int_equal(options.log_level, FAR_LEVEL_WARN);
    assert_true(options.stats);
    assert_string_equal(options.policy, "annotated");
    assert_string_equal(options.nodes, "");
}

/* Every value goes to text and back unchanged, the defaults and the limits of all numbers among them. */
static void text__round_trip(void **state)
{
    for (int id = 0; id < FAR_OPTION_COUNT; id++) {
        const struct far_option_row *row = &far_option_rows[id];
        char text[FAR_OPTION_TEXT], again[FAR_OPTION_TEXT], accepted[256];
        uint64_t value[FAR_OPTION_TEXT / 8];

        far_option_text(&options, (enum far_option)id, text, sizeof(text));
        assert_int_equal(far_option_parse(row, text, value, accepted, sizeof(accepted)), 0);
        assert_memory_equal(value, (char *)&options + row->offset,
                            row->type >= FAR_TYPE_STRING ? strlen(text) + 1 : far_option_field_bytes(row));
        if (row->type < FAR_TYPE_INT || row->type > FAR_TYPE_ADDRESS)
            continue;
        for (int k = 0; k < 2; k++) {
            uint64_t limit = k ? row->max : row->min;

            far_option_value_text(row, &limit, text, sizeof(text));
            assert_int_equal(far_option_parse(row, text, value, accepted, sizeof(accepted)), 0);
            assert_true(value[0] == limit);
            far_option_value_text(row, value, again, sizeof(again));
            assert_string_equal(text, again);
        }
    }
}

static void set__each_type(void **state)
{
    assert_int_equal(set("local", "64M"), 0);
    assert_true(options.local == 64 * FAR_MIB);
    assert_int_equal(set("log-level", "debug"), 0); /* dashes */
    assert_int_equal(options.log_level, FAR_LEVEL_DEBUG);
    assert_int_equal(set("log_level", "error"), 0);
    assert_int_equal(options.log_level, FAR_LEVEL_ERROR);
    assert_int_equal(set("stats", "No"), 0);
    assert_false(options.stats);
    assert_int_equal(set("stats", "1"), 0);
    assert_true(options.stats);
    assert_int_equal(set("base", "0x100000000000"), 0);
    assert_true(options.base == UINT64_C(0x100000000000));
    assert_int_equal(set("policy", "size>=4M"), 0);
    assert_string_equal(options.policy, "size>=4M");
}

static void set__errors_name_what_is_accepted(void **state)
{
    expect_error(set("fallback", "maybe"), "--fallback: \"maybe\" is not accepted; give one of fail|local");
    expect_error(set("fallback", "FAIL"), "fail|local");
    expect_error(set("local", "12Q"), "a size in bytes or with K, M, G or T behind it, from 0 to 64T");
    expect_error(set("local", "65T"), "from 0 to 64T");
    expect_error(set("deadline", "30"), "a duration with its unit (us, ms or s), from 1ms to 86400s");
    expect_error(set("deadline", "0"), "from 1ms");
    expect_error(set("copies", "0"), "a whole number, from 1 to 8");
    expect_error(set("copies", "-1"), "from 1 to 8");
    expect_error(set("copies", "99999999999999999999"), "from 1 to 8");
    expect_error(set("readahead", "513"), "from 0 to 512");
    expect_error(set("base", "1000"), "a page-aligned address in hex");
    expect_error(set("base", "0x20000001"), "page-aligned");
    expect_error(set("base", "0x"), "page-aligned");
    expect_error(set("base", "0x10000000000000000"), "page-aligned");
    expect_error(set("stats", "maybe"), "on or off");
    expect_error(set("policy", "some"), "annotated|all|size>=SIZE");
    assert_true(options.local == 0 && options.copies == 1); /* untouched */
}

static void set__unknown_names_the_nearest(void **state)
{
    expect_error(set("locla", "1"), "--locla: no such option; did you mean --local?");
    expect_error(set("loglevel", "1"), "did you mean --log-level?");
    expect_error(set("", "1"), "no such option");
    expect_error(set("an-option-with-a-name-that-is-much-longer-than-any-of-ours", "1"), "no such option");
    expect_error(set("listen", "tcp://a:1"), "--listen: an option of farmemd, not of this program");
    far_options_init(&options, FAR_WHERE_FARMEMD);
    expect_error(set("local", "1"), "the preloaded library");
    assert_int_equal(set("listen", "tcp://a:1"), 0);
}

static void set__long_texts(void **state)
{
    char text[FAR_OPTION_TEXT + 10];

    memset(text, 'x', sizeof(text));
    text[FAR_OPTION_TEXT - 1] = 0;
    assert_int_equal(set("features_mask", text), 0);
    assert_string_equal(options.features_mask, text);
    text[FAR_OPTION_TEXT - 1] = 'x';
    text[FAR_OPTION_TEXT] = 0;
    expect_error(set("features_mask", text), "a text of at most 1023 bytes");
    memcpy(text, "tcp://", 6);
    expect_error(set("nodes", text), "...\" is not accepted"); /* and the message is cut */
}

/* --- the environment --- */

static int load_env(const char *a, const char *b)
{
    char *envp[] = {(char *)"PATH=/bin",
                    (char *)"FARSIGHT=1",
                    (char *)"FAR_",
                    (char *)"FAR__SECRET=1",
                    (char *)a,
                    (char *)b,
                    NULL};

    return far_options_load_env(&options, envp, err, sizeof(err));
}

static void env__sets_and_skips(void **state)
{
    assert_int_equal(load_env("FAR_LOCAL=1G", "FAR_LOG_LEVEL=info"), 0);
    assert_true(options.local == FAR_GIB);
    assert_int_equal(options.log_level, FAR_LEVEL_INFO);
    assert_int_equal(load_env("FAR_NODES=", "FAR_LISTEN=tcp://0:1"), 0); /* farmemd's, but known */
}

static void env__errors(void **state)
{
    expect_error(load_env("FAR_LOCL=1", NULL), "FAR_LOCL: no such option; did you mean FAR_LOCAL?");
    expect_error(load_env("FAR_local=1", NULL), "FAR_local: no such option; did you mean FAR_LOCAL?");
    expect_error(load_env("FAR_LOCAL=lots", NULL), "FAR_LOCAL: \"lots\" is not accepted");
    expect_error(load_env("FAR_LOCAL=", NULL), "FAR_LOCAL: \"\" is not accepted");
    expect_error(load_env("FAR_=1", NULL), "FAR_: no such option");
    expect_error(load_env("FAR_AN_OPTION_WITH_A_NAME_THAT_IS_MUCH_LONGER_THAN_ANY=1", NULL),
                 "no such option");
}

/* --- the file --- */

static char directory[64], path[128];

static int load_text(const char *text, size_t n)
{
    int fd, ret;

    test_directory(directory, sizeof(directory));
    snprintf(path, sizeof(path), "%s/far.conf", directory);
    fd = open(path, O_CREAT | O_WRONLY, 0600);
    assert_int_equal(write(fd, text, n), n);
    close(fd);
    ret = far_options_load_file(&options, path, true, err, sizeof(err));
    unlink(path);
    rmdir(directory);
    return ret;
}

static int load(const char *text)
{
    return load_text(text, strlen(text));
}

static void file__lines_comments_and_quotes(void **state)
{
    assert_int_equal(load("# a comment\n\n  ; another\n"
                          "local = 64M   # as much as fits\n"
                          "\tlog_level=info;no comment without a blank\n"),
                     -EINVAL);
    expect_error(-EINVAL, "far.conf:5: log_level: \"info;no comment without a blank\"");
    fresh(NULL);
    assert_int_equal(load("local = 64M   # as much as fits\r\n"
                          "  log_level=info\r\n"
                          "log = \"/tmp/a # b\" ; quoted\n"
                          "features_mask =\n"
                          "deadline = 2s"), /* no newline at the end */
                     0);
    assert_true(options.local == 64 * FAR_MIB);
    assert_int_equal(options.log_level, FAR_LEVEL_INFO);
    assert_string_equal(options.log, "/tmp/a # b");
    assert_string_equal(options.features_mask, "");
    assert_true(options.deadline == 2 * FAR_NS_PER_SEC);
    assert_int_equal(load(""), 0);
}

static void file__errors_name_the_line(void **state)
{
    expect_error(load("local = 1\nlocale = 2\n"), "far.conf:2: locale: no such option; did you mean local?");
    assert_true(strstr(err, path) == err);
    expect_error(load("\n\n[shim]\n"), "far.conf:3: there are no sections");
    expect_error(load("local\n"), "far.conf:1: not of the form key = value");
    expect_error(load("= 5\n"), "far.conf:1: : no such option");
    expect_error(load("log = \"/a\n"), "far.conf:1: a quote does not end");
    expect_error(load("log = \"/a\" b\n"), "far.conf:1: a quote does not end");
    expect_error(load("config = /a\n"), "far.conf:1: config: cannot be set in a configuration file");
    expect_error(load("LOCAL = 1\n"), "far.conf:1: LOCAL: no such option; did you mean local?");
    expect_error(load_text("local = 1\nlog = a\0b\n", 20), "far.conf:2: not a text file");
}

static void file__byte_order_mark(void **state)
{
    assert_int_equal(load("\xef\xbb\xbflocal = 3M\n"), 0);
    assert_true(options.local == 3 * FAR_MIB);
    assert_int_equal(load("\xef\xbb\xbf# a comment\n"), 0);
    expect_error(load("local = 1M\n\xef\xbb\xbflocal = 3M\n"), "far.conf:2:");
}

static void file__pipe(void **state)
{
    test_directory(directory, sizeof(directory));
    snprintf(path, sizeof(path), "%s/far.conf", directory);
    assert_int_equal(mkfifo(path, 0600), 0);
    alarm(20); /* to end a wait for a writer */
    assert_int_equal(far_options_load_file(&options, path, true, err, sizeof(err)), -ESPIPE);
    assert_non_null(strstr(err, "it is a pipe"));
    alarm(0);
    unlink(path);
    rmdir(directory);
}

static void file__long_lines(void **state)
{
    static char text[5000];

    memset(text, ' ', sizeof(text));
    memcpy(text, "local = 1M\nlocal = 2M", 21);
    expect_error(load_text(text, sizeof(text)), "far.conf:2: the line is too long");
    memset(text, '\n', sizeof(text)); /* many short ones cross the reader's buffer */
    memcpy(text + sizeof(text) - 10, "local = 2M", 10);
    assert_int_equal(load_text(text, sizeof(text)), 0);
    assert_true(options.local == 2 * FAR_MIB);
    assert_int_equal(options.line[FAR_OPTION_local], sizeof(text) - 9);
}

static void file__missing_and_unreadable(void **state)
{
    assert_int_equal(far_options_load_file(&options, "/nowhere/far.conf", false, err, sizeof(err)), 0);
    assert_int_equal(far_options_load_file(&options, "/nowhere/far.conf", true, err, sizeof(err)), -ENOENT);
    assert_string_equal(err, "/nowhere/far.conf: cannot be read: No such file or directory");
    assert_int_equal(far_options_load_file(&options, "/tmp", false, err, sizeof(err)), -EISDIR);
    assert_string_equal(err, "/tmp: cannot be read: Is a directory");
}

/* --- all of them --- */

static char config_variable[160];

/* A file that says `text`, named by FAR_CONFIG, and one more variable. */
static int load_all(const char *text, const char *variable)
{
    char *envp[] = {(char *)variable, config_variable, NULL};
    int fd, ret;

    test_directory(directory, sizeof(directory));
    snprintf(path, sizeof(path), "%s/far.conf", directory);
    snprintf(config_variable, sizeof(config_variable), "FAR_CONFIG=%s", path);
    fd = open(path, O_CREAT | O_WRONLY, 0600);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    ret = far_options_load(&options, envp, err, sizeof(err));
    unlink(path);
    rmdir(directory);
    return ret;
}

static void load__later_sources_win(void **state)
{
    char origin[300], want[300];

    assert_int_equal(set("copies", "3"), 0); /* set before: stays all the same */
    assert_int_equal(load_all("local = 1M\ndeadline = 1s\n\ncopies = 2\n", "FAR_LOCAL=2M"), 0);
    assert_true(options.local == 2 * FAR_MIB);
    assert_true(options.deadline == FAR_NS_PER_SEC);
    assert_int_equal(options.copies, 3);
    far_option_origin(&options, FAR_OPTION_local, origin, sizeof(origin));
    assert_string_equal(origin, "FAR_LOCAL");
    far_option_origin(&options, FAR_OPTION_deadline, origin, sizeof(origin));
    snprintf(want, sizeof(want), "%s:2", path);
    assert_string_equal(origin, want);
    far_option_origin(&options, FAR_OPTION_copies, origin, sizeof(origin));
    assert_string_equal(origin, "--copies");
    far_option_origin(&options, FAR_OPTION_window, origin, sizeof(origin));
    assert_string_equal(origin, "default");
    assert_int_equal(set("local", "3M"), 0);
    assert_true(options.local == 3 * FAR_MIB);
}

static void load__errors(void **state)
{
    char *envp[] = {(char *)"FAR_CONFIG=/nowhere/far.conf", NULL};

    assert_int_equal(far_options_load(&options, envp, err, sizeof(err)),
                     -ENOENT); /* named, so it must exist */
    envp[0] = (char *)"FAR_CONFIG=far.conf";
    expect_error(far_options_load(&options, envp, err, sizeof(err)),
                 "FAR_CONFIG: \"far.conf\" is not accepted; give PATH");
    expect_error(load_all("copies = 2\ncopies = 100\n", "FAR_COPIES=3"), "far.conf:2: copies: \"100\"");
}

/* --- anything at all --- */

/* Random bytes, mixed with words that the parsers know. */
static void random_text(struct far_random *random, char *text, size_t cap)
{
    static const char *const words[] = {"local",
                                        "FAR_",
                                        "=",
                                        "\n",
                                        "64M",
                                        "size>=",
                                        "tcp://",
                                        ",",
                                        "\"",
                                        "#",
                                        "[",
                                        "stderr",
                                        "18446744073709551615",
                                        "0x",
                                        "ms",
                                        "config",
                                        " "};
    size_t n = 0, want = far_random_below(random, cap);

    while (n < want) {
        if (far_random_chance(random, 1, 2)) {
            const char *word = words[far_random_below(random, FAR_ARRAY_LEN(words))];
            size_t length = far_min(strlen(word), want - n);

            memcpy(text + n, word, length);
            n += length;
        } else {
            text[n++] = (char)far_random_between(random, 1, 255);
        }
    }
    text[n] = 0;
}

/* The answer is 0 or -EINVAL with a message that is a text, and the structure never leaves its limits. The
 * name is also one of the table's, so that the value is reached. */
static void set__random_texts_do_no_harm(void **state)
{
    char name[100], value[FAR_OPTION_TEXT + 100];
    struct far_random random;

    far_random_seed(&random, test_seed("options"));
    for (int i = 0; i < 20000; i++) {
        size_t cap = far_random_chance(&random, 1, 2) ? sizeof(err) : far_random_between(&random, 1, 40);
        int id = (int)far_random_below(&random, FAR_OPTION_COUNT), ret;

        random_text(&random, value, far_random_chance(&random, 1, 50) ? sizeof(value) : 40);
        random_text(&random, name, sizeof(name));
        memset(err, 'x', sizeof(err));
        ret = far_options_set(&options, far_random_chance(&random, 1, 10) ? name : far_option_rows[id].name,
                              value, err, cap);
        assert_true(ret == 0 || ret == -EINVAL);
        if (ret)
            assert_true(strnlen(err, cap) < cap);
        if (cap < sizeof(err))
            assert_int_equal(err[cap], 'x');
        assert_in_range(options.copies, 1, 8);
        assert_in_range(options.fallback, 0, 1);
        assert_true(strlen(options.nodes) < FAR_OPTION_TEXT);
    }
}

static void file__random_texts_do_no_harm(void **state)
{
    struct far_random random;
    char text[3000];

    far_random_seed(&random, test_seed("file"));
    for (int i = 0; i < 300; i++) {
        int ret;

        random_text(&random, text, sizeof(text));
        ret = load(text);
        assert_true(ret == 0 || ret == -EINVAL);
        if (ret)
            assert_true(strstr(err, "far.conf:") != NULL && strlen(err) < sizeof(err));
    }
}

/* --- printing --- */

static char printed[1 << 16];

static const char *print(enum far_option_where who, enum far_options_style style)
{
    size_t length = 0;
    int ends[2];
    ssize_t n;

    assert_int_equal(pipe(ends), 0);
    assert_int_equal(far_options_print(ends[1], who, style), 0);
    close(ends[1]);
    while ((n = read(ends[0], printed + length, sizeof(printed) - 1 - length)) > 0)
        length += (size_t)n;
    printed[length] = 0;
    close(ends[0]);
    return printed;
}

static void print__every_option_of_the_program(void **state)
{
    for (int style = FAR_STYLE_HELP; style <= FAR_STYLE_MAN; style++) {
        print(FAR_WHERE_SHIM, (enum far_options_style)style);
        for (int id = 0; id < FAR_OPTION_COUNT; id++) {
            char variable[64] = "FAR_";

            for (size_t i = 0; far_option_rows[id].name[i]; i++)
                variable[4 + i] =
                    (char)(far_option_rows[id].name[i] & (far_option_rows[id].name[i] >= 'a' ? ~32 : ~0));
            assert_int_equal(!strstr(printed, variable), !(far_option_rows[id].where & FAR_WHERE_SHIM));
        }
    }
    assert_non_null(strstr(print(FAR_WHERE_SHIM, FAR_STYLE_HELP), "  --local=SIZE\n"));
    assert_non_null(strstr(printed, "[FAR_LOCAL, default: 0]\n"));
    assert_non_null(strstr(printed, "  --policy=annotated|all|size>=SIZE\n"));
    assert_non_null(strstr(print(FAR_WHERE_FARMEMD, FAR_STYLE_MARKDOWN), "one of auto\\|never\\|always"));
    assert_int_equal(far_options_print_help(-1, FAR_WHERE_SHIM), -EBADF);
}

#define CASE(name) cmocka_unit_test_setup(name, fresh)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(parse_size__forms),
        CASE(parse_duration__forms),
        CASE(pattern__alternatives),
        CASE(urls__lists),
        CASE(table__rows_are_sound),
        CASE(init__defaults),
        CASE(text__round_trip),
        CASE(set__each_type),
        CASE(set__errors_name_what_is_accepted),
        CASE(set__unknown_names_the_nearest),
        CASE(set__long_texts),
        CASE(env__sets_and_skips),
        CASE(env__errors),
        CASE(file__lines_comments_and_quotes),
        CASE(file__errors_name_the_line),
        CASE(file__byte_order_mark),
        CASE(file__pipe),
        CASE(file__long_lines),
        CASE(file__missing_and_unreadable),
        CASE(load__later_sources_win),
        CASE(load__errors),
        CASE(set__random_texts_do_no_harm),
        CASE(file__random_texts_do_no_harm),
        CASE(print__every_option_of_the_program),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
