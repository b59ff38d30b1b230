# Parts of Pillow and libwebp to leave out, in the form that the linker's --wrap takes. What stays is
# what decodes the five formats, and converts, crops, resizes, turns and composes pictures.

set(absent_object
  # Encoders, but for the raw one: it hands the pixels to numpy.
  PyImaging_BcnEncoderNew PyImaging_EpsEncoderNew PyImaging_GifEncoderNew PyImaging_JpegEncoderNew
  PyImaging_PcxEncoderNew PyImaging_TgaRleEncoderNew PyImaging_XbmEncoderNew
  PyImaging_ZipEncoderNew
  # Decoders of formats that are not offered.
  PyImaging_BcnDecoderNew PyImaging_BitDecoderNew PyImaging_FliDecoderNew PyImaging_HexDecoderNew
  PyImaging_PackbitsDecoderNew PyImaging_PcdDecoderNew PyImaging_PcxDecoderNew
  PyImaging_SgiRleDecoderNew PyImaging_SunRleDecoderNew PyImaging_TgaRleDecoderNew
  PyImaging_XbmDecoderNew
  # Filters, effects, arithmetic, palettes to measure, and geometry beyond flips and quarter turns.
  ImagingBoxBlur ImagingChopAdd ImagingChopAddModulo ImagingChopAnd ImagingChopDarker
  ImagingChopDifference ImagingChopHardLight ImagingChopLighter ImagingChopMultiply ImagingChopOr
  ImagingChopScreen ImagingChopSoftLight ImagingChopSubtract ImagingChopSubtractModulo
  ImagingChopXor ImagingColorLUT3D_linear ImagingEffectMandelbrot ImagingEffectNoise
  ImagingEffectSpread ImagingExpand ImagingFillLinearGradient ImagingFillRadialGradient
  ImagingFilter ImagingGaussianBlur ImagingModeFilter ImagingOffset ImagingOverlay
  ImagingQuantize ImagingRankFilter ImagingReduce ImagingUnsharpMask
  # Paths and outlines.
  PyOutline_AsOutline PyOutline_Create PyPath_Create)
set(absent_status
  ImagingDrawArc ImagingDrawBitmap ImagingDrawChord ImagingDrawEllipse ImagingDrawLine
  ImagingDrawOutline ImagingDrawPieslice ImagingDrawPoint ImagingDrawPolygon ImagingDrawRectangle
  ImagingDrawWideLine PyPath_Flatten)
if(VERSION VERSION_LESS 13)
  list(APPEND absent_object ImagingTransform)
else()
  list(APPEND absent_status ImagingTransform)
endif()
# Everything that encodes WebP.
set(absent_webp
  WebPAnimEncoderAdd WebPAnimEncoderAssemble WebPAnimEncoderDelete WebPAnimEncoderGetError
  WebPAnimEncoderNewInternal WebPAnimEncoderOptionsInitInternal WebPConfigInitInternal WebPEncode
  WebPMemoryWrite WebPMemoryWriterInit WebPMuxAssemble WebPMuxCreateInternal WebPMuxDelete
  WebPMuxSetChunk WebPMuxSetImage WebPNewInternal WebPPictureAlloc WebPPictureFree
  WebPPictureInitInternal WebPValidateConfig)

# JPEGs of 12 or 16 bits and lossless ones, which Pillow has never let through.
set(absent_jpeg
  j12init_1pass_quantizer j12init_2pass_quantizer j12init_color_deconverter
  j12init_d_coef_controller j12init_d_diff_controller j12init_d_main_controller
  j12init_d_post_controller j12init_inverse_dct j12init_lossless_decompressor
  j12init_merged_upsampler j12init_upsampler
  j16init_color_deconverter j16init_d_diff_controller j16init_d_main_controller
  j16init_d_post_controller j16init_lossless_decompressor j16init_upsampler
  jinit_d_diff_controller jinit_lhuff_decoder jinit_lossless_decompressor)

foreach(kind object status webp jpeg)
  foreach(symbol IN LISTS absent_${kind})
    list(APPEND ABSENT -Wl,--wrap=${symbol} -Wl,--defsym=__wrap_${symbol}=absent_${kind})
  endforeach()
endforeach()
