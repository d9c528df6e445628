/* replay.c - main of a fuzzer where there is no libFuzzer: runs every file of the directories given. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay(const char *path)
{
    static uint8_t data[1 << 20];
    FILE *f = fopen(path, "rb");

    if (!f) {
        perror(path);
        return 1;
    }
    size_t n = fread(data, 1, sizeof data, f);
    fclose(f);
    fprintf(stderr, "%s\n", path); /* the last one is the one that crashed */
    /* Exactly its size on the heap, so that reading beyond it shows under ASan. */
    uint8_t *copy = malloc(n ? n : 1);
    for (size_t i = 0; i < n; i++)
        copy[i] = data[i];
    LLVMFuzzerTestOneInput(copy, n);
    free(copy);
    return 0;
}

int main(int argc, char **argv)
{
    char path[4096];
    int failed = 0, files = 0;

    for (int i = 1; i < argc; i++) {
        DIR *dir = opendir(argv[i]);
        if (!dir) {
            perror(argv[i]);
            return 1;
        }
        for (struct dirent *e; (e = readdir(dir));) {
            if (e->d_name[0] == '.')
                continue;
            snprintf(path, sizeof path, "%s/%s", argv[i], e->d_name);
            failed |= replay(path);
            files++;
        }
        closedir(dir);
    }
    printf("%d files\n", files);
    return failed || !files;
}
