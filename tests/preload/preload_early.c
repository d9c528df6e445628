/* A library whose constructor and destructor allocate, and a program that does so before main and after it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *kept;

__attribute__((constructor(101))) static void early(void)
{
    kept = malloc(100000);
    memset(kept, 5, 100000);
    kept = realloc(kept, 200000);
}

__attribute__((destructor(101))) static void late(void)
{
    char *p = malloc(300000);

    if (kept[99999] != 5 || !p)
        abort();
    memset(p, 1, 300000);
    free(p);
    free(kept);
}

static void at_exit(void)
{
    free(realloc(malloc(10), 500000));
}

int main(void)
{
    atexit(at_exit);
    puts("ok");
    return 0;
}
