// binascii.a2b_base64 in vectors of 32 characters: a picture of 159 kB in 0.03 ms instead of 0.5.
//
// It decodes what encoders write: one line, padded to a multiple of four characters. Any other input,
// and every one on a CPU without AVX2, goes to CPython's function as it is, so that all answers and
// errors are that function's.
//
// 32 characters become 24 bytes, as Mula and Lemire do it ("Faster Base64 Encoding and Decoding Using
// AVX2 Instructions", 2018). The last vector overlaps the one before it, on a copy whose padding is
// replaced by zeros; nothing is read or written beyond either end.

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <immintrin.h>
#include <stdbool.h>
#include <string.h>

#define AVX2 static inline __attribute__((target("avx2")))
#define TWICE(...) _mm256_setr_epi8(__VA_ARGS__, __VA_ARGS__)

enum { DIGITS = 32, BYTES = 24 };

// Replaces digits by their values; false if one of the characters is none.
AVX2 bool find_values(__m256i *text) {
  // Each nibble of a character has a bit for every kind that it cannot belong to.
  const __m256i bits_of_low = TWICE(
      0x15, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x13, 0x1A, 0x1B, 0x1B, 0x1B, 0x1A);
  const __m256i bits_of_high = TWICE(
      0x10, 0x10, 0x01, 0x02, 0x04, 0x08, 0x04, 0x08, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10);
  const __m256i steps = TWICE(0, 16, 19, 4, -65, -65, -71, -71, 0, 0, 0, 0, 0, 0, 0, 0);
  const __m256i nibble = _mm256_set1_epi8(0x0F);
  const __m256i high = _mm256_and_si256(_mm256_srli_epi32(*text, 4), nibble);
  const __m256i low = _mm256_and_si256(*text, nibble);
  const __m256i slash = _mm256_cmpeq_epi8(*text, _mm256_set1_epi8('/'));
  const __m256i step = _mm256_shuffle_epi8(steps, _mm256_add_epi8(slash, high));
  *text = _mm256_add_epi8(*text, step);
  return _mm256_testz_si256(
      _mm256_shuffle_epi8(bits_of_low, low), _mm256_shuffle_epi8(bits_of_high, high));
}

// Decodes 32 characters to 24 bytes; false if one of them is no digit.
AVX2 bool decode_vector(const char *text, char *bytes) {
  const __m256i in_order = TWICE(2, 1, 0, 6, 5, 4, 10, 9, 8, 14, 13, 12, -1, -1, -1, -1);
  __m256i x = _mm256_loadu_si256((const __m256i *)text);
  const bool valid = find_values(&x);
  x = _mm256_maddubs_epi16(x, _mm256_set1_epi32(0x01400140));  // pairs of 12 bits
  x = _mm256_madd_epi16(x, _mm256_set1_epi32(0x00011000));     // groups of 24 bits
  x = _mm256_shuffle_epi8(x, in_order);
  x = _mm256_permutevar8x32_epi32(x, _mm256_setr_epi32(0, 1, 2, 4, 5, 6, 7, 7));
  _mm_storeu_si128((__m128i *)bytes, _mm256_castsi256_si128(x));
  _mm_storel_epi64((__m128i *)(bytes + 16), _mm256_extracti128_si256(x, 1));
  return valid;
}

// Decodes `length` characters, a multiple of four from 32 on, of which the last may be padding.
__attribute__((target("avx2"))) static bool
decode(const char *text, Py_ssize_t length, Py_ssize_t padding, char *bytes) {
  const Py_ssize_t last = length - DIGITS;
  for (Py_ssize_t at = 0; at < last; at += DIGITS) {
    if (!decode_vector(text + at, bytes + at / 4 * 3)) {
      return false;
    }
  }
  char end[DIGITS], decoded[BYTES];
  memcpy(end, text + last, DIGITS);
  memset(end + DIGITS - padding, 'A', padding);
  if (!decode_vector(end, decoded)) {
    return false;
  }
  memcpy(bytes + last / 4 * 3, decoded, BYTES - padding);
  return true;
}

PyObject *a2b_base64(PyObject *module, PyObject *data) {
  const char *text = NULL;
  Py_ssize_t length = 0;
  if (PyBytes_CheckExact(data)) {
    text = PyBytes_AS_STRING(data);
    length = PyBytes_GET_SIZE(data);
  } else if (PyUnicode_CheckExact(data) && PyUnicode_IS_COMPACT_ASCII(data)) {
    text = (const char *)PyUnicode_DATA(data);
    length = PyUnicode_GET_LENGTH(data);
  }
  if (length >= DIGITS && length % 4 == 0 && __builtin_cpu_supports("avx2")) {
    const Py_ssize_t padding = text[length - 1] != '=' ? 0 : text[length - 2] != '=' ? 1 : 2;
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, length / 4 * 3 - padding);
    if (bytes == NULL || decode(text, length, padding, PyBytes_AS_STRING(bytes))) {
      return bytes;
    }
    Py_DECREF(bytes);
  }
  PyObject *binascii = PyImport_ImportModule("binascii");
  PyObject *answer =
      binascii == NULL ? NULL : PyObject_CallMethod(binascii, "a2b_base64", "(O)", data);
  Py_XDECREF(binascii);
  return answer;
}
