/* main.c - farmemd: puts options, memory, sockets, signals and the loop together. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>
#include "base/bits.h"
#include "base/format.h"
#include "base/log.h"
#include "server/command.h"
#include "server/listen.h"
#include "server/loop.h"
#include "server/numa.h"

#define MAX_LISTENERS   16
#define PRIVATE_WAIT_NS (10 * FAR_NS_PER_SEC) /* for the program that a private node was started for */
#define PRIVATE_LEASE_MS                                                                                     \
    5000u /* its program is on this machine: a connection that is gone comes back at once */
#define EXIT_USAGE 2

struct daemon {
    int argc;
    char **argv;
    char **envp;
    struct far_options options;
    struct far_numa numa;
    struct far_loop_config config;
    struct far_loop *loop;
    struct far_listener listeners[MAX_LISTENERS];
    unsigned n_listeners;
    int log_fd, signal_fd;
    unsigned terminations; /* asked for by signals */
    char name[64];
};

static int fail(const char *text)
{
    dprintf(2, "farmemd: %s\n", text);
    return 1;
}

/* --- from options to configuration --- */

static enum far_memory_want wanted_pages(enum far_choice_hugepages option)
{
    return option == FAR_HUGEPAGES_NEVER    ? FAR_MEMORY_SMALL
           : option == FAR_HUGEPAGES_ALWAYS ? FAR_MEMORY_HUGE
                                            : FAR_MEMORY_AUTO;
}

static void configure(struct daemon *d)
{
    const struct far_options *o = &d->options;
    struct far_loop_config *c = &d->config;
    uint32_t lease_ms = (uint32_t)far_min(o->lease / FAR_NS_PER_MS, (uint64_t)UINT32_MAX);

    far_server_defaults(&c->server);
    c->server.store.bytes = o->memory;
    c->server.store.pages = wanted_pages(o->hugepages);
    c->server.store.populate = o->populate;
    c->server.store.bind = far_numa_bind;
    c->server.store.bind_arg = &d->numa;
    c->server.sessions.max_sessions = (uint32_t)o->max_sessions;
    c->server.sessions.max_lease_ms = o->private ? far_min(lease_ms, PRIVATE_LEASE_MS) : lease_ms;
    c->server.sessions.keep_ns = o->keep;
    c->server.max_peers = (uint32_t)o->max_connections;
    c->server.name = d->name;
    c->spin_ns = o->spin;
    c->drain_ns = o->drain;
    c->private_node = o->private;
    c->private_wait_ns = PRIVATE_WAIT_NS;
}

static void choose_name(struct daemon *d)
{
    char host[64] = "farmemd";

    if (!*d->options.name)
        gethostname(host, sizeof host - 1);
    far_format(d->name, sizeof d->name, "%s", *d->options.name ? d->options.name : host);
}

/* Where the log goes. A private node must not hold the program's standard error open: whoever reads it waits
 * for its end. */
static int open_log(struct daemon *d)
{
    const struct far_options *o = &d->options;
    enum far_log_level level = (enum far_log_level)o->log_level;

    if (o->source[FAR_OPTION_log_level] == FAR_FROM_DEFAULT && !o->private)
        level = FAR_LOG_INFO;
    int fd = 2;
    if (strcmp(o->log, "none") == 0 || (o->private && strcmp(o->log, "stderr") == 0))
        fd = -1;
    else if (strcmp(o->log, "stderr") != 0)
        fd = open(o->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0644);
    if (fd < 0 && strcmp(o->log, "none") != 0 && !(o->private && strcmp(o->log, "stderr") == 0)) {
        dprintf(2, "farmemd: cannot open the log %s: %s\n", o->log, strerror(errno));
        return -1;
    }
    if (d->log_fd > 2)
        close(d->log_fd);
    d->log_fd = fd;
    far_log_set_name("farmemd");
    far_log_open(fd, level);
    return 0;
}

/* --- signals --- */

static void log_counters(struct daemon *d)
{
    struct far_counters *block = far_server_counters(far_loop_server(d->loop));

    for (unsigned i = 0; i < far_count_table.n_words; i++) {
        uint64_t value = far_counters_get(block, i);
        if (value)
            far_log_info("%s %llu %s", far_count_table.rows[i].name, (unsigned long long)value,
                         far_count_table.rows[i].unit);
    }
}

static void reload(struct daemon *d)
{
    static struct far_options fresh;
    char err[FAR_OPTION_ERROR];

    sd_notify(0, "RELOADING=1");
    if (far_command_read(&fresh, d->argc, d->argv, d->envp, err, sizeof err) != FAR_COMMAND_RUN) {
        far_log_error("not reloaded, the old settings stay: %s", err);
    } else {
        bool fixed = fresh.memory != d->options.memory || strcmp(fresh.listen, d->options.listen) != 0 ||
                     strcmp(fresh.numa, d->options.numa) != 0 || fresh.hugepages != d->options.hugepages ||
                     fresh.populate != d->options.populate || fresh.private != d->options.private ||
                     fresh.max_sessions != d->options.max_sessions || fresh.max_connections != d->options.max_connections;
        d->options.lease = fresh.lease;
        d->options.keep = fresh.keep;
        d->options.drain = fresh.drain;
        d->options.spin = fresh.spin;
        d->options.log_level = fresh.log_level;
        d->options.source[FAR_OPTION_log_level] = fresh.source[FAR_OPTION_log_level];
        memcpy(d->options.log, fresh.log, sizeof fresh.log);
        open_log(d);
        configure(d);
        far_loop_reload(d->loop, &d->config);
        far_log_info("reloaded: lease, keep, drain, spin and log%s",
                     fixed ? "; memory, addresses and limits need a restart" : "");
    }
    sd_notify(0, "READY=1");
}

static void terminate(struct daemon *d)
{
    if (d->terminations++ > 0) {
        far_log_warn("stopping now: far memory of %u running program(s) is lost",
                     far_server_sessions(far_loop_server(d->loop))->n_live);
        far_loop_stop(d->loop);
        return;
    }
    far_log_info("draining: serving %u session(s) on for at most %llu s; again to stop at once",
                 far_server_sessions(far_loop_server(d->loop))->n_live,
                 (unsigned long long)(d->config.drain_ns / FAR_NS_PER_SEC));
    sd_notify(0, "STOPPING=1\nSTATUS=draining");
    far_loop_drain(d->loop);
}

static void on_signal(void *arg)
{
    struct daemon *d = arg;
    struct signalfd_siginfo info;

    while (read(d->signal_fd, &info, sizeof info) == sizeof info) {
        if (info.ssi_signo == SIGHUP)
            reload(d);
        else if (info.ssi_signo == SIGUSR1)
            log_counters(d);
        else
            terminate(d);
    }
}

static int watch_signals(struct daemon *d)
{
    sigset_t set;

    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_SETMASK, &set, NULL);
    d->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    return d->signal_fd < 0 ? -errno : far_loop_watch(d->loop, d->signal_fd, on_signal, d);
}

/* --- start --- */

static int open_listeners(struct daemon *d)
{
    char url[FAR_OPTION_TEXT], err[FAR_OPTION_ERROR];
    const char *cursor = d->options.listen;

    while (far_options_next_url(&cursor, url, sizeof url) > 0) {
        if (d->n_listeners == MAX_LISTENERS)
            return fail("too many addresses to listen on (16 at most)");
        struct far_listener *l = &d->listeners[d->n_listeners];
        if (far_listen(l, url, err, sizeof err) != 0)
            return fail(err);
        d->n_listeners++;
        if (d->options.private && !l->is_unix)
            return fail("a private node listens on unix: addresses only");
    }
    return d->n_listeners ? 0 : fail("no address to listen on: --listen=unix:///run/farmemd.sock");
}

/* Once all else has succeeded. */
static void say_listening(struct daemon *d)
{
    char url[FAR_OPTION_TEXT];
    const char *cursor = d->options.listen;

    for (unsigned i = 0; i < d->n_listeners && far_options_next_url(&cursor, url, sizeof url) > 0; i++) {
        const struct far_listener *l = &d->listeners[i];

        far_log_info("listening on %s", url);
        if (!l->is_unix && strncmp(l->url.host, "127.", 4) != 0 && strcmp(l->url.host, "::1") != 0 &&
            strcmp(l->url.host, "localhost") != 0)
            far_log_warn("whoever reaches %s may use this node's memory: keep it to a trusted network", url);
    }
}

/* What the kernel could give without killing anybody, as it estimates: of reserved huge pages, where they may be used and are
 * enough, or else of all others. UINT64_MAX where it does not say. */
static uint64_t available_bytes(const struct far_options *o)
{
    unsigned long long kib = UINT64_MAX >> 10, huge = 0, huge_kib = 0;
    FILE *f = fopen("/proc/meminfo", "re");
    char line[128];

    while (f && fgets(line, sizeof line, f)) {
        sscanf(line, "MemAvailable: %llu kB", &kib);
        sscanf(line, "HugePages_Free: %llu", &huge);
        sscanf(line, "Hugepagesize: %llu kB", &huge_kib);
    }
    if (f)
        fclose(f);
    huge *= huge_kib << 10;
    return o->hugepages != FAR_HUGEPAGES_NEVER && huge >= o->memory ? huge : kib << 10;
}

/* All of it taken at once must be there: else the kernel ends somebody. */
static int check_available(const struct far_options *o)
{
    uint64_t available = available_bytes(o);
    char err[FAR_OPTION_ERROR];

    if (o->hugepages == FAR_HUGEPAGES_ALWAYS || o->memory <= available)
        return 0;
    far_format(err, sizeof err, "--populate takes %llu MiB at once, and %llu MiB are available: lower --memory, or do without",
               (unsigned long long)o->memory >> 20, (unsigned long long)available >> 20);
    return fail(err);
}

static int create_loop(struct daemon *d)
{
    char err[FAR_OPTION_ERROR];

    if (d->options.populate && check_available(&d->options))
        return 1;
    if (far_numa_plan(&d->numa, &far_numa_system, d->options.numa, err, sizeof err) != 0)
        return fail(err);
    int rc = far_loop_create(&d->loop, &d->config);
    if (rc) {
        unsigned long long mib = d->options.memory >> 20;
        bool huge = d->config.server.store.pages == FAR_MEMORY_HUGE;
        far_format(err, sizeof err, "cannot set up %llu MiB of memory: %s%s", mib, strerror(-rc),
                   rc == -EINVAL           ? " (at least 2M are needed)"
                   : rc == -EMFILE         ? " (raise ulimit -n)"
                   : rc == -ENOMEM && huge ? " (reserve huge pages: sysctl vm.nr_hugepages=N, N = MiB / 2)"
                                           : "");
        return fail(err);
    }
    return 0;
}

static void say_memory(struct daemon *d)
{
    static const char *const kinds[] = {
        [FAR_PAGES_SMALL] = "small pages",
        [FAR_PAGES_THP] = "transparent huge pages",
        [FAR_PAGES_HUGETLB] = "reserved huge pages",
    };
    const struct far_memory *m = &far_server_store(far_loop_server(d->loop))->memory;
    struct sysinfo info;

    far_log_info("%llu MiB of memory to serve, %s", (unsigned long long)(m->bytes >> 20), kinds[m->pages]);
    if (sysinfo(&info) == 0 && m->bytes > (uint64_t)info.totalram * info.mem_unit)
        far_log_warn("that is more than the %llu MiB of this machine: when programs use it, it swaps, or the kernel kills this "
                     "node and what they keep here is lost",
                     (unsigned long long)((uint64_t)info.totalram * info.mem_unit >> 20));
}

/* To the background, in a session of its own: the exit of the parent says that the socket is there, and that signals and
 * descriptors of the program no longer concern us. Whatever the program had open is closed: a pipe that we held would
 * never end for its reader. */
static int go_private(void)
{
    int ready[2], null = open("/dev/null", O_RDWR | O_CLOEXEC);
    char byte = 0;

    if (null < 0 || pipe2(ready, O_CLOEXEC) != 0)
        return fail("cannot go to the background: too many open files (raise ulimit -n)");
    pid_t pid = fork();

    if (pid) {
        close(ready[1]);
        _exit(pid < 0 ? fail("cannot fork") : read(ready[0], &byte, 1) == 1 ? 0 : 1);
    }
    setsid();
    if (chdir("/") != 0)
        far_log_debug("cannot leave the working directory: %s", strerror(errno));
    for (int fd = 0; fd < 3; fd++)
        dup2(null, fd);
    close(null);
    close(ready[0]);
    bool told = write(ready[1], &byte, 1) == 1;
    close(ready[1]);
    return told ? 0 : 1; /* killed meanwhile: nobody knows of us */
}

/* Numbers 0 to 2 are open, so that nothing of ours lands there. */
static void fill_standard(void)
{
    int fd;

    while ((fd = open("/dev/null", O_RDWR)) >= 0 && fd < 3)
        ;
    close(fd);
}

static int serve(struct daemon *d)
{
    int rc = watch_signals(d);

    for (unsigned i = 0; i < d->n_listeners && !rc; i++)
        rc = far_loop_add_listener(d->loop, &d->listeners[i]);
    if (rc) {
        far_log_error("cannot start: %s", strerror(-rc));
        return 1;
    }
    sd_notify(0, "READY=1");
    rc = far_loop_run(d->loop);
    sd_notify(0, "STOPPING=1");
    log_counters(d);
    return rc ? 1 : 0;
}

static int run(struct daemon *d)
{
    if (d->options.private) {
        close_range(3, ~0u, 0); /* what the program had open */
        umask(077);
    }
    choose_name(d);
    configure(d);
    int rc = open_log(d);
    if (!rc)
        rc = create_loop(d); /* before somebody can connect: it may take a while (--populate) */
    if (!rc)
        rc = open_listeners(d);
    if (!rc && d->options.private)
        rc = go_private(); /* what can fail has been done: the parent's exit status tells */
    if (!rc) {
        say_listening(d);
        say_memory(d);
        rc = serve(d);
    }
    if (d->loop)
        far_loop_destroy(d->loop);
    for (unsigned i = 0; i < d->n_listeners; i++)
        far_listen_close(&d->listeners[i]);
    far_log_info("%s", rc ? "failed" : "stopped");
    return rc ? 1 : 0;
}

static int help(void)
{
    dprintf(
        1, "usage: farmemd [OPTION]...\n"
           "Serves this machine's memory to programs that run with farshim on others (or on this one).\n\n"
           "  farmemd --listen=unix:///run/farmemd.sock --memory=8G\n"
           "  farmemd --listen=tcp://10.0.0.1:7170 --listen=unix:@farmemd --memory=64G --numa=0\n\n"
           "Each option is also a line `name = value` of the configuration file and a variable.\n"
           "--listen may be given several times. SIGTERM drains, SIGHUP reloads, SIGUSR1 logs counters.\n\n");
    return far_options_print_help(1, FAR_WHERE_FARMEMD) == 0 ? 0 : 1;
}

int main(int argc, char **argv, char **envp)
{
    static struct daemon d;
    char err[FAR_OPTION_ERROR] = "";

    fill_standard();
    d = (struct daemon){.argc = argc, .argv = argv, .envp = envp, .log_fd = -1, .signal_fd = -1};
    int what = far_command_read(&d.options, argc, argv, envp, err, sizeof err);
    if (what == FAR_COMMAND_HELP)
        return help();
    if (what == FAR_COMMAND_VERSION) {
        dprintf(1, "farmemd %s, protocol version %u\n", FAR_VERSION, FAR_WIRE_VERSION);
        return 0;
    }
    if (what < 0) {
        fail(err);
        return EXIT_USAGE;
    }
    return run(&d);
}
