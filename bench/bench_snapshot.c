/* SPDX-License-Identifier: Apache-2.0
 * bench_snapshot.c - what snapshots of many keys cost: a full one, one of changes, a restore, and
 * how long the engine stands still.
 *
 *   bench_snapshot [KEYS [EVENTS_PER_KEY [FOLDER]]]    (default: 1,000,000, 8, build/bench)
 *
 * One group as in the card-fraud example (count and mean of a decimal over 1, 7 and 30 days), one
 * worker, batches of 1,024 rows of random keys. While a snapshot is taken every batch is followed
 * by one step of a MiB; `pause` is what begin, step and finish took at a time, `batch` what the
 * rows themselves took, saving keys before they change included. All times are of the engine's
 * thread: wall, where other work on the machine shows, and CPU, where it does not. JSON to stdout.
 * Not a test: it only prints. */
#include "base/clock.h"
#include "base/hash.h"
#include "feature/window.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BATCH = 1024, WINDOWS = 6, CALM = 400, TIMES_MAX = 1 << 16, STEP_WORK = 1 << 20 };
#define DAY_US ((int64_t)86400 * 1000000)

/* A moment, or how long something took. */
struct moment {
    int64_t wall_ns, cpu_ns;
};

struct times {
    double wall_us[TIMES_MAX], cpu_us[TIMES_MAX];
    uint32_t count;
};

static struct {
    struct qn_rng r;
    uint32_t keys;
    int64_t now_us;
    struct qn_str *text;
    uint64_t *hash;
    struct qn_group *g;
    struct qn_snapshots *sn;
    struct qn_snapshot_store store;
    struct times batch, pause;
} s;

static struct moment now(void)
{
    struct timespec cpu;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu);
    return (struct moment){qn_clock_system.mono_ns(qn_clock_system.st),
                           (int64_t)cpu.tv_sec * 1000000000 + cpu.tv_nsec};
}

static struct moment since(struct moment start)
{
    struct moment n = now();

    return (struct moment){n.wall_ns - start.wall_ns, n.cpu_ns - start.cpu_ns};
}

static void *array(size_t count, size_t bytes)
{
    void *p = qn_mem_zalloc(count, bytes);

    if (p == NULL)
        exit(1);
    return p;
}

static void check(qn_status rc, const struct qn_err *err)
{
    if (rc == QN_OK)
        return;
    fprintf(stderr, "bench_snapshot: %s\n", err->text);
    exit(1);
}

static void times_add(struct times *t, struct moment start)
{
    struct moment took = since(start);

    if (t->count == TIMES_MAX)
        return;
    t->wall_us[t->count] = (double)took.wall_ns / 1000;
    t->cpu_us[t->count++] = (double)took.cpu_ns / 1000;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static void list_print(const char *name, const char *clock, double *us, uint32_t count)
{
    qsort(us, count, sizeof *us, by_size);
    printf(",\"%s_%s_us\":{\"p50\":%.0f,\"p99\":%.0f,\"max\":%.0f}", name, clock, us[count / 2],
           us[(uint64_t)count * 99 / 100], us[count - 1]);
}

static void times_print(const char *name, struct times *t)
{
    list_print(name, "wall", t->wall_us, t->count);
    list_print(name, "cpu", t->cpu_us, t->count);
    t->count = 0;
}

static void keys_make(void)
{
    char *text = array(s.keys, 16);

    s.text = array(s.keys, sizeof *s.text);
    s.hash = array(s.keys, sizeof *s.hash);
    for (uint32_t i = 0; i < s.keys; i++) {
        char *t = text + (size_t)i * 16;

        s.text[i] = (struct qn_str){t, (uint32_t)snprintf(t, 16, "cust%08u", i)};
        s.hash[i] = qn_hash(t, s.text[i].len, 0);
    }
}

static void group_make(void)
{
    static const struct qn_kind arg = {QN_DECIMAL, 2};
    static const int64_t days[] = {1, 7, 30};
    static struct qn_window windows[WINDOWS];
    struct qn_group_spec spec = {&arg, 1, 0, windows, WINDOWS, 20 * 1000000};
    struct qn_section section;
    struct qn_snapshots_options opt = {
        .store = &s.store, .sections = &section, .section_count = 1, .workers = 1};
    struct qn_err err = {0};

    for (int i = 0; i < WINDOWS; i++)
        windows[i] = (struct qn_window){i < 3 ? QN_AGGREGATE_COUNT : QN_AGGREGATE_MEAN,
                                        i < 3 ? -1 : 0,
                                        -1,
                                        days[i % 3] * DAY_US,
                                        0,
                                        false,
                                        {i < 3 ? QN_INT64 : QN_DOUBLE, 0}};
    check(qn_group_new(&spec, 1, &s.g, &err), &err);
    section = qn_group_section(s.g);
    snprintf(section.name, sizeof section.name, "windows");
    check(qn_snapshots_new(&opt, &s.sn, &err), &err);
}

/* A batch of random keys, or of the keys from `first` on. */
static void batch(bool random, uint32_t first)
{
    static struct qn_str key[BATCH];
    static uint64_t hash[BATCH];
    static int64_t time_us[BATCH], value[BATCH], out_i64[WINDOWS][BATCH];
    static uint8_t role[BATCH], valid[BATCH], out_valid[WINDOWS][BATCH];
    static struct qn_arena arena;
    struct qn_col arg = {.kind = {QN_DECIMAL, 2}, .valid = valid, .i64 = value};
    const struct qn_col *args[] = {&arg};
    struct qn_col cols[WINDOWS], *out[WINDOWS];
    struct qn_wave w = {BATCH, role, time_us, key, hash, args, NULL, out};
    struct qn_err err = {0};

    for (uint32_t i = 0; i < BATCH; i++) {
        uint32_t k = random ? qn_rng_below(&s.r, s.keys) : (first + i) % s.keys;

        s.now_us += 10000;
        key[i] = s.text[k];
        hash[i] = s.hash[k];
        time_us[i] = s.now_us;
        value[i] = qn_rng_below(&s.r, 20000);
        role[i] = QN_ROLE_UPDATE | QN_ROLE_READ;
        valid[i] = 1;
    }
    for (int k = 0; k < WINDOWS; k++) {
        cols[k] = (struct qn_col){{k < 3 ? QN_INT64 : QN_DOUBLE, 0}, out_valid[k], {out_i64[k]}};
        out[k] = &cols[k];
    }
    struct moment start = now();

    qn_arena_reset(&arena);
    check(qn_group_run(s.g, &w, 0, 1, &arena, &err), &err);
    times_add(&s.batch, start);
}

static void snapshot(const char *name)
{
    struct qn_snapshot_info info = {.position = 1};
    struct qn_err err = {0};
    struct moment start = now(), at = start, swept = {0, 0};
    enum qn_snapshot_phase phase = QN_SNAPSHOT_SWEEPING;

    s.batch.count = s.pause.count = 0;
    check(qn_snapshots_begin(s.sn, &info, &err), &err);
    times_add(&s.pause, at);
    while (phase != QN_SNAPSHOT_ENDED) {
        batch(true, 0);
        at = now();
        phase = qn_snapshots_step(s.sn, STEP_WORK);
        if (phase == QN_SNAPSHOT_SWEPT) {
            qn_snapshots_finish(s.sn);
            swept = since(start);
        }
        times_add(&s.pause, at);
    }
    check(qn_snapshots_result(s.sn, &info, &err), &err);
    printf("{\"what\":\"%s\",\"full\":%s,\"swept_s\":%.2f,\"published_s\":%.2f,\"mib\":%.1f,"
           "\"batches\":%u",
           name, info.is_full ? "true" : "false", (double)swept.wall_ns / 1e9,
           (double)since(start).wall_ns / 1e9, (double)info.bytes / (1 << 20), s.batch.count);
    times_print("pause", &s.pause);
    times_print("batch", &s.batch);
    printf("}\n");
}

static void restore(void)
{
    struct qn_snapshot_choice how = {0};
    struct qn_snapshot_info got;
    struct qn_err err = {0};

    qn_snapshots_free(s.sn);
    qn_group_free(s.g);
    group_make();
    struct moment start = now();

    check(qn_snapshots_restore(s.sn, &how, &got, &err), &err);
    struct moment took = since(start);

    printf("{\"what\":\"restore\",\"wall_s\":%.2f,\"cpu_s\":%.2f,\"keys\":%llu,\"mib\":%.1f,"
           "\"state_mib\":%.1f}\n",
           (double)took.wall_ns / 1e9, (double)took.cpu_ns / 1e9,
           (unsigned long long)qn_group_keys(s.g), (double)got.all_bytes / (1 << 20),
           (double)qn_group_bytes(s.g) / (1 << 20));
}

static void remove_one(void *arg, const char *name)
{
    struct qn_buf *names = arg;

    qn_buf_add(names, name, strlen(name) + 1);
}

static void clean(void)
{
    struct qn_buf names = {0};

    check(s.store.list(s.store.st, remove_one, &names, NULL), &(struct qn_err){0});
    for (size_t at = 0; at < names.len; at += strlen(names.data + at) + 1)
        if (names.data[at] != '.')
            s.store.remove(s.store.st, names.data + at, NULL);
    qn_buf_fini(&names);
}

int main(int argc, char **argv)
{
    uint32_t per_key = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 8;
    char folder[4096];
    struct qn_err err = {0};

    s.keys = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 1000000;
    snprintf(folder, sizeof folder, "%s/bench-snapshots", argc > 3 ? argv[3] : "build/bench");
    qn_rng_seed(&s.r, 2018);
    check(qn_snapshot_folder_new(&qn_files_system, folder, &s.store, &err), &err);
    clean();
    keys_make();
    group_make();
    for (uint32_t i = 0; i < s.keys / BATCH * per_key; i++)
        batch(false, i * BATCH);
    s.batch.count = 0;
    for (int i = 0; i < CALM; i++)
        batch(true, 0);
    printf("{\"what\":\"calm\",\"keys\":%llu,\"state_mib\":%.1f",
           (unsigned long long)qn_group_keys(s.g), (double)qn_group_bytes(s.g) / (1 << 20));
    times_print("batch", &s.batch);
    printf("}\n");
    snapshot("full");
    snapshot("changes");
    snapshot("changes");
    restore();
    snapshot("changes behind a restore");
    qn_snapshots_free(s.sn);
    qn_group_free(s.g);
    clean();
    qn_snapshot_store_free(&s.store);
    return 0;
}
