/* Follows a log that another process writes: prints every record as it comes in. It takes no lock
 * and changes nothing there; the writer may be started later, stopped, killed or started again.
 * A log that is not there yet is waited for.
 *
 *   follow DIRECTORY [--durable] [--from OFFSET] [--count N]
 *
 *   --durable      only what survives a power cut; else also what may be taken again by one
 *   --from OFFSET  the first record to print; else the oldest there is
 *   --count N      ends when N records were printed; else on SIGINT or SIGTERM
 *
 * A follower stores no progress. The last line says where to go on: pass it as --from.
 */
#define _POSIX_C_SOURCE 200112L

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <forebay.h>

/* How long a wait is, so that signals are looked at in between. */
#define POLL_MS 200

typedef struct arguments {
  const char *dir;
  uint32_t visibility;
  int64_t from;   /* -1: the oldest record */
  uint64_t count; /* 0: for ever */
} arguments;

typedef struct follower {
  forebay_follower *log;
  forebay_follow_reader *reader;
  int64_t next; /* where to go on; -1: at the oldest record */
  uint64_t printed;
  uint64_t missed;
  uint64_t retracted;
} follower;

static volatile sig_atomic_t told_to_stop = 0;

static void on_signal(int number) {
  (void)number;
  told_to_stop = 1;
}

/* What failed, in the library's words. */
static int failed(const char *what, forebay_status rc) {
  fprintf(stderr, "%s: %s (%s)\n", what, forebay_last_error(), forebay_status_name(rc));
  return 1;
}

static void close_log(follower *self) {
  forebay_follow_reader_free(self->reader);
  forebay_follower_free(self->log);
  self->reader = NULL;
  self->log = NULL;
  self->missed = 0;
  self->retracted = 0;
}

static void pause_ms(long ms) {
  struct timespec pause;
  pause.tv_sec = ms / 1000;
  pause.tv_nsec = ms % 1000 * 1000000;
  (void)nanosleep(&pause, NULL);
}

/* Opens the log and a reader where the last one stood. */
static forebay_status open_log(follower *self, const arguments *given) {
  uint32_t from = self->next < 0 ? FOREBAY_FROM_EARLIEST : FOREBAY_FROM_OFFSET;
  forebay_status rc = forebay_follower_open(forebay_str(given->dir), 0, &self->log);
  if (rc == FOREBAY_OK) {
    rc = forebay_follower_reader(self->log, from, self->next, given->visibility, &self->reader);
  }
  if (rc == FOREBAY_OFFSET_OUT_OF_RANGE) {
    /* Deleted meanwhile, or not written yet: what there is has the text. */
    (void)failed("follow", rc);
    rc = forebay_follower_reader(self->log, FOREBAY_FROM_EARLIEST, 0, given->visibility,
                                 &self->reader);
  }
  if (rc != FOREBAY_OK) {
    close_log(self);
  }
  return rc;
}

/* Prints the records of a batch, as many as are wanted. */
static forebay_status print_batch(follower *self, const forebay_batch *batch, uint64_t wanted) {
  size_t i;
  for (i = 0; i < forebay_batch_count(batch) && (wanted == 0 || self->printed < wanted); ++i) {
    forebay_record record;
    forebay_status rc = forebay_batch_get(batch, i, &record);
    if (rc != FOREBAY_OK) {
      return rc;
    }
    printf("%" PRId64 " ", record.offset);
    if (record.key.data != NULL) {
      printf("%.*s: ", (int)record.key.len, (const char *)record.key.data);
    }
    printf("%.*s\n", (int)record.value.len, (const char *)record.value.data);
    self->printed += 1;
    self->next = record.offset + 1;
  }
  (void)fflush(stdout);
  return FOREBAY_OK;
}

/* Says what was deleted unread, and what a recovery of the log has taken again. */
static forebay_status print_losses(follower *self) {
  uint64_t missed = 0;
  uint64_t retracted = 0;
  forebay_status rc = forebay_follow_reader_missed(self->reader, &missed, &retracted);
  if (rc == FOREBAY_OK && missed != self->missed) {
    fprintf(stderr, "%" PRIu64 " records were deleted before they were read\n",
            missed - self->missed);
  }
  if (rc == FOREBAY_OK && retracted != self->retracted) {
    self->next = forebay_follow_reader_next_offset(self->reader);
    fprintf(stderr, "%" PRIu64 " records were taken again by a recovery: on from %" PRId64 "\n",
            retracted - self->retracted, self->next);
  }
  self->missed = missed;
  self->retracted = retracted;
  return rc;
}

/* Takes the next batch, if there is one in time. */
static forebay_status step(follower *self, uint64_t wanted) {
  forebay_batch *batch = NULL;
  forebay_status rc = forebay_follow_reader_poll(self->reader, POLL_MS, &batch);
  if (rc == FOREBAY_CORRUPT) {
    /* Damaged on the device: the next poll goes on behind it. */
    (void)failed("follow", rc);
    return FOREBAY_OK;
  }
  if (rc == FOREBAY_OK) {
    rc = print_losses(self);
  }
  if (rc == FOREBAY_OK && batch != NULL) {
    rc = print_batch(self, batch, wanted);
  }
  forebay_batch_free(batch);
  return rc;
}

static forebay_status run(follower *self, const arguments *given) {
  while (!told_to_stop && (given->count == 0 || self->printed < given->count)) {
    forebay_status rc = self->log == NULL ? open_log(self, given) : step(self, given->count);
    if (rc == FOREBAY_CONFLICT) {
      /* Another log stands in the directory now. Its offsets are none of the old one's. */
      (void)failed("follow", rc);
      close_log(self);
      self->next = -1;
    } else if (rc == FOREBAY_NOT_FOUND) {
      /* Not there yet, or not any more. */
      close_log(self);
      pause_ms(POLL_MS);
    } else if (rc != FOREBAY_OK) {
      return rc;
    }
  }
  return FOREBAY_OK;
}

static int parse(int argc, char **argv, arguments *given) {
  int at;
  for (at = 1; at < argc; ++at) {
    const char *name = argv[at];
    const char *value = at + 1 < argc ? argv[at + 1] : NULL;
    if (strcmp(name, "--durable") == 0) {
      given->visibility = FOREBAY_DURABLE;
    } else if (strncmp(name, "--", 2) != 0 && given->dir == NULL) {
      given->dir = name;
    } else if (value != NULL && strcmp(name, "--from") == 0) {
      given->from = (int64_t)strtoll(value, NULL, 10);
      ++at;
    } else if (value != NULL && strcmp(name, "--count") == 0) {
      given->count = strtoull(value, NULL, 10);
      ++at;
    } else {
      return 0;
    }
  }
  return given->dir != NULL;
}

int main(int argc, char **argv) {
  arguments given = {NULL, FOREBAY_WRITTEN, -1, 0};
  follower self = {NULL, NULL, -1, 0, 0, 0};
  forebay_status rc;

  if (!parse(argc, argv, &given)) {
    fprintf(stderr, "usage: %s DIRECTORY [--durable] [--from OFFSET] [--count N]\n", argv[0]);
    return 2;
  }
  (void)signal(SIGINT, on_signal);
  (void)signal(SIGTERM, on_signal);
  self.next = given.from;
  rc = run(&self, &given);
  if (rc != FOREBAY_OK) {
    (void)failed("follow", rc);
  }
  if (self.next >= 0) {
    printf("next: %" PRId64 "\n", self.next);
  }
  close_log(&self);
  return rc == FOREBAY_OK ? 0 : 1;
}
