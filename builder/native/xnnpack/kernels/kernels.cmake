# Our kernels, and what puts them between XNNPACK and its tables of kernels (dispatch.c).
#
#   KERNELS   ours (what ships) or xnnpack: XNNPACK's own, on every CPU
#   CPU       any (what ships) or avx2: takes every CPU for one that has AVX2 and nothing newer
#
# What is not what ships is for tests and benchmarks (../variants.py). Sets KERNEL_SOURCES and
# KERNEL_LINK.

set(KERNELS ours CACHE STRING "whose kernels")
set(CPU any CACHE STRING "for which CPU")
set(KERNEL_SOURCES)
set(KERNEL_LINK)

if(KERNELS STREQUAL "ours")
  file(GLOB for_avx2 ${CMAKE_CURRENT_LIST_DIR}/*-avx2-*.c)
  set_source_files_properties(${for_avx2} PROPERTIES
    COMPILE_OPTIONS "-O2;-mavx2;-fno-asynchronous-unwind-tables")
  file(GLOB for_avx512vnni ${CMAKE_CURRENT_LIST_DIR}/*-avx512vnni.c)
  set_source_files_properties(${for_avx512vnni} PROPERTIES COMPILE_OPTIONS
    "-O2;-mavx512f;-mavx512bw;-mavx512vl;-mavx512vnni;-fno-asynchronous-unwind-tables")
  # XNNPACK's headers hide what it was built without.
  set_source_files_properties(${CMAKE_CURRENT_LIST_DIR}/dispatch.c PROPERTIES
    COMPILE_DEFINITIONS XNN_ENABLE_AVX512SKX=1)
  list(APPEND KERNEL_SOURCES ${CMAKE_CURRENT_LIST_DIR}/dispatch.c ${for_avx2} ${for_avx512vnni})
  list(APPEND KERNEL_LINK
    -Wl,--wrap=xnn_init_qs8_qc8w_gemm_config -Wl,--wrap=xnn_init_qs8_qc8w_dwconv_config)
endif()
if(CPU STREQUAL "avx2")
  list(APPEND KERNEL_SOURCES ${CMAKE_CURRENT_LIST_DIR}/older-cpu.c)
  list(APPEND KERNEL_LINK -Wl,--wrap=xnn_init_hardware_config)
endif()
