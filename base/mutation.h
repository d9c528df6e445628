/*
 * mutation.h - defects that can be switched on in test builds, to see that the tests would find them.
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
};

#ifdef FAR_MUTATIONS
extern int far_mutation_now;
#define far_mutation(kind) (far_mutation_now == (kind))
#else
#define far_mutation(kind) 0
#endif

#endif
