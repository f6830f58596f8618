# Imported targets JPEG::JPEG, PNG::PNG, ZLIB::ZLIB and WebP::webp, of Debian's libjpeg-dev,
# libpng-dev, zlib1g-dev and libwebp-dev. Global, because tests link them through parrot_model_image.
include_guard(GLOBAL)

set(CMAKE_FIND_PACKAGE_TARGETS_GLOBAL ON)
find_package(JPEG REQUIRED)
find_package(PNG REQUIRED)
find_package(ZLIB REQUIRED)
unset(CMAKE_FIND_PACKAGE_TARGETS_GLOBAL)

# libwebp-dev of Debian 12 brings no CMake configuration.
find_path(WEBP_INCLUDE_DIR webp/decode.h REQUIRED)
find_library(WEBP_LIBRARY webp REQUIRED)
mark_as_advanced(WEBP_INCLUDE_DIR WEBP_LIBRARY)
add_library(WebP::webp UNKNOWN IMPORTED GLOBAL)
set_target_properties(WebP::webp PROPERTIES
  IMPORTED_LOCATION ${WEBP_LIBRARY}
  INTERFACE_INCLUDE_DIRECTORIES ${WEBP_INCLUDE_DIR})
