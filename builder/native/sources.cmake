# Compiles less of a source than its own project does, and in fewer steps. CMake includes this after
# the project command (CMAKE_PROJECT_<name>_INCLUDE) and calls it when the project is complete.
#
#   CHANGED_TARGET   the target to change
#   LEAVE_OUT        regular expression: the paths of files that nothing reaches in our links
#   TOGETHER         whether the C files that have the same flags are compiled as one: most of their
#                    time is spent on the same headers
#
# The linker drops the code that calls what is left out (--gc-sections), so nobody misses it; a symbol
# that is still wanted fails the import at the end of the build.

# CMake's own UNITY_BUILD takes no file that has flags of its own.
function(put_together files)
  set(units)
  foreach(file IN LISTS files)
    if(NOT file MATCHES "\\.c$")
      list(APPEND units ${file})
      continue()
    endif()
    get_source_file_property(flags ${file} COMPILE_FLAGS)
    string(MD5 name "${flags}")
    set(unit ${CMAKE_CURRENT_BINARY_DIR}/${CHANGED_TARGET}-${name}.c)
    if(NOT unit IN_LIST units)
      list(APPEND units ${unit})
      file(WRITE ${unit} "")
      if(flags)
        set_source_files_properties(${unit} PROPERTIES COMPILE_FLAGS "${flags}")
      endif()
    endif()
    get_filename_component(path ${file} ABSOLUTE)
    file(APPEND ${unit} "#include \"${path}\"\n")
  endforeach()
  set(units ${units} PARENT_SCOPE)
endfunction()

function(change_sources)
  get_target_property(files ${CHANGED_TARGET} SOURCES)
  list(FILTER files EXCLUDE REGEX "${LEAVE_OUT}")
  if(TOGETHER)
    put_together("${files}")
    set(files ${units})
  endif()
  set_target_properties(${CHANGED_TARGET} PROPERTIES SOURCES "${files}")
endfunction()
cmake_language(DEFER CALL change_sources)
