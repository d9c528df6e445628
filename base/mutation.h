/*
 * mutation.h - defects and delays that can be switched on in test builds, to see that the tests would find them.
 *
 * In an ordinary build every far_mutation() is the constant false and nothing of it is compiled. With FAR_MUTATIONS
 * defined (a second copy of the libraries, for test programs only), far_mutation_now chooses one.
 */
#ifndef FAR_BASE_MUTATION_H
#define FAR_BASE_MUTATION_H

enum far_mutation_kind {
    FAR_MUTATION_NONE,
    FAR_MUTATION_NO_ZERO_PROTECT, /* a zero page is installed without write protection, as CLEAN */
    FAR_MUTATION_NO_DIRTY,        /* an evicted dirty page is taken for clean */
    FAR_MUTATION_NO_SLOT_FENCE,   /* a slot is reused while a write to it is under way */
    FAR_MUTATION_NO_CRC,          /* what a node answers is not checked (transport/link_rx.c) */
    FAR_MUTATION_NO_MEMBARRIER,   /* scopes that were just entered are not made visible (core/object/epoch.c) */
    FAR_MUTATION_NO_GRACE,        /* objects are evacuated under scopes that use them */
    FAR_MUTATION_NO_RESCUE,       /* an object that is about to go is used without taking it back */
    FAR_MUTATION_EARLY_CLEAN,     /* an object counts as clean before nobody can write it any more */
    FAR_MUTATION_NO_VICTIM,       /* an evacuated object's memory goes before a node has acknowledged it */
};

/* far_race_window(): between two steps that others may come between. In test builds, now and then, time passes there. Where a word
 * changes hands (core/object/word.h, far_page_cas) it stands in the one function that all use. Never under a spinlock. */

#ifdef FAR_MUTATIONS
extern int far_mutation_now;
#define far_mutation(kind) (far_mutation_now == (kind))
/* The test program defines both. */
void far_race_window(void);
#else
#define far_mutation(kind) 0
#define far_race_window() ((void)0)
#endif

#endif
