# Compiles less of a source than its own project does. CMake includes this after the project command
# (CMAKE_PROJECT_<name>_INCLUDE); when the project is complete, files leave its targets.
#
#   LEAVE_OUT      regular expression: the paths of files that nothing reaches in our links
#   LEAVE_OUT_OF   the targets that they belong to
#
# The linker drops the code that calls them (--gc-sections), so nobody misses them; a symbol that is
# still wanted fails the import at the end of the build.

function(leave_out)
  foreach(target IN LISTS LEAVE_OUT_OF)
    get_target_property(files ${target} SOURCES)
    list(FILTER files EXCLUDE REGEX "${LEAVE_OUT}")
    set_target_properties(${target} PROPERTIES SOURCES "${files}")
  endforeach()
endfunction()
cmake_language(DEFER CALL leave_out)
