/* Prints every record of a log, one a line: offset, time, key or "-", value, with tabs between.
 *
 *   reader DIRECTORY
 */
#include <inttypes.h>
#include <stdio.h>

#include <forebay.h>

static int failed(const char *what, forebay_status rc) {
  fprintf(stderr, "%s: %s (%s)\n", what, forebay_last_error(), forebay_status_name(rc));
  return 1;
}

static forebay_status print_batch(const forebay_batch *batch) {
  size_t i;
  for (i = 0; i < forebay_batch_count(batch); ++i) {
    forebay_record record;
    forebay_status rc = forebay_batch_get(batch, i, &record);
    if (rc != FOREBAY_OK) {
      return rc;
    }
    printf("%" PRId64 "\t%" PRId64 "\t", record.offset, record.timestamp_ms);
    if (record.key.data == NULL) {
      putchar('-');
    }
    fwrite(record.key.data == NULL ? (const uint8_t *)"" : record.key.data, 1, record.key.len, stdout);
    putchar('\t');
    fwrite(record.value.data, 1, record.value.len, stdout);
    putchar('\n');
  }
  return FOREBAY_OK;
}

int main(int argc, char **argv) {
  forebay_log *log = NULL;
  forebay_reader *reader = NULL;
  forebay_status rc;

  if (argc != 2) {
    return 2;
  }
  rc = forebay_log_open(forebay_str(argv[1]), NULL, &log);
  if (rc == FOREBAY_OK) {
    rc = forebay_log_reader(log, FOREBAY_FROM_EARLIEST, 0, &reader);
  }
  while (rc == FOREBAY_OK) {
    forebay_batch *batch = NULL;
    rc = forebay_reader_next(reader, &batch);
    if (batch == NULL) {
      break;
    }
    rc = print_batch(batch);
    forebay_batch_free(batch);
  }
  forebay_reader_free(reader);
  if (rc != FOREBAY_OK) {
    failed("reader", rc);
  }
  {
    forebay_status closed = forebay_log_close(log);
    return rc == FOREBAY_OK && closed == FOREBAY_OK ? 0 : 1;
  }
}
