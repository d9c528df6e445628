/*
 * program.c - what will be executed, and whether a preloaded library can get into it.
 *
 * LD_PRELOAD is read by the dynamic loader of glibc. It does not reach static programs, programs for another
 * architecture or C library, and programs that run with more rights than their caller (the loader drops it:
 * AT_SECURE in ld.so(8)). All of these would run on without far memory, silently: better to refuse.
 */
#include "tools/farctl/farctl.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define MAX_INTERPRETERS 4 /* scripts whose interpreter is a script: the kernel's own limit */

static bool is_executable_file(const char *path)
{
    struct stat st;

    return !stat(path, &st) && S_ISREG(st.st_mode) && !access(path, X_OK);
}

static bool is_directory(const char *path)
{
    struct stat st;

    return !stat(path, &st) && S_ISDIR(st.st_mode);
}

int far_program_find(const char *name, char path[PATH_MAX])
{
    const char *dirs = getenv("PATH"), *end;
    int err = -ENOENT;

    if (strchr(name, '/') || !*name) {
        if (snprintf(path, PATH_MAX, "%s", name) >= PATH_MAX)
            return -ENOENT;
        if (is_executable_file(path))
            return 0;
        return access(path, F_OK) ? -ENOENT : is_directory(path) ? -EISDIR : -EACCES;
    }
    for (dirs = dirs ? dirs : "/usr/local/bin:/usr/bin:/bin";; dirs = end + 1) {
        end = strchrnul(dirs, ':');
        if (snprintf(path, PATH_MAX, "%.*s/%s", end == dirs ? 1 : (int)(end - dirs), end == dirs ? "." : dirs,
                     name) < PATH_MAX) {
            if (is_executable_file(path))
                return 0;
            if (!access(path, F_OK))
                err = -EACCES;
        }
        if (!*end)
            return err;
    }
}

/* Whether the kernel would run it with rights that the caller lacks. */
static const char *gains_rights(const char *path)
{
    struct stat st;
    char caps[64];

    if (stat(path, &st))
        return NULL;
    if ((st.st_mode & S_ISUID) && st.st_uid != getuid())
        return "is setuid";
    if ((st.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) && st.st_gid != getgid())
        return "is setgid";
    if (getuid() != 0 && getxattr(path, "security.capability", caps, sizeof(caps)) > 0)
        return "has file capabilities";
    return NULL;
}

struct elf {
    bool dynamic, pie; /* has a dynamic section; DF_1_PIE: linked as a program, not as a library */
    char loader[256];  /* PT_INTERP, "" if it has none */
};

static bool read_at(int fd, void *buf, size_t bytes, uint64_t offset)
{
    return pread(fd, buf, bytes, (off_t)offset) == (ssize_t)bytes;
}

static void read_dynamic(int fd, const Elf64_Phdr *ph, struct elf *out)
{
    Elf64_Dyn d;

    out->dynamic = true;
    for (uint64_t at = 0; at + sizeof(d) <= ph->p_filesz && at < 65536; at += sizeof(d)) {
        if (!read_at(fd, &d, sizeof(d), ph->p_offset + at) || d.d_tag == DT_NULL)
            return;
        if (d.d_tag == DT_FLAGS_1 && (d.d_un.d_val & DF_1_PIE))
            out->pie = true;
    }
}

static void read_segments(int fd, const Elf64_Ehdr *eh, struct elf *out)
{
    for (unsigned i = 0; i < eh->e_phnum; i++) {
        Elf64_Phdr ph;

        if (!read_at(fd, &ph, sizeof(ph), eh->e_phoff + (uint64_t)i * sizeof(ph)))
            return;
        if (ph.p_type == PT_INTERP && ph.p_filesz < sizeof(out->loader) &&
            read_at(fd, out->loader, ph.p_filesz, ph.p_offset))
            out->loader[ph.p_filesz] = 0;
        if (ph.p_type == PT_DYNAMIC)
            read_dynamic(fd, &ph, out);
    }
}

static int check_elf(int fd, const char *path, const Elf64_Ehdr *eh, char *why, size_t cap)
{
    struct elf elf = {0};

    if (eh->e_ident[EI_CLASS] != ELFCLASS64 || eh->e_machine != EM_X86_64) {
        snprintf(why, cap,
                 "%s is not an x86-64 program (%s bit, ELF machine %u): far memory is built for x86-64 only",
                 path, eh->e_ident[EI_CLASS] == ELFCLASS32 ? "32" : "64", eh->e_machine);
        return -ENOEXEC;
    }
    read_segments(fd, eh, &elf);
    /* A dynamic object without a loader that was not linked as a program is the loader itself (ld.so
     * PROGRAM). */
    if (!elf.loader[0] && (eh->e_type == ET_EXEC || elf.pie || !elf.dynamic)) {
        snprintf(why, cap,
                 "%s is statically linked: LD_PRELOAD cannot reach it. Use a dynamically linked build of it",
                 path);
        return -ENOEXEC;
    }
    if (strstr(elf.loader, "ld-musl")) {
        snprintf(why, cap, "%s is linked with musl (%s): far memory needs a program linked with glibc", path,
                 elf.loader);
        return -ENOEXEC;
    }
    return 0;
}

/* `#!interpreter argument` of the open script into `out`; false if it is no script. */
static bool read_shebang(int fd, char *out, size_t cap)
{
    char line[512], *start, *end;
    ssize_t n = pread(fd, line, sizeof(line) - 1, 0);

    if (n < 3 || line[0] != '#' || line[1] != '!')
        return false;
    line[n] = 0;
    start = line + 2 + strspn(line + 2, " \t");
    end = start + strcspn(start, " \t\r\n");
    if (end == start)
        return false;
    *end = 0;
    return snprintf(out, cap, "%s", start) < (int)cap;
}

static int check_one(const char *path, char *interpreter, size_t icap, char *why, size_t cap)
{
    const char *rights = gains_rights(path);
    Elf64_Ehdr eh;
    int fd, err = 0;

    interpreter[0] = 0;
    if (rights) {
        snprintf(
            why, cap,
            "%s %s: the loader ignores LD_PRELOAD for such programs. Run it as the user that owns it, or "
            "a copy without that bit",
            path, rights);
        return -EPERM;
    }
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0; /* executable but not readable: exec decides */
    if (read_shebang(fd, interpreter, icap))
        err = 0;
    else if (read_at(fd, &eh, sizeof(eh), 0) && !memcmp(eh.e_ident, ELFMAG, SELFMAG))
        err = check_elf(fd, path, &eh, why, cap);
    close(fd);
    return err;
}

int far_program_check(const char *path, char *why, size_t cap)
{
    char now[PATH_MAX], next[PATH_MAX];
    int err;

    if (snprintf(now, sizeof(now), "%s", path) >= PATH_MAX)
        return 0;
    for (int i = 0; i < MAX_INTERPRETERS; i++) {
        err = check_one(now, next, sizeof(next), why, cap);
        if (err || !next[0])
            return err;
        if (access(next, F_OK)) {
            snprintf(why, cap, "%s wants the interpreter %s, which does not exist", now, next);
            return -ENOENT;
        }
        memcpy(now, next, sizeof(now));
    }
    return 0;
}
