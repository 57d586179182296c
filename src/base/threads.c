/* SPDX-License-Identifier: Apache-2.0
 * threads.c - the team of workers.
 *
 * One run: the caller writes fn and arg, sets `pending`, and raises `epoch`; workers see the new
 * epoch, call fn, and lower `pending`; the caller does its own share and waits until it is 0. Both
 * waits, and the one at the gate, spin for some hundred microseconds, which is longer than the gaps
 * inside a batch, and then sleep on a futex, so that an idle team costs nothing. Invariant: whoever
 * sleeps has first said so in a counter, and the kernel compares the word again, so that no wake-up
 * is lost. Spinning is off where the machine has fewer CPUs than the team. Thread: run and free by
 * the maker only. */
#include "base/threads.h"

#include "base/check.h"
#include "base/memory.h"

#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SPINS = 3000 };

struct worker {
    struct qn_team *team;
    unsigned index;
    pthread_t thread;
};

/* The words that different sides write lie on cache lines of their own. */
struct qn_team {
    qn_team_fn *fn;
    void *arg;
    unsigned workers;
    unsigned started; /* threads that exist */
    unsigned spins;
    bool stop; /* written before epoch is raised */
    _Alignas(64) _Atomic uint32_t epoch;
    _Alignas(64) _Atomic uint32_t sleepers; /* workers in or near futex_wait */
    _Alignas(64) _Atomic uint32_t pending;  /* workers still busy with this run */
    _Alignas(64) _Atomic uint32_t caller_sleeps;
    _Alignas(64) _Atomic uint32_t gate; /* the epoch of the run in which it was opened last */
    _Alignas(64) _Atomic uint32_t gate_sleepers;
    struct worker list[QN_TEAM_MAX];
};

static void futex_wait(_Atomic uint32_t *word, uint32_t seen)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

static void futex_wake_all(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Returns the epoch once it differs from `seen`. */
static uint32_t wait_for_run(struct qn_team *t, uint32_t seen)
{
    uint32_t now;

    for (unsigned i = 0; i < t->spins; i++) {
        now = atomic_load_explicit(&t->epoch, memory_order_acquire);
        if (now != seen)
            return now;
        relax();
    }
    atomic_fetch_add(&t->sleepers, 1);
    while ((now = atomic_load(&t->epoch)) == seen)
        futex_wait(&t->epoch, seen);
    atomic_fetch_sub(&t->sleepers, 1);
    return now;
}

void qn_team_open(struct qn_team *t)
{
    atomic_store(&t->gate, atomic_load_explicit(&t->epoch, memory_order_relaxed));
    if (atomic_load(&t->gate_sleepers) != 0)
        futex_wake_all(&t->gate);
}

void qn_team_wait(struct qn_team *t)
{
    const uint32_t now = atomic_load_explicit(&t->epoch, memory_order_relaxed);
    uint32_t seen;

    for (unsigned i = 0; i < t->spins; i++) {
        if (atomic_load_explicit(&t->gate, memory_order_acquire) == now)
            return;
        relax();
    }
    atomic_fetch_add(&t->gate_sleepers, 1);
    while ((seen = atomic_load(&t->gate)) != now)
        futex_wait(&t->gate, seen);
    atomic_fetch_sub(&t->gate_sleepers, 1);
}

static void wait_for_workers(struct qn_team *t)
{
    uint32_t left;

    for (unsigned i = 0; i < t->spins; i++) {
        if (atomic_load_explicit(&t->pending, memory_order_acquire) == 0)
            return;
        relax();
    }
    atomic_store(&t->caller_sleeps, 1);
    while ((left = atomic_load(&t->pending)) != 0)
        futex_wait(&t->pending, left);
    atomic_store(&t->caller_sleeps, 0);
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct qn_team *t = w->team;
    uint32_t seen = 0;

    for (;;) {
        seen = wait_for_run(t, seen);
        if (t->stop)
            return NULL;
        t->fn(t->arg, w->index, t->workers);
        if (atomic_fetch_sub(&t->pending, 1) == 1 && atomic_load(&t->caller_sleeps) != 0)
            futex_wake_all(&t->pending);
    }
}

static void raise_epoch(struct qn_team *t)
{
    atomic_fetch_add(&t->epoch, 1);
    if (atomic_load(&t->sleepers) != 0)
        futex_wake_all(&t->epoch);
}

static unsigned cpus_for_us(void)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof set, &set) == 0)
        return (unsigned)CPU_COUNT(&set);
    return 1;
}

qn_status qn_team_new(unsigned workers, struct qn_team **out, struct qn_err *err)
{
    struct qn_team *t;
    sigset_t all, old;
    int rc = 0;

    *out = NULL;
    if (workers < 1 || workers > QN_TEAM_MAX)
        return qn_err_set(err, QN_INVALID, "%u threads asked for, 1 to %d are possible", workers,
                          QN_TEAM_MAX);
    t = qn_mem_aligned(64, sizeof *t);
    if (t == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for a team of %u threads", workers);
    memset(t, 0, sizeof *t);
    t->workers = workers;
    t->spins = workers <= cpus_for_us() ? SPINS : 0;
    /* Signals belong to the caller's thread. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    for (unsigned i = 1; i < workers && rc == 0; i++) {
        t->list[i] = (struct worker){.team = t, .index = i};
        rc = pthread_create(&t->list[i].thread, NULL, worker_main, &t->list[i]);
        t->started += rc == 0;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc != 0) {
        qn_team_free(t);
        return qn_err_sys(err, rc, "cannot start %u threads", workers - 1);
    }
    *out = t;
    return QN_OK;
}

void qn_team_free(struct qn_team *t)
{
    if (t == NULL)
        return;
    t->stop = true;
    raise_epoch(t);
    for (unsigned i = 1; i <= t->started; i++)
        pthread_join(t->list[i].thread, NULL);
    qn_mem_free(t);
}

unsigned qn_team_workers(const struct qn_team *t)
{
    return t->workers;
}

void qn_team_run(struct qn_team *t, qn_team_fn *fn, void *arg)
{
    if (t->workers > 1) {
        QN_ASSERT(atomic_load_explicit(&t->pending, memory_order_relaxed) == 0);
        t->fn = fn;
        t->arg = arg;
        atomic_store_explicit(&t->pending, t->workers - 1, memory_order_relaxed);
        raise_epoch(t);
    }
    fn(arg, 0, t->workers);
    if (t->workers > 1)
        wait_for_workers(t);
}

void qn_team_slice(uint32_t rows, unsigned worker, unsigned workers, uint32_t *first, uint32_t *end)
{
    uint64_t groups = ((uint64_t)rows + 63) / 64;
    uint64_t from = groups * worker / workers * 64, to = groups * (worker + 1) / workers * 64;

    QN_ASSERT(worker < workers);
    *first = (uint32_t)(from < rows ? from : rows);
    *end = (uint32_t)(to < rows ? to : rows);
}
