# Programs that use far objects, without the library (plain), which also checks the fallback of include/far/local.h, and with little
# local memory: preloaded, over each transport, and with core and memory node inside (inproc).
#
# far_object_program(NAME SOURCE): a test per arm. The far ones see the limit as OBJECT_LOCAL_MIB.
set(far_object_local_mib 4)

function(far_object_test name source)
  add_executable(${name} ${source})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  target_link_libraries(${name} PRIVATE far_flags far_base cmocka Threads::Threads)
endfunction()

# far_object_arm(NAME TRANSPORT [SKIP]): without the cases that SKIP names.
function(far_object_arm name transport)
  add_test(NAME ${name}.${transport} COMMAND ${PROJECT_SOURCE_DIR}/tests/stress/run.sh $<TARGET_FILE:farmemd> ${transport}
    env LD_PRELOAD=$<TARGET_FILE:farshim> $<TARGET_FILE:${name}>)
  set_tests_properties(${name}.${transport} PROPERTIES TIMEOUT 300 LABELS object PROCESSORS 2 ENVIRONMENT
    "FAR_CONFIG=/dev/null;FAR_NODES=@NODE@;FAR_LOCAL=${far_object_local_mib}M;OBJECT_LOCAL_MIB=${far_object_local_mib};OBJECT_SKIP=${ARGN}")
endfunction()

# far_object_part(EIGHTHS TEST...): with smaller sizes where the case has some.
function(far_object_part eighths)
  set_property(TEST ${ARGN} APPEND PROPERTY ENVIRONMENT OBJECT_EIGHTHS=${eighths})
endfunction()

# far_object_inside(NAME [SKIP]): the same with core and node linked in.
function(far_object_inside name)
  if(FAR_SANITIZE MATCHES thread) # it wants the window where the core does not put it by itself
    return()
  endif()
  add_executable(${name}_inside $<TARGET_OBJECTS:${name}> inside.c rig.c)
  set_target_properties(${name}_inside PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  target_link_libraries(${name}_inside PRIVATE far_flags far_core far_server cmocka Threads::Threads)
  add_test(NAME ${name}.inproc COMMAND ${name}_inside)
  set_tests_properties(${name}.inproc PROPERTIES TIMEOUT 300 LABELS object PROCESSORS 2 SKIP_RETURN_CODE 77 ENVIRONMENT
    "FAR_LOCAL=${far_object_local_mib}M;OBJECT_LOCAL_MIB=${far_object_local_mib};OBJECT_SKIP=${ARGN}")
endfunction()

function(far_object_program name source)
  far_object_test(${name} ${source})
  add_test(NAME ${name}.plain COMMAND ${name})
  # What AddressSanitizer keeps back would look like a leak.
  set_tests_properties(${name}.plain PROPERTIES TIMEOUT 300 LABELS object ENVIRONMENT ASAN_OPTIONS=quarantine_size_mb=1)
  if(TARGET farshim)
    foreach(transport unix tcp)
      far_object_arm(${name} ${transport})
    endforeach()
  endif()
endfunction()

far_object_program(object_array object_array.c)
far_object_program(object_list object_list.c)
if(TARGET farshim)
  far_object_test(object_share object_share.c)
  foreach(transport unix tcp)
    far_object_arm(object_share ${transport})
  endforeach()
  far_object_inside(object_share)
endif()

# What containers ask the library for: a library of the test's own; and virtual time.
foreach(part ahead stream)
  far_object_test(object_${part} object_${part}.c)
  add_test(NAME object_${part} COMMAND object_${part})
  set_tests_properties(object_${part} PROPERTIES TIMEOUT 60 LABELS object)
endforeach()

# The checks of -DFAR_DEBUG; C++.
far_object_program(object_debug object_debug.c)
target_compile_definitions(object_debug PRIVATE FAR_DEBUG)
far_object_program(object_cxx object_cxx.cpp)
far_object_test(object_cxx_debug object_cxx.cpp)
target_compile_definitions(object_cxx_debug PRIVATE FAR_DEBUG)
add_test(NAME object_cxx_debug.plain COMMAND object_cxx_debug)
set_tests_properties(object_cxx_debug.plain PROPERTIES TIMEOUT 60 LABELS object)
foreach(name object_cxx object_cxx_debug)
  target_compile_features(${name} PRIVATE cxx_std_17)
  target_compile_options(${name} PRIVATE -Wall -Wextra -Wshadow -pedantic -Werror)
endforeach()
# Hash tables: their threads, and what stays near, without the library.
far_object_inside(object_array)
far_object_inside(object_list)
far_object_test(object_hash object_hash.c)
far_object_test(object_hash_threads object_hash_threads.c)
far_object_test(object_hash_replacement object_hash_replacement.c)
foreach(name object_hash object_hash_threads object_hash_replacement)
  if(FAR_SANITIZE MATCHES thread AND NOT name STREQUAL object_hash_threads)
    continue() # one thread
  endif()
  add_test(NAME ${name}.plain COMMAND ${name})
  set_tests_properties(${name}.plain PROPERTIES TIMEOUT 300 LABELS object ENVIRONMENT ASAN_OPTIONS=quarantine_size_mb=1)
endforeach()
if(FAR_SANITIZE)
  far_object_inside(object_hash serial__small) # which takes most of the time
else()
  far_object_inside(object_hash)
endif()
far_object_inside(object_hash_threads)
if(TARGET object_hash_inside)
  far_object_part(6 object_hash.inproc) # eight times what is left beside metadata, still
  far_object_part(5 object_hash_threads.inproc)
endif()
far_object_part(2 object_hash_threads.plain) # nothing goes away there, at any size
if(TARGET farshim)
  far_object_arm(object_hash unix)
  far_object_arm(object_hash tcp)
  far_object_arm(object_hash_threads unix)
  far_object_arm(object_hash_threads tcp)
  far_object_part(6 object_hash.unix object_hash.tcp) # as above
  far_object_part(5 object_hash_threads.tcp)
  set_tests_properties(object_hash.unix PROPERTIES TIMEOUT 600)
endif()

# Threads once more, while time passes in the race windows of the headers, and with core and node inside in those of the core.
function(far_object_delayed name skip)
  far_object_test(${name}_delayed ${name}.c)
  target_compile_definitions(${name}_delayed PRIVATE FAR_TEST_WINDOWS)
  if(TARGET farshim)
    far_object_arm(${name}_delayed unix ${skip})
    far_object_part(1 ${name}_delayed.unix)
    add_executable(${name}_delayed_inside ${name}.c inside.c rig.c)
    set_target_properties(${name}_delayed_inside PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
    target_compile_definitions(${name}_delayed_inside PRIVATE FAR_TEST_WINDOWS)
    target_link_libraries(${name}_delayed_inside PRIVATE far_flags far_core_mutated far_server cmocka Threads::Threads)
    add_test(NAME ${name}_delayed.inproc COMMAND ${name}_delayed_inside)
    set_tests_properties(${name}_delayed.inproc PROPERTIES TIMEOUT 300 LABELS object PROCESSORS 2 SKIP_RETURN_CODE 77 ENVIRONMENT
      "FAR_LOCAL=${far_object_local_mib}M;OBJECT_LOCAL_MIB=${far_object_local_mib};OBJECT_SKIP=${skip}")
    far_object_part(1 ${name}_delayed.inproc)
  endif()
endfunction()

far_object_delayed(object_hash_threads parallel__variable_sizes)
add_test(NAME object_hash_threads_delayed.plain COMMAND object_hash_threads_delayed)
set_tests_properties(object_hash_threads_delayed.plain PROPERTIES TIMEOUT 300 LABELS object)
far_object_part(1 object_hash_threads_delayed.plain)
if(TARGET farshim)
  foreach(name object_array object_list)
    far_object_delayed(${name} "")
    set_property(TEST ${name}_delayed.unix ${name}_delayed.inproc APPEND PROPERTY ENVIRONMENT
      "OBJECT_ONLY=*_many*") # threads
  endforeach()
endif()

# What stays near. There must be room for a scan beside it, and for what comes while the evacuator gets no processor.
set(far_object_local_mib 12)
far_object_test(object_array_replacement object_array_replacement.c)
if(TARGET farshim)
  far_object_arm(object_hash_replacement unix)
  far_object_arm(object_array_replacement unix)
  far_object_arm(object_hash_replacement tcp)
  far_object_arm(object_array_replacement tcp)
  far_object_part(5 object_array_replacement.tcp)
endif()
if(NOT FAR_SANITIZE)
  far_object_inside(object_hash_replacement)
  far_object_inside(object_array_replacement)
endif()
