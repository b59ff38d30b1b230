// Which of our kernels run on which CPU: where XNNPACK takes the kernels named here, ours stand in.
//
// XNNPACK asks for its tables of kernels through functions (xnn_init_*_config); the linker's --wrap
// puts those of this file between. They look at XNNPACK's own choice for the CPU:
//
//   GEMM, IGEMM     3x8c8 for AVX2           -> 8x8c4, vpmaddubsw
//                   7x16c8 for AVX512        -> 16x16c4, the same
//                   7x16c8 with VNNI         -> 6x64c4, vpdpbusd
//                   5x8c8 for AVX-VNNI       -> 6x16c4, the same
//   depthwise       9p16c, 25p16c for AVX2   -> 9p32c, 25p32c, vpmaddwd
//                   9p32c, 25p32c for AVX512 -> 9p64c, 25p64c, vpdpbusd where there is VNNI,
//                                               vpmaddwd where there is none
//
// Everything else, CPUs with AMX and CPUs without AVX2 keep XNNPACK's.

#include <pthread.h>
#include <stddef.h>
#include <string.h>

#include "kernels.h"
#include "xnnpack/config.h"
#include "xnnpack/dwconv.h"
#include "xnnpack/gemm.h"
#include "xnnpack/hardware-config.h"
#include "xnnpack/microparams.h"
#include "xnnpack/pack.h"

// kernels.h declares these again.
_Static_assert(
    offsetof(union xnn_qs8_qc8w_conv_minmax_params, fp32_scalar.output_zero_point) ==
            offsetof(struct minmax_params, output_zero_point) &&
        offsetof(union xnn_qs8_qc8w_conv_minmax_params, fp32_scalar.output_min) ==
            offsetof(struct minmax_params, output_min) &&
        offsetof(union xnn_qs8_qc8w_conv_minmax_params, fp32_scalar.output_max) ==
            offsetof(struct minmax_params, output_max),
    "minmax_params differ");
_Static_assert(
    sizeof(struct xnn_qs8_packing_params) == sizeof(struct packing_params),
    "packing_params differ");

const struct xnn_gemm_config* __real_xnn_init_qs8_qc8w_gemm_config(void);
const struct xnn_dwconv_config* __real_xnn_init_qs8_qc8w_dwconv_config(void);

typedef __typeof__(qs8_qc8w_packw_gemm_goi_c4_maddubs_avx2)* goi_fn;
typedef __typeof__(qs8_qc8w_packw_gemm_gio_c4_maddubs_avx2)* gio_fn;

static struct xnn_gemm_config gemm_config;
static struct xnn_dwconv_config dwconv_config[XNN_MAX_QC8_DWCONV_UKERNELS];
static pthread_once_t gemm_once = PTHREAD_ONCE_INIT;
static pthread_once_t dwconv_once = PTHREAD_ONCE_INIT;
static size_t (*stride_of)(size_t k, size_t extra_bytes);  // of gemm_config

static size_t packed_stride(
    const struct xnn_gemm_config* config, size_t k, size_t k_stride, size_t extra_bytes) {
  (void) config, (void) k_stride;
  return stride_of(k, extra_bytes);
}

// For the fully connected operator: weights, bias and one kind of scale.
static void pack_weights_and_biases(
    uint32_t flags, const struct xnn_gemm_config* config, size_t input_channels,
    size_t output_channels, size_t groups, size_t k_stride, const void* bias, const void* weights,
    xnn_init_scale_params_fn init_scale, const void* scale, size_t scale_bytes,
    xnn_init_scale_params_fn init_other, const void* other, size_t other_bytes, void* packed,
    const void* params) {
  (void) groups, (void) k_stride, (void) init_other, (void) other, (void) other_bytes;
  const size_t nr = config->nr;
  if (flags & XNN_FLAG_TRANSPOSE_WEIGHTS) {
    ((gio_fn) config->pack_gemm_gio)(
        1, output_channels, input_channels, nr, 4, 1, output_channels, weights, bias, NULL, packed,
        nr * scale_bytes, params);
  } else {
    ((goi_fn) config->pack_gemm_goi)(
        1, output_channels, input_channels, nr, 4, 1, weights, bias, NULL, packed,
        nr * scale_bytes, params);
  }
  const size_t stride = nr * stride_of(input_channels, scale_bytes);
  init_scale(
      output_channels, nr, nr, stride, stride, 0, scale,
      (char*) packed + stride - nr * scale_bytes);
}

static void init_gemm(void) {
  gemm_config = *__real_xnn_init_qs8_qc8w_gemm_config();
  struct gemm_fused_ukernels ours = {0};
#define TAKE(kernel, rows, columns) \
  ours.gemm[1 - 1] = xnn_init_hmp_gemm_ukernel((xnn_gemm_ukernel_fn) qs8_qc8w_gemm_##kernel); \
  ours.gemm[rows - 1] = ours.gemm[1 - 1]; \
  ours.igemm[1 - 1] = \
      xnn_init_hmp_igemm_ukernel((xnn_igemm_ukernel_fn) qs8_qc8w_igemm_1row_##kernel); \
  ours.igemm[rows - 1] = \
      xnn_init_hmp_igemm_ukernel((xnn_igemm_ukernel_fn) qs8_qc8w_igemm_##kernel); \
  gemm_config.mr = rows; \
  gemm_config.nr = columns; \
  stride_of = qs8_qc8w_packed_stride_##kernel; \
  gemm_config.pack_gemm_goi = (xnn_packw_gemm_goi_ukernel_fn) qs8_qc8w_packw_gemm_goi_##kernel; \
  gemm_config.pack_gemm_gio = (xnn_packw_gemm_gio_ukernel_fn) qs8_qc8w_packw_gemm_gio_##kernel; \
  gemm_config.pack_igemm_goki = (xnn_pack_conv_goki_w_fn) qs8_qc8w_packw_conv_goki_##kernel; \
  gemm_config.pack_igemm_kgo = (xnn_pack_conv_kgo_w_fn) qs8_qc8w_packw_conv_kgo_##kernel

  const struct gemm_fused_ukernels* theirs = &gemm_config.minmax;
  if (theirs->gemm[3 - 1].function[XNN_UARCH_DEFAULT] ==
      (xnn_gemm_ukernel_fn) xnn_qs8_qc8w_gemm_minmax_fp32_ukernel_3x8c8__avx2) {
    TAKE(c4_maddubs_avx2, 8, 8);
  } else if (
      theirs->gemm[7 - 1].function[XNN_UARCH_DEFAULT] ==
      (xnn_gemm_ukernel_fn) xnn_qs8_qc8w_gemm_minmax_fp32_ukernel_7x16c8__avx512skx_prfm) {
    TAKE(c4_maddubs_avx512skx, 16, 16);
  } else if (
      theirs->gemm[7 - 1].function[XNN_UARCH_DEFAULT] ==
      (xnn_gemm_ukernel_fn) xnn_qs8_qc8w_gemm_minmax_fp32_ukernel_7x16c8__avx512vnni_prfm) {
    TAKE(c4_avx512vnni, 6, 64);
  } else if (
      theirs->gemm[5 - 1].function[XNN_UARCH_DEFAULT] ==
      (xnn_gemm_ukernel_fn) xnn_qs8_qc8w_gemm_minmax_fp32_ukernel_5x8c8__avxvnni_prfm) {
    TAKE(c4_avxvnni, 6, 16);
  } else {
    return;
  }
  gemm_config.minmax = ours;
  gemm_config.log2_kr = 2;
  gemm_config.log2_sr = 0;
  gemm_config.packed_stride_weights_and_biases = packed_stride;
  gemm_config.pack_weights_and_biases = pack_weights_and_biases;
}

const struct xnn_gemm_config* __wrap_xnn_init_qs8_qc8w_gemm_config(void) {
  if (__real_xnn_init_qs8_qc8w_gemm_config() == NULL) {
    return NULL;
  }
  pthread_once(&gemm_once, init_gemm);
  return &gemm_config;
}

static void replace_dwconv(
    struct xnn_dwconv_config* config, const void* theirs, const void* ours, uint8_t tile) {
  if ((const void*) config->minmax.unipass == theirs) {
    config->minmax.unipass = (xnn_dwconv_unipass_ukernel_fn) ours;
    config->channel_tile = tile;
    config->channel_subtile = tile;
  }
}

static void init_dwconv(void) {
  const bool vnni = xnn_init_hardware_config()->use_x86_avx512vnni;
  memcpy(dwconv_config, __real_xnn_init_qs8_qc8w_dwconv_config(), sizeof(dwconv_config));
  for (size_t i = 0; i < XNN_MAX_QC8_DWCONV_UKERNELS; i++) {
    replace_dwconv(
        &dwconv_config[i], xnn_qs8_qc8w_dwconv_minmax_fp32_ukernel_9p16c__avx2_mul32,
        qs8_qc8w_dwconv_9p_madd_avx2, 32);
    replace_dwconv(
        &dwconv_config[i], xnn_qs8_qc8w_dwconv_minmax_fp32_ukernel_25p16c__avx2_mul32,
        qs8_qc8w_dwconv_25p_madd_avx2, 32);
    replace_dwconv(
        &dwconv_config[i], xnn_qs8_qc8w_dwconv_minmax_fp32_ukernel_9p32c__avx512skx_mul32,
        vnni ? qs8_qc8w_dwconv_9p64c_avx512vnni : qs8_qc8w_dwconv_9p_madd_avx512skx, 64);
    replace_dwconv(
        &dwconv_config[i], xnn_qs8_qc8w_dwconv_minmax_fp32_ukernel_25p32c__avx512skx_mul32,
        vnni ? qs8_qc8w_dwconv_25p64c_avx512vnni : qs8_qc8w_dwconv_25p_madd_avx512skx, 64);
  }
}

const struct xnn_dwconv_config* __wrap_xnn_init_qs8_qc8w_dwconv_config(void) {
  if (__real_xnn_init_qs8_qc8w_dwconv_config() == NULL) {
    return NULL;
  }
  pthread_once(&dwconv_once, init_dwconv);
  return dwconv_config;
}
