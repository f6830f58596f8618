# Imported targets for libtorch from its wheel. find_package(Torch) is not used: it aborts without a
# CUDA toolkit. The folder holds torch/ and nvidia/ side by side, as pip lays wheels out;
# libtorch_cpu.so finds libcudart and libcupti there through its RPATH.
include_guard(GLOBAL)

set(PARROT_TORCH_VERSION 2.11.0)
if(NOT PARROT_TORCH_DIR)
  if(DEFINED ENV{PARROT_TORCH_DIR})
    set(default_dir $ENV{PARROT_TORCH_DIR})
  elseif(DEFINED ENV{PARROT_CACHE_DIR})
    set(default_dir $ENV{PARROT_CACHE_DIR}/torch-${PARROT_TORCH_VERSION})
  else()
    set(default_dir $ENV{HOME}/.cache/parrot-server/torch-${PARROT_TORCH_VERSION})
  endif()
  set(PARROT_TORCH_DIR ${default_dir} CACHE PATH "Folder that holds torch/ (the unpacked wheel)")
endif()
set(torch_root ${PARROT_TORCH_DIR}/torch)
if(NOT EXISTS ${torch_root}/lib/libtorch_cpu.so)
  message(FATAL_ERROR "libtorch not found in ${PARROT_TORCH_DIR}. Run scripts/install_deps.sh, set "
                      "PARROT_TORCH_DIR, or configure with -DPARROT_WITH_TORCH=OFF")
endif()
file(STRINGS ${torch_root}/include/torch/headeronly/version.h torch_version_lines
     REGEX "define TORCH_VERSION_(MAJOR|MINOR|PATCH)")
string(REGEX REPLACE "[^0-9;]" "" torch_version_parts "${torch_version_lines}")
list(JOIN torch_version_parts . torch_version)
if(NOT torch_version STREQUAL PARROT_TORCH_VERSION)
  message(FATAL_ERROR "libtorch ${PARROT_TORCH_VERSION} is required (the C++ ABI moves between "
                      "minor versions), found ${torch_version}")
endif()

# Imported targets' includes are SYSTEM: warnings of torch's headers are not ours. Its include folder carries an old
# google/protobuf and fmt, so a target that links torch::cpu must not see generated protobuf code.
foreach(lib c10 torch_cpu)
  add_library(torch::${lib} SHARED IMPORTED GLOBAL)
  set_target_properties(torch::${lib} PROPERTIES
    IMPORTED_LOCATION ${torch_root}/lib/lib${lib}.so
    INTERFACE_INCLUDE_DIRECTORIES
      "${torch_root}/include;${torch_root}/include/torch/csrc/api/include")
endforeach()
add_library(torch::cpu INTERFACE IMPORTED GLOBAL)
target_link_libraries(torch::cpu INTERFACE torch::torch_cpu torch::c10)
# libgomp comes with the wheel; it is found through libtorch_cpu's own RPATH at run time. The linker
# must find it too when it checks the closure of a shared library.
file(GLOB torch_private_libs ${PARROT_TORCH_DIR}/nvidia/*/lib)
target_link_options(torch::cpu INTERFACE -Wl,-rpath-link,${torch_root}/lib)
foreach(dir IN LISTS torch_private_libs)
  target_link_options(torch::cpu INTERFACE -Wl,-rpath-link,${dir})
endforeach()
