// Drives the protocol of ticket.h: a caller and its workers take numbered items from each other, as
// pthreadpool's loops do, and every item must be done exactly once, before the caller goes on. Exits
// with 0 if so. Compiled twice: with ThreadSanitizer, and plain for processes that compete.
//
//   test-tickets ROUNDS [WORKERS]
//
// Between two rounds the caller now and then waits until workers sleep, and workers are held up in
// every state: before they enter, between items and before they finish. Send SIGSTOP and SIGCONT for
// more.

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "ticket.h"

enum { MOST_WORKERS = 7, ITEMS = 12 };

struct worker {
  struct ticket ticket;
  pthread_t thread;
};

static struct worker workers[MOST_WORKERS];
static size_t worker_count = 1;
static _Atomic size_t next_item;
static unsigned done[ITEMS];  // plain: that nobody else writes it is what the protocol promises
static unsigned round_number;
static _Atomic size_t by_workers;

static uint32_t random_below(uint32_t* state, uint32_t limit) {
  *state = *state * 1664525 + 1013904223;
  return (*state >> 8) % limit;
}

static void hold_up(uint32_t* state) {
  if (random_below(state, 64) == 0) {
    const struct timespec time = {0, random_below(state, 150000)};
    nanosleep(&time, NULL);
  }
}

static size_t do_items(uint32_t* state) {
  size_t count = 0;
  for (size_t item; (item = atomic_fetch_add(&next_item, 1)) < ITEMS; count++) {
    if (done[item] != round_number - 1) {
      printf("item %zu was done in round %u, expected %u\n", item, done[item], round_number - 1);
      exit(1);
    }
    done[item] = round_number;
    hold_up(state);
  }
  return count;
}

static void* work(void* argument) {
  struct worker* worker = argument;
  uint32_t state = (uint32_t) (worker - workers) + 1;
  while (ticket_take(&worker->ticket)) {
    hold_up(&state);
    atomic_fetch_add(&by_workers, do_items(&state));
    hold_up(&state);
    ticket_finish(&worker->ticket);
  }
  return NULL;
}

static void run_round(uint32_t* state) {
  round_number++;
  atomic_store_explicit(&next_item, 0, memory_order_relaxed);
  for (size_t i = 0; i < worker_count; i++) {
    ticket_post(&workers[i].ticket);
  }
  do_items(state);
  for (size_t i = 0; i < worker_count; i++) {
    ticket_close(&workers[i].ticket);
  }
  for (size_t item = 0; item < ITEMS; item++) {
    if (done[item] != round_number) {
      printf("item %zu is missing in round %u\n", item, round_number);
      exit(1);
    }
  }
}

// A child of fork has no workers: it does everything itself.
static void test_fork(uint32_t* state) {
  const pid_t child = fork();
  if (child == 0) {
    run_round(state);
    _exit(0);
  }
  int status = 1;
  waitpid(child, &status, 0);
  if (status != 0) {
    puts("the forked process failed");
    exit(1);
  }
}

int main(int count, char** arguments) {
  const unsigned rounds = count > 1 ? (unsigned) atoi(arguments[1]) : 1000;
  worker_count = count > 2 ? (size_t) atoi(arguments[2]) : 1;
  if (worker_count > MOST_WORKERS) {
    return 2;
  }
  for (size_t i = 0; i < worker_count; i++) {
    pthread_create(&workers[i].thread, NULL, work, &workers[i]);
  }
  uint32_t state = 2018;
  for (unsigned i = 0; i < rounds; i++) {
    run_round(&state);
    if (random_below(&state, 256) == 0) {
      const struct timespec longer_than_spinning = {0, 4 * SPIN_NANOSECONDS};
      nanosleep(&longer_than_spinning, NULL);
    }
  }
  test_fork(&state);
  for (size_t i = 0; i < worker_count; i++) {
    ticket_stop(&workers[i].ticket);
    pthread_join(workers[i].thread, NULL);
  }
  printf("%u rounds, %zu of %u items by workers\n", rounds, atomic_load(&by_workers), rounds * ITEMS);
  return 0;
}
