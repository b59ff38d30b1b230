// How a caller offers work to a worker thread that may or may not have a processor.
//
// pthreadpool waits for all of its workers and spins a million times at each hand-over. Where
// containers share processors, a worker that the kernel does not schedule holds up the caller, and
// the spinning takes the processors that others need. Here the caller never needs the worker: it
// posts a ticket, does all the work itself that nobody has taken, and takes the ticket back. It
// waits only for a worker that has entered.
//
//   caller                                      worker
//   ticket_post: next sequence, POSTED          ticket_take: spins, then sleeps, until POSTED
//     wakes the worker if it sleeps               POSTED -> ENTERED
//   does its own items, then the worker's       does items, its own and the caller's
//   ticket_close: POSTED -> CLOSED, or          ticket_finish: ENTERED -> DONE
//     waits for ENTERED -> DONE                   wakes the caller if it sleeps
//
// The word has the sequence above the state, so that a worker which falls asleep over an old ticket
// is woken by the kernel's own comparison. A side that falls asleep says so (`worker_sleeps`,
// `caller_sleeps`), then looks at the word once more; the other side writes the word, then looks at
// the flag. All four are sequentially consistent, so that one of them sees the other. A flag is
// taken by an exchange: each sleep costs one system call to end.
//
// What the caller wrote before it posted is seen by a worker that enters (release, acquire); what
// the worker wrote is seen by the caller after DONE, in the same way.
//
// Limits: one caller at a time. A sequence of 30 bits: a worker must not sleep through 2^30 tickets
// between looking at the word and the kernel's comparison.

#pragma once

#include <linux/futex.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum ticket_state { CLOSED, POSTED, ENTERED, DONE, STATES };

enum {
  SPIN_NANOSECONDS = 50000,  // about what sleeping and waking cost
  SPIN_PAUSES = 16,          // between two looks at the clock
};

struct ticket {
  _Atomic uint32_t word;  // sequence * STATES + state
  _Atomic uint32_t worker_sleeps;
  _Atomic uint32_t caller_sleeps;
  _Atomic uint32_t stopped;
};

static inline enum ticket_state ticket_state_of(uint32_t word) {
  return (enum ticket_state) (word % STATES);
}

static inline void futex_sleep(_Atomic uint32_t* word, uint32_t value) {
  syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL);
}

static inline void futex_wake(_Atomic uint32_t* word) {
  syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1);
}

static inline int64_t nanoseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

// Looks at the word until it is in a state, but not for long.
static inline bool ticket_spin(struct ticket* ticket, enum ticket_state state) {
  const int64_t end = nanoseconds() + SPIN_NANOSECONDS;
  do {
    for (int i = 0; i < SPIN_PAUSES; i++) {
      const uint32_t word = atomic_load_explicit(&ticket->word, memory_order_acquire);
      if (ticket_state_of(word) == state) {
        return true;
      }
      __builtin_ia32_pause();
    }
  } while (nanoseconds() < end);
  return false;
}

// Caller: offers work.
static inline void ticket_post(struct ticket* ticket) {
  const uint32_t word = atomic_load_explicit(&ticket->word, memory_order_relaxed);
  atomic_store(&ticket->word, (word / STATES + 1) * STATES + POSTED);
  if (atomic_load(&ticket->worker_sleeps) && atomic_exchange(&ticket->worker_sleeps, 0)) {
    futex_wake(&ticket->word);
  }
}

// Caller: ends the offer. Afterwards no worker does anything for it.
static inline void ticket_close(struct ticket* ticket) {
  uint32_t word = atomic_load_explicit(&ticket->word, memory_order_acquire);
  if (ticket_state_of(word) == POSTED &&
      atomic_compare_exchange_strong(&ticket->word, &word, word - POSTED + CLOSED)) {
    return;
  }
  if (ticket_spin(ticket, DONE)) {
    return;
  }
  for (;;) {
    atomic_store(&ticket->caller_sleeps, 1);
    word = atomic_load(&ticket->word);
    if (ticket_state_of(word) == DONE) {
      atomic_store(&ticket->caller_sleeps, 0);
      return;
    }
    futex_sleep(&ticket->word, word);
  }
}

// Worker: waits for an offer and enters; false when the pool ends.
static inline bool ticket_take(struct ticket* ticket) {
  for (;;) {
    if (!ticket_spin(ticket, POSTED)) {
      atomic_store(&ticket->worker_sleeps, 1);
      const uint32_t word = atomic_load(&ticket->word);
      if (ticket_state_of(word) != POSTED) {
        futex_sleep(&ticket->word, word);
      }
      atomic_store(&ticket->worker_sleeps, 0);
    }
    uint32_t word = atomic_load_explicit(&ticket->word, memory_order_acquire);
    if (ticket_state_of(word) == POSTED &&
        atomic_compare_exchange_strong(&ticket->word, &word, word - POSTED + ENTERED)) {
      return !atomic_load_explicit(&ticket->stopped, memory_order_relaxed);
    }
  }
}

// Worker: has done what it could.
static inline void ticket_finish(struct ticket* ticket) {
  const uint32_t word = atomic_load_explicit(&ticket->word, memory_order_relaxed);
  atomic_store(&ticket->word, word - ENTERED + DONE);
  if (atomic_load(&ticket->caller_sleeps) && atomic_exchange(&ticket->caller_sleeps, 0)) {
    futex_wake(&ticket->word);
  }
}

// Caller: tells the worker to end. It enters this ticket and does not come back.
static inline void ticket_stop(struct ticket* ticket) {
  atomic_store_explicit(&ticket->stopped, 1, memory_order_relaxed);
  ticket_post(ticket);
}
