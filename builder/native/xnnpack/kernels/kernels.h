// Micro-kernels of our own for XNNPACK's int8 operators with one scale per output channel
// ("qs8_qc8w"). Each gives the same bits as the kernel of XNNPACK that it stands in for:
//
//   accumulator (int32, modulo 2^32) -> float -> times scale -> at most output_max - zero point
//   -> integer, half to even -> plus zero point, saturated to int16 -> int8, at least output_min
//
// Arguments are those of XNNPACK's micro-kernels and pack functions: sizes and strides in bytes,
// which here is elements. Nothing includes XNNPACK's headers, so that the test program
// (test-kernels.c) needs a compiler only; dispatch.c sees both and checks that they agree.

#pragma once

#include <stddef.h>
#include <stdint.h>

// XNNPACK's xnn_qs8_qc8w_conv_minmax_params.fp32_scalar.
struct minmax_params {
  int16_t output_zero_point;
  int16_t output_min;
  int16_t output_max;
};

// XNNPACK's xnn_qs8_packing_params.
struct packing_params {
  int8_t input_zero_point;
};

// GEMM and IGEMM, `mr` rows times `nc` columns, and what packs their weights:
//
//   c4_maddubs    qs8-qc8w-gemm-c4-maddubs.c, qs8-qc8w-packw-c4-maddubs.c
//   c4_avx512vnni, c4_avxvnni
//                 qs8-qc8w-gemm-c4-vnni.c, qs8-qc8w-packw-c4-vnni.c
//
// packed_stride is in bytes per column.
#define DECLARE_GEMM(kernel) \
  void qs8_qc8w_gemm_##kernel( \
      size_t mr, size_t nc, size_t kc, const int8_t* a, size_t a_stride, const void* w, int8_t* c, \
      size_t cm_stride, size_t cn_stride, const struct minmax_params* params); \
  void qs8_qc8w_igemm_1row_##kernel( \
      size_t mr, size_t nc, size_t kc, size_t ks, const int8_t** a, const void* w, int8_t* c, \
      size_t cm_stride, size_t cn_stride, size_t a_offset, const int8_t* zero, \
      const struct minmax_params* params); \
  void qs8_qc8w_igemm_##kernel( \
      size_t mr, size_t nc, size_t kc, size_t ks, const int8_t** a, const void* w, int8_t* c, \
      size_t cm_stride, size_t cn_stride, size_t a_offset, const int8_t* zero, \
      const struct minmax_params* params); \
  size_t qs8_qc8w_packed_stride_##kernel(size_t k, size_t extra_bytes); \
  void qs8_qc8w_packw_gemm_goi_##kernel( \
      size_t g, size_t nc, size_t kc, size_t nr, size_t kr, size_t sr, const int8_t* k, \
      const int32_t* b, const void* scale, void* packed_weights, size_t extra_bytes, \
      const struct packing_params* params); \
  void qs8_qc8w_packw_gemm_gio_##kernel( \
      size_t g, size_t nc, size_t kc, size_t nr, size_t kr, size_t sr, size_t k_stride, \
      const int8_t* k, const int32_t* b, const void* scale, void* packed_weights, \
      size_t extra_bytes, const struct packing_params* params); \
  void qs8_qc8w_packw_conv_goki_##kernel( \
      size_t g, size_t nc, size_t ks, size_t kc, size_t nr, size_t kr, size_t sr, const int8_t* k, \
      const int32_t* b, const void* scale, void* packed_weights, size_t extra_bytes, \
      const struct packing_params* params); \
  void qs8_qc8w_packw_conv_kgo_##kernel( \
      size_t g, size_t nc, size_t ks, size_t nr, size_t kr, size_t sr, const int8_t* k, \
      const int32_t* b, const void* scale, void* packed_weights, size_t extra_bytes, \
      const struct packing_params* params);

DECLARE_GEMM(c4_maddubs_avx2)       // at most 8 rows, tiles of 8 columns
DECLARE_GEMM(c4_maddubs_avx512skx)  // 16 and 16
DECLARE_GEMM(c4_avx512vnni)         // 6 and 64
DECLARE_GEMM(c4_avxvnni)            // 6 and 16

// qs8-qc8w-dwconv-madd.c: one row of a depthwise convolution of 9 or 25 taps.
#define DECLARE_DWCONV(cpu) \
  void qs8_qc8w_dwconv_9p_madd_##cpu( \
      size_t channels, size_t output_width, const int8_t** input, const void* weights, \
      int8_t* output, intptr_t input_stride, size_t output_increment, size_t input_offset, \
      const int8_t* zero, const struct minmax_params* params); \
  void qs8_qc8w_dwconv_25p_madd_##cpu( \
      size_t channels, size_t output_width, const int8_t** input, const void* weights, \
      int8_t* output, intptr_t input_stride, size_t output_increment, size_t input_offset, \
      const int8_t* zero, const struct minmax_params* params);

DECLARE_DWCONV(avx2)       // tiles of 32 channels
DECLARE_DWCONV(avx512skx)  // 64

// qs8-qc8w-dwconv-64c-avx512vnni.c: a depthwise convolution for AVX512 with VNNI.
void qs8_qc8w_dwconv_9p64c_avx512vnni(
    size_t channels, size_t output_width, const int8_t** input, const void* weights,
    int8_t* output, intptr_t input_stride, size_t output_increment, size_t input_offset,
    const int8_t* zero, const struct minmax_params* params);
void qs8_qc8w_dwconv_25p64c_avx512vnni(
    size_t channels, size_t output_width, const int8_t** input, const void* weights,
    int8_t* output, intptr_t input_stride, size_t output_increment, size_t input_offset,
    const int8_t* zero, const struct minmax_params* params);
