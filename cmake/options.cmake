# Build options, and the flags that every target of ours carries.
set(FAR_SANITIZE "" CACHE STRING "Sanitizers for every target, as -fsanitize= takes them")
option(FAR_BUILD_SHIM "Build libfarshim.so (off under sanitizers: they cannot be preloaded)" ON)
option(FAR_BUILD_DPDK "Build the dpdk:// transport plug-in (needs libdpdk-dev)" ON)
option(FAR_BUILD_TESTS "Build the tests" ON)
option(FAR_BUILD_BENCH "Build the benchmarks" ON)
option(FAR_BUILD_FUZZ "Build the fuzzers (needs clang)" OFF)
option(FAR_WERROR "Treat warnings as errors" OFF)

add_library(far_flags INTERFACE)
target_compile_options(far_flags INTERFACE
  $<$<COMPILE_LANGUAGE:C>:-Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Werror=implicit-function-declaration
  -Wpointer-arith -Wvla -Wno-unused-parameter -fno-strict-aliasing -fno-omit-frame-pointer>)
target_compile_definitions(far_flags INTERFACE _GNU_SOURCE)
target_include_directories(far_flags INTERFACE ${CMAKE_SOURCE_DIR} ${CMAKE_SOURCE_DIR}/include)
if(FAR_WERROR)
  target_compile_options(far_flags INTERFACE $<$<COMPILE_LANGUAGE:C>:-Werror>)
endif()
if(FAR_SANITIZE)
  add_compile_options(-fsanitize=${FAR_SANITIZE} -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${FAR_SANITIZE})
endif()
if(FAR_BUILD_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link) # coverage for the fuzzers in everything they call
endif()
