/* setjmp in its forms: jump.c notes whether the thread is in a scope, and we jump on with the arguments and the stack as they came,
 * so that whoever called us is who returns twice. */
        .text

        .macro  NOTED name, entry
        .globl  \name
        .type   \name, @function
\name:
        .cfi_startproc
        endbr64
        pushq   %rdi
        .cfi_adjust_cfa_offset 8
        pushq   %rsi
        .cfi_adjust_cfa_offset 8
        leaq    24(%rsp), %rsi                  /* the caller's stack pointer once it is back */
        movq    16(%rsp), %rdx                  /* and where that is */
        subq    $8, %rsp                        /* keeps the stack aligned at the call */
        .cfi_adjust_cfa_offset 8
        call    far_jump_note
        addq    $8, %rsp
        .cfi_adjust_cfa_offset -8
        popq    %rsi
        .cfi_adjust_cfa_offset -8
        popq    %rdi
        .cfi_adjust_cfa_offset -8
        jmp     *\entry(%rip)
        .cfi_endproc
        .size   \name, . - \name
        .endm

        NOTED   _setjmp, far_next+8             /* far_next._setjmp */
        NOTED   setjmp, far_next+16
        NOTED   __sigsetjmp, far_next+24
        .section .note.GNU-stack, "", @progbits
