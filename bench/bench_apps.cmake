# bench_apps is a Python program: its source with the paths of this tree filled in, made executable.
configure_file(bench_apps.py ${CMAKE_CURRENT_BINARY_DIR}/bench_apps @ONLY
  FILE_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
