/* What this was compiled with is what it is linked with: the header's version and the library's. */
#include <stdio.h>
#include <string.h>

#include <forebay.h>
#include <forebay.h> /* as often as a larger program does */

int main(void) {
  char text[32];

  snprintf(text, sizeof text, "%d.%d.%d", FOREBAY_VERSION_MAJOR, FOREBAY_VERSION_MINOR,
           FOREBAY_VERSION_PATCH);
  if (strcmp(text, forebay_version()) != 0) {
    fprintf(stderr, "the header is of %s, the library %s\n", text, forebay_version());
    return 1;
  }
  if (FOREBAY_VERSION_NUMBER != forebay_version_number()) {
    fprintf(stderr, "the header is of %u, the library %u\n", (unsigned)FOREBAY_VERSION_NUMBER,
            (unsigned)forebay_version_number());
    return 1;
  }
  printf("%s%s%s%s\n", text, forebay_has_feature("replicator") ? " replicator" : "",
         forebay_has_feature("kafka") ? " kafka" : "", forebay_has_feature("toml") ? " toml" : "");
  return 0;
}
