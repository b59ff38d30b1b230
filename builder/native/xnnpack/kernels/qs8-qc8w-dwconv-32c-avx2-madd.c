// int8 depthwise convolution of 9 or 25 taps (3x3, 5x5), 32 channels at a time, AVX2.
//
// XNNPACK's kernels for AVX2 widen every factor to int32 and multiply with vpmulld. Here two taps of
// a channel are neighbours: bytes of two pixels interleaved, widened with zeros, and vpmaddwd by
// pairs of int16 weights. Activations are made uint8 first (a XOR), for which 128 times the sum of
// the weights leaves the bias.
//
// Weights are as XNNPACK packs them: per tile of 32 channels int32 bias[32], int8 weights[taps][32],
// float scale[32]. They are widened once per call, that is per row of output, for CHUNK_TILES tiles
// at a time.
//
// Exactness: vpmaddwd is exact for uint8 by int8, and the rest is int32 arithmetic modulo 2^32.
//
// Limits: none. No channel beyond the last is read or written.

#include "kernels.h"
#include "requantize-avx2.h"

enum {
  TILE_CHANNELS = 32,
  CHUNK_TILES = 4,
  MAX_TAPS = 25,
  MAX_PAIRS = (MAX_TAPS + 1) / 2,
};

// A tile, in the order that interleaving makes: vector j has channels 4j to 4j + 3 and 16 more.
struct tile {
  __m256i bias[4];
  __m256i weights[MAX_PAIRS][4];
  float scale[TILE_CHANNELS];
};

ALWAYS_INLINE __m256i load32(const void* bytes) {
  return _mm256_loadu_si256((const __m256i*) bytes);
}

// Channels 4j to 4j + 3, and 16 more, of 32-bit values.
ALWAYS_INLINE __m256i load_vector(const uint8_t* values, size_t j) {
  const __m128i low = _mm_loadu_si128((const __m128i*) values + j);
  const __m128i high = _mm_loadu_si128((const __m128i*) values + j + 4);
  return _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
}

ALWAYS_INLINE __m256i widened(__m256i twice) { return _mm256_srai_epi16(twice, 8); }

ALWAYS_INLINE void widen_tile(struct tile* tile, const uint8_t* packed, size_t taps) {
  const uint8_t* weights = packed + TILE_CHANNELS * sizeof(int32_t);
  const uint8_t* scale = weights + taps * TILE_CHANNELS;
  for (size_t j = 0; j < 4; j++) {
    tile->bias[j] = load_vector(packed, j);
    _mm256_storeu_si256((__m256i*) tile->scale + j, load_vector(scale, j));
  }
  const __m256i k128 = _mm256_set1_epi16(128);
  for (size_t pair = 0; pair < (taps + 1) / 2; pair++) {
    const __m256i even = load32(weights + 2 * pair * TILE_CHANNELS);
    const __m256i odd = 2 * pair + 1 < taps ? load32(weights + (2 * pair + 1) * TILE_CHANNELS)
                                            : _mm256_setzero_si256();
    const __m256i low = _mm256_unpacklo_epi8(even, odd), high = _mm256_unpackhi_epi8(even, odd);
    const __m256i wide[4] = {
        widened(_mm256_unpacklo_epi8(low, low)), widened(_mm256_unpackhi_epi8(low, low)),
        widened(_mm256_unpacklo_epi8(high, high)), widened(_mm256_unpackhi_epi8(high, high))};
    for (size_t j = 0; j < 4; j++) {
      tile->weights[pair][j] = wide[j];
      tile->bias[j] = _mm256_sub_epi32(tile->bias[j], _mm256_madd_epi16(wide[j], k128));
    }
  }
}

ALWAYS_INLINE __m256i load_pixel(const int8_t* pixel, __m256i mask, int masked) {
  const __m256i bytes = masked ? _mm256_maskload_epi32((const int*) pixel, mask) : load32(pixel);
  return _mm256_xor_si256(bytes, _mm256_set1_epi8(-128));
}

ALWAYS_INLINE void add_products(__m256i* acc, __m256i pixels, __m256i weights) {
  *acc = _mm256_add_epi32(*acc, _mm256_madd_epi16(pixels, weights));
  __asm__("" : "+x"(*acc));  // one after the other: GCC's tree of sums needs more registers
}

// 32 channels from `offset` of one pixel of output.
ALWAYS_INLINE __m256i convolve(
    const struct tile* tile, size_t taps, const int8_t* const* pixels, size_t offset, __m256i mask,
    int masked, struct requantization to) {
  const __m256i zero = _mm256_setzero_si256();
  __m256i acc[4] = {tile->bias[0], tile->bias[1], tile->bias[2], tile->bias[3]};
#pragma GCC unroll 13
  for (size_t pair = 0; pair < (taps + 1) / 2; pair++) {
    const size_t tap = 2 * pair;
    const __m256i even = load_pixel(pixels[tap] + offset, mask, masked);
    const __m256i odd =
        tap + 1 < taps ? load_pixel(pixels[tap + 1] + offset, mask, masked) : zero;
    const __m256i low = _mm256_unpacklo_epi8(even, odd), high = _mm256_unpackhi_epi8(even, odd);
    const __m256i* weights = tile->weights[pair];
    add_products(&acc[0], _mm256_unpacklo_epi8(low, zero), weights[0]);
    add_products(&acc[1], _mm256_unpackhi_epi8(low, zero), weights[1]);
    add_products(&acc[2], _mm256_unpacklo_epi8(high, zero), weights[2]);
    add_products(&acc[3], _mm256_unpackhi_epi8(high, zero), weights[3]);
  }
  const float* scale = tile->scale;
  const __m256i low = _mm256_adds_epi16(
      _mm256_packs_epi32(scaled(acc[0], scale, to), scaled(acc[1], scale + 8, to)), to.zero_point);
  const __m256i high = _mm256_adds_epi16(
      _mm256_packs_epi32(scaled(acc[2], scale + 16, to), scaled(acc[3], scale + 24, to)),
      to.zero_point);
  return _mm256_max_epi8(_mm256_packs_epi16(low, high), to.min);
}

ALWAYS_INLINE void convolve_row(
    size_t taps, size_t channels, size_t output_width, const int8_t** input, const uint8_t* packed,
    int8_t* output, intptr_t input_stride, size_t output_increment, size_t input_offset,
    const int8_t* zero, const struct minmax_params* params) {
  const struct requantization to = load_requantization(params);
  const size_t tile_bytes = TILE_CHANNELS * (taps + sizeof(int32_t) + sizeof(float));
  struct tile tiles[CHUNK_TILES];
  for (size_t start = 0; start < channels; start += CHUNK_TILES * TILE_CHANNELS) {
    const size_t left = channels - start;
    const size_t full =
        left / TILE_CHANNELS < CHUNK_TILES ? left / TILE_CHANNELS : (size_t) CHUNK_TILES;
    const size_t rest = full < CHUNK_TILES ? left % TILE_CHANNELS : 0;
    for (size_t t = 0; t < full + (rest != 0); t++, packed += tile_bytes) {
      widen_tile(&tiles[t], packed, taps);
    }
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i mask = _mm256_cmpgt_epi32(_mm256_set1_epi32((int) rest / 4), lanes);
    const int8_t** in = input;
    int8_t* out = output + start;
    for (size_t x = 0; x < output_width; x++) {
      const int8_t* pixels[MAX_TAPS];
      for (size_t tap = 0; tap < taps; tap++) {
        pixels[tap] = in[tap] == zero ? zero + start : in[tap] + input_offset + start;
      }
      for (size_t t = 0; t < full; t++) {
        const size_t offset = t * TILE_CHANNELS;
        const __m256i bytes = convolve(&tiles[t], taps, pixels, offset, lanes, 0, to);
        _mm256_storeu_si256((__m256i*) (out + offset), bytes);
      }
      if (rest != 0) {
        int8_t copies[MAX_TAPS][TILE_CHANNELS];
        __m256i rest_mask = mask;
        if (rest % 4 != 0) {
          for (size_t tap = 0; tap < taps; tap++) {
            memcpy(copies[tap], pixels[tap] + full * TILE_CHANNELS, rest);
            pixels[tap] = copies[tap] - full * TILE_CHANNELS;
          }
          rest_mask = _mm256_set1_epi32(-1);
        }
        int8_t bytes[TILE_CHANNELS];
        _mm256_storeu_si256(
            (__m256i*) bytes,
            convolve(&tiles[full], taps, pixels, full * TILE_CHANNELS, rest_mask, 1, to));
        memcpy(out + full * TILE_CHANNELS, bytes, rest);
      }
      in = (const int8_t**) ((uintptr_t) in + (uintptr_t) input_stride);
      out += channels + output_increment;
    }
  }
}

void qs8_qc8w_dwconv_9p32c_avx2_madd(
    size_t channels, size_t output_width, const int8_t** input, const void* weights,
    int8_t* output, intptr_t input_stride, size_t output_increment, size_t input_offset,
    const int8_t* zero, const struct minmax_params* params) {
  convolve_row(
      9, channels, output_width, input, weights, output, input_stride, output_increment,
      input_offset, zero, params);
}

void qs8_qc8w_dwconv_25p32c_avx2_madd(
    size_t channels, size_t output_width, const int8_t** input, const void* weights,
    int8_t* output, intptr_t input_stride, size_t output_increment, size_t input_offset,
    const int8_t* zero, const struct minmax_params* params) {
  convolve_row(
      25, channels, output_width, input, weights, output, input_stride, output_increment,
      input_offset, zero, params);
}
