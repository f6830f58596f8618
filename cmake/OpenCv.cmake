# Imported targets OpenCV::core and OpenCV::imgproc, of Debian's slim packages, which have no
# OpenCVConfig.cmake (libopencv-dev has one and pulls hundreds of packages). Never imgcodecs: its
# decoders take a dozen formats from hostile bytes and 137 libraries.
include_guard(GLOBAL)

find_path(OPENCV_INCLUDE_DIR opencv2/core.hpp PATH_SUFFIXES opencv4 REQUIRED)
find_library(OPENCV_CORE_LIBRARY opencv_core REQUIRED)
find_library(OPENCV_IMGPROC_LIBRARY opencv_imgproc REQUIRED)
mark_as_advanced(OPENCV_INCLUDE_DIR OPENCV_CORE_LIBRARY OPENCV_IMGPROC_LIBRARY)
add_library(OpenCV::core SHARED IMPORTED GLOBAL)
set_target_properties(OpenCV::core PROPERTIES
  IMPORTED_LOCATION ${OPENCV_CORE_LIBRARY}
  INTERFACE_INCLUDE_DIRECTORIES ${OPENCV_INCLUDE_DIR})
add_library(OpenCV::imgproc SHARED IMPORTED GLOBAL)
set_target_properties(OpenCV::imgproc PROPERTIES
  IMPORTED_LOCATION ${OPENCV_IMGPROC_LIBRARY}
  INTERFACE_LINK_LIBRARIES OpenCV::core)
