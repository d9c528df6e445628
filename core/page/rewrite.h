/*
 * rewrite.h - whether a page that is being read will be written a moment later.
 *
 * Some programs write nearly all that they read (an interpreter counts references in each object that it looks at). A page that
 * comes in protected for them costs a second fault; one that comes in unprotected is DIRTY, and written back when it leaves
 * even if nobody wrote it. So pages that were dirty when they left (FAR_F_WRITTEN) are watched: some of them come in
 * protected, as probes (FAR_F_PROBE), and are found written, or leave clean. While most are written, the others are taken for
 * written at once. Pages that were asked for and pages that were read ahead, which perhaps nobody wants, are told apart.
 *
 * Only cost depends on the answer, never what is stored: any answer, and any lost update of the balance, is safe.
 */
#ifndef FAR_CORE_PAGE_REWRITE_H
#define FAR_CORE_PAGE_REWRITE_H

#include <stdbool.h>

/* Whether such a page, wanted by somebody or read ahead, should come in as DIRTY. Handler only. */
bool far_rewrite_expected(bool ahead);
/* What became of a probe. Any thread. */
void far_rewrite_probed(bool ahead, bool written);

#endif
