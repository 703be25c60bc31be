// The binding's own `stderr`.
//
// Debian compiles libprotobuf-lite.a for programs: its common.o reads `stderr` by a distance fixed at link time, which
// cannot reach into libc.so from a shared object. The linker sends each reference in the binding here instead
// (--wrap=stderr), and this variable has libc's value before any other code of the binding runs.

#include <stdio.h>

extern FILE* __real_stderr;
FILE* __wrap_stderr;

__attribute__((constructor(101))) static void bind_stderr(void) { __wrap_stderr = __real_stderr; }
