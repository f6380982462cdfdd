# Before 1.0 a minor release may change what C sees: the same minor version fits, and no older patch.
# A test keeps the number what Cargo.toml has.
set(PACKAGE_VERSION "0.1.0")

string(REGEX MATCH "^[0-9]+\\.[0-9]+" _forebay_here "${PACKAGE_VERSION}")
string(REGEX MATCH "^[0-9]+\\.[0-9]+" _forebay_asked "${PACKAGE_FIND_VERSION}")
set(PACKAGE_VERSION_COMPATIBLE FALSE)
if(PACKAGE_VERSION VERSION_EQUAL PACKAGE_FIND_VERSION)
  set(PACKAGE_VERSION_EXACT TRUE)
endif()
if(_forebay_here STREQUAL "${_forebay_asked}"
    AND NOT PACKAGE_VERSION VERSION_LESS PACKAGE_FIND_VERSION)
  set(PACKAGE_VERSION_COMPATIBLE TRUE)
endif()
# find_package(forebay 0) asks for no minor version.
if(PACKAGE_FIND_VERSION_COUNT EQUAL 1
    AND PACKAGE_FIND_VERSION_MAJOR EQUAL 0 AND PACKAGE_VERSION VERSION_LESS 1)
  set(PACKAGE_VERSION_COMPATIBLE TRUE)
endif()
unset(_forebay_here)
unset(_forebay_asked)
