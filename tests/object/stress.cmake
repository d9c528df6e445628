# Far objects on the core linked directly (rig.h), over each transport; tests/stress/run.sh starts their memory node.
function(far_object_program name)
  add_executable(${name} ${name}.c rig.c)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  target_link_libraries(${name} PRIVATE far_flags far_core far_server Threads::Threads)
endfunction()

# The same with mistakes and delays that can be switched on.
function(far_object_mutated name)
  add_executable(${name}_mutated ${name}.c rig.c)
  set_target_properties(${name}_mutated PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  target_link_libraries(${name}_mutated PRIVATE far_flags far_core_mutated far_server Threads::Threads)
endfunction()

far_object_program(object_stress)
if(NOT FAR_SANITIZE MATCHES thread) # one thread
  far_object_program(object_inside)
  add_test(NAME object_inside COMMAND object_inside)
  set_tests_properties(object_inside PROPERTIES LABELS object TIMEOUT 60 SKIP_RETURN_CODE 77)
endif()

# Single files of core/object behind the interface. Not under ThreadSanitizer, as above: one thread of the program's.
if(NOT FAR_SANITIZE MATCHES thread)
  foreach(name object_cost object_evacuate object_fetch object_marks object_reap object_send)
    far_object_program(${name})
    target_link_libraries(${name} PRIVATE cmocka)
    add_test(NAME ${name} COMMAND ${name})
  endforeach()
  add_test(NAME object_cost.away COMMAND object_cost away)
  add_test(NAME object_send.full COMMAND object_send full)
  set_tests_properties(object_cost object_cost.away object_evacuate object_fetch object_marks object_reap object_send object_send.full
    PROPERTIES LABELS object TIMEOUT 180 SKIP_RETURN_CODE 77)
endif()

set(far_object_seconds 2)
set(far_object_data --local 16M --data 128M)
set(far_object_environment TSAN_OPTIONS=history_size=7:die_after_fork=0)
if(FAR_SANITIZE)
  set(far_object_data --local 8M --data 48M)
  if(FAR_SANITIZE MATCHES thread)
    list(APPEND far_object_data --base 0x7ea000000000 --window 16G)
  endif()
endif()

# far_object_stress(NAME TRANSPORT ARGS...): object_stress against a memory node that is there for it alone. With --delays in
# ARGS: its test build.
function(far_object_stress name transport)
  set(program object_stress)
  if("--delays" IN_LIST ARGN)
    set(program object_stress_mutated)
  endif()
  add_test(NAME object_stress_${name} COMMAND ${PROJECT_SOURCE_DIR}/tests/stress/run.sh $<TARGET_FILE:farmemd> ${transport}
    $<TARGET_FILE:${program}> --node @NODE@ --seconds ${far_object_seconds} ${far_object_data} ${ARGN})
  set_tests_properties(object_stress_${name} PROPERTIES LABELS object TIMEOUT 180 SKIP_RETURN_CODE 77 PROCESSORS 2
    ENVIRONMENT "${far_object_environment}")
endfunction()

foreach(transport inproc unix tcp)
  far_object_stress(${transport} ${transport} --seed 1)
endforeach()
# One child after the other: all that is rewritten takes new slots as long as a child may read the old ones.
far_object_stress(unix_fork unix --seed 2 --fork --data 32M)
set_property(TEST object_stress_unix_fork APPEND PROPERTY ENVIRONMENT STRESS_MEMORY=8G)
far_object_stress(small tcp --seed 3 --most 256 --threads 2 --data 8M --local 4M)
if(NOT FAR_SANITIZE)
  far_object_program(object_crowd)
  far_object_program(object_epoch)
  far_object_mutated(object_stress)
  far_object_mutated(object_epoch)
  far_object_mutated(object_bring)
  target_link_libraries(object_bring_mutated PRIVATE cmocka)
  add_test(NAME object_bring COMMAND object_bring_mutated)
  set_tests_properties(object_bring PROPERTIES LABELS object TIMEOUT 60 SKIP_RETURN_CODE 77)
  far_object_stress(many_threads unix --seed 4 --threads 100)
  # Time passes in every race window (base/mutation.h).
  far_object_stress(delays_unix_fork unix --seed 5 --delays 24 --fork --local 8M --data 32M)
  set_property(TEST object_stress_delays_unix_fork APPEND PROPERTY ENVIRONMENT STRESS_MEMORY=8G)
  far_object_stress(delays_tcp tcp --seed 6 --delays 24 --local 8M --data 64M --most 262144)
  far_object_stress(delays_many_threads unix --seed 7 --delays 24 --threads 64 --local 8M --data 32M)
  foreach(arguments "large;inproc;--hold;1;--bytes;65536" "large;unix;--hold;1;--bytes;65536" "large;tcp;--hold;1;--bytes;65536"
      "many;unix;--hold;16;--bytes;4096" "small;unix;--hold;2;--bytes;512")
    list(POP_FRONT arguments name transport)
    add_test(NAME object_crowd.${name}.${transport} COMMAND ${PROJECT_SOURCE_DIR}/tests/stress/run.sh $<TARGET_FILE:farmemd> ${transport}
      $<TARGET_FILE:object_crowd> --node @NODE@ ${arguments})
    set_tests_properties(object_crowd.${name}.${transport} PROPERTIES LABELS object TIMEOUT 180 SKIP_RETURN_CODE 77 PROCESSORS 2)
  endforeach()
  # 100 threads that use half of what the processors do: nobody waits more than 10 ms for anything else. With nothing beside it.
  foreach(arguments "stalls_4096;unix;--bytes;4096;--think;20000" "stalls_256;tcp;--bytes;256;--think;10000")
    list(POP_FRONT arguments name transport)
    add_test(NAME object_crowd.${name}.${transport} COMMAND ${PROJECT_SOURCE_DIR}/tests/stress/run.sh $<TARGET_FILE:farmemd> ${transport}
      $<TARGET_FILE:object_crowd> --node @NODE@ ${arguments} --seconds 2 --stall 10)
    set_tests_properties(object_crowd.${name}.${transport} PROPERTIES LABELS object TIMEOUT 180 SKIP_RETURN_CODE 77 RUN_SERIAL TRUE)
  endforeach()
  # Who waits for want of memory is told how much has room for so many threads, and with that much nobody is told.
  add_test(NAME object_crowd.told COMMAND object_crowd --threads 30 --local 6M)
  add_test(NAME object_crowd.not_told COMMAND object_crowd --threads 30 --local 12M)
  set_tests_properties(object_crowd.told object_crowd.not_told PROPERTIES LABELS object TIMEOUT 180 SKIP_RETURN_CODE 77 PROCESSORS 2)
  set_tests_properties(object_crowd.told PROPERTIES PASS_REGULAR_EXPRESSION
    "[0-9]+ threads use far objects.*FAR_LOCAL, 6 MiB.* (9|1[0-2]) MiB have room for all")
  set_tests_properties(object_crowd.not_told PROPERTIES PASS_REGULAR_EXPRESSION " scopes, " FAIL_REGULAR_EXPRESSION
    "threads use far objects|WRONG")
  add_test(NAME object_epoch COMMAND object_epoch)
  add_test(NAME object_mutations COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/mutations.sh $<TARGET_FILE:object_stress_mutated>
    $<TARGET_FILE:object_epoch_mutated>)
  set_tests_properties(object_epoch object_mutations PROPERTIES LABELS object TIMEOUT 400 SKIP_RETURN_CODE 77)
  set_tests_properties(object_mutations PROPERTIES RUN_SERIAL TRUE) # two threads must run at the same instant
endif()
