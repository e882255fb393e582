# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What is installed: the command, one shared library with the public headers,
# a pkg-config file and a CMake package.
include(CMakePackageConfigHelpers)

set(rooms img_base img_io img_engine img_format qcow2_codec qcow2_image
    qcow2_fresh qcow2_edit qcow2_repair chain_graph chain_report chain_ops
    chain_live chain_virt)
set(version_script ${CMAKE_CURRENT_LIST_DIR}/libimgchain.map)

# All rooms in one library, from the objects that their archives hold. What is
# compiled is hidden already; the version script names what is not.
set(objects "")
foreach(room ${rooms})
  list(APPEND objects $<TARGET_OBJECTS:${room}>)
endforeach()
add_library(libimgchain SHARED ${objects})
target_link_libraries(libimgchain PRIVATE
  imgchain_flags PkgConfig::JSONC PkgConfig::LIBURING PkgConfig::LIBDEFLATE
  PkgConfig::LIBISAL PkgConfig::NETTLE
  PkgConfig::LIBZSTD PkgConfig::ZLIB Threads::Threads ${CMAKE_DL_LIBS})
target_link_options(libimgchain PRIVATE
  "LINKER:--version-script=${version_script}")
if(NOT IMGCHAIN_SANITIZE)
  target_link_options(libimgchain PRIVATE "LINKER:--no-undefined")
endif()
set_target_properties(libimgchain PROPERTIES
  OUTPUT_NAME imgchain
  VERSION ${PROJECT_VERSION}
  SOVERSION 0
  LINKER_LANGUAGE C
  LINK_DEPENDS ${version_script}
  EXPORT_NAME imgchain)
target_include_directories(libimgchain INTERFACE
  $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/imgchain>)

install(TARGETS imgchain RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(TARGETS libimgchain EXPORT imgchain-targets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})

set(headers ${CMAKE_INSTALL_INCLUDEDIR}/imgchain)
install(FILES
  ${PROJECT_SOURCE_DIR}/libimg/include/img/error.h
  ${PROJECT_SOURCE_DIR}/libimg/include/img/extent.h
  ${PROJECT_SOURCE_DIR}/libimg/include/img/roots.h
  ${PROJECT_SOURCE_DIR}/libimg/include/img/visibility.h
  DESTINATION ${headers}/img)
install(FILES
  ${PROJECT_SOURCE_DIR}/chain/include/chain/abi.h
  ${PROJECT_SOURCE_DIR}/chain/include/chain/amend.h
  ${PROJECT_SOURCE_DIR}/chain/include/chain/chain.h
  ${PROJECT_SOURCE_DIR}/chain/include/chain/compare.h
  ${PROJECT_SOURCE_DIR}/chain/include/chain/copy.h
  ${PROJECT_SOURCE_DIR}/chain/include/chain/create.h
  ${PROJECT_SOURCE_DIR}/chain/include/chain/digest.h
  ${PROJECT_SOURCE_DIR}/chain/include/chain/inspect.h
  ${PROJECT_SOURCE_DIR}/chain/include/chain/libvirt.h
  ${PROJECT_SOURCE_DIR}/chain/include/chain/pivot.h
  ${PROJECT_SOURCE_DIR}/chain/include/chain/preflight.h
  ${PROJECT_SOURCE_DIR}/chain/include/chain/rebase.h
  ${PROJECT_SOURCE_DIR}/chain/include/chain/redefine.h
  ${PROJECT_SOURCE_DIR}/chain/include/chain/redefine_plan.h
  ${PROJECT_SOURCE_DIR}/chain/include/chain/bundle.h
  ${PROJECT_SOURCE_DIR}/chain/include/chain/forget.h
  ${PROJECT_SOURCE_DIR}/chain/include/chain/relocate.h
  ${PROJECT_SOURCE_DIR}/chain/include/chain/report.h
  ${PROJECT_SOURCE_DIR}/chain/include/chain/saved.h
  ${PROJECT_SOURCE_DIR}/chain/include/chain/snapshot.h
  ${PROJECT_SOURCE_DIR}/chain/include/chain/transaction.h
  ${PROJECT_SOURCE_DIR}/chain/include/chain/validate.h
  ${PROJECT_SOURCE_DIR}/chain/include/chain/view.h
  ${PROJECT_SOURCE_DIR}/chain/include/chain/metadata.h
  ${PROJECT_SOURCE_DIR}/chain/include/chain/metadata_check.h
  ${PROJECT_SOURCE_DIR}/chain/include/chain/rewrite.h
  ${PROJECT_SOURCE_DIR}/chain/include/chain/virt.h
  DESTINATION ${headers}/chain)

# Where the prefix is, seen from the file: cmake --install may get another.
file(RELATIVE_PATH imgchain_pc_up
  ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
configure_file(${CMAKE_CURRENT_LIST_DIR}/imgchain.pc.in
  ${PROJECT_BINARY_DIR}/imgchain.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/imgchain.pc
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/imgchain)
install(EXPORT imgchain-targets NAMESPACE imgchain::
  DESTINATION ${package_dir})
configure_package_config_file(
  ${CMAKE_CURRENT_LIST_DIR}/imgchain-config.cmake.in
  ${PROJECT_BINARY_DIR}/imgchain-config.cmake
  INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(
  ${PROJECT_BINARY_DIR}/imgchain-config-version.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES
  ${PROJECT_BINARY_DIR}/imgchain-config.cmake
  ${PROJECT_BINARY_DIR}/imgchain-config-version.cmake
  DESTINATION ${package_dir})
