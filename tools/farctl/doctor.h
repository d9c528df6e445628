/*
 * doctor.h - the report that `farctl doctor` fills: one check per thing that can be wrong, each with what
 * mends it.
 *
 * A check is ok, a warning (far memory works, but slower or with less) or a failure (it does not work). Its
 * fix is the command or the setting that mends it, ready to be typed, "" if there is nothing to mend.
 */
#ifndef FAR_TOOLS_FARCTL_DOCTOR_H
#define FAR_TOOLS_FARCTL_DOCTOR_H

struct far_options;

enum far_check_status { FAR_CHECK_OK, FAR_CHECK_WARN, FAR_CHECK_FAIL };

struct far_check {
    const char *name; /* short and stable: the key in JSON */
    enum far_check_status status;
    char detail[512], fix[1024];
};

#define FAR_MAX_CHECKS 64

struct far_report {
    unsigned n;
    struct far_check checks[FAR_MAX_CHECKS];
};

/* Appends a check; the last slot is never passed (later ones are dropped). Returns it for far_report_fix. */
struct far_check *far_report_add(struct far_report *report, const char *name, enum far_check_status status,
                                 const char *detail, ...) __attribute__((format(printf, 4, 5)));
/* Says what mends it; called again, adds a line. */
void far_report_fix(struct far_check *check, const char *fix, ...) __attribute__((format(printf, 2, 3)));

void far_doctor_userfaultfd(struct far_report *report);                             /* doctor_uffd.c */
void far_doctor_host(struct far_report *report, const struct far_options *options); /* doctor_host.c */
void far_doctor_files(struct far_report *report);                                   /* doctor_files.c */
void far_doctor_node(struct far_report *report, const char *url);                   /* doctor_node.c */

/* A number from a file of one line, or `otherwise` if it cannot be read. */
long long far_doctor_read_number(const char *path, long long otherwise);

#endif
