/* A store-and-forward gateway: readings go into a log on this device, and from there to Kafka or to
 * another log whenever there is a link. Kill it, cut its power, take the link away: every reading
 * that was durable arrives, once and in order.
 *
 *   gateway DIRECTORY --kafka HOST:PORT[,HOST:PORT] --topic NAME [OPTIONS]
 *   gateway DIRECTORY --log OTHER_DIRECTORY [OPTIONS]
 *
 *   --settings FILE  lines of log.NAME=VALUE (forebay_options_set) and, for Kafka,
 *                    upstream.NAME=VALUE (forebay_upstream_set); gateway.conf is one
 *   --rate N         readings a second; 10
 *   --count N        ends when N readings of this run were acknowledged; else on SIGINT or SIGTERM,
 *                    within 5 seconds whatever the link does
 */
#define _POSIX_C_SOURCE 200112L

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <forebay.h>

/* The consumer of the log that the uplink's progress is kept under. */
#define UPLINK "uplink"
/* How long the loop sleeps, at most, before it looks at the sensor and the signals again. */
#define TICK_MS 20
/* How long the end waits for a broker that says nothing. */
#define STOP_MS 4000

typedef struct arguments {
  const char *dir;
  const char *kafka;
  const char *topic;
  const char *log;
  const char *settings;
  uint64_t rate;
  uint64_t count;
} arguments;

typedef struct gateway {
  forebay_log *log;
  forebay_replicator *uplink;
  uint64_t taken;   /* readings appended in this run */
  uint64_t refused; /* readings that had no room */
} gateway;

static volatile sig_atomic_t told_to_stop = 0;

static void on_signal(int number) {
  (void)number;
  told_to_stop = 1;
}

/* What failed, in the library's words. */
static forebay_status failed(const char *what, forebay_status rc) {
  fprintf(stderr, "%s: %s (%s)\n", what, forebay_last_error(), forebay_status_name(rc));
  return rc;
}

/* Milliseconds by a clock that never goes back. */
static int64_t now_ms(void) {
  struct timespec now;
  if (clock_gettime(CLOCK_MONOTONIC, &now) != 0) {
    return 0;
  }
  return (int64_t)now.tv_sec * 1000 + (int64_t)now.tv_nsec / 1000000;
}

/* ---- settings ---- */

/* The whole file as a C string, to be freed; NULL if it cannot be read. */
static char *read_file(const char *path) {
  char *text = NULL;
  FILE *file = fopen(path, "rb");
  if (file != NULL) {
    long size = fseek(file, 0, SEEK_END) == 0 ? ftell(file) : -1;
    if (size >= 0 && fseek(file, 0, SEEK_SET) == 0) {
      text = malloc((size_t)size + 1);
    }
    if (text != NULL) {
      text[fread(text, 1, (size_t)size, file)] = '\0';
    }
    (void)fclose(file);
  }
  return text;
}

typedef forebay_status (*setter)(void *target, forebay_bytes name, forebay_bytes value);

static forebay_status set_option(void *options, forebay_bytes name, forebay_bytes value) {
  return forebay_options_set(options, name, value);
}

static forebay_status set_upstream(void *upstream, forebay_bytes name, forebay_bytes value) {
  return forebay_upstream_set(upstream, name, value);
}

/* Sets what the lines `prefixNAME=VALUE` say. The text has to stay as long as what was set. */
static forebay_status apply(const char *text, const char *prefix, setter set, void *target) {
  size_t prefix_len = strlen(prefix);
  while (*text != '\0') {
    size_t line = strcspn(text, "\r\n");
    const char *equals = memchr(text, '=', line);
    if (equals != NULL && strncmp(text, prefix, prefix_len) == 0) {
      forebay_bytes name = {(const uint8_t *)text + prefix_len, 0};
      forebay_bytes value = {(const uint8_t *)equals + 1, 0};
      forebay_status rc;
      name.len = (size_t)(equals - text) - prefix_len;
      value.len = line - (size_t)(equals - text) - 1;
      rc = set(target, name, value);
      if (rc != FOREBAY_OK) {
        return rc;
      }
    }
    text += line;
    text += strspn(text, "\r\n");
  }
  return FOREBAY_OK;
}

/* ---- opening ---- */

static forebay_status open_log(gateway *self, const arguments *given, const char *settings) {
  forebay_options options;
  forebay_status rc = forebay_options_init(&options, sizeof options);
  if (rc == FOREBAY_OK) {
    rc = apply(settings, "log.", set_option, &options);
  }
  if (rc == FOREBAY_OK) {
    rc = forebay_log_open(forebay_str(given->dir), &options, &self->log);
  }
  return rc;
}

/* Before the first reading is taken: `hold` keeps nothing for a consumer that is not there yet. */
static forebay_status start_uplink(gateway *self, const arguments *given, const char *settings) {
  forebay_upstream *upstream = NULL;
  forebay_status rc;
  if (given->log != NULL) {
    rc = forebay_upstream_log_new(forebay_str(given->log), NULL, &upstream);
  } else {
    rc = forebay_upstream_kafka_new(forebay_str(given->kafka), forebay_str(given->topic), &upstream);
  }
  if (rc == FOREBAY_OK && given->log == NULL) {
    rc = apply(settings, "upstream.", set_upstream, upstream);
  }
  if (rc == FOREBAY_OK) {
    rc = forebay_replicator_start(self->log, forebay_str(UPLINK), upstream, NULL, &self->uplink);
  }
  if (rc != FOREBAY_OK) {
    /* Only what was started took the upstream. */
    forebay_upstream_free(upstream);
  }
  return rc;
}

/* ---- running ---- */

/* A stand-in for a sensor: replace it by yours. */
static int read_sensor(uint64_t number, char *text, size_t size) {
  unsigned tenths = 200 + (unsigned)(number * 7 % 40);
  return snprintf(text, size, "{\"reading\":%" PRIu64 ",\"celsius\":%u.%u}", number, tenths / 10,
                  tenths % 10);
}

/* Appends the readings that are due. */
static forebay_status take_readings(gateway *self, uint64_t due) {
  while (self->taken + self->refused < due) {
    char text[64];
    int len = read_sensor(self->taken, text, sizeof text);
    forebay_bytes value = {(const uint8_t *)text, len > 0 ? (size_t)len : 0};
    forebay_new_record record = forebay_record_of(forebay_str("room-1"), value);
    forebay_status rc = forebay_log_append_record(self->log, &record, NULL);
    if (rc == FOREBAY_OUT_OF_SPACE) {
      /* The uplink was away for too long. The next readings fit again when it is back. */
      self->refused += 1;
    } else if (rc != FOREBAY_OK) {
      return rc;
    } else {
      self->taken += 1;
    }
  }
  return FOREBAY_OK;
}

static void print_notice(const forebay_notice *notice) {
  switch (notice->kind) {
    case FOREBAY_NOTICE_CONNECTED:
      printf("uplink: connected\n");
      break;
    case FOREBAY_NOTICE_FAILED:
      printf("uplink: down: %s (%s)\n", notice->text, forebay_status_name(notice->status));
      break;
    case FOREBAY_NOTICE_CAUGHT_UP:
      printf("uplink: all below offset %" PRId64 " is upstream\n", notice->offset);
      break;
    case FOREBAY_NOTICE_WARNING:
      printf("uplink: warning: %s\n", notice->text);
      break;
    case FOREBAY_NOTICE_STOPPED:
      printf("uplink: stopped\n");
      break;
    default:
      printf("uplink: notice %" PRIu32 ", %" PRIu64 " records\n", notice->kind, notice->count);
      break;
  }
  (void)fflush(stdout);
}

/* Sleeps for a tick, or until the uplink has something to tell, and prints that. */
static forebay_status sleep_and_listen(const gateway *self) {
  forebay_notice notice;
  forebay_status rc =
      forebay_replicator_next_notice(self->uplink, TICK_MS, &notice, sizeof notice);
  if (rc == FOREBAY_OK && notice.kind != FOREBAY_NOTICE_NONE) {
    print_notice(&notice);
  }
  if (rc == FOREBAY_OK && notice.kind == FOREBAY_NOTICE_STOPPED) {
    told_to_stop = 1;
  }
  return rc;
}

static forebay_status print_status(const gateway *self, int64_t ms) {
  static const char *const links[] = {"connecting", "connected", "waiting", "stopped"};
  forebay_progress progress;
  forebay_status rc = forebay_replicator_status(self->uplink, &progress, sizeof progress);
  if (rc == FOREBAY_OK) {
    const char *link = progress.link < 4 ? links[progress.link] : "unknown";
    printf("%" PRId64 " s: %" PRIu64 " readings taken, %" PRIu64 " refused; upstream below %" PRId64
           ", lag %" PRIu64 " records; %s\n",
           ms / 1000, self->taken, self->refused, progress.committed, progress.lag_records, link);
    (void)fflush(stdout);
  }
  return rc;
}

/* Whether every reading of this run is known to be upstream. */
static forebay_status all_arrived(const gateway *self, int64_t end, bool *arrived) {
  /* Only what is durable here is shipped; the flush policy would see to it a little later. */
  forebay_status rc = forebay_log_flush(self->log, NULL);
  return rc == FOREBAY_OK ? forebay_replicator_wait(self->uplink, end, 0, arrived) : rc;
}

static forebay_status run(gateway *self, const arguments *given) {
  int64_t started = now_ms();
  int64_t next_status = 1000;
  forebay_status rc = FOREBAY_OK;
  while (rc == FOREBAY_OK && !told_to_stop) {
    int64_t ms = now_ms() - started;
    uint64_t due = 1 + (uint64_t)ms * given->rate / 1000;
    bool is_last = given->count > 0 && due >= given->count;
    rc = take_readings(self, is_last ? given->count : due);
    if (rc == FOREBAY_OK && is_last) {
      bool arrived = false;
      rc = all_arrived(self, forebay_log_end_offset(self->log), &arrived);
      if (arrived) {
        return print_status(self, ms);
      }
    }
    if (rc == FOREBAY_OK) {
      rc = sleep_and_listen(self);
    }
    if (rc == FOREBAY_OK && ms >= next_status) {
      next_status += 1000;
      rc = print_status(self, ms);
    }
  }
  return rc;
}

/* Whatever did not arrive is in the log, and goes on from there at the next start. */
static forebay_status stop(gateway *self) {
  forebay_status stopped = forebay_replicator_stop_within(self->uplink, STOP_MS);
  forebay_status closed;
  if (stopped == FOREBAY_WOULD_BLOCK) {
    /* It waits for a broker still, and its handle is left: closing the log does not wait for it. */
    printf("uplink: left while it waited for an answer\n");
    stopped = FOREBAY_OK;
  } else if (stopped != FOREBAY_OK) {
    (void)failed("stop", stopped);
  }
  closed = forebay_log_close(self->log);
  if (closed != FOREBAY_OK) {
    (void)failed("close", closed);
  }
  return stopped == FOREBAY_OK ? closed : stopped;
}

static int parse(int argc, char **argv, arguments *given) {
  int at;
  for (at = 1; at < argc; ++at) {
    const char *name = argv[at];
    const char *value = at + 1 < argc ? argv[at + 1] : NULL;
    if (strncmp(name, "--", 2) != 0 && given->dir == NULL) {
      given->dir = name;
      continue;
    }
    if (value == NULL) {
      return 0;
    }
    if (strcmp(name, "--kafka") == 0) {
      given->kafka = value;
    } else if (strcmp(name, "--topic") == 0) {
      given->topic = value;
    } else if (strcmp(name, "--log") == 0) {
      given->log = value;
    } else if (strcmp(name, "--settings") == 0) {
      given->settings = value;
    } else if (strcmp(name, "--rate") == 0) {
      given->rate = strtoull(value, NULL, 10);
    } else if (strcmp(name, "--count") == 0) {
      given->count = strtoull(value, NULL, 10);
    } else {
      return 0;
    }
    ++at;
  }
  return given->dir != NULL && given->rate > 0 &&
         (given->log != NULL) != (given->kafka != NULL && given->topic != NULL);
}

int main(int argc, char **argv) {
  arguments given = {NULL, NULL, NULL, NULL, NULL, 10, 0};
  gateway self = {NULL, NULL, 0, 0};
  char *settings = NULL;
  forebay_status rc;

  if (!parse(argc, argv, &given)) {
    fprintf(stderr,
            "usage: %s DIRECTORY (--kafka HOST:PORT --topic NAME | --log DIRECTORY)\n"
            "       [--settings FILE] [--rate N] [--count N]\n",
            argv[0]);
    return 2;
  }
  if (given.settings != NULL && (settings = read_file(given.settings)) == NULL) {
    perror(given.settings);
    return 1;
  }
  (void)signal(SIGINT, on_signal);
  (void)signal(SIGTERM, on_signal);

  rc = open_log(&self, &given, settings == NULL ? "" : settings);
  if (rc == FOREBAY_OK) {
    rc = start_uplink(&self, &given, settings == NULL ? "" : settings);
  }
  free(settings);
  if (rc == FOREBAY_OK) {
    rc = run(&self, &given);
  }
  if (rc != FOREBAY_OK) {
    (void)failed("gateway", rc);
  }
  if (stop(&self) != FOREBAY_OK) {
    return 1;
  }
  return rc == FOREBAY_OK ? 0 : 1;
}
