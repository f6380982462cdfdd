# find_package(forebay): imported targets of the installed C library.
#
#   forebay::shared   libforebay.so, found at run time
#   forebay::static   libforebay.a, and what Rust's standard library needs of the system
#   forebay::forebay  the shared one where it is installed, else the static one
#
# Installed into <prefix>/share/forebay/cmake, by cargo-c and in the release archives alike; every
# path is found from there, so that the whole may be moved.

get_filename_component(_forebay_prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)

find_path(forebay_INCLUDE_DIR forebay.h
  PATHS "${_forebay_prefix}/include" NO_DEFAULT_PATH NO_CMAKE_FIND_ROOT_PATH)
set(_forebay_libdirs)
foreach(_forebay_libdir IN ITEMS
    "${CMAKE_INSTALL_LIBDIR}" "lib/${CMAKE_LIBRARY_ARCHITECTURE}" lib64 lib32 lib)
  if(_forebay_libdir AND IS_ABSOLUTE "${_forebay_libdir}")
    list(APPEND _forebay_libdirs "${_forebay_libdir}")
  elseif(_forebay_libdir)
    list(APPEND _forebay_libdirs "${_forebay_prefix}/${_forebay_libdir}")
  endif()
endforeach()
find_library(forebay_SHARED_LIBRARY
  NAMES "${CMAKE_SHARED_LIBRARY_PREFIX}forebay${CMAKE_SHARED_LIBRARY_SUFFIX}"
  PATHS ${_forebay_libdirs} NO_DEFAULT_PATH NO_CMAKE_FIND_ROOT_PATH)
find_library(forebay_STATIC_LIBRARY
  NAMES "${CMAKE_STATIC_LIBRARY_PREFIX}forebay${CMAKE_STATIC_LIBRARY_SUFFIX}"
  PATHS ${_forebay_libdirs} NO_DEFAULT_PATH NO_CMAKE_FIND_ROOT_PATH)
mark_as_advanced(forebay_INCLUDE_DIR forebay_SHARED_LIBRARY forebay_STATIC_LIBRARY)

# What `rustc --print native-static-libs` says on Linux; a test compares it.
set(forebay_NATIVE_STATIC_LIBS gcc_s util rt pthread m dl c)

set(forebay_FOUND FALSE)
if(forebay_INCLUDE_DIR)
  if(forebay_SHARED_LIBRARY AND NOT TARGET forebay::shared)
    add_library(forebay::shared SHARED IMPORTED)
    set_target_properties(forebay::shared PROPERTIES
      IMPORTED_LOCATION "${forebay_SHARED_LIBRARY}"
      INTERFACE_INCLUDE_DIRECTORIES "${forebay_INCLUDE_DIR}")
  endif()
  if(forebay_STATIC_LIBRARY AND NOT TARGET forebay::static)
    add_library(forebay::static STATIC IMPORTED)
    set_target_properties(forebay::static PROPERTIES
      IMPORTED_LOCATION "${forebay_STATIC_LIBRARY}"
      IMPORTED_LINK_INTERFACE_LANGUAGES C
      INTERFACE_INCLUDE_DIRECTORIES "${forebay_INCLUDE_DIR}")
    if(CMAKE_SYSTEM_NAME STREQUAL "Linux")
      set_target_properties(forebay::static PROPERTIES
        INTERFACE_LINK_LIBRARIES "${forebay_NATIVE_STATIC_LIBS}")
    endif()
  endif()
  # Not an ALIAS of an imported target, for which CMake before 3.18 wants it to be global.
  if(NOT TARGET forebay::forebay)
    if(TARGET forebay::shared)
      add_library(forebay::forebay INTERFACE IMPORTED)
      set_target_properties(forebay::forebay PROPERTIES INTERFACE_LINK_LIBRARIES forebay::shared)
    elseif(TARGET forebay::static)
      add_library(forebay::forebay INTERFACE IMPORTED)
      set_target_properties(forebay::forebay PROPERTIES INTERFACE_LINK_LIBRARIES forebay::static)
    endif()
  endif()
  if(TARGET forebay::forebay)
    set(forebay_FOUND TRUE)
  endif()
endif()

foreach(_forebay_component IN LISTS forebay_FIND_COMPONENTS)
  if(TARGET forebay::${_forebay_component})
    set(forebay_${_forebay_component}_FOUND TRUE)
  elseif(forebay_FIND_REQUIRED_${_forebay_component})
    set(forebay_FOUND FALSE)
    set(forebay_NOT_FOUND_MESSAGE "forebay has no ${_forebay_component} library installed")
  endif()
endforeach()
if(NOT forebay_FOUND AND NOT forebay_NOT_FOUND_MESSAGE)
  set(forebay_NOT_FOUND_MESSAGE
    "forebay.h or libforebay is not below ${_forebay_prefix}, where this file was installed")
endif()

unset(_forebay_prefix)
unset(_forebay_libdir)
unset(_forebay_libdirs)
unset(_forebay_component)
