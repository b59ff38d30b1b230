// Stands in for parts of Pillow and libwebp that the function never calls (absent.cmake names
// them), so that the linker can leave out what only they use.

#include <Python.h>
#include <stdio.h>

#include <jpeglib.h>

#include <jerror.h>

static void complain(void) {
  PyErr_SetString(PyExc_NotImplementedError,
                  "left out of this build of Pillow: it decodes, converts, crops and resizes");
}

// For what returns an object or an image.
void* absent_object(void) {
  complain();
  return NULL;
}

// For what returns a status, of whatever width.
long absent_status(void) {
  complain();
  return -1;
}

// For libwebp, which may be called without Python's lock: zero is its word for failure, and
// Pillow makes an error of it.
int absent_webp(void) { return 0; }

// For libjpeg-turbo, whose way to fail is to jump back to Pillow: all these get the picture first.
void absent_jpeg(j_common_ptr picture) { ERREXIT(picture, JERR_NOT_COMPILED); }
