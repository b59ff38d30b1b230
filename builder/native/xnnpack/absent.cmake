# Parts of XNNPACK to leave out, in the form that the linker's --wrap takes.

# No op asks for these: half precision, weights of 4 bits or dynamically quantized inputs (TFLite's
# delegate has them off), sparse models (built without), formats of other processors.
set(absent_configs
  f16_abs f16_avgpool f16_clamp f16_conv_hwc2chw_3x3c3s2 f16_dwconv f16_dwconv2d_chw f16_elu
  f16_f32acc_rdsum f16_f32acc_rsum f16_gemm f16_hswish f16_ibilinear f16_ibilinear_chw f16_lrelu
  f16_maxpool f16_neg f16_pavgpool f16_raddstoreexpminusmax f16_rmax f16_rminmax f16_rndd
  f16_rndne f16_rndu f16_rndz f16_rsqrt f16_sigmoid f16_spmm f16_sqr f16_sqrt f16_tanh
  f16_to_f32_cvt f16_to_qs8_cvt f16_vadd f16_vdiv f16_vmax f16_vmin f16_vmul f16_vmulcaddc
  f16_vprelu f16_vsqrdiff f16_vsub f32_to_f16_cvt qs8_to_f16_cvt
  f32_to_qp8_cvt pf32_gemm qp8_f32_qb4w_gemm qp8_f32_qc4w_gemm x32_pack_lh
  f32_qc4w_gemm f32_qc8w_gemm qd8_f16_qb4w_gemm qd8_f16_qc4w_gemm qd8_f16_qc8w_gemm
  qd8_f32_qb4w_gemm qd8_f32_qc4w_gemm qd8_f32_qc8w_gemm f32_rminmax
  f32_conv_hwc2chw_3x3c3s2 f32_dwconv2d_chw f32_ibilinear_chw f32_spmm f32_spmm2 f32_spmm4
  f32_exp f32_gelu f32_log f32_rsqrt f32_vcopysign)
set(absent_operators)

# Ops that the classifier's list (../tflite/runtime/ops.cc) does not have.
if(OPS STREQUAL classifier)
  list(APPEND absent_configs
    f32_abs f32_argmaxpool f32_elu f32_neg f32_rndd f32_rndne f32_rndu f32_rndz f32_sqr f32_sqrt
    f32_vsqrdiff x32_unpool)
  list(APPEND absent_operators
    abs argmax_pooling_2d bankers_rounding ceiling deconvolution_2d depth_to_space elu floor negate
    space_to_depth_2d square square_root squared_difference unpooling_2d)
endif()

foreach(name IN LISTS absent_configs)
  set(symbol xnn_init_${name}_config)
  list(APPEND ABSENT -Wl,--wrap=${symbol} -Wl,--defsym=__wrap_${symbol}=absent_config)
endforeach()
foreach(name IN LISTS absent_operators)
  set(symbol xnn_define_${name})
  list(APPEND ABSENT -Wl,--wrap=${symbol} -Wl,--defsym=__wrap_${symbol}=absent_operator)
endforeach()
