// int8 depthwise convolution of 9 or 25 taps (3x3, 5x5), 64 channels at a time, AVX512 with VNNI.
//
// XNNPACK's kernels for AVX512 widen every factor to int32 and multiply with vpmulld. Here four taps
// of a channel are neighbours: bytes of four pixels interleaved, and vpdpbusd by four weights.
// Activations are made uint8 first (a XOR), for which 128 times the sum of the weights leaves the
// bias.
//
// Weights are as XNNPACK packs them: per tile of 64 channels int32 bias[64], int8 weights[taps][64],
// float scale[64]. They are interleaved once per call, that is per row of output, for CHUNK_TILES
// tiles at a time.
//
// Exactness: vpdpbusd adds four products of uint8 and int8 in int32 without saturation; the rest is
// int32 arithmetic modulo 2^32.
//
// Limits: none. No channel beyond the last is read or written.

#include <immintrin.h>

#include "kernels.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

enum {
  TILE_CHANNELS = 64,
  CHUNK_TILES = 4,
  MAX_TAPS = 25,
  MAX_GROUPS = (MAX_TAPS + 3) / 4,
};

// A tile, in the order that interleaving makes: of every 16 channels, vector j has 4j to 4j + 3.
struct tile {
  __m512i bias[4];
  __m512i weights[MAX_GROUPS][4];
  __m512 scale[4];
};

struct requantization {
  __m512 max_less_zero_point;
  __m512i zero_point;
  __m512i min;
};

ALWAYS_INLINE __m512i load_vector(const uint8_t* values, size_t j) {
  const __m128i* quads = (const __m128i*) values + j;
  __m512i vector = _mm512_castsi128_si512(_mm_loadu_si128(quads));
  vector = _mm512_inserti32x4(vector, _mm_loadu_si128(quads + 4), 1);
  vector = _mm512_inserti32x4(vector, _mm_loadu_si128(quads + 8), 2);
  return _mm512_inserti32x4(vector, _mm_loadu_si128(quads + 12), 3);
}

// Four taps of 64 channels -> four vectors, each channel's taps together.
ALWAYS_INLINE void interleave(const __m512i taps[4], __m512i out[4]) {
  const __m512i low01 = _mm512_unpacklo_epi8(taps[0], taps[1]);
  const __m512i high01 = _mm512_unpackhi_epi8(taps[0], taps[1]);
  const __m512i low23 = _mm512_unpacklo_epi8(taps[2], taps[3]);
  const __m512i high23 = _mm512_unpackhi_epi8(taps[2], taps[3]);
  out[0] = _mm512_unpacklo_epi16(low01, low23);
  out[1] = _mm512_unpackhi_epi16(low01, low23);
  out[2] = _mm512_unpacklo_epi16(high01, high23);
  out[3] = _mm512_unpackhi_epi16(high01, high23);
}

ALWAYS_INLINE void prepare_tile(struct tile* tile, const uint8_t* packed, size_t taps) {
  const uint8_t* weights = packed + TILE_CHANNELS * sizeof(int32_t);
  const uint8_t* scale = weights + taps * TILE_CHANNELS;
  for (size_t j = 0; j < 4; j++) {
    tile->bias[j] = load_vector(packed, j);
    tile->scale[j] = _mm512_castsi512_ps(load_vector(scale, j));
  }
  const __m512i k128 = _mm512_set1_epi8(-128);  // as uint8
  for (size_t group = 0; group < (taps + 3) / 4; group++) {
    __m512i rows[4];
    for (size_t i = 0; i < 4; i++) {
      const size_t tap = 4 * group + i;
      rows[i] = tap < taps ? _mm512_loadu_si512(weights + tap * TILE_CHANNELS)
                           : _mm512_setzero_si512();
    }
    interleave(rows, tile->weights[group]);
    for (size_t j = 0; j < 4; j++) {
      const __m512i sum =
          _mm512_dpbusd_epi32(_mm512_setzero_si512(), k128, tile->weights[group][j]);
      tile->bias[j] = _mm512_sub_epi32(tile->bias[j], sum);
    }
  }
}

ALWAYS_INLINE __m512i scaled(__m512i acc, __m512 scale, struct requantization to) {
  const __m512 product = _mm512_mul_ps(_mm512_cvtepi32_ps(acc), scale);
  return _mm512_cvtps_epi32(_mm512_min_ps(product, to.max_less_zero_point));
}

// Up to 64 channels from `offset` of one pixel of output.
ALWAYS_INLINE __m512i convolve(
    const struct tile* tile, size_t taps, const int8_t* const* pixels, size_t offset,
    __mmask64 channels, struct requantization to) {
  const __m512i sign = _mm512_set1_epi8(-128);
  __m512i acc[4] = {tile->bias[0], tile->bias[1], tile->bias[2], tile->bias[3]};
#pragma GCC unroll 7
  for (size_t group = 0; group < (taps + 3) / 4; group++) {
    __m512i rows[4], together[4];
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) {
      const size_t tap = 4 * group + i;
      rows[i] = tap < taps
          ? _mm512_xor_si512(_mm512_maskz_loadu_epi8(channels, pixels[tap] + offset), sign)
          : _mm512_setzero_si512();
    }
    interleave(rows, together);
#pragma GCC unroll 4
    for (size_t j = 0; j < 4; j++) {
      acc[j] = _mm512_dpbusd_epi32(acc[j], together[j], tile->weights[group][j]);
    }
  }
  const __m512i low = _mm512_adds_epi16(
      _mm512_packs_epi32(
          scaled(acc[0], tile->scale[0], to), scaled(acc[1], tile->scale[1], to)),
      to.zero_point);
  const __m512i high = _mm512_adds_epi16(
      _mm512_packs_epi32(
          scaled(acc[2], tile->scale[2], to), scaled(acc[3], tile->scale[3], to)),
      to.zero_point);
  return _mm512_max_epi8(_mm512_packs_epi16(low, high), to.min);
}

ALWAYS_INLINE void convolve_row(
    size_t taps, size_t channels, size_t output_width, const int8_t** input, const uint8_t* packed,
    int8_t* output, intptr_t input_stride, size_t output_increment, size_t input_offset,
    const int8_t* zero, const struct minmax_params* params) {
  const struct requantization to = {
      _mm512_set1_ps((float) (params->output_max - params->output_zero_point)),
      _mm512_set1_epi16(params->output_zero_point),
      _mm512_set1_epi8((char) params->output_min),
  };
  const size_t tile_bytes = TILE_CHANNELS * (taps + sizeof(int32_t) + sizeof(float));
  struct tile tiles[CHUNK_TILES];
  for (size_t start = 0; start < channels; start += CHUNK_TILES * TILE_CHANNELS) {
    const size_t count = channels - start < CHUNK_TILES * TILE_CHANNELS
        ? channels - start
        : (size_t) CHUNK_TILES * TILE_CHANNELS;
    for (size_t offset = 0; offset < count; offset += TILE_CHANNELS, packed += tile_bytes) {
      prepare_tile(&tiles[offset / TILE_CHANNELS], packed, taps);
    }
    const int8_t** in = input;
    int8_t* out = output + start;
    for (size_t x = 0; x < output_width; x++) {
      const int8_t* pixels[MAX_TAPS];
      for (size_t tap = 0; tap < taps; tap++) {
        pixels[tap] = in[tap] == zero ? zero + start : in[tap] + input_offset + start;
      }
      for (size_t offset = 0; offset < count; offset += TILE_CHANNELS) {
        const size_t left = count - offset;
        const __mmask64 mask =
            left < TILE_CHANNELS ? (UINT64_C(1) << left) - 1 : ~UINT64_C(0);
        const __m512i bytes =
            convolve(&tiles[offset / TILE_CHANNELS], taps, pixels, offset, mask, to);
        _mm512_mask_storeu_epi8(out + offset, mask, bytes);
      }
      in = (const int8_t**) ((uintptr_t) in + (uintptr_t) input_stride);
      out += channels + output_increment;
    }
  }
}

void qs8_qc8w_dwconv_9p64c_avx512vnni(
    size_t channels, size_t output_width, const int8_t** input, const void* weights,
    int8_t* output, intptr_t input_stride, size_t output_increment, size_t input_offset,
    const int8_t* zero, const struct minmax_params* params) {
  convolve_row(
      9, channels, output_width, input, weights, output, input_stride, output_increment,
      input_offset, zero, params);
}

void qs8_qc8w_dwconv_25p64c_avx512vnni(
    size_t channels, size_t output_width, const int8_t** input, const void* weights,
    int8_t* output, intptr_t input_stride, size_t output_increment, size_t input_offset,
    const int8_t* zero, const struct minmax_params* params) {
  convolve_row(
      25, channels, output_width, input, weights, output, input_stride, output_increment,
      input_offset, zero, params);
}
