// For tests and benchmarks only: XNNPACK finds AVX2 and nothing newer, whatever the CPU has; with
// HAS_AVX512SKX, also AVX512 as the first CPUs had it, without VNNI.

#include <pthread.h>
#include <stddef.h>

#include "xnnpack/hardware-config.h"

const struct xnn_hardware_config* __real_xnn_init_hardware_config(void);

static struct xnn_hardware_config older;
static pthread_once_t once = PTHREAD_ONCE_INIT;

#ifdef HAS_AVX512SKX
enum {
  FLAGS = (xnn_arch_x86_avxvnni - 1) | xnn_arch_x86_avx256skx | xnn_arch_x86_avx512f |
      xnn_arch_x86_avx512skx,
};
#else
enum { FLAGS = xnn_arch_x86_avxvnni - 1 };
#endif

static void init(void) {
  const struct xnn_hardware_config* cpu = __real_xnn_init_hardware_config();
  older = (struct xnn_hardware_config) {
      .arch_flags = cpu->arch_flags & FLAGS,
      .use_x86_ssse3 = cpu->use_x86_ssse3,
      .use_x86_sse4_1 = cpu->use_x86_sse4_1,
      .use_x86_avx = cpu->use_x86_avx,
      .use_x86_f16c = cpu->use_x86_f16c,
      .use_x86_fma3 = cpu->use_x86_fma3,
      .use_x86_avx2 = cpu->use_x86_avx2,
#ifdef HAS_AVX512SKX
      .use_x86_avx256skx = cpu->use_x86_avx256skx,
      .use_x86_avx512f = cpu->use_x86_avx512f,
      .use_x86_avx512skx = cpu->use_x86_avx512skx,
#endif
  };
}

const struct xnn_hardware_config* __wrap_xnn_init_hardware_config(void) {
  if (__real_xnn_init_hardware_config() == NULL) {
    return NULL;
  }
  pthread_once(&once, init);
  return &older;
}
