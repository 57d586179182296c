/* SPDX-License-Identifier: Apache-2.0
 * bench_log.c - durable appends a second at 1, 100 and 10,000 events of 200 bytes an append, beside
 * plain write + fdatasync of the same bytes, and the reading of what was written.
 *
 *   bench_log [FOLDER]      a scratch folder on the disk to measure (default: build/bench)
 *
 * Wall time; every line in the same run, because disks differ by the hour. Not a test: it only
 * prints. */
#include "base/crc32c.h"
#include "log/log_local.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { EVENT_BYTES = 200, SECONDS = 2, PLAIN_BYTES = 256 << 20 };

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void die(const char *what)
{
    fprintf(stderr, "bench_log: %s\n", what);
    exit(1);
}

static void remove_folder(const char *dir)
{
    DIR *d = opendir(dir);
    const struct dirent *e;
    char path[4096];

    while (d != NULL && (e = readdir(d)) != NULL) {
        if (snprintf(path, sizeof path, "%s/%s", dir, e->d_name) < (int)sizeof path)
            unlink(path);
    }
    if (d != NULL)
        closedir(d);
    rmdir(dir);
}

/* The same bytes into a preallocated, zero-filled file. */
static double plain(const char *dir, size_t per_sync)
{
    size_t bytes = (per_sync * EVENT_BYTES + 4095) & ~(size_t)4095;
    char path[4096], *p = calloc(1, bytes > 1 << 20 ? bytes : 1 << 20);
    double start, used;
    uint64_t n = 0;
    off_t at = 0;
    int fd;

    snprintf(path, sizeof path, "%s/plain", dir);
    fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0644);
    if (fd < 0 || p == NULL)
        die("cannot make the plain file");
    for (off_t i = 0; i < PLAIN_BYTES; i += 1 << 20)
        if (pwrite(fd, p, 1 << 20, i) != 1 << 20)
            die("cannot fill the plain file");
    fsync(fd);
    start = now();
    do {
        if (at + (off_t)bytes > PLAIN_BYTES)
            at = 0;
        if (pwrite(fd, p, bytes, at) != (ssize_t)bytes || fdatasync(fd) != 0)
            die("cannot write the plain file");
        at += (off_t)bytes;
        n += per_sync;
        used = now() - start;
    } while (used < SECONDS);
    close(fd);
    unlink(path);
    free(p);
    return (double)n / used;
}

/* Two appends in turn: one is filled while the other is on its way to the disk. */
static double append(struct qn_log *lg, uint32_t topic, size_t per_sync, double *encode)
{
    static char text[EVENT_BYTES];
    struct qn_log_append *list[2];
    bool is_on_its_way[2] = {false, false};
    struct qn_err err;
    double start, used, encoding = 0;
    uint64_t n = 0;
    unsigned turn = 0;

    for (int i = 0; i < 2; i++)
        if (qn_log_append_new(lg, &list[i], &err) != QN_OK)
            die(err.text);
    memset(text, 'x', sizeof text);
    start = now();
    do {
        struct qn_log_append *a = list[turn];
        double t;

        if (is_on_its_way[turn] && qn_log_wait(lg, a, NULL, &err) != QN_OK)
            die(err.text);
        t = now();
        qn_log_append_reset(a);
        for (size_t i = 0; i < per_sync; i++) {
            const struct qn_log_record r = {.key = {text, 16},
                                            .value = {text + 16, EVENT_BYTES - 16},
                                            .time_us = (int64_t)(n + i) * 1000};

            if (qn_log_append_record(a, topic, QN_LOG_RECORDS, &r, &err) != QN_OK)
                die(err.text);
        }
        encoding += now() - t;
        if (qn_log_submit(lg, a, NULL, NULL, &err) != QN_OK)
            die(err.text);
        is_on_its_way[turn] = true;
        turn = 1 - turn;
        n += per_sync;
        used = now() - start;
    } while (used < SECONDS);
    for (int i = 0; i < 2; i++) {
        if (is_on_its_way[i] && qn_log_wait(lg, list[i], NULL, &err) != QN_OK)
            die(err.text);
        qn_log_append_free(list[i]);
    }
    *encode = encoding / (double)n * 1e9;
    return (double)n / (now() - start);
}

static void read_back(struct qn_log *lg, uint32_t topic)
{
    const struct qn_log_selection what = {.topics = &topic, .topic_count = 1};
    static struct qn_log_record out[4096];
    struct qn_log_reader *r;
    enum qn_flow flow;
    struct qn_err err;
    uint64_t n = 0;
    uint32_t count;
    double start = now(), used;

    if (qn_log_reader_new(lg, &what, &r, &err) != QN_OK)
        die(err.text);
    do {
        if (qn_log_reader_next(r, out, 4096, &count, &flow, &err) != QN_OK)
            die(err.text);
        n += count;
        qn_log_reader_release(r);
    } while (flow == QN_MORE);
    used = now() - start;
    qn_log_reader_free(r);
    printf("read        %12.0f events/s  (%llu events, page cache)\n", (double)n / used,
           (unsigned long long)n);
}

static void checksum(void)
{
    static char p[1 << 20];
    double start = now();
    uint32_t crc = 0;

    for (int i = 0; i < 1000; i++)
        crc = qn_crc32c(crc, p, sizeof p);
    printf("crc32c      %12.1f GB/s  (%08x)\n", 1000 * sizeof p / (now() - start) / 1e9, crc);
}

int main(int argc, char **argv)
{
    static const size_t per_sync[] = {1, 100, 10000};
    const char *base = argc > 1 ? argv[1] : "build/bench";
    struct qn_log_options opt = {0};
    struct qn_log *lg;
    struct qn_err err;
    uint32_t topic;
    char dir[4000];

    snprintf(dir, sizeof dir, "%s/bench_log.%ld", base, (long)getpid());
    checksum();
    for (size_t k = 0; k < sizeof per_sync / sizeof per_sync[0]; k++) {
        double rate, alone, encode;

        if (qn_log_open(dir, &opt, &lg, NULL, &err) != QN_OK ||
            qn_log_topic(lg, qn_str_of("events"), true, &topic, &err) != QN_OK)
            die(err.text);
        qn_log_retain(lg, topic, 0, 1);
        alone = plain(base, per_sync[k]);
        rate = append(lg, topic, per_sync[k], &encode);
        printf("append      %12.0f events/s at %5zu per append; plain write+fdatasync %12.0f "
               "(%.0f %%); encoding %.1f ns/event\n",
               rate, per_sync[k], alone, rate / alone * 100, encode);
        if (k == 2)
            read_back(lg, topic);
        if (qn_log_close(lg, &err) != QN_OK)
            die(err.text);
    }
    remove_folder(dir);
    return 0;
}
