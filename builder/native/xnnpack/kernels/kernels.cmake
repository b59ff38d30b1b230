# Our kernels, and the dispatcher (dispatch.c) that puts them into XNNPACK's tables of kernels.
# Sets KERNEL_SOURCES and KERNEL_LINK.

set(KERNEL_SOURCES)
set(KERNEL_LINK)

set(skx -mavx512f -mavx512bw -mavx512dq -mavx512vl)
file(GLOB for_both ${CMAKE_CURRENT_LIST_DIR}/*-madd.c ${CMAKE_CURRENT_LIST_DIR}/*-maddubs.c)
file(GLOB for_vnni ${CMAKE_CURRENT_LIST_DIR}/*-vnni.c)
file(GLOB for_avx512vnni ${CMAKE_CURRENT_LIST_DIR}/*-avx512vnni.c)
add_library(kernels_avx2 OBJECT ${for_both})
target_compile_options(kernels_avx2 PRIVATE -mavx2)
add_library(kernels_avx512skx OBJECT ${for_both})
target_compile_options(kernels_avx512skx PRIVATE ${skx})
add_library(kernels_avxvnni OBJECT ${for_vnni})
target_compile_options(kernels_avxvnni PRIVATE -mavx2 -mavxvnni)
add_library(kernels_avx512vnni OBJECT ${for_vnni} ${for_avx512vnni})
target_compile_options(kernels_avx512vnni PRIVATE ${skx} -mavx512vnni)
foreach(set avx2 avxvnni avx512skx avx512vnni)
  target_compile_options(kernels_${set} PRIVATE
    -O2 -ffunction-sections -fno-asynchronous-unwind-tables)
  set_target_properties(kernels_${set} PROPERTIES POSITION_INDEPENDENT_CODE ON)
  list(APPEND KERNEL_SOURCES $<TARGET_OBJECTS:kernels_${set}>)
endforeach()
# XNNPACK's headers hide what it was built without.
set_source_files_properties(${CMAKE_CURRENT_LIST_DIR}/dispatch.c PROPERTIES
  COMPILE_DEFINITIONS "XNN_ENABLE_AVX512SKX=1;XNN_ENABLE_AVX512VNNI=1;XNN_ENABLE_AVXVNNI=1")
list(APPEND KERNEL_SOURCES ${CMAKE_CURRENT_LIST_DIR}/dispatch.c)
list(APPEND KERNEL_LINK
  -Wl,--wrap=xnn_init_qs8_qc8w_gemm_config -Wl,--wrap=xnn_init_qs8_qc8w_dwconv_config)
# The kernels of XNNPACK that ours replace are left out of the link: their names mean ours.
# Only a deconvolution, of which the classifier's list of ops has none, keeps XNNPACK's table.
if(OPS STREQUAL classifier)
  set(q qs8_qc8w)
  set(x minmax_fp32_ukernel)
  foreach(pair
      gemm_${x}_1x8c8__avx2=gemm_c4_maddubs_avx2
      gemm_${x}_3x8c8__avx2=gemm_c4_maddubs_avx2
      igemm_${x}_1x8c8__avx2=igemm_1row_c4_maddubs_avx2
      igemm_${x}_3x8c8__avx2=igemm_c4_maddubs_avx2
      gemm_${x}_1x16c8__avx512skx_prfm=gemm_c4_maddubs_avx512skx
      gemm_${x}_7x16c8__avx512skx_prfm=gemm_c4_maddubs_avx512skx
      igemm_${x}_1x16c8__avx512skx_prfm=igemm_1row_c4_maddubs_avx512skx
      igemm_${x}_7x16c8__avx512skx_prfm=igemm_c4_maddubs_avx512skx
      gemm_${x}_1x16c8__avx512vnni_prfm=gemm_c4_avx512vnni
      gemm_${x}_7x16c8__avx512vnni_prfm=gemm_c4_avx512vnni
      igemm_${x}_1x16c8__avx512vnni_prfm=igemm_1row_c4_avx512vnni
      igemm_${x}_7x16c8__avx512vnni_prfm=igemm_c4_avx512vnni
      gemm_${x}_1x8c8__avxvnni_prfm=gemm_c4_avxvnni
      gemm_${x}_5x8c8__avxvnni_prfm=gemm_c4_avxvnni
      igemm_${x}_1x8c8__avxvnni_prfm=igemm_1row_c4_avxvnni
      igemm_${x}_5x8c8__avxvnni_prfm=igemm_c4_avxvnni
      dwconv_${x}_9p16c__avx2_mul32=dwconv_9p_madd_avx2
      dwconv_${x}_25p16c__avx2_mul32=dwconv_25p_madd_avx2
      dwconv_${x}_9p32c__avx512skx_mul32=dwconv_9p_madd_avx512skx
      dwconv_${x}_25p32c__avx512skx_mul32=dwconv_25p_madd_avx512skx)
    string(REPLACE "=" ";" pair ${pair})
    list(GET pair 0 theirs)
    list(GET pair 1 ours)
    list(APPEND KERNEL_LINK -Wl,--wrap=xnn_${q}_${theirs}
      -Wl,--defsym=__wrap_xnn_${q}_${theirs}=${q}_${ours})
  endforeach()
endif()
