/* Appends readings to a log, reads them as a consumer that goes on where it left off, and closes it.
 *
 *   quickstart DIRECTORY
 *
 * Run it twice: the second run reads only what it appended itself.
 */
#include <inttypes.h>
#include <stdio.h>

#include <forebay.h>

/* What failed, in the library's words. */
static int failed(const char *what, forebay_status rc) {
  fprintf(stderr, "%s: %s (%s)\n", what, forebay_last_error(), forebay_status_name(rc));
  return 1;
}

/* Prints every record of a batch. The bytes lie in the log's own file and are not copied. */
static forebay_status print_batch(const forebay_batch *batch) {
  size_t i;
  for (i = 0; i < forebay_batch_count(batch); ++i) {
    forebay_record record;
    forebay_status rc = forebay_batch_get(batch, i, &record);
    if (rc != FOREBAY_OK) {
      return rc;
    }
    printf("%" PRId64 " %.*s: %.*s\n", record.offset, (int)record.key.len,
           (const char *)record.key.data, (int)record.value.len, (const char *)record.value.data);
  }
  return FOREBAY_OK;
}

static forebay_status append(const forebay_log *log) {
  forebay_new_record records[2];
  forebay_status rc;

  records[0] = forebay_record_of(forebay_str("temperature"), forebay_str("21.5 C"));
  records[1] = forebay_record_of(forebay_str("pressure"), forebay_str("1013 hPa"));
  rc = forebay_log_append_batch(log, records, 2, NULL);
  /* From here on a power cut takes nothing of it. */
  return rc == FOREBAY_OK ? forebay_log_flush(log, NULL) : rc;
}

static forebay_status read_new(const forebay_log *log) {
  forebay_consumer *consumer = NULL;
  forebay_status rc = forebay_log_consumer(log, forebay_str("display"), NULL, &consumer);
  while (rc == FOREBAY_OK) {
    forebay_batch *batch = NULL;
    rc = forebay_consumer_poll(consumer, 0, &batch);
    if (rc != FOREBAY_OK || batch == NULL) {
      break;
    }
    rc = print_batch(batch);
    forebay_batch_free(batch);
    if (rc == FOREBAY_OK) {
      rc = forebay_consumer_commit(consumer);
    }
  }
  forebay_consumer_free(consumer);
  return rc;
}

int main(int argc, char **argv) {
  forebay_options options;
  forebay_log *log = NULL;
  forebay_status rc;

  if (argc != 2) {
    fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
    return 2;
  }
  rc = forebay_options_init(&options, sizeof options);
  options.segment_bytes = 1u << 20;
  options.retention_bytes = 64u << 20;
  if (rc == FOREBAY_OK) {
    rc = forebay_log_open(forebay_str(argv[1]), &options, &log);
  }
  if (rc != FOREBAY_OK) {
    return failed("open", rc);
  }
  rc = append(log);
  if (rc == FOREBAY_OK) {
    rc = read_new(log);
  }
  if (rc != FOREBAY_OK) {
    failed("log", rc);
  }
  {
    forebay_status closed = forebay_log_close(log);
    if (closed != FOREBAY_OK) {
      return failed("close", closed);
    }
  }
  return rc == FOREBAY_OK ? 0 : 1;
}
