// An agent that costs next to nothing, so that a thousand of them measure the server: it answers the requests of the
// app-server protocol and then says PER_SECOND messages a second until it is stopped. Usage: agent PER_SECOND
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static char line[1 << 20];
static size_t length = 0;
static int begun = 0;
static long turn = 0;

static long now_us(void) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  return at.tv_sec * 1000000L + at.tv_nsec / 1000;
}

/** The text after `name`, up to the end of the value; the requests are our own, so their form is known. */
static int field(const char *name, char *into, size_t room) {
  const char *at = strstr(line, name);
  if (!at) return 0;
  at += strlen(name);
  size_t n = strcspn(at, ",}");
  if (n >= room) return 0;
  memcpy(into, at, n);
  into[n] = 0;
  return 1;
}

static void answer(void) {
  char id[64], method[64] = "";
  if (!field("\"method\":", method, sizeof method)) return;
  if (!field("\"id\":", id, sizeof id)) return;
  if (strstr(method, "turn/start")) {
    begun = 1;
    turn += 1;
    printf("{\"id\":%s,\"result\":{\"turn\":{\"id\":\"turn-%ld\",\"status\":\"inProgress\",\"items\":[],\"error\":null}}}\n", id, turn);
    printf("{\"method\":\"turn/started\",\"params\":{\"threadId\":\"t-%d\",\"turn\":{\"id\":\"turn-%ld\",\"status\":\"inProgress\"}}}\n", getpid(), turn);
  } else if (strstr(method, "turn/interrupt")) {
    // As codex does; a turn that does not end is waited for.
    begun = 0;
    printf("{\"id\":%s,\"result\":{}}\n", id);
    printf("{\"method\":\"turn/completed\",\"params\":{\"threadId\":\"t-%d\",\"turn\":{\"id\":\"turn-%ld\",\"status\":\"interrupted\",\"items\":[],\"error\":null}}}\n", getpid(), turn);
  } else if (strstr(method, "thread/start")) {
    printf("{\"id\":%s,\"result\":{\"thread\":{\"id\":\"t-%d\",\"turns\":[]},\"model\":\"bench\"}}\n", id, getpid());
  } else {
    printf("{\"id\":%s,\"result\":{\"userAgent\":\"bench\",\"data\":[],\"nextCursor\":null}}\n", id);
  }
  fflush(stdout);
}

int main(int count, char **words) {
  const long everyUs = 1000000L / (count > 1 ? atol(words[1]) : 10);
  srand(getpid());
  long due = now_us() + rand() % everyUs;
  long said = 0;
  for (;;) {
    struct pollfd in = {.fd = 0, .events = POLLIN};
    long left = due - now_us();
    if (poll(&in, 1, left > 0 ? left / 1000 + 1 : 0) > 0) {
      ssize_t got = read(0, line + length, sizeof line - length - 1);
      if (got <= 0) return 0;
      length += got;
      line[length] = 0;
      char *end;
      while ((end = memchr(line, '\n', length))) {
        *end = 0;
        answer();
        length -= end + 1 - line;
        memmove(line, end + 1, length + 1);
      }
    }
    if (now_us() < due) continue;
    due += everyUs;
    if (!begun) continue;
    said += 1;
    printf("{\"method\":\"item/completed\",\"params\":{\"threadId\":\"t-%d\",\"turnId\":\"turn-%ld\",\"item\":{\"type\":\"agentMessage\",\"id\":\"item-%ld\",\"text\":\"I read the tests of the module and change the second one, step %ld\"}}}\n", getpid(), turn, said, said);
    fflush(stdout);
  }
}
