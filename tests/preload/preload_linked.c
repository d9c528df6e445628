/* A program whose libraries use far memory before the preloaded one's constructor has run. */
#include <stdio.h>

int early_is_right(void);

int main(void)
{
    if (early_is_right())
        return 0;
    puts("what the constructor allocated is not far, or not what it wrote");
    return 1;
}
