// Stands in for parts of XNNPACK that no op of this build reaches (absent.cmake names them), so
// that the linker can leave their kernels out. XNNPACK takes both answers for "not on this
// machine" and says so in an error.

#include <stddef.h>

const void* absent_config(void) { return NULL; }

int absent_operator(void) { return 5; /* xnn_status_unsupported_hardware */ }
