# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A room is a folder whose sources make one static library. What a room may
# include is what it links: its own library's include root and those of the
# rooms named after LINK. tests/house/arrows checks the finer arrows inside one
# library.

# imgchain_room(NAME DIR INCLUDE_ROOT [LINK target...])
function(imgchain_room name dir include_root)
  cmake_parse_arguments(ARG "" "" "LINK" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS
       ${CMAKE_CURRENT_SOURCE_DIR}/${dir}/*.c)
  add_library(${name} STATIC ${sources})
  target_include_directories(${name}
    PUBLIC ${CMAKE_CURRENT_SOURCE_DIR}/${include_root}
    PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/${dir})
  target_link_libraries(${name} PUBLIC ${ARG_LINK}
    PRIVATE imgchain_flags)
  set_target_properties(${name} PROPERTIES
    POSITION_INDEPENDENT_CODE ON
    C_VISIBILITY_PRESET hidden)
endfunction()
