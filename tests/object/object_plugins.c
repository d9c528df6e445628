/* Plugins that use far objects: many in one program, each with its own memory for threads, which must be there when it is loaded;
 * scopes that reach from one linked object to another; plugins that are unloaded.
 *
 * object_plugins PLUGIN.so DEBUG.so   loads copies of the first, and the second, which is built with -DFAR_DEBUG */
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>

#include "tests/object/plugin.h"
#include "tests/test.h"

#define PLUGINS 16

static const char *plugin, *debug;
static char directory[] = "/tmp/far-plugins-XXXXXX";

static void *load(const char *path)
{
    void *handle = dlopen(path, RTLD_NOW);

    if (!handle)
        print_error("%s\n", dlerror());
    assert_non_null(handle);
    return handle;
}

static void *load_copy(int i)
{
    char path[64], command[4200];
    void *handle;

    snprintf(path, sizeof(path), "%s/%d.so", directory, i);
    snprintf(command, sizeof(command), "cp '%s' %s", plugin, path);
    assert_int_equal(system(command), 0);
    handle = load(path);
    unlink(path);
    return handle;
}

/* Function `name` of a plugin. */
#define FUNCTION(pointer, handle, name)                                                                            \
    do {                                                                                                           \
        *(void **)&(pointer) = dlsym((handle), (name));                                                            \
        assert_non_null(pointer);                                                                                  \
    } while (0)

/* In a process of its own: with -DFAR_DEBUG a plugin leaves no memory of threads for others. */
static void reads(void *arg)
{
    int (*debug_read)(FAR(int)), value;
    FAR(int) h;

    FUNCTION(debug_read, load(debug), "plugin_read");
    if (!FAR_NEW(h, int))
        abort();
    FAR_SCOPE {
        *FAR_W(h) = 7;
        value = debug_read(h);
    }
    if (arg)
        value = debug_read(h); /* outside of any scope */
    FAR_FREE(h);
    _exit(value != 7);
}

/* The check of -DFAR_DEBUG knows of its caller's scope. */
static void plugins__scope_of_the_caller(void **state)
{
    char text[1000];
    int status;

    assert_int_equal(test_child(reads, NULL, text, sizeof(text)), 0);
    assert_string_equal(text, "");
    status = test_child(reads, &status, text, sizeof(text));
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_non_null(strstr(text, "plugin.c:"));
    assert_non_null(strstr(text, "a far object was dereferenced outside of a scope"));
}

/* What a scope holds stays until it ends, whoever frees it. */
static void plugins__free(void **state)
{
    void (*frees)(FAR(int));
    FAR(int) h;

    FUNCTION(frees, load_copy(0), "plugin_free");
    assert_true(FAR_NEW(h, int));
    FAR_SCOPE {
        const int *p;

        *FAR_W(h) = 7;
        p = FAR_R(h);
        frees(h);
        assert_int_equal(*p, 7);
    }
}

static void plugins__many(void **state)
{
    for (int i = 0; i < PLUGINS; i++) {
        int (*run)(void);

        FUNCTION(run, load_copy(i), "plugin");
        assert_int_equal(run(), 99000);
    }
}

static FAR(plugged) made;

static void *uses_and_unloads(void *arg)
{
    void *handle = load_copy(PLUGINS);
    FAR(plugged) (*make)(void);

    FUNCTION(make, handle, "plugin_make");
    made = make();
    dlclose(handle);
    return NULL;
}

/* Its objects and its scopes outlive a plugin. */
static void plugins__unloaded(void **state)
{
    pthread_t t;

    assert_int_equal(pthread_create(&t, NULL, uses_and_unloads, NULL), 0);
    pthread_join(t, NULL);
    FAR_SCOPE
        assert_int_equal(*FAR_R(FAR_R(made)->owned), 5);
    FAR_FREE(made);
    for (int i = 0; i < 2000; i++) {
        FAR(int) other;

        assert_true(FAR_NEW(other, int));
        FAR_FREE(other);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plugins__scope_of_the_caller),
        cmocka_unit_test(plugins__free),
        cmocka_unit_test(plugins__unloaded),
        cmocka_unit_test(plugins__many),
    };
    int failed;

    if (argc < 3 || !mkdtemp(directory))
        return 2;
    plugin = argv[1];
    debug = argv[2];
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    rmdir(directory);
    return failed;
}
