/* SPDX-License-Identifier: Apache-2.0
 * c11_threads.c - C11's threads, mutexes and conditions as POSIX ones, to be loaded before a
 * program under ThreadSanitizer.
 *
 * librdkafka makes its threads with thrd_create, which gcc's ThreadSanitizer does not know: such a
 * thread ends it with a segmentation fault, and mtx_lock orders nothing in its eyes. In glibc the
 * types are the same bytes. Thread: any. Memory: one small piece per thread. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <threads.h>

_Static_assert(sizeof(mtx_t) == sizeof(pthread_mutex_t), "as in glibc");
_Static_assert(sizeof(cnd_t) == sizeof(pthread_cond_t), "as in glibc");
_Static_assert(sizeof(thrd_t) == sizeof(pthread_t), "as in glibc");

static int result_of(int code)
{
    return code == 0           ? thrd_success
           : code == ETIMEDOUT ? thrd_timedout
           : code == EBUSY     ? thrd_busy
           : code == ENOMEM    ? thrd_nomem
                               : thrd_error;
}

struct begin {
    thrd_start_t run;
    void *arg;
};

static void *begin(void *arg)
{
    const struct begin b = *(struct begin *)arg;

    free(arg);
    return (void *)(long)b.run(b.arg);
}

int thrd_create(thrd_t *thread, thrd_start_t run, void *arg)
{
    struct begin *b = malloc(sizeof *b);

    if (b == NULL)
        return thrd_nomem;
    *b = (struct begin){run, arg};
    return result_of(pthread_create(thread, NULL, begin, b));
}

int thrd_join(thrd_t thread, int *result)
{
    void *value = NULL;
    const int code = pthread_join(thread, &value);

    if (result != NULL)
        *result = (int)(long)value;
    return result_of(code);
}

int thrd_detach(thrd_t thread)
{
    return result_of(pthread_detach(thread));
}

int mtx_init(mtx_t *m, int type)
{
    pthread_mutexattr_t attributes;
    int code;

    pthread_mutexattr_init(&attributes);
    if (type & mtx_recursive)
        pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
    code = pthread_mutex_init((pthread_mutex_t *)m, &attributes);
    pthread_mutexattr_destroy(&attributes);
    return result_of(code);
}

void mtx_destroy(mtx_t *m)
{
    pthread_mutex_destroy((pthread_mutex_t *)m);
}

int mtx_lock(mtx_t *m)
{
    return result_of(pthread_mutex_lock((pthread_mutex_t *)m));
}

int mtx_trylock(mtx_t *m)
{
    return result_of(pthread_mutex_trylock((pthread_mutex_t *)m));
}

int mtx_unlock(mtx_t *m)
{
    return result_of(pthread_mutex_unlock((pthread_mutex_t *)m));
}

int cnd_init(cnd_t *c)
{
    return result_of(pthread_cond_init((pthread_cond_t *)c, NULL));
}

void cnd_destroy(cnd_t *c)
{
    pthread_cond_destroy((pthread_cond_t *)c);
}

int cnd_signal(cnd_t *c)
{
    return result_of(pthread_cond_signal((pthread_cond_t *)c));
}

int cnd_broadcast(cnd_t *c)
{
    return result_of(pthread_cond_broadcast((pthread_cond_t *)c));
}

int cnd_wait(cnd_t *c, mtx_t *m)
{
    return result_of(pthread_cond_wait((pthread_cond_t *)c, (pthread_mutex_t *)m));
}

int cnd_timedwait(cnd_t *c, mtx_t *m, const struct timespec *until)
{
    return result_of(pthread_cond_timedwait((pthread_cond_t *)c, (pthread_mutex_t *)m, until));
}
