/* SPDX-License-Identifier: Apache-2.0
 * bench_kafka.c - what `./dev bench kafka` measures Kafka pipelines with: a load at a set rate with
 * a reader at the other end, and the bare loop that reads and writes and does nothing else.
 *
 *   load BROKERS IN OUT RATE SECONDS WARM_S KEYS FIRST   events to IN, answers from OUT, latency
 *   loop BROKERS GROUP IN OUT plain|exact COMMIT_MS      the bare loop, until SIGTERM
 *   fill BROKERS IN COUNT KEYS                           events to IN as fast as it goes
 *   drain BROKERS IN COUNT                               reads so many, and does nothing
 *   events COUNT KEYS PARTITION                          the same events of a partition, to stdout
 *   hash PARTITION                                       of records of `quern pipe` on stdin
 *
 * Event i is a function of i, BYTES long, and lies in partition customer % PARTITIONS. It is due at
 * start + i / RATE whatever became of those before it, and its latency counts from then until a
 * read_committed reader has the answer that carries its id, so nobody can hide a stall by slowing
 * the load down. The reader counts every id, and chains a hash over each partition's answers. One
 * JSON object on stdout. Not a test: it only prints. */
#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <xxhash.h>

enum {
    PARTITIONS = 4,
    BYTES = 200,
    TERMINALS = 10000,
    STEP_S = 9, /* event time between two events: 9,600 a day, as the fraud data has */
    BATCH = 4096,
    WAIT_S = 15, /* for answers, since the last one came */
    CLIENTS = 2,
    GAP_MS = 200,
    GAPS_MAX = 64
};
#define TICK_NS INT64_C(2000000)
#define BEGIN_S INT64_C(1522886400) /* 2018-04-05 */

static _Noreturn void die(const char *what, const char *why)
{
    fprintf(stderr, "bench_kafka: %s: %s\n", what, why);
    exit(1);
}

static int64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static void sleep_ns(int64_t ns)
{
    const struct timespec t = {ns / 1000000000, ns % 1000000000};

    if (ns > 0)
        nanosleep(&t, NULL);
}

/* ---- events ----------------------------------------------------------------------------------*/

static uint64_t mixed(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

struct event {
    char bytes[BYTES + 100];
    char key[16];
    int key_len, partition;
};

/* Every key once before any comes again. */
static uint64_t key_of(uint64_t i, uint64_t keys)
{
    return i < keys ? i : mixed(i) % keys;
}

static void make_event(uint64_t i, uint64_t keys, struct event *e)
{
    static _Thread_local int64_t day = -1;
    static _Thread_local char date[16];
    const uint64_t customer = key_of(i, keys), random = mixed(i * 2 + 1);
    const int64_t at = BEGIN_S + (int64_t)i * STEP_S, second = at % 86400;
    int n;

    if (at / 86400 != day) {
        const time_t t = at;
        struct tm tm;

        day = at / 86400;
        strftime(date, sizeof date, "%Y-%m-%d", gmtime_r(&t, &tm));
    }
    e->key_len = snprintf(e->key, sizeof e->key, "c%llu", (unsigned long long)customer);
    e->partition = (int)(customer % PARTITIONS);
    n = snprintf(e->bytes, sizeof e->bytes,
                 "{\"transaction_id\":\"%llu\",\"created_at\":\"%sT%02d:%02d:%02dZ\","
                 "\"customer_id\":\"%s\",\"terminal_id\":\"t%llu\",\"amount\":%llu.%02llu,"
                 "\"tx_fraud\":%s,\"note\":\"",
                 (unsigned long long)i, date, (int)(second / 3600), (int)(second / 60 % 60),
                 (int)(second % 60), e->key, (unsigned long long)(random % TERMINALS),
                 (unsigned long long)(random >> 20) % 200, (unsigned long long)(random >> 40) % 100,
                 (random >> 50) % 100 == 0 ? "true" : "false");
    memset(e->bytes + n, 'x', (size_t)(BYTES - 2 - n));
    memcpy(e->bytes + BYTES - 2, "\"}", 3);
}

static int print_events(uint64_t count, uint64_t keys, int partition)
{
    struct event e;

    for (uint64_t i = 0; i < count; i++) {
        make_event(i, keys, &e);
        if (e.partition == partition) {
            e.bytes[BYTES] = '\n';
            fwrite(e.bytes, 1, BYTES + 1, stdout);
        }
    }
    return 0;
}

/* ---- clients ---------------------------------------------------------------------------------*/

static rd_kafka_t *client(rd_kafka_type_t type, const char *brokers, const char *const *settings,
                          void (*delivered)(rd_kafka_t *, const rd_kafka_message_t *, void *),
                          void *opaque)
{
    static const char *const shared[] = {"socket.nagle.disable", "true", "log_level", "3", NULL};
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    char why[512];
    rd_kafka_t *rk;

    if (rd_kafka_conf_set(conf, "bootstrap.servers", brokers, why, sizeof why) != RD_KAFKA_CONF_OK)
        die(brokers, why);
    for (int list = 0; list < 2; list++)
        for (const char *const *s = list == 0 ? shared : settings; s[0] != NULL; s += 2)
            if (rd_kafka_conf_set(conf, s[0], s[1], why, sizeof why) != RD_KAFKA_CONF_OK)
                die(s[0], why);
    if (delivered != NULL)
        rd_kafka_conf_set_dr_msg_cb(conf, delivered);
    rd_kafka_conf_set_opaque(conf, opaque);
    rk = rd_kafka_new(type, conf, why, sizeof why);
    if (rk == NULL)
        die("a client cannot be made", why);
    return rk;
}

/* The first message to a topic that was never asked about waits a second. */
static rd_kafka_topic_t *warm_topic(rd_kafka_t *rk, const char *name)
{
    rd_kafka_topic_t *t = rd_kafka_topic_new(rk, name, NULL);
    const struct rd_kafka_metadata *found = NULL;

    if (rd_kafka_metadata(rk, 0, t, &found, 10000) != RD_KAFKA_RESP_ERR_NO_ERROR)
        die(name, "nobody tells about it");
    rd_kafka_metadata_destroy(found);
    return t;
}

/* A linger below its poll's millisecond is spent spinning by librdkafka (seen on 2.0.2), so the
 * load makes batches by itself: what is due every TICK_NS goes out at once. */
static rd_kafka_t *writer(const char *brokers, const char *linger_ms)
{
    const char *settings[] = {"enable.idempotence",
                              "true",
                              "linger.ms",
                              linger_ms,
                              "max.in.flight.requests.per.connection",
                              "1",
                              "queue.buffering.max.messages",
                              "2000000",
                              "queue.buffering.max.kbytes",
                              "2097151",
                              NULL};

    return client(RD_KAFKA_PRODUCER, brokers, settings, NULL, NULL);
}

static void write_event(rd_kafka_t *rk, rd_kafka_topic_t *t, uint64_t i, uint64_t keys)
{
    struct event e;

    make_event(i, keys, &e);
    while (rd_kafka_produce(t, e.partition, RD_KAFKA_MSG_F_COPY, e.bytes, BYTES, e.key,
                            (size_t)e.key_len, NULL) != 0) {
        if (rd_kafka_last_error() != RD_KAFKA_RESP_ERR__QUEUE_FULL)
            die("cannot produce", rd_kafka_err2str(rd_kafka_last_error()));
        (void)rd_kafka_poll(rk, 1);
    }
}

/* Waits for one message at most, and takes what else is there. */
static int take(rd_kafka_queue_t *q, int timeout_ms, rd_kafka_message_t **list, int max)
{
    ssize_t n = rd_kafka_consume_batch_queue(q, timeout_ms, list, 1);

    if (n == 1 && max > 1) {
        ssize_t more = rd_kafka_consume_batch_queue(q, 0, list + 1, (size_t)max - 1);

        n += more > 0 ? more : 0;
    }
    return n > 0 ? (int)n : 0;
}

/* ---- load ------------------------------------------------------------------------------------*/

static struct {
    const char *brokers, *in, *out;
    double rate;
    uint64_t first, total, warm, keys; /* ids: [first, first + total)                          */
    atomic_bool is_reading, is_enough;
    atomic_llong start_ns; /* when event `first` was due                           */
    uint32_t *latency_us;  /* [total] 0 = no answer yet                            */
    _Atomic uint64_t answered;
    uint64_t doubled, foreign, bytes;
    uint64_t chain[PARTITIONS];
    struct gap { /* silences of a partition                              */
        int partition;
        double from_s, ms;
    } gaps[GAPS_MAX];
    int gap_count;
    double longest_ms[PARTITIONS];
    int64_t late_ns; /* how far the writer fell behind, at most              */
} load;

/* The digits behind the first `_id":"`, as events and predictions have it. */
static bool read_id(const rd_kafka_message_t *m, uint64_t *id)
{
    const char *p = memmem(m->payload, m->len, "_id\":\"", 6), *end = (char *)m->payload + m->len;

    if (p == NULL)
        return false;
    *id = 0;
    for (p += 6; p < end && *p >= '0' && *p <= '9'; p++)
        *id = *id * 10 + (uint64_t)(*p - '0');
    return true;
}

static void take_answer(const rd_kafka_message_t *m, int64_t now)
{
    int64_t due;
    uint64_t id;

    load.chain[m->partition] = XXH3_64bits_withSeed(m->payload, m->len, load.chain[m->partition]);
    load.bytes += m->len;
    if (!read_id(m, &id) || id < load.first || id >= load.first + load.total) {
        load.foreign++;
        return;
    }
    id -= load.first;
    if (load.latency_us[id] != 0) {
        load.doubled++;
        return;
    }
    due = load.start_ns + (int64_t)((double)id / load.rate * 1e9);
    load.latency_us[id] = now > due ? (uint32_t)((now - due) / 1000) + 1 : 1;
    atomic_fetch_add_explicit(&load.answered, 1, memory_order_relaxed);
}

static void note_gap(int partition, int64_t before, int64_t now)
{
    const double ms = (double)(now - before) / 1e6;

    if (before == 0)
        return;
    if (ms > load.longest_ms[partition])
        load.longest_ms[partition] = ms;
    if (ms >= GAP_MS && load.gap_count < GAPS_MAX)
        load.gaps[load.gap_count++] =
            (struct gap){partition, (double)(before - load.start_ns) / 1e9, ms};
}

static void *read_answers(void *unused)
{
    static const char *const settings[] = {"group.id",
                                           "reader",
                                           "isolation.level",
                                           "read_committed",
                                           "enable.auto.commit",
                                           "false",
                                           "queued.min.messages",
                                           "1000000",
                                           NULL};
    rd_kafka_t *rk = client(RD_KAFKA_CONSUMER, load.brokers, settings, NULL, NULL);
    rd_kafka_topic_partition_list_t *l = rd_kafka_topic_partition_list_new(PARTITIONS);
    static rd_kafka_message_t *list[BATCH];
    int64_t last[PARTITIONS] = {0};
    rd_kafka_queue_t *q;

    for (int p = 0; p < PARTITIONS; p++) {
        int64_t low, high;

        rd_kafka_topic_partition_list_add(l, load.out, p);
        if (rd_kafka_query_watermark_offsets(rk, load.out, p, &low, &high, 10000) !=
            RD_KAFKA_RESP_ERR_NO_ERROR)
            die(load.out, "cannot be read");
        l->elems[p].offset = high;
    }
    rd_kafka_poll_set_consumer(rk);
    rd_kafka_assign(rk, l);
    rd_kafka_topic_partition_list_destroy(l);
    q = rd_kafka_queue_get_consumer(rk);
    (void)rd_kafka_consume_batch_queue(q, 300, list, 1); /* the first fetch is under way */
    load.is_reading = true;
    while (!load.is_enough) {
        const int n = take(q, 50, list, BATCH);
        const int64_t now = now_ns();
        bool is_there[PARTITIONS] = {false};

        for (int i = 0; i < n; i++) {
            if (list[i]->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
                is_there[list[i]->partition] = true;
                take_answer(list[i], now);
            }
            rd_kafka_message_destroy(list[i]);
        }
        for (int p = 0; p < PARTITIONS; p++)
            if (is_there[p]) {
                note_gap(p, last[p], now);
                last[p] = now;
            }
    }
    rd_kafka_queue_destroy(q);
    rd_kafka_consumer_close(rk);
    rd_kafka_destroy(rk);
    return unused;
}

static void write_events(void)
{
    rd_kafka_t *rk = writer(load.brokers, "0");
    rd_kafka_topic_t *t = warm_topic(rk, load.in);
    uint64_t sent = 0;

    load.start_ns = now_ns();
    while (sent < load.total) {
        const int64_t now = now_ns();
        uint64_t due = (uint64_t)((double)(now - load.start_ns) / 1e9 * load.rate) + 1;

        due = due > load.total ? load.total : due;
        for (; sent < due; sent++)
            write_event(rk, t, load.first + sent, load.keys);
        (void)rd_kafka_poll(rk, 0);
        if (now_ns() - now > load.late_ns)
            load.late_ns = now_ns() - now;
        sleep_ns(now + TICK_NS - now_ns());
    }
    if (rd_kafka_flush(rk, 60000) != RD_KAFKA_RESP_ERR_NO_ERROR)
        die("events", "not all of them were taken");
    rd_kafka_topic_destroy(t);
    rd_kafka_destroy(rk);
}

static int compare(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static double quantile_ms(const uint32_t *sorted, uint64_t count, double q)
{
    const uint64_t at = (uint64_t)((double)count * q);

    return count == 0 ? 0 : sorted[at < count ? at : count - 1] / 1e3;
}

/* Sorts the range in place; answers that never came are left out. */
static void print_ms(const char *name, uint32_t *us, uint64_t count)
{
    uint64_t missing = 0;

    qsort(us, count, sizeof *us, compare);
    while (missing < count && us[missing] == 0)
        missing++;
    us += missing;
    count -= missing;
    printf(",\"%s\":[%.2f,%.2f,%.2f,%.2f]", name, quantile_ms(us, count, 0.5),
           quantile_ms(us, count, 0.99), quantile_ms(us, count, 0.999), quantile_ms(us, count, 1));
}

static void print_load(double seconds)
{
    const uint64_t answered = load.answered, third = (load.total - load.warm) / 3;
    uint32_t *last = malloc((third + 1) * sizeof *last);

    if (last == NULL)
        die("load", "out of memory");
    memcpy(last, load.latency_us + load.total - third, third * sizeof *last);
    printf("{\"rate\":%.0f,\"asked\":%llu,\"answered\":%llu,\"missing\":%llu,\"doubled\":%llu,"
           "\"foreign\":%llu,\"seconds\":%.3f,\"bytes\":%llu,\"late_ms\":%.2f",
           load.rate, (unsigned long long)load.total, (unsigned long long)answered,
           (unsigned long long)(load.total - answered), (unsigned long long)load.doubled,
           (unsigned long long)load.foreign, seconds, (unsigned long long)load.bytes,
           (double)load.late_ns / 1e6);
    print_ms("ms", load.latency_us + load.warm, load.total - load.warm);
    print_ms("last_ms", last, third);
    printf(",\"chain\":[");
    for (int p = 0; p < PARTITIONS; p++)
        printf("%s\"%016llx\"", p > 0 ? "," : "", (unsigned long long)load.chain[p]);
    printf("],\"longest_ms\":[");
    for (int p = 0; p < PARTITIONS; p++)
        printf("%s%.1f", p > 0 ? "," : "", load.longest_ms[p]);
    printf("],\"gaps\":[");
    for (int i = 0; i < load.gap_count; i++)
        printf("%s[%d,%.3f,%.1f]", i > 0 ? "," : "", load.gaps[i].partition, load.gaps[i].from_s,
               load.gaps[i].ms);
    printf("]}\n");
    free(last);
}

static int run_load(char **a)
{
    pthread_t reader;
    uint64_t before = 0;
    double seconds;
    int64_t since;

    load.brokers = a[0];
    load.in = a[1];
    load.out = a[2];
    load.rate = atof(a[3]);
    load.total = (uint64_t)(load.rate * (atof(a[4]) + atof(a[5])));
    load.warm = (uint64_t)(load.rate * atof(a[5]));
    load.keys = strtoull(a[6], NULL, 10);
    load.first = strtoull(a[7], NULL, 10);
    load.latency_us = calloc(load.total + 1, sizeof *load.latency_us);
    if (load.rate <= 0 || load.total == 0 || load.keys == 0 || load.latency_us == NULL)
        die("load", "numbers that cannot be");
    memset(load.latency_us, 0, load.total * sizeof *load.latency_us);
    pthread_create(&reader, NULL, read_answers, NULL);
    while (!load.is_reading)
        sleep_ns(10000000);
    fprintf(stderr, "begun\n");
    write_events();
    for (since = now_ns(); load.answered < load.total;) {
        if (load.answered != before)
            since = now_ns();
        before = load.answered;
        if (now_ns() - since > WAIT_S * INT64_C(1000000000))
            break;
        sleep_ns(5000000);
    }
    seconds = (double)(now_ns() - load.start_ns) / 1e9;
    sleep_ns(300000000); /* what comes twice comes later */
    load.is_enough = true;
    pthread_join(reader, NULL);
    print_load(seconds);
    return 0;
}

/* ---- the bare loop ---------------------------------------------------------------------------*/

static volatile sig_atomic_t must_stop;

static void on_signal(int number)
{
    must_stop = number;
}

static rd_kafka_queue_t *subscribed(const char *brokers, const char *group, const char *in,
                                    rd_kafka_t **rk)
{
    const char *settings[] = {"group.id",
                              group,
                              "enable.auto.commit",
                              "false",
                              "enable.auto.offset.store",
                              "false",
                              "isolation.level",
                              "read_committed",
                              "auto.offset.reset",
                              "earliest",
                              "check.crcs",
                              "true",
                              "partition.assignment.strategy",
                              "range",
                              NULL};
    rd_kafka_topic_partition_list_t *l = rd_kafka_topic_partition_list_new(1);

    *rk = client(RD_KAFKA_CONSUMER, brokers, settings, NULL, NULL);
    rd_kafka_poll_set_consumer(*rk);
    rd_kafka_topic_partition_list_add(l, in, RD_KAFKA_PARTITION_UA);
    rd_kafka_subscribe(*rk, l);
    rd_kafka_topic_partition_list_destroy(l);
    return rd_kafka_queue_get_consumer(*rk);
}

static void advance(rd_kafka_topic_partition_list_t *l, const rd_kafka_message_t *m)
{
    rd_kafka_topic_partition_t *p =
        rd_kafka_topic_partition_list_find(l, rd_kafka_topic_name(m->rkt), m->partition);

    if (p == NULL)
        p = rd_kafka_topic_partition_list_add(l, rd_kafka_topic_name(m->rkt), m->partition);
    p->offset = m->offset + 1;
}

static void forward(rd_kafka_t *rk, rd_kafka_topic_t *out, const rd_kafka_message_t *m, int flags,
                    void *opaque)
{
    while (rd_kafka_produce(out, m->partition, flags, m->payload, m->len, m->key, m->key_len,
                            opaque) != 0) {
        if (rd_kafka_last_error() != RD_KAFKA_RESP_ERR__QUEUE_FULL)
            die("cannot produce", rd_kafka_err2str(rd_kafka_last_error()));
        (void)rd_kafka_poll(rk, 1);
    }
}

/* At least once: messages go on at once; every COMMIT_MS a wave ends, and its positions are
 * committed when all of it is delivered. */
struct wave {
    uint64_t under_way;
    rd_kafka_topic_partition_list_t *positions;
};

static void wave_delivered(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque)
{
    (void)rk;
    (void)opaque;
    if (m->err != RD_KAFKA_RESP_ERR_NO_ERROR)
        die("a message is not taken", rd_kafka_err2str(m->err));
    ((struct wave *)m->_private)->under_way--;
}

static void loop_plain(rd_kafka_t *consumer, rd_kafka_queue_t *q, const char *brokers,
                       const char *out, int64_t commit_ns)
{
    static const char *const settings[] = {
        "enable.idempotence",           "true",    "linger.ms", "0", "compression.codec", "lz4",
        "queue.buffering.max.messages", "1000000", NULL};
    rd_kafka_t *rk = client(RD_KAFKA_PRODUCER, brokers, settings, wave_delivered, NULL);
    rd_kafka_topic_t *t = warm_topic(rk, out);
    static rd_kafka_message_t *list[BATCH];
    struct wave waves[2] = {{0, rd_kafka_topic_partition_list_new(PARTITIONS)},
                            {0, rd_kafka_topic_partition_list_new(PARTITIONS)}};
    int64_t since = now_ns();
    int turn = 0;

    while (!must_stop) {
        struct wave *w = &waves[turn], *old = &waves[1 - turn];
        const int n = take(q, 1, list, BATCH);

        for (int i = 0; i < n; i++) {
            if (list[i]->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
                forward(rk, t, list[i], RD_KAFKA_MSG_F_COPY, w);
                w->under_way++;
                advance(w->positions, list[i]);
            }
            rd_kafka_message_destroy(list[i]);
        }
        (void)rd_kafka_poll(rk, 0);
        if (old->under_way == 0 && old->positions->cnt > 0) {
            (void)rd_kafka_commit(consumer, old->positions, 1);
            rd_kafka_topic_partition_list_destroy(old->positions);
            old->positions = rd_kafka_topic_partition_list_new(PARTITIONS);
        }
        if (now_ns() - since >= commit_ns && old->positions->cnt == 0) {
            since = now_ns();
            turn = 1 - turn;
        }
    }
    rd_kafka_flush(rk, 10000);
    rd_kafka_topic_destroy(t);
    rd_kafka_destroy(rk);
}

static void must(rd_kafka_error_t *e, const char *what)
{
    if (e != NULL)
        die(what, rd_kafka_error_string(e));
}

/* Exactly once: what came within COMMIT_MS is one transaction; two producers take turns. */
struct transactions {
    rd_kafka_t *rk[CLIENTS];
    rd_kafka_topic_t *topic[CLIENTS];
    int turn;
};

/* A commit waits for the last message: reports wake it, without them it looks every 10 ms. */
static void reported(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque)
{
    (void)rk;
    (void)m;
    (void)opaque;
}

static void transactions_open(struct transactions *t, const char *brokers, const char *group,
                              const char *out)
{
    for (int i = 0; i < CLIENTS; i++) {
        char id[300];
        const char *settings[] = {"transactional.id",
                                  id,
                                  "linger.ms",
                                  "0",
                                  "compression.codec",
                                  "lz4",
                                  "retry.backoff.ms",
                                  "5",
                                  "transaction.timeout.ms",
                                  "15000",
                                  "queue.buffering.max.messages",
                                  "1000000",
                                  NULL};

        snprintf(id, sizeof id, "%s.%d", group, i);
        t->rk[i] = client(RD_KAFKA_PRODUCER, brokers, settings, reported, NULL);
        must(rd_kafka_init_transactions(t->rk[i], 30000), "transactions cannot be begun");
        t->topic[i] = warm_topic(t->rk[i], out);
    }
}

static void transact(struct transactions *t, rd_kafka_t *consumer, rd_kafka_message_t **list,
                     int count)
{
    rd_kafka_topic_partition_list_t *l = rd_kafka_topic_partition_list_new(PARTITIONS);
    rd_kafka_consumer_group_metadata_t *group = rd_kafka_consumer_group_metadata(consumer);
    rd_kafka_t *rk = t->rk[t->turn];

    must(rd_kafka_begin_transaction(rk), "begin");
    for (int i = 0; i < count; i++) {
        forward(rk, t->topic[t->turn], list[i], 0, NULL);
        advance(l, list[i]);
    }
    must(rd_kafka_send_offsets_to_transaction(rk, l, group, -1), "positions");
    must(rd_kafka_commit_transaction(rk, -1), "commit");
    for (int i = 0; i < count; i++)
        rd_kafka_message_destroy(list[i]);
    rd_kafka_consumer_group_metadata_destroy(group);
    rd_kafka_topic_partition_list_destroy(l);
    t->turn = (t->turn + 1) % CLIENTS;
}

static void loop_exact(rd_kafka_t *consumer, rd_kafka_queue_t *q, const char *brokers,
                       const char *group, const char *out, int64_t commit_ns)
{
    enum { GATHER_MAX = 100000 };
    rd_kafka_message_t **list = calloc(GATHER_MAX, sizeof(rd_kafka_message_t *));
    struct transactions t = {.turn = 0};

    if (list == NULL)
        die("loop", "out of memory");
    transactions_open(&t, brokers, group, out);
    while (!must_stop) {
        int count = 0, wait_ms = 100;
        int64_t end = 0;

        while (count < GATHER_MAX && (end == 0 || now_ns() < end) && !must_stop) {
            const int max = GATHER_MAX - count < BATCH ? GATHER_MAX - count : BATCH;
            int n = take(q, wait_ms, list + count, max);

            for (int i = count; i < count + n;)
                if (list[i]->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
                    rd_kafka_message_destroy(list[i]);
                    list[i] = list[count + --n];
                } else {
                    i++;
                }
            count += n;
            if (count > 0 && end == 0)
                end = now_ns() + commit_ns;
            wait_ms = end == 0 ? 100 : (int)((end - now_ns()) / 1000000) + 1;
        }
        if (count > 0)
            transact(&t, consumer, list, count);
    }
    for (int i = 0; i < CLIENTS; i++) {
        rd_kafka_topic_destroy(t.topic[i]);
        rd_kafka_destroy(t.rk[i]);
    }
    free(list);
}

static int run_loop(char **a)
{
    const int64_t commit_ns = (int64_t)(atof(a[5]) * 1e6);
    rd_kafka_queue_t *q;
    rd_kafka_t *consumer;

    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    q = subscribed(a[0], a[1], a[2], &consumer);
    if (strcmp(a[4], "exact") == 0)
        loop_exact(consumer, q, a[0], a[1], a[3], commit_ns);
    else
        loop_plain(consumer, q, a[0], a[3], commit_ns);
    rd_kafka_queue_destroy(q);
    rd_kafka_consumer_close(consumer);
    rd_kafka_destroy(consumer);
    return 0;
}

/* ---- the rest --------------------------------------------------------------------------------*/

static int run_fill(char **a)
{
    const uint64_t count = strtoull(a[2], NULL, 10), keys = strtoull(a[3], NULL, 10);
    rd_kafka_t *rk = writer(a[0], "20");
    rd_kafka_topic_t *t = warm_topic(rk, a[1]);

    for (uint64_t i = 0; i < count; i++) {
        write_event(rk, t, i, keys);
        if (i % 1024 == 0)
            (void)rd_kafka_poll(rk, 0);
    }
    if (rd_kafka_flush(rk, 60000) != RD_KAFKA_RESP_ERR_NO_ERROR)
        die("events", "not all of them were taken");
    rd_kafka_topic_destroy(t);
    rd_kafka_destroy(rk);
    return 0;
}

/* What reading alone takes. */
static int run_drain(char **a)
{
    const uint64_t total = strtoull(a[2], NULL, 10);
    static rd_kafka_message_t *list[BATCH];
    struct timespec cpu;
    rd_kafka_t *rk;
    char group[64];
    rd_kafka_queue_t *q;
    uint64_t count = 0;
    int64_t start = 0;

    snprintf(group, sizeof group, "drain-%lld", (long long)now_ns());
    q = subscribed(a[0], group, a[1], &rk);
    while (count < total) {
        const int n = take(q, 100, list, BATCH);

        start = start == 0 && n > 0 ? now_ns() : start;
        for (int i = 0; i < n; i++) {
            count += list[i]->err == RD_KAFKA_RESP_ERR_NO_ERROR;
            rd_kafka_message_destroy(list[i]);
        }
    }
    start = now_ns() - start;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    printf("{\"events\":%llu,\"seconds\":%.4f,\"cpu\":%.4f}\n", (unsigned long long)count,
           (double)start / 1e9, (double)cpu.tv_sec + (double)cpu.tv_nsec / 1e9);
    rd_kafka_queue_destroy(q);
    rd_kafka_consumer_close(rk);
    rd_kafka_destroy(rk);
    return 0;
}

/* `quern pipe` calls its only partition 0; nothing else may differ. */
static int print_hash(int partition)
{
    char *line = NULL, *to = malloc(1 << 20);
    uint64_t chain = 0, count = 0;
    size_t size = 0;
    ssize_t len;

    while (to != NULL && (len = getline(&line, &size, stdin)) > 0 && len < 1 << 19) {
        char *at = memmem(line, (size_t)len, ":0:", 3);
        size_t head = at != NULL ? (size_t)(at - line) + 1 : (size_t)len;
        int n;

        memcpy(to, line, head);
        n = snprintf(to + head, 16, "%d", partition);
        memcpy(to + head + n, line + head + 1, (size_t)len - head - 1);
        chain = XXH3_64bits_withSeed(to, (size_t)(len - 2) + (size_t)n, chain);
        count++;
    }
    printf("%016llx %llu\n", (unsigned long long)chain, (unsigned long long)count);
    free(line);
    free(to);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 10 && strcmp(argv[1], "load") == 0)
        return run_load(argv + 2);
    if (argc == 8 && strcmp(argv[1], "loop") == 0)
        return run_loop(argv + 2);
    if (argc == 6 && strcmp(argv[1], "fill") == 0)
        return run_fill(argv + 2);
    if (argc == 5 && strcmp(argv[1], "drain") == 0)
        return run_drain(argv + 2);
    if (argc == 5 && strcmp(argv[1], "events") == 0)
        return print_events(strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10),
                            atoi(argv[4]));
    if (argc == 3 && strcmp(argv[1], "hash") == 0)
        return print_hash(atoi(argv[2]));
    fprintf(stderr, "usage: bench_kafka load|loop|fill|events|hash ...: see the head of its "
                    "source\n");
    return 2;
}
