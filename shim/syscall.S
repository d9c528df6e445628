/* syscall(number, ...): hands over the calls that may name far memory (syscall.c), notes the two that set up I/O which pins
 * pages (pinning.h), and jumps on with every register and the stack as they came, so that it is transparent for whatever is
 * called. */
#include <sys/syscall.h>

        .text
        .globl  syscall
        .type   syscall, @function
syscall:
        .cfi_startproc
        endbr64
        cmpq    $SYS_io_uring_setup, %rdi
        je      1f
        cmpq    $SYS_io_setup, %rdi
        je      1f
        cmpq    $SYS_mmap, %rdi
        je      far_syscall_map
        cmpq    $SYS_mprotect, %rdi
        je      far_syscall_map
        cmpq    $SYS_munmap, %rdi
        je      far_syscall_map
        cmpq    $SYS_mremap, %rdi
        je      far_syscall_map
        cmpq    $SYS_madvise, %rdi
        je      far_syscall_map
2:      jmp     *far_next(%rip)                 /* far_next.syscall */
1:      pushq   %rdi
        .cfi_adjust_cfa_offset 8
        pushq   %rsi
        .cfi_adjust_cfa_offset 8
        pushq   %rdx
        .cfi_adjust_cfa_offset 8
        pushq   %rcx
        .cfi_adjust_cfa_offset 8
        pushq   %r8
        .cfi_adjust_cfa_offset 8
        pushq   %r9
        .cfi_adjust_cfa_offset 8
        subq    $8, %rsp                        /* keeps the stack aligned at the call */
        .cfi_adjust_cfa_offset 8
        call    far_pinning_note_syscall
        addq    $8, %rsp
        .cfi_adjust_cfa_offset -8
        popq    %r9
        .cfi_adjust_cfa_offset -8
        popq    %r8
        .cfi_adjust_cfa_offset -8
        popq    %rcx
        .cfi_adjust_cfa_offset -8
        popq    %rdx
        .cfi_adjust_cfa_offset -8
        popq    %rsi
        .cfi_adjust_cfa_offset -8
        popq    %rdi
        .cfi_adjust_cfa_offset -8
        jmp     2b
        .cfi_endproc
        .size   syscall, . - syscall
        .section .note.GNU-stack, "", @progbits
