/* Plugins that use far objects: many in one program, each with its own memory for threads, which must be there when it is loaded.
 *
 * object_plugins PLUGIN.so   loads copies of it */
#include <dlfcn.h>

#include "tests/test.h"

#define PLUGINS 16

static const char *plugin;

static void plugins__many(void **state)
{
    char directory[] = "/tmp/far-plugins-XXXXXX", path[64], command[4200];

    assert_non_null(mkdtemp(directory));
    for (int i = 0; i < PLUGINS; i++) {
        void *handle;
        int (*run)(void);

        snprintf(path, sizeof(path), "%s/%d.so", directory, i);
        snprintf(command, sizeof(command), "cp '%s' %s", plugin, path);
        assert_int_equal(system(command), 0);
        handle = dlopen(path, RTLD_NOW);
        if (!handle)
            print_error("%s\n", dlerror());
        unlink(path);
        assert_non_null(handle);
        *(void **)&run = dlsym(handle, "plugin");
        assert_non_null(run);
        assert_int_equal(run(), 99000);
    }
    rmdir(directory);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(plugins__many)};

    if (argc < 2)
        return 2;
    plugin = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
