# The Debian package: its contents and its description.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME deltaserve)
set(CPACK_PACKAGE_VENDOR "The deltaserve authors")
set(CPACK_PACKAGE_CONTACT "The deltaserve authors <packages@deltaserve.example>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "inference server for linear-attention language models")
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION
"A linear-attention model keeps its whole context in a state of constant size.
deltaserve gives every sequence one slot of that size: the next token costs the
same after ten tokens and after ten million, and no request runs out of memory
midway.

It serves DeltaNet, Gated DeltaNet, Q-Delta, Kimi Delta Attention, GLA and
Mamba-2 checkpoints over OpenAI-style HTTP and over gRPC. A small model is
included. The service is installed stopped and disabled.")
set(CPACK_STRIP_FILES ON)
set(CPACK_SET_DESTDIR ON)
set(CPACK_INSTALL_PREFIX /usr)
set(CPACK_PACKAGE_DIRECTORY ${CMAKE_BINARY_DIR}/packages)

set(CPACK_COMPONENTS_ALL program model interface documents service libraries debian)
set(CPACK_COMPONENTS_GROUPING ALL_COMPONENTS_IN_ONE)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION net)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "adduser")
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "ca-certificates")
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
foreach(script postinst prerm postrm)
  list(APPEND CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${CMAKE_CURRENT_LIST_DIR}/${script})
endforeach()

# Debian wants these files under these names, and the log of changes compressed.
set(debian_files ${CMAKE_BINARY_DIR}/deploy/debian)
configure_file(${CMAKE_CURRENT_LIST_DIR}/changelog.in ${debian_files}/changelog @ONLY)
execute_process(COMMAND gzip -9nf ${debian_files}/changelog COMMAND_ERROR_IS_FATAL ANY)
install(FILES ${debian_files}/changelog.gz ${CMAKE_CURRENT_LIST_DIR}/copyright
        DESTINATION ${documents} COMPONENT debian EXCLUDE_FROM_ALL)
install(FILES ${CMAKE_CURRENT_LIST_DIR}/lintian-overrides DESTINATION share/lintian/overrides RENAME deltaserve
        COMPONENT debian EXCLUDE_FROM_ALL)
install(FILES ${CMAKE_CURRENT_LIST_DIR}/deltaserve.toml DESTINATION /etc/deltaserve
        COMPONENT debian EXCLUDE_FROM_ALL)
list(APPEND CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${CMAKE_CURRENT_LIST_DIR}/conffiles)
include(CPack)
