// Compares every kernel with plain C. Exits with 0 if all agree, 1 if not, 77 on a CPU that cannot
// run them. Buffers have the size that kernels may use, to the byte: run it with AddressSanitizer.

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

enum { SKIPPED = 77 };

static uint64_t state = 2018;
static size_t failures, cases;

static uint32_t random32(void) {  // splitmix64
  uint64_t z = state += 0x9e3779b97f4a7c15;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
  z = (z ^ z >> 27) * 0x94d049bb133111eb;
  return (uint32_t) (z >> 32);
}

static size_t between(size_t least, size_t most) { return least + random32() % (most - least + 1); }

static void* allocate(size_t bytes) {
  void* memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
  if (bytes != 0 && memory == NULL) {
    abort();
  }
  return memory;
}

static void* exactly(size_t bytes) {
  void* memory = malloc(bytes);
  if (bytes != 0 && memory == NULL) {
    abort();
  }
  return memory;
}

// Kinds of contents, the worst for sums in int16 among them.
enum { ANY, SMALL, TRAINED, MOST, LEAST, ALTERNATING, EXTREMES, KINDS };

static int8_t value_of(int kind, size_t i) {
  const uint32_t any = random32();
  switch (kind) {
    case ANY: return (int8_t) any;
    case SMALL: return (int8_t) (any % 31) - 15;
    // A bell: now and then a chain is unsafe.
    case TRAINED: return (int8_t) (((any & 63) + (any >> 8 & 63) + (any >> 16 & 63)) - 94);
    case MOST: return 127;
    case LEAST: return -128;
    case ALTERNATING: return i % 2 ? 127 : -128;
    default: return any & 1 ? 127 : -128;
  }
}

// Random numbers are made once; what is filled gets a piece from anywhere among them.
static void fill(int8_t* values, size_t count, int kind) {
  enum { POOL = 1 << 18 };
  static int8_t pools[KINDS][POOL];
  static bool filled[KINDS];
  if (!filled[kind]) {
    for (size_t i = 0; i < POOL; i++) {
      pools[kind][i] = value_of(kind, i);
    }
    filled[kind] = true;
  }
  for (size_t piece; count != 0; count -= piece, values += piece) {
    const size_t at = between(0, POOL - 1);
    piece = count < POOL - at ? count : POOL - at;
    memcpy(values, pools[kind] + at, piece);
  }
}

static void fill_numbers(int32_t* bias, float* scale, size_t count, size_t k) {
  for (size_t i = 0; i < count; i++) {
    bias[i] = random32() % 64 == 0 ? (int32_t) random32() : (int32_t) (random32() % 20000) - 10000;
    // Outputs from all over int8, and some far outside.
    scale[i] = ldexpf((float) (1 + random32() % 255), -(int) between(8, 16)) / sqrtf((float) k);
  }
}

static struct minmax_params random_params(void) {
  int16_t low = (int16_t) between(0, 255) - 128, high = (int16_t) between(0, 255) - 128;
  if (random32() % 2) {
    low = -128, high = 127;
  }
  return (struct minmax_params) {
      .output_zero_point = (int16_t) ((int) between(0, 255) - 128),
      .output_min = low < high ? low : high,
      .output_max = low < high ? high : low,
  };
}

static long saturated(long value, long least, long most) {
  return value < least ? least : value > most ? most : value;
}

// As kernels.h describes it.
static int8_t requantized(uint32_t sum, float scale, const struct minmax_params* params) {
  const float most = (float) (params->output_max - params->output_zero_point);
  float product = (float) (int32_t) sum * scale;
  product = product < most ? product : most;
  long value = product <= -2147483648.0f ? -2147483648L : lrintf(product);
  value = saturated(value, INT16_MIN, INT16_MAX) + params->output_zero_point;
  value = saturated(saturated(value, INT16_MIN, INT16_MAX), INT8_MIN, INT8_MAX);
  return (int8_t) (value < params->output_min ? params->output_min : value);
}

static void check(
    const int8_t* found, const int8_t* expected, size_t count, const char* what, size_t a, size_t b,
    size_t c, size_t d) {
  cases++;
  if (memcmp(found, expected, count) != 0) {
    size_t i = 0;
    while (found[i] == expected[i]) {
      i++;
    }
    printf(
        "%s (%zu, %zu, %zu, %zu): byte %zu is %d, expected %d\n", what, a, b, c, d, i, found[i],
        expected[i]);
    if (++failures == 20) {
      puts("and so on");
      exit(1);
    }
  }
}

typedef void (*gemm_kernel)(
    size_t, size_t, size_t, const int8_t*, size_t, const void*, int8_t*, size_t, size_t,
    const struct minmax_params*);
typedef void (*igemm_kernel)(
    size_t, size_t, size_t, size_t, const int8_t**, const void*, int8_t*, size_t, size_t, size_t,
    const int8_t*, const struct minmax_params*);
typedef void (*dwconv_kernel)(
    size_t, size_t, const int8_t**, const void*, int8_t*, intptr_t, size_t, size_t, const int8_t*,
    const struct minmax_params*);

typedef void (*gemm_pack)(
    size_t, size_t, size_t, size_t, size_t, size_t, const int8_t*, const int32_t*, const void*,
    void*, size_t, const struct packing_params*);
typedef void (*gemm_pack_transposed)(
    size_t, size_t, size_t, size_t, size_t, size_t, size_t, const int8_t*, const int32_t*,
    const void*, void*, size_t, const struct packing_params*);
typedef void (*conv_pack)(
    size_t, size_t, size_t, size_t, size_t, size_t, size_t, const int8_t*, const int32_t*,
    const void*, void*, size_t, const struct packing_params*);
typedef void (*conv_pack_transposed)(
    size_t, size_t, size_t, size_t, size_t, size_t, const int8_t*, const int32_t*, const void*,
    void*, size_t, const struct packing_params*);

// The kernels of a GEMM.
struct set {
  const char* name;
  size_t rows;     // at most
  size_t columns;  // of a tile
  gemm_kernel gemm;
  igemm_kernel igemm1;
  igemm_kernel igemm;
  size_t (*packed_stride)(size_t, size_t);
  gemm_pack goi;
  gemm_pack_transposed gio;
  conv_pack goki;
  conv_pack_transposed kgo;
};

#define SET(kernel, rows, columns) \
  { \
    #kernel, rows, columns, qs8_qc8w_gemm_##kernel, qs8_qc8w_igemm_1row_##kernel, \
        qs8_qc8w_igemm_##kernel, qs8_qc8w_packed_stride_##kernel, \
        qs8_qc8w_packw_gemm_goi_##kernel, \
        qs8_qc8w_packw_gemm_gio_##kernel, qs8_qc8w_packw_conv_goki_##kernel, \
        qs8_qc8w_packw_conv_kgo_##kernel, \
  }

static const struct set sets[] = {
    SET(c4_maddubs_avx2, 8, 8),
    SET(c4_maddubs_avx512skx, 16, 16),
    SET(c4_avx512vnni, 6, 64),
    SET(c4_avxvnni, 6, 16),
};

// Where XNNPACK writes the scales: at the end of each tile.
static void write_scales(uint8_t* packed, size_t nc, size_t nr, size_t stride, const float* scale) {
  for (size_t n = 0; n < nc; n++) {
    memcpy(packed + (n / nr + 1) * nr * stride - nr * 4 + n % nr * 4, &scale[n], 4);
  }
}

// A GEMM of `groups` groups with `mr` rows, k products and nc channels each.
static void test_gemm(
    const struct set* set, size_t groups, size_t mr, size_t k, size_t nc, int kind,
    bool transposed) {
  const size_t nr = set->columns, tiles = (nc + nr - 1) / nr;
  const size_t a_stride = groups * k + random32() % 5, c_stride = groups * nc + random32() % 5;
  const size_t a_bytes = (mr - 1) * a_stride + groups * k, c_bytes = (mr - 1) * c_stride + groups * nc;
  const struct packing_params packing = {(int8_t) random32()};
  const struct minmax_params params = random_params();
  int8_t* a = exactly(a_bytes);
  int8_t* w = exactly(groups * nc * k);
  int32_t* bias = exactly(groups * nc * sizeof(int32_t));
  float* scale = exactly(groups * nc * sizeof(float));
  fill(a, a_bytes, random32() % 3 ? ANY : (int) between(MOST, KINDS - 1));
  fill(w, groups * nc * k, kind);
  fill_numbers(bias, scale, groups * nc, k);
  const int32_t* b = random32() % 8 ? bias : NULL;

  const size_t stride = set->packed_stride(k, sizeof(float));
  uint8_t* packed = allocate(groups * tiles * nr * stride);
  memset(packed, 0, groups * tiles * nr * stride);
  if (transposed) {
    set->gio(
        groups, nc, k, nr, 4, 1, nc, w, b, NULL, packed, nr * 4, &packing);
  } else {
    set->goi(
        groups, nc, k, nr, 4, 1, w, b, NULL, packed, nr * 4, &packing);
  }
  int8_t* c = exactly(c_bytes);
  int8_t* expected = exactly(c_bytes);
  memset(c, 99, c_bytes);
  memset(expected, 99, c_bytes);
  for (size_t g = 0; g < groups; g++) {
    write_scales(packed + g * tiles * nr * stride, nc, nr, stride, scale + g * nc);
    for (size_t n = 0; n < nc; n++) {
      const size_t channel = g * nc + n;
      for (size_t m = 0; m < mr; m++) {
        uint32_t sum = b == NULL ? 0 : (uint32_t) b[channel];
        for (size_t i = 0; i < k; i++) {
          const int weight = w[transposed ? (g * k + i) * nc + n : channel * k + i];
          sum += (uint32_t) ((a[m * a_stride + g * k + i] - packing.input_zero_point) * weight);
        }
        expected[m * c_stride + channel] = requantized(sum, scale[channel], &params);
      }
    }
    set->gemm(
        mr, nc, k, a + g * k, a_stride, packed + g * tiles * nr * stride, c + g * nc, c_stride, nr,
        &params);
  }
  check(c, expected, c_bytes, set->name, groups, mr, k, nc);
  free(a), free(w), free(bias), free(scale), free(packed), free(c), free(expected);
}

// A convolution: `mr` pixels of output from `taps` pixels of kc channels each, some of them padding.
static void test_igemm(
    const struct set* set, size_t tile, size_t groups, size_t mr, size_t taps, size_t kc, size_t nc,
    int kind, bool kgo) {
  const size_t nr = set->columns, tiles = (nc + nr - 1) / nr, k = taps * kc;
  const size_t offset = random32() % 100, pixels = 3 * taps, pixel_bytes = groups * kc;
  const struct packing_params packing = {(int8_t) random32()};
  const struct minmax_params params = random_params();
  int8_t* input = exactly(pixels * pixel_bytes);
  int8_t* padding = exactly(kc);
  int8_t* zero = padding;
  int8_t* w = exactly(groups * nc * k);
  int32_t* bias = exactly(groups * nc * sizeof(int32_t));
  float* scale = exactly(groups * nc * sizeof(float));
  fill(input, pixels * pixel_bytes, random32() % 3 ? ANY : (int) between(MOST, KINDS - 1));
  const size_t hole = (offset + pixel_bytes - 1) / pixel_bytes;
  if (random32() % 4 == 0 && hole < pixels) {  // padding behind a pixel is none of its neighbours
    zero = input + hole * pixel_bytes - offset;
  }
  memset(zero, packing.input_zero_point, kc);
  fill(w, groups * nc * k, kind);
  fill_numbers(bias, scale, groups * nc, k);

  // [tap][tile]: rows that are not there repeat the last.
  const int8_t** pointers = exactly(taps * tile * sizeof(void*));
  for (size_t m = 0; m < tile; m++) {
    size_t at = random32() % pixels;
    for (size_t t = 0; t < taps; t++) {
      // Runs of neighbours, as in pictures, and jumps.
      at = random32() % 3 ? (at + 1) % pixels : random32() % pixels;
      pointers[t * tile + m] = m >= mr           ? pointers[t * tile + mr - 1]
                               : random32() % 6 == 0 ? zero
                                                     : input + at * pixel_bytes - offset;
    }
  }
  const size_t stride = set->packed_stride(k, sizeof(float));
  uint8_t* packed = allocate(groups * tiles * nr * stride);
  memset(packed, 0, groups * tiles * nr * stride);
  if (kgo) {
    set->kgo(
        groups, nc, taps, nr, 4, 1, w, bias, NULL, packed, nr * 4, &packing);
  } else {
    set->goki(
        groups, nc, taps, kc, nr, 4, 1, w, bias, NULL, packed, nr * 4, &packing);
  }
  const size_t c_stride = groups * nc + random32() % 5;
  const size_t c_bytes = (mr - 1) * c_stride + groups * nc;
  int8_t* c = exactly(c_bytes);
  int8_t* expected = exactly(c_bytes);
  memset(c, 99, c_bytes);
  memset(expected, 99, c_bytes);
  for (size_t g = 0; g < groups; g++) {
    write_scales(packed + g * tiles * nr * stride, nc, nr, stride, scale + g * nc);
    for (size_t n = 0; n < nc; n++) {
      const size_t channel = g * nc + n;
      for (size_t m = 0; m < mr; m++) {
        uint32_t sum = (uint32_t) bias[channel];
        for (size_t t = 0; t < taps; t++) {
          const int8_t* pixel = pointers[t * tile + m];
          pixel = pixel == zero ? zero : pixel + offset + g * kc;
          for (size_t i = 0; i < kc; i++) {
            const int weight =
                w[kgo ? t * groups * nc + channel : (channel * taps + t) * kc + i];
            sum += (uint32_t) ((pixel[i] - packing.input_zero_point) * weight);
          }
        }
        expected[m * c_stride + channel] = requantized(sum, scale[channel], &params);
      }
    }
    (tile == 1 ? set->igemm1 : set->igemm)(
        mr, nc, kc, taps * tile * sizeof(void*), pointers, packed + g * tiles * nr * stride,
        c + g * nc, c_stride, nr, offset + g * kc, zero, &params);
  }
  check(c, expected, c_bytes, set->name, mr, taps, kc, nc);
  free(input), free(padding), free(w), free(bias), free(scale), free(pointers), free(packed);
  free(c), free(expected);
}

// A row of a depthwise convolution of `size` taps by a kernel for `taps`. From one output to the
// next there are `step` pointers: fewer than `size` where their windows overlap.
static void test_dwconv(
    const char* what, dwconv_kernel kernel, size_t taps, size_t tile, size_t size, size_t step,
    size_t channels, size_t width, int kind) {
  const size_t tiles = (channels + tile - 1) / tile, stride = taps + 8;
  const size_t offset = random32() % 100, pixels = 2 * taps, more = random32() % 5;
  const int8_t zero_point = (int8_t) random32();
  const struct minmax_params params = random_params();
  int8_t* input = exactly(pixels * channels);
  int8_t* zero = exactly(tiles * tile);
  int8_t* w = exactly(size * channels);
  int32_t* bias = exactly(channels * sizeof(int32_t));
  float* scale = exactly(channels * sizeof(float));
  fill(input, pixels * channels, random32() % 3 ? ANY : (int) between(MOST, KINDS - 1));
  memset(zero, zero_point, tiles * tile);
  fill(w, size * channels, kind);
  fill_numbers(bias, scale, channels, size);
  const size_t count = (width - 1) * step + taps;
  const int8_t** pointers = exactly(count * sizeof(void*));
  for (size_t i = 0; i < count; i++) {
    pointers[i] =
        random32() % 6 == 0 ? zero : input + random32() % pixels * channels - offset;
  }
  // As xnn_pack_qs8_dwconv_hwg_w does, but for the bias: its zero point is 0 here.
  uint8_t* packed = allocate(tiles * tile * stride);
  memset(packed, 0, tiles * tile * stride);
  for (size_t i = 0; i < channels; i++) {
    uint8_t* start = packed + i / tile * tile * stride;
    memcpy(start + i % tile * 4, &bias[i], 4);
    for (size_t t = 0; t < size; t++) {
      start[tile * (4 + t) + i % tile] = (uint8_t) w[t * channels + i];
    }
  }
  write_scales(packed, channels, tile, stride, scale);
  const size_t bytes = (width - 1) * (channels + more) + channels;
  int8_t* output = exactly(bytes);
  int8_t* expected = exactly(bytes);
  memset(output, 99, bytes);
  memset(expected, 99, bytes);
  for (size_t x = 0; x < width; x++) {
    for (size_t i = 0; i < channels; i++) {
      uint32_t sum = (uint32_t) bias[i];
      for (size_t t = 0; t < size; t++) {
        const int8_t* pixel = pointers[x * step + t];
        sum += (uint32_t) ((pixel == zero ? zero : pixel + offset)[i] * w[t * channels + i]);
      }
      expected[x * (channels + more) + i] = requantized(sum, scale[i], &params);
    }
  }
  kernel(
      channels, width, pointers, packed, output, (intptr_t) (step * sizeof(void*)), more, offset,
      zero, &params);
  check(output, expected, bytes, what, size, step, channels, width);
  free(input), free(zero), free(w), free(bias), free(scale), free(pointers), free(packed);
  free(output), free(expected);
}

static void test_gemms(const struct set* set) {
  for (size_t k = 1; k <= 4096; k++) {
    test_gemm(set, 1, 1 + k % set->rows, k, 1 + k % 5, (int) (k % KINDS), k % 16 == 0);
  }
  for (int kind = 0; kind < KINDS; kind++) {
    for (size_t mr = 1; mr <= set->rows; mr++) {
      for (size_t nc = 1; nc <= 50; nc++) {
        test_gemm(set, 1, mr, between(1, 100), nc, kind, random32() % 2);
      }
      for (size_t i = 0; i < 8; i++) {
        test_gemm(set, 1, mr, between(1, 40), between(51, 200), kind, random32() % 2);
      }
      test_gemm(set, between(2, 4), mr, between(1, 40), between(1, 40), kind, random32() % 2);
    }
    static const size_t edges[] = {1016, 1023, 1024, 1025, 1028, 2047, 2048, 2049, 4095, 8200};
    for (size_t i = 0; i < sizeof(edges) / sizeof(edges[0]); i++) {
      test_gemm(set, 1, between(1, set->rows), edges[i], i % 2 ? 33 : 300, kind, false);
    }
  }
}

static void test_igemms(const struct set* set) {
  static const size_t taps[] = {1, 2, 3, 4, 9, 25, 49};
  for (size_t tile = 1; tile <= set->rows; tile += set->rows - 1) {
    for (int kind = 0; kind < KINDS; kind++) {
      for (size_t t = 0; t < sizeof(taps) / sizeof(taps[0]); t++) {
        for (size_t kc = 1; kc <= 40; kc++) {
          test_igemm(
              set, tile, between(1, 3), between(1, tile), taps[t], kc, between(1, 40), kind, false);
        }
        test_igemm(
            set, tile, between(1, 5), between(1, tile), taps[t], 1, between(1, 40), kind, true);
      }
      test_igemm(set, tile, 1, tile, 9, 512, 150, kind, false);
      test_igemm(set, tile, 1, tile, 9, 123, 5, kind, false);
    }
  }
}

static void test_dwconvs(
    const char* what, dwconv_kernel kernel, size_t taps, size_t tile) {
  for (int kind = 0; kind < KINDS; kind++) {
    for (size_t channels = 1; channels <= 5 * tile + 5; channels++) {
      const size_t side = taps == 9 ? 3 : 5, step = channels % 2 ? side : side * between(2, side);
      test_dwconv(what, kernel, taps, tile, taps, step, channels, between(1, 9), kind);
    }
    for (size_t size = 1; size <= taps; size++) {
      const size_t step = between(1, size);
      test_dwconv(what, kernel, taps, tile, size, step, between(1, 3 * tile), between(1, 9), kind);
    }
  }
}

static void test_set(const struct set* set) {
  test_gemms(set);
  test_igemms(set);
}

int main(void) {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2")) {
    puts("this CPU has no AVX2");
    return SKIPPED;
  }
  test_set(&sets[0]);
  test_dwconvs("avx2", qs8_qc8w_dwconv_9p_madd_avx2, 9, 32);
  test_dwconvs("avx2", qs8_qc8w_dwconv_25p_madd_avx2, 25, 32);
  if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) {
    test_set(&sets[1]);
    test_dwconvs("avx512skx", qs8_qc8w_dwconv_9p_madd_avx512skx, 9, 64);
    test_dwconvs("avx512skx", qs8_qc8w_dwconv_25p_madd_avx512skx, 25, 64);
  } else {
    puts("this CPU has no AVX512: kernels for it are not tested");
  }
  if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vnni")) {
    test_set(&sets[2]);
    test_dwconvs("avx512vnni", qs8_qc8w_dwconv_9p64c_avx512vnni, 9, 64);
    test_dwconvs("avx512vnni", qs8_qc8w_dwconv_25p64c_avx512vnni, 25, 64);
  } else {
    puts("this CPU has no AVX512 with VNNI: kernels for it are not tested");
  }
  if (__builtin_cpu_supports("avxvnni")) {
    test_set(&sets[3]);
  } else {
    puts("this CPU has no AVX-VNNI: kernels for it are not tested");
  }
  printf("%zu of %zu cases differ\n", failures, cases);
  return failures != 0;
}
