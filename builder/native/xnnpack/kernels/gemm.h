// The functions that XNNPACK calls: a GEMM, and IGEMMs, which convolve by pointers to pixels.
//
// What includes this has defined ROWS, and defines `convolve`.

#pragma once

#include "rows.h"

// Computes nc output channels of mr pixels, by packed weights.
static void convolve(
    size_t mr, const struct rows* rows, size_t nc, const uint8_t* w, int8_t* c, size_t cm_stride,
    size_t cn_stride, const struct minmax_params* params);

// The functions of the kernels `layout`. XNNPACK calls the first for one pixel at a time.
#define DEFINE_GEMM(layout) \
  void FOR_CPU(qs8_qc8w_igemm_1row_##layout)( \
      size_t mr, size_t nc, size_t kc, size_t ks, const int8_t** a, const void* w, int8_t* c, \
      size_t cm_stride, size_t cn_stride, size_t a_offset, const int8_t* zero, \
      const struct minmax_params* params) { \
    const struct rows rows = {a, 1, ks / sizeof(void*), kc, a_offset, zero}; \
    convolve(mr, &rows, nc, w, c, cm_stride, cn_stride, params); \
  } \
  void FOR_CPU(qs8_qc8w_igemm_##layout)( \
      size_t mr, size_t nc, size_t kc, size_t ks, const int8_t** a, const void* w, int8_t* c, \
      size_t cm_stride, size_t cn_stride, size_t a_offset, const int8_t* zero, \
      const struct minmax_params* params) { \
    const struct rows rows = {a, ROWS, ks / ROWS / sizeof(void*), kc, a_offset, zero}; \
    convolve(mr, &rows, nc, w, c, cm_stride, cn_stride, params); \
  } \
  void FOR_CPU(qs8_qc8w_gemm_##layout)( \
      size_t mr, size_t nc, size_t kc, const int8_t* a, size_t a_stride, const void* w, int8_t* c, \
      size_t cm_stride, size_t cn_stride, const struct minmax_params* params) { \
    const int8_t* pixels[ROWS]; \
    for (size_t r = 0; r < ROWS; r++) { \
      pixels[r] = r < mr ? a + r * a_stride : pixels[r - 1]; \
    } \
    const struct rows rows = {pixels, mr == 1 ? 1 : ROWS, 1, kc, 0, NULL}; \
    convolve(mr, &rows, nc, w, c, cm_stride, cn_stride, params); \
  }
