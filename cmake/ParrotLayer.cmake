# parrot_layer(NAME PATH folder [SOURCES a.cc ...] [DEPS layers-in-headers ...] [PRIVATE_DEPS ...])
#
# A layer is one folder, one static library `parrot_NAME` (an interface library when it has no
# sources) and one include root of its own: build/layers/NAME/PATH/*.h are links to the headers of
# that folder alone. A source sees the headers of the layers it declares and of no others, so an
# undeclared include is "No such file or directory". DEPS are PUBLIC (a header needs them),
# PRIVATE_DEPS are PRIVATE. Both name layers without the `parrot_` prefix, or imported targets.
include_guard(GLOBAL)

function(_parrot_resolve_deps out)
  set(result)
  foreach(dep IN LISTS ARGN)
    if(TARGET parrot_${dep})
      list(APPEND result parrot_${dep})
    elseif(TARGET ${dep} OR dep MATCHES "::|^-|^\\$<")
      list(APPEND result ${dep})
    else()
      message(FATAL_ERROR "'${dep}' is neither a layer declared above nor an imported target")
    endif()
  endforeach()
  set(${out} ${result} PARENT_SCOPE)
endfunction()

function(parrot_layer name)
  cmake_parse_arguments(ARG "" "PATH" "SOURCES;DEPS;PRIVATE_DEPS" ${ARGN})
  set(root ${CMAKE_BINARY_DIR}/layers/${name})
  set(source_dir ${CMAKE_SOURCE_DIR}/${ARG_PATH})
  file(REMOVE_RECURSE ${root})
  file(MAKE_DIRECTORY ${root}/${ARG_PATH})
  file(GLOB headers CONFIGURE_DEPENDS RELATIVE ${source_dir} ${source_dir}/*.h)
  foreach(header IN LISTS headers)
    file(CREATE_LINK ${source_dir}/${header} ${root}/${ARG_PATH}/${header} SYMBOLIC)
  endforeach()
  _parrot_resolve_deps(deps ${ARG_DEPS})
  _parrot_resolve_deps(private_deps ${ARG_PRIVATE_DEPS})
  if(ARG_SOURCES)
    add_library(parrot_${name} STATIC ${ARG_SOURCES})
    target_include_directories(parrot_${name} PUBLIC ${root})
    target_link_libraries(parrot_${name} PUBLIC ${deps} PRIVATE ${private_deps} parrot_options)
  else()
    add_library(parrot_${name} INTERFACE)
    target_include_directories(parrot_${name} INTERFACE ${root})
    target_link_libraries(parrot_${name} INTERFACE ${deps})
  endif()
  set_property(GLOBAL APPEND PROPERTY PARROT_LAYERS ${name})
endfunction()

# parrot_binary(NAME SOURCES ... DEPS ...): a composition root; lands in build/<preset>/bin. The
# target `binaries` builds all of them.
function(parrot_binary name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  _parrot_resolve_deps(deps ${ARG_DEPS})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${deps} parrot_options)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
  if(NOT TARGET binaries)
    add_custom_target(binaries)
  endif()
  add_dependencies(binaries ${name})
endfunction()

# What compiles the tests faster. Under a sanitizer, which makes their macros slow to optimise, they
# are not optimised; what they test is. The headers that all of them parse are compiled once, by an
# executable, because its flags must be theirs.
function(_parrot_speed_up_test name)
  target_compile_options(${name} PRIVATE -pthread)  # gRPC's flag; headers ask for it
  if(PARROT_SANITIZE)
    target_compile_options(${name} PRIVATE -O0)
  endif()
  if(ARGC GREATER 1)
    target_precompile_headers(${name} PRIVATE ${ARGN})
    return()
  endif()
  if(NOT TARGET parrot_test_headers)
    set(source ${CMAKE_BINARY_DIR}/parrot_test_headers.cc)
    file(GENERATE OUTPUT ${source} CONTENT "int main() {}\n")
    add_executable(parrot_test_headers ${source})
    target_link_libraries(parrot_test_headers
      PRIVATE absl::statusor absl::strings absl::time GTest::gmock GTest::gtest parrot_options)
    _parrot_speed_up_test(parrot_test_headers <algorithm> <map> <memory> <string> <vector>
      <gmock/gmock.h> <gtest/gtest.h> <absl/status/statusor.h> <absl/strings/str_cat.h>
      <absl/time/time.h>)
  endif()
  target_precompile_headers(${name} REUSE_FROM parrot_test_headers)
endfunction()

# parrot_test(NAME SOURCES ... DEPS ... [LABELS fast|golden|e2e ...] [OWN_HEADERS]): one gtest
# binary, registered as one ctest test. Tests find committed data through tests/golden_reader.
# Label `fast` (the default) is for tests that together finish within a minute. OWN_HEADERS: the
# caller precompiles headers of its own.
function(parrot_test name)
  cmake_parse_arguments(ARG "OWN_HEADERS" "TIMEOUT" "SOURCES;DEPS;LABELS" ${ARGN})
  if(NOT PARROT_BUILD_TESTS)
    return()
  endif()
  _parrot_resolve_deps(deps ${ARG_DEPS})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${deps} GTest::gmock GTest::gtest GTest::gtest_main
                                        parrot_options)
  if(NOT ARG_OWN_HEADERS)
    _parrot_speed_up_test(${name})
  endif()
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  add_test(NAME ${name} COMMAND ${name})
  if(NOT ARG_LABELS)
    set(ARG_LABELS fast)
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 600)
  endif()
  # libgomp's threads otherwise spin at barriers: four times slower when tests share the cores.
  set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT ${ARG_TIMEOUT}
                                          ENVIRONMENT "OMP_WAIT_POLICY=PASSIVE")
endfunction()
