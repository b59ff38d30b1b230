// Packs int8 weights for the 4x16c4 kernels (layout-x16c4-maddubs.h).
//
// A chain is flagged as unsafe where vpmaddubsw, or the sum of its two results, could leave int16:
// lane by lane (two products from each half of the chain), positive weights must sum to at most
// 128 and negative ones to at least -128. Then no sum of products with uint8 values, nor a part of
// it, leaves +-255 * 128 = +-32640.

#include <immintrin.h>
#include <string.h>

#include "kernels.h"
#include "layout-x16c4-maddubs.h"

// Weights of `count` output channels. stride_n, stride_k: distance of neighbours in either
// direction.
static void copy_weights(
    const int8_t* k, size_t count, size_t kc, size_t stride_n, size_t stride_k, int8_t* out) {
  if (count < TILE_CHANNELS || kc % CHAIN_K != 0) {
    memset(out, 0, chains_of(kc) * CHAIN_BYTES);
  }
  const size_t quads = stride_k == 1 ? kc / 4 : 0;
  for (size_t q = 0; q < quads; q++) {
    for (size_t n = 0; n < count; n++) {
      memcpy(out + q * 64 + n * 4, k + n * stride_n + q * 4, 4);
    }
  }
  for (size_t i = quads * 4; i < kc; i++) {
    for (size_t n = 0; n < count; n++) {
      out[i / 4 * 64 + n * 4 + i % 4] = k[n * stride_n + i * stride_k];
    }
  }
}

// Puts the four products of a channel in a quarter of an unsafe chain into two vectors' order.
static void split_pairs(int8_t* weights) {
  const __m256i even_odd = _mm256_broadcastsi128_si256(
      _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15));
  __m256i* w = (__m256i*) weights;
  const __m256i pairs = _mm256_shuffle_epi8(_mm256_loadu_si256(w), even_odd);
  _mm256_storeu_si256(w, _mm256_permute4x64_epi64(pairs, 0xd8));
}

// Flags unsafe chains, and takes `factor` times the sum of a channel's weights from its bias.
static void examine(
    const int8_t* weights, size_t chains, int32_t factor, uint64_t* unsafe, int32_t* bias) {
  const __m256i zero = _mm256_setzero_si256();
  const __m256i ones8 = _mm256_set1_epi8(1);
  const __m256i ones16 = _mm256_set1_epi16(1);
  const __m256i limit = _mm256_set1_epi16(128);
  for (size_t half = 0; half < 2; half++) {  // channels 0 to 7, 8 to 15
    __m256i sum = zero;
    for (size_t i = 0; i < chains; i++) {
      const __m256i* w = (const __m256i*) (weights + i * CHAIN_BYTES) + half;
      const __m256i w0 = _mm256_loadu_si256(w);
      const __m256i w1 = _mm256_loadu_si256(w + 2);
      const __m256i positive = _mm256_add_epi16(
          _mm256_maddubs_epi16(ones8, _mm256_max_epi8(w0, zero)),
          _mm256_maddubs_epi16(ones8, _mm256_max_epi8(w1, zero)));
      const __m256i negative = _mm256_add_epi16(
          _mm256_maddubs_epi16(ones8, _mm256_min_epi8(w0, zero)),
          _mm256_maddubs_epi16(ones8, _mm256_min_epi8(w1, zero)));
      const __m256i outside = _mm256_or_si256(
          _mm256_cmpgt_epi16(positive, limit),
          _mm256_cmpgt_epi16(_mm256_sub_epi16(zero, negative), limit));
      const uint64_t flag = !_mm256_testz_si256(outside, outside);
      unsafe[i / WORD_CHAINS] |= flag << i % WORD_CHAINS;
      sum = _mm256_add_epi32(
          sum, _mm256_madd_epi16(_mm256_add_epi16(positive, negative), ones16));
    }
    __m256i* b = (__m256i*) bias + half;
    const __m256i product = _mm256_mullo_epi32(sum, _mm256_set1_epi32(factor));
    _mm256_storeu_si256(b, _mm256_sub_epi32(_mm256_loadu_si256(b), product));
  }
}

// One group: nc output channels of K = kc products.
static uint8_t* pack(
    const int8_t* k, size_t nc, size_t kc, size_t stride_n, size_t stride_k, const int32_t* b,
    uint8_t* out, size_t extra_bytes, const struct packing_params* params) {
  for (size_t n = 0; n < nc; n += TILE_CHANNELS) {
    const size_t count = nc - n < TILE_CHANNELS ? nc - n : TILE_CHANNELS;
    int32_t* bias = (int32_t*) out;
    memset(bias, 0, TILE_CHANNELS * sizeof(int32_t));
    if (b != NULL) {
      memcpy(bias, b + n, count * sizeof(int32_t));
    }
    uint64_t* unsafe = (uint64_t*) (bias + TILE_CHANNELS);
    memset(unsafe, 0, flag_bytes_of(kc));
    int8_t* weights = (int8_t*) unsafe + flag_bytes_of(kc);
    copy_weights(k + n * stride_n, count, kc, stride_n, stride_k, weights);
    examine(weights, chains_of(kc), 128 + params->input_zero_point, unsafe, bias);
    for (size_t i = 0; i < chains_of(kc); i++) {
      if (unsafe[i / WORD_CHAINS] >> i % WORD_CHAINS & 1) {
        for (size_t j = 0; j < CHAIN_BYTES; j += 32) {
          split_pairs(weights + i * CHAIN_BYTES + j);
        }
      }
    }
    out = (uint8_t*) weights + chains_of(kc) * CHAIN_BYTES + extra_bytes;
  }
  return out;
}

// Bytes per output channel.
size_t qs8_qc8w_packed_stride_x16c4_maddubs(size_t k, size_t extra_bytes) {
  return sizeof(int32_t) + flag_bytes_of(k) / TILE_CHANNELS + chains_of(k) * CHAIN_K + extra_bytes;
}

// Weights [group][output channel][input channel].
void qs8_qc8w_packw_gemm_goi_x16c4_avx2_maddubs(
    size_t g, size_t nc, size_t kc, size_t nr, size_t kr, size_t sr, const int8_t* k,
    const int32_t* b, const void* scale, void* packed_weights, size_t extra_bytes,
    const struct packing_params* params) {
  (void) nr, (void) kr, (void) sr, (void) scale;
  for (size_t i = 0; i < g; i++) {
    packed_weights = pack(k, nc, kc, kc, 1, b, packed_weights, extra_bytes, params);
    k += nc * kc;
    b = b == NULL ? NULL : b + nc;
  }
}

// Weights [group][input channel][output channel], k_stride from one input channel to the next.
void qs8_qc8w_packw_gemm_gio_x16c4_avx2_maddubs(
    size_t g, size_t nc, size_t kc, size_t nr, size_t kr, size_t sr, size_t k_stride,
    const int8_t* k, const int32_t* b, const void* scale, void* packed_weights, size_t extra_bytes,
    const struct packing_params* params) {
  (void) nr, (void) kr, (void) sr, (void) scale;
  for (size_t i = 0; i < g; i++) {
    packed_weights = pack(k, nc, kc, 1, k_stride, b, packed_weights, extra_bytes, params);
    k += nc * kc;
    b = b == NULL ? NULL : b + nc;
  }
}

// Weights [group][output channel][tap][input channel].
void qs8_qc8w_packw_conv_goki_x16c4_avx2_maddubs(
    size_t g, size_t nc, size_t ks, size_t kc, size_t nr, size_t kr, size_t sr, const int8_t* k,
    const int32_t* b, const void* scale, void* packed_weights, size_t extra_bytes,
    const struct packing_params* params) {
  qs8_qc8w_packw_gemm_goi_x16c4_avx2_maddubs(
      g, nc, ks * kc, nr, kr, sr, k, b, scale, packed_weights, extra_bytes, params);
}

// Weights [tap][group][output channel]: one input channel per group.
void qs8_qc8w_packw_conv_kgo_x16c4_avx2_maddubs(
    size_t g, size_t nc, size_t ks, size_t nr, size_t kr, size_t sr, const int8_t* k,
    const int32_t* b, const void* scale, void* packed_weights, size_t extra_bytes,
    const struct packing_params* params) {
  (void) nr, (void) kr, (void) sr, (void) scale;
  for (size_t i = 0; i < g; i++) {
    packed_weights = pack(k, nc, ks, 1, g * nc, b, packed_weights, extra_bytes, params);
    k += nc;
    b = b == NULL ? NULL : b + nc;
  }
}
