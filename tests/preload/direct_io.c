/* direct_io FILE: opens it with O_DIRECT in flags that the compiler does not know. Built with _FORTIFY_SOURCE, where that is a
 * call of __open_2 and its like (bits/fcntl2.h). */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    volatile int flags = argc > 2 ? O_RDONLY : O_RDONLY | O_DIRECT;
    void *volatile block = malloc(1 << 20); /* something that is far */
    int how = argc > 1 ? open(argv[1], flags) : -1;

    free(block);
    if (how < 0)
        perror("direct_io");
    return how < 0;
}
