// pthreadpool's threads with the protocol of ticket.h: stands in for its pthreads.c and memory.c. Its
// parallel loops stay as they are; they already let each thread take items that belong to another.
//
// A worker that could not be created, or that a fork left behind in the parent, takes nothing: the
// caller does its items.
//
// Inferences look whether other processes want our processors: they do if the kernel took one away
// from a thread of ours, SWITCHES times in LOOK_NANOSECONDS of inferences. Then a second thread would
// gain nothing but waits, ours and theirs, and pthreadpool is told that there is one thread: its loops
// do without atomic operations. After a while two are tried again, after twice the time if that was
// too early. Every look that finds nobody halves that time: a single quiet moment proves nothing, as
// two processes that try in turns would both be slowed down.

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <xmmintrin.h>

#include "ticket.h"

#include "threadpool-atomics.h"
#include "threadpool-object.h"
#include "xnnpack/subgraph.h"

enum {
  SWITCHES = 5,                 // an idle host has one or two of its own
  LOOK_NANOSECONDS = 60000000,
  LEAST_LOOKS = 5,              // that threads rest for
  MOST_LOOKS = 40,
  DENORMALS_ARE_ZERO = 0x8040,  // and results are flushed to zero
};

struct worker {
  struct ticket ticket;
  struct thread_info* thread;
  pid_t process;  // that it lives in; 0 if it could not be created
} __attribute__((aligned(PTHREADPOOL_CACHELINE_SIZE)));

// Lies before pthreadpool's own structure. The caller is thread 0 and has no worker.
struct crew {
  struct fxdiv_divisor_size_t threads_count;
  struct worker* workers;
  int64_t time;     // of inferences in this look
  long switches;    // during them
  int64_t rest;     // for how many looks one thread works alone when others want the processors
  int64_t resumes;  // when that ends
} __attribute__((aligned(PTHREADPOOL_CACHELINE_SIZE)));

static struct crew* crew_of(struct pthreadpool* pool) { return (struct crew*) pool - 1; }

// How often the kernel took a processor away from this process.
static long count_switches(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_nivcsw;
}

static void run_items(struct pthreadpool* pool, struct thread_info* thread) {
  const thread_function_t run =
      (thread_function_t) pthreadpool_load_relaxed_void_p(&pool->thread_function);
  const uint32_t flags = pthreadpool_load_relaxed_uint32_t(&pool->flags);
  const unsigned saved = _mm_getcsr();
  if (flags & PTHREADPOOL_FLAG_DISABLE_DENORMALS) {
    _mm_setcsr(saved | DENORMALS_ARE_ZERO);
  }
  run(pool, thread);
  _mm_setcsr(saved);
}

static void* work(void* argument) {
  struct worker* worker = argument;
  while (ticket_take(&worker->ticket)) {
    run_items(worker->thread->threadpool, worker->thread);
    ticket_finish(&worker->ticket);
  }
  return NULL;
}

struct pthreadpool* pthreadpool_create(size_t threads_count) {
  if (threads_count == 0) {
    threads_count = (size_t) sysconf(_SC_NPROCESSORS_ONLN);
  }
  const size_t pool_bytes = sizeof(struct pthreadpool) + threads_count * sizeof(struct thread_info);
  const size_t bytes = sizeof(struct crew) + pool_bytes + threads_count * sizeof(struct worker);
  struct crew* crew = NULL;
  if (posix_memalign((void**) &crew, PTHREADPOOL_CACHELINE_SIZE, bytes) != 0) {
    return NULL;
  }
  memset(crew, 0, bytes);
  struct pthreadpool* pool = (struct pthreadpool*) (crew + 1);
  crew->threads_count = pool->threads_count = fxdiv_init_size_t(threads_count);
  crew->workers = (struct worker*) ((char*) pool + pool_bytes);
  crew->rest = LEAST_LOOKS;
  pthread_mutex_init(&pool->execution_mutex, NULL);
  for (size_t i = 0; i < threads_count; i++) {
    pool->threads[i].thread_number = i;
    pool->threads[i].threadpool = pool;
  }
  for (size_t i = 1; i < threads_count; i++) {
    struct worker* worker = &crew->workers[i];
    worker->thread = &pool->threads[i];
    if (pthread_create(&worker->thread->thread_object, NULL, work, worker) == 0) {
      worker->process = getpid();
    }
  }
  return pool;
}

// Divides the items among the threads, in order.
static void divide(struct pthreadpool* pool, size_t items) {
  const struct fxdiv_result_size_t share = fxdiv_divide_size_t(items, pool->threads_count);
  size_t start = 0;
  for (size_t i = 0; i < pool->threads_count.value; i++) {
    struct thread_info* thread = &pool->threads[i];
    const size_t length = share.quotient + (i < share.remainder ? 1 : 0);
    pthreadpool_store_relaxed_size_t(&thread->range_start, start);
    pthreadpool_store_relaxed_size_t(&thread->range_end, start + length);
    pthreadpool_store_relaxed_size_t(&thread->range_length, length);
    start += length;
  }
}

void pthreadpool_parallelize(
    struct pthreadpool* pool, thread_function_t thread_function, const void* params,
    size_t params_size, void* task, void* context, size_t linear_range, uint32_t flags) {
  pthread_mutex_lock(&pool->execution_mutex);
  pthreadpool_store_relaxed_void_p(&pool->thread_function, (void*) thread_function);
  pthreadpool_store_relaxed_void_p(&pool->task, task);
  pthreadpool_store_relaxed_void_p(&pool->argument, context);
  pthreadpool_store_relaxed_uint32_t(&pool->flags, flags);
  if (params_size != 0) {
    memcpy(&pool->params, params, params_size);
  }
  divide(pool, linear_range);
  const size_t threads = pool->threads_count.value;
  struct worker* workers = crew_of(pool)->workers;
  for (size_t i = 1; i < threads; i++) {
    ticket_post(&workers[i].ticket);
  }
  run_items(pool, &pool->threads[0]);
  for (size_t i = 1; i < threads; i++) {
    ticket_close(&workers[i].ticket);
  }
  pthread_mutex_unlock(&pool->execution_mutex);
}

// Adds an inference of several threads to the look, which ends when it has seen enough.
static void look(struct crew* crew, int64_t time, long switches) {
  crew->time += time;
  crew->switches += switches;
  if (crew->switches >= SWITCHES) {
    crew->resumes = nanoseconds() + crew->rest * LOOK_NANOSECONDS;
    crew->rest = 2 * crew->rest < MOST_LOOKS ? 2 * crew->rest : MOST_LOOKS;
  } else if (crew->time >= LOOK_NANOSECONDS) {
    crew->rest = crew->rest / 2 > LEAST_LOOKS ? crew->rest / 2 : LEAST_LOOKS;
  } else {
    return;
  }
  crew->time = 0;
  crew->switches = 0;
}

enum xnn_status __real_xnn_invoke_runtime(xnn_runtime_t runtime);

enum xnn_status __wrap_xnn_invoke_runtime(xnn_runtime_t runtime) {
  struct pthreadpool* pool = runtime->threadpool;
  if (pool == NULL || crew_of(pool)->threads_count.value == 1) {
    return __real_xnn_invoke_runtime(runtime);
  }
  struct crew* crew = crew_of(pool);
  const int64_t began = nanoseconds();
  if (began < crew->resumes) {
    pool->threads_count = fxdiv_init_size_t(1);
    return __real_xnn_invoke_runtime(runtime);
  }
  pool->threads_count = crew->threads_count;
  const long switches = count_switches();
  const enum xnn_status status = __real_xnn_invoke_runtime(runtime);
  look(crew, nanoseconds() - began, count_switches() - switches);
  return status;
}

void pthreadpool_destroy(struct pthreadpool* pool) {
  if (pool == NULL) {
    return;
  }
  struct crew* crew = crew_of(pool);
  for (size_t i = 1; i < crew->threads_count.value; i++) {
    struct worker* worker = &crew->workers[i];
    if (worker->process == getpid()) {
      ticket_stop(&worker->ticket);
      pthread_join(worker->thread->thread_object, NULL);
    }
  }
  pthread_mutex_destroy(&pool->execution_mutex);
  free(crew);
}
