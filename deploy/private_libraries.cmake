# Copies the private libraries of `program` into the folder `libraries`, and the licence of each into the folder
# `licences`. Both are found on the machine that builds.
file(GET_RUNTIME_DEPENDENCIES EXECUTABLES ${program}
  RESOLVED_DEPENDENCIES_VAR found
  UNRESOLVED_DEPENDENCIES_VAR missing
  PRE_INCLUDE_REGEXES "^lib(absl_|address_sorting|boost_|cares|gpr|grpc|hwy|re2|sentencepiece|upb)"
  PRE_EXCLUDE_REGEXES ".*")
if(missing)
  message(FATAL_ERROR "These libraries of ${program} are missing: ${missing}")
endif()
find_program(PATCHELF patchelf REQUIRED)
file(MAKE_DIRECTORY ${libraries})
foreach(library IN LISTS found)
  get_filename_component(name ${library} NAME)
  file(REAL_PATH ${library} real)
  message(STATUS "Installing: ${libraries}/${name}")
  file(COPY_FILE ${real} ${libraries}/${name})
  file(CHMOD ${libraries}/${name} PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)
  # The libraries need each other, and the loader does not search the program's path for libraries
  # of libraries.
  execute_process(COMMAND ${PATCHELF} --set-rpath $ORIGIN ${libraries}/${name} COMMAND_ERROR_IS_FATAL ANY)
endforeach()
execute_process(COMMAND ${CMAKE_CURRENT_LIST_DIR}/library_licences.sh ${licences} ${found}
  COMMAND_ERROR_IS_FATAL ANY)
