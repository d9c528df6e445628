/* unit_hosts.c - host names without the resolver. */
#include "tests/test.h"
#include <arpa/inet.h>
#include <errno.h>
#include "transport/hosts.h"

static char file[64];

static void lookup(const char *host, const char *expected)
{
    struct sockaddr_storage addr;
    socklen_t len = 0;
    char text[64] = "none";
    int rc = far_hosts_find_in(file, host, 99, &addr, &len);
    if (rc == 0) {
        const struct sockaddr_in *v4 = (const void *)&addr;
        const struct sockaddr_in6 *v6 = (const void *)&addr;
        bool is4 = addr.ss_family == AF_INET;
        inet_ntop(addr.ss_family, is4 ? (const void *)&v4->sin_addr : (const void *)&v6->sin6_addr, text,
                  sizeof text);
        assert_int_equal(ntohs(is4 ? v4->sin_port : v6->sin6_port), 99);
        assert_int_equal(len, is4 ? sizeof *v4 : sizeof *v6);
    } else {
        assert_int_equal(rc, -ENOENT);
    }
    assert_string_equal(text, expected);
}

static void far_hosts_find_in__names(void **state)
{
    FILE *f = fopen(file, "w");
    assert_non_null(f);
    fprintf(f, "# comment 1.1.1.1 alpha\n\n10.0.0.1\talpha alpha.example\r\n  10.0.0.2 Beta# gamma\n"
               "::7 six\nnonsense delta\n10.0.0.9 alpha\n");
    for (int i = 0; i < 3000; i++)
        fputc('x', f);
    fprintf(f, " omega\n10.0.0.3 last");
    fclose(f);
    lookup("alpha", "10.0.0.1");
    lookup("ALPHA.example", "10.0.0.1");
    lookup("beta", "10.0.0.2");
    lookup("gamma", "none");
    lookup("six", "::7");
    lookup("delta", "none");
    lookup("omega", "none");
    lookup("last", "10.0.0.3");
    lookup("las", "none");
    lookup("lastly", "none");
    lookup("10.0.0.1", "10.0.0.1");
    lookup("fe80::1", "fe80::1");
    lookup("localhost", "127.0.0.1");
    unlink(file);
    lookup("alpha", "none");
    lookup("localhost", "127.0.0.1");
}

static void far_hosts_find__localhost(void **state)
{
    struct sockaddr_storage addr;
    socklen_t len;
    assert_int_equal(far_hosts_find("LocalHost", 1, &addr, &len), 0);
    assert_int_equal(addr.ss_family, AF_INET);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(far_hosts_find_in__names),
        cmocka_unit_test(far_hosts_find__localhost),
    };
    snprintf(file, sizeof file, "/tmp/far-hosts-%d", (int)getpid());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
