# Imported target OpenCV::core, of Debian's slim libopencv-core-dev, which has no
# OpenCVConfig.cmake (libopencv-dev has one and pulls hundreds of packages). Never imgcodecs: its
# decoders take a dozen formats from hostile bytes and 137 libraries.
include_guard(GLOBAL)

find_path(OPENCV_INCLUDE_DIR opencv2/core.hpp PATH_SUFFIXES opencv4 REQUIRED)
find_library(OPENCV_CORE_LIBRARY opencv_core REQUIRED)
mark_as_advanced(OPENCV_INCLUDE_DIR OPENCV_CORE_LIBRARY)
add_library(OpenCV::core UNKNOWN IMPORTED GLOBAL)
set_target_properties(OpenCV::core PROPERTIES
  IMPORTED_LOCATION ${OPENCV_CORE_LIBRARY}
  INTERFACE_INCLUDE_DIRECTORIES ${OPENCV_INCLUDE_DIR})
