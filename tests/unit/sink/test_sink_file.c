/* SPDX-License-Identifier: Apache-2.0
 * test_sink_file.c - the file sink under its delivery, on a disk in memory: lines, columns,
 * rotation, packing, a disk that fails at every call, power that fails at every call. Holds always:
 * each record stands in the files once, in order, and finished names are whole. */
#include "sink_rig.h"

#include "base/memory.h"
#include "sink/file_int.h"
#include "sink/sink_int.h"

#include <zlib.h>

static struct rig rig;
static struct qn_file_options options;
static struct qn_sink sink;
static struct qn_arena arena;

static int set_up(void **state)
{
    qn_arena_reset(&arena);
    memset(&sink, 0, sizeof sink);
    sink.ops = &qn_sink_file;
    sink.name = qn_str_of("alerts.file");
    assert_int_equal(qn_options_defaults(qn_sink_file.options, &options, &arena, NULL), QN_OK);
    assert_int_equal(qn_options_defaults(qn_delivery_policy_options, &sink.policy, &arena, NULL),
                     QN_OK);
    options.path = "out/alerts.ndjson";
    sink.options = &options;
    rig_new(&rig, 3);
    return 0;
}

static int tear_down(void **state)
{
    rig_free(&rig);
    return 0;
}

static int last_tear_down(void **state)
{
    qn_arena_fini(&arena);
    return 0;
}

/* ---- what stands in the files ----------------------------------------------------------------*/

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void unpack(const struct disk_file *f, struct qn_buf *out)
{
    z_stream z = {0};
    char piece[4096];
    int rc;

    assert_int_equal(inflateInit2(&z, 15 + 16), Z_OK);
    z.next_in = (unsigned char *)f->now;
    z.avail_in = (unsigned)f->now_size;
    do {
        z.next_out = (unsigned char *)piece;
        z.avail_out = sizeof piece;
        rc = inflate(&z, Z_NO_FLUSH);
        assert_true(rc == Z_OK || rc == Z_STREAM_END);
        qn_buf_add(out, piece, sizeof piece - z.avail_out);
    } while (rc != Z_STREAM_END);
    assert_int_equal(z.avail_in, 0);
    inflateEnd(&z);
}

static bool ends(const char *s, const char *with)
{
    size_t n = strlen(s), m = strlen(with);

    return n >= m && strcmp(s + n - m, with) == 0;
}

/* Finished files in the order of their names, then the growing one. *finished: how many. */
static void read_files(struct qn_buf *out, uint32_t *finished)
{
    const char *names[DISK_FILES];
    size_t count = 0;
    const struct disk_name *growing = disk_find(rig.disk->now, "alerts.ndjson");

    for (int i = 0; i < DISK_FILES; i++)
        if (rig.disk->now[i].file >= 0 && strncmp(rig.disk->now[i].name, "alerts-", 7) == 0 &&
            !ends(rig.disk->now[i].name, ".tmp"))
            names[count++] = rig.disk->now[i].name;
    qsort(names, count, sizeof names[0], by_name);
    qn_buf_clear(out);
    for (size_t i = 0; i < count; i++) {
        const struct disk_file *f = &rig.disk->files[disk_find(rig.disk->now, names[i])->file];

        if (ends(names[i], ".gz"))
            unpack(f, out);
        else
            qn_buf_add(out, f->now, f->now_size);
    }
    if (growing != NULL)
        qn_buf_add(out, rig.disk->files[growing->file].now,
                   rig.disk->files[growing->file].now_size);
    if (finished != NULL)
        *finished = (uint32_t)count;
}

/* The records [0, count), a line each, and nothing else. */
static void assert_lines(uint64_t count, uint64_t seed)
{
    struct qn_buf have = {0}, want = {0};

    read_files(&have, NULL);
    for (uint64_t n = 0; n < count; n++)
        qn_buf_printf(&want, "{\"id\":\"shop:orders:0:%llu\",\"score\":0.5,\"n\":%llu}\n",
                      (unsigned long long)n, (unsigned long long)n);
    if (have.len != want.len || (have.len > 0 && memcmp(have.data, want.data, have.len) != 0))
        fail_msg("seed %llu: the files hold %zu bytes, not the %zu of %llu records:\n%.*s",
                 (unsigned long long)seed, have.len, want.len, (unsigned long long)count,
                 (int)have.len, have.data);
    qn_buf_fini(&have);
    qn_buf_fini(&want);
}

static uint32_t count_finished(void)
{
    struct qn_buf all = {0};
    uint32_t n;

    read_files(&all, &n);
    qn_buf_fini(&all);
    return n;
}

/* ---- the good days ---------------------------------------------------------------------------*/

static void test_lines(void **state)
{
    struct qn_delivery *d = rig_start(&rig, &sink);

    rig_add(&rig, 300);
    rig_pass(&rig, d, 1500);
    assert_lines(300, 0);
    assert_int_equal(rig_cursor(&rig, "alerts.file"), 300);
    rig_add(&rig, 7);
    rig_steps(d);
    assert_true(rig_stop(&rig)); /* a stop makes durable what was taken */
    assert_lines(307, 0);
    d = rig_start(&rig, &sink);
    rig_add(&rig, 1);
    rig_pass(&rig, d, 1500);
    assert_lines(308, 0);
}

static void test_rotates_by_size(void **state)
{
    struct qn_delivery *d = rig_start(&rig, &sink);

    options.rotate_bytes = 1000;
    rig_add(&rig, 300); /* about 50 bytes each */
    rig_pass(&rig, d, 3000);
    assert_lines(300, 0);
    assert_in_range(count_finished(), 10, 20);
}

static void test_rotates_by_age(void **state)
{
    struct qn_delivery *d = rig_start(&rig, &sink);

    options.rotate_age_us = 60000000;
    rig_pass(&rig, d, 200000);
    assert_int_equal(count_finished(), 0); /* never an empty file */
    rig_add(&rig, 3);
    rig_pass(&rig, d, 58000);
    assert_int_equal(count_finished(), 0);
    rig_pass(&rig, d, 4000); /* while nothing comes */
    assert_int_equal(count_finished(), 1);
    assert_non_null(disk_find(rig.disk->now, "alerts-20260101T000325Z-000000000000.ndjson"));
    rig_add(&rig, 3);
    rig_pass(&rig, d, 70000);
    assert_int_equal(count_finished(), 2);
    assert_lines(6, 0);
}

static void test_packs(void **state)
{
    struct qn_delivery *d = rig_start(&rig, &sink);

    options.rotate_bytes = 4000;
    options.gzip = true;
    rig_add(&rig, 300);
    rig_pass(&rig, d, 3000);
    assert_in_range(count_finished(), 3, 5);
    assert_lines(300, 0);
}

static void test_continues_what_was_there(void **state)
{
    struct qn_delivery *d;
    int fd = disk_open(rig.disk, "alerts.ndjson", QN_OPEN_CREATE);
    struct qn_buf all = {0};

    disk_write(rig.disk, fd, "mine\n", 5);
    disk_close(rig.disk, fd);
    d = rig_start(&rig, &sink);
    rig_add(&rig, 1);
    rig_pass(&rig, d, 1500);
    read_files(&all, NULL);
    assert_memory_equal(all.data, "mine\n{\"id\"", 9);
    qn_buf_fini(&all);
}

/* What a crash left behind the position is cut off, also where nothing comes to replace it. */
static void test_cuts_what_is_not_certain(void **state)
{
    struct qn_delivery *d = rig_start(&rig, &sink);
    int fd;

    rig_add(&rig, 5);
    rig_pass(&rig, d, 1500);
    assert_true(rig_stop(&rig));
    fd = disk_open(rig.disk, "alerts.ndjson", QN_OPEN_UPDATE);
    disk_write(rig.disk, fd, "{\"id\":\"shop:ord", 16);
    disk_close(rig.disk, fd);
    d = rig_start(&rig, &sink);
    rig_pass(&rig, d, 1500);
    assert_lines(5, 0);
}

/* Of another log the offsets mean nothing: nothing is left out. */
static void test_position_of_another_log(void **state)
{
    struct qn_delivery *d = rig_start(&rig, &sink);
    struct qn_err err = {0};

    rig_add(&rig, 50);
    rig_pass(&rig, d, 1500);
    assert_true(rig_stop(&rig));
    assert_int_equal(qn_log_close(rig.lg, &err), QN_OK);
    for (int i = 0; i < DISK_FILES; i++)
        if (rig.disk->now[i].file >= 0 && strncmp(rig.disk->now[i].name, "alerts", 6) != 0)
            disk_forget(rig.disk, rig.disk->now[i].name);
    assert_int_equal(rig_open_log(&rig, &err), QN_OK);
    rig.appended = 50;
    rig_add(&rig, 5); /* offsets 0 to 4 of the new log */
    d = rig_start(&rig, &sink);
    rig_pass(&rig, d, 1500);
    assert_lines(55, 0);
}

static void test_two_sinks_one_file(void **state)
{
    struct qn_delivery *d = rig_start(&rig, &sink), *other;
    struct qn_sink second = sink;
    struct qn_delivery_options opt;
    struct qn_delivery_stats s;
    struct qn_err err = {0};

    rig_add(&rig, 5);
    rig_pass(&rig, d, 1500);
    second.name = qn_str_of("alerts.file-2");
    opt = rig_options(&rig, &second);
    assert_int_equal(qn_delivery_start(&opt, &other, &err), QN_OK);
    rig_pass(&rig, other, 3000);
    qn_delivery_stats(other, &s);
    assert_non_null(strstr(s.last_error, "is being written by another sink"));
    assert_int_equal(s.lag, 5);
    qn_delivery_stop(other, 0);
    assert_lines(5, 0);
}

/* ---- CSV -------------------------------------------------------------------------------------*/

static void test_csv(void **state)
{
    static const char *const columns[] = {"id", "a.b", "text", "list"};
    static const char *const bad[] = {"", "[]", "{\"id\":"};
    struct qn_file_options o = {.path = "x.csv", .columns = {(const char **)columns, 4}};
    struct qn_buf out = {0};
    const char *error = NULL;
    char *text;

    qn_file_head(&o, &out);
    assert_true(qn_file_line(
        &o,
        qn_str_of("{\"text\":\"say \\\"hi\\\", you\",\"id\":7,\"a\":{\"b\":1.50},\"list\":[1,2]}"),
        &arena, &out, &error));
    assert_true(qn_file_line(&o, qn_str_of("{\"text\":\"\",\"id\":null,\"a\":true}"), &arena, &out,
                             &error));
    assert_true(qn_file_line(&o, qn_str_of("{\"text\":\"two\\nlines\",\"id\":\" x\"}"), &arena,
                             &out, &error));
    text = qn_arena_strdup(&arena, out.data, out.len);
    assert_string_equal(text, "id,a.b,text,list\n"
                              "7,1.50,\"say \"\"hi\"\", you\",\"[1,2]\"\n"
                              ",,\"\",\n"
                              "\" x\",,\"two\nlines\",\n");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(qn_file_line(&o, qn_str_of(bad[i]), &arena, &out, &error));
    o.format = QN_FILE_NDJSON;
    qn_buf_clear(&out);
    assert_true(qn_file_line(&o, qn_str_of("{\"a\":\r\n 1}"), &arena, &out, &error));
    assert_true(qn_str_is((struct qn_str){out.data, (uint32_t)out.len}, "{\"a\":   1}\n"));
    assert_false(qn_file_line(&o, (struct qn_str){NULL, 0}, &arena, &out, &error));
    qn_buf_fini(&out);
}

/* ---- the bad days ----------------------------------------------------------------------------*/

/* Records come and time passes, until all is delivered or the disk fails. */
static void work(uint64_t target)
{
    struct qn_delivery_options opt = rig_options(&rig, &sink);
    struct qn_delivery *d;
    struct qn_err err = {0};

    if (qn_delivery_start(&opt, &d, &err) != QN_OK)
        return;
    while (rig.appended < target) {
        uint64_t left = target - rig.appended;

        if (rig_append(&rig, left < 7 ? (uint32_t)left : 7, &err) != QN_OK)
            break;
        rig_pass(&rig, d, 700);
    }
    rig_pass(&rig, d, 3000);
    qn_delivery_stop(d, 0);
}

/* After a crash: how many records are durable. */
static void open_again(void)
{
    struct qn_log_topic_info info;
    struct qn_err err = {0};

    if (rig_open_log(&rig, &err) != QN_OK)
        fail_msg("%s", err.text);
    qn_log_topic_info(rig.lg, rig.topic, &info);
    rig.appended = info.next;
}

static uint64_t count_calls(void)
{
    uint64_t before = rig.disk->calls;

    work(40);
    assert_lines(40, 0);
    return rig.disk->calls - before;
}

static void power_loss_everywhere(bool gzip)
{
    uint64_t calls;

    options.rotate_bytes = 600;
    options.gzip = gzip;
    calls = count_calls();
    assert_true(count_finished() >= 2);
    for (uint64_t n = 1; n <= calls; n++) {
        rig_free(&rig);
        rig_new(&rig, 1000 + n);
        rig.disk->power_at = rig.disk->calls + n;
        work(40);
        (void)qn_log_close(rig.lg, NULL);
        disk_power_loss(rig.disk);
        if (n % 3 == 0) { /* and again, on the way up */
            open_again();
            rig.disk->power_at = rig.disk->calls + 1 + qn_rng_below(&rig.disk->rng, 20);
            work(40);
            (void)qn_log_close(rig.lg, NULL);
            disk_power_loss(rig.disk);
        }
        open_again();
        work(45);
        assert_lines(45, n);
    }
}

static void test_power_loss(void **state)
{
    print_message("seeds 1001 and on\n");
    power_loss_everywhere(false);
}

static void test_power_loss_packed(void **state)
{
    print_message("seeds 1001 and on\n");
    power_loss_everywhere(true);
}

/* kill -9 at every call: the page cache lives on. */
static void test_killed(void **state)
{
    uint64_t calls;

    options.rotate_bytes = 600;
    options.gzip = true;
    calls = count_calls();
    for (uint64_t n = 1; n <= calls; n++) {
        rig_free(&rig);
        rig_new(&rig, 2000 + n);
        rig.disk->power_at = rig.disk->calls + n;
        work(40);
        (void)qn_log_close(rig.lg, NULL);
        rig.disk->is_off = false;
        rig.disk->power_at = 0;
        disk_kill(rig.disk);
        open_again();
        work(45);
        assert_lines(45, n);
    }
}

/* One call fails, once, on a disk that lives; the log, which would stop, has one of its own. */
static void one_failure_everywhere(int error)
{
    struct disk *log_disk;
    uint64_t calls = 1;

    options.rotate_bytes = 600;
    options.gzip = true;
    for (uint64_t n = 0; n <= calls; n++) {
        struct disk *own = disk_new(n);
        struct qn_delivery_options opt;
        struct qn_delivery *d;
        struct qn_err err = {0};

        rig_free(&rig);
        rig_new(&rig, 3000 + n);
        log_disk = rig.disk;
        own->fail_errno = error;
        own->fail_at = n;
        opt = rig_options(&rig, &sink);
        opt.files = &own->table;
        assert_int_equal(qn_delivery_start(&opt, &d, &err), QN_OK);
        for (int i = 0; i < 6; i++) {
            rig_add(&rig, 7);
            rig_pass(&rig, d, 700);
        }
        rig_pass(&rig, d, 60000);
        assert_true(qn_delivery_stop(d, 0));
        calls = n == 0 ? own->calls : calls;
        rig.disk = own;
        assert_lines(42, n);
        rig.disk = log_disk;
        disk_free(own);
    }
    assert_true(calls > 20);
}

static void test_one_failure(void **state)
{
    one_failure_everywhere(EIO);
}

static void test_full_disk(void **state)
{
    one_failure_everywhere(ENOSPC);
}

static void test_no_memory(void **state)
{
    struct qn_delivery *d;

    options.rotate_bytes = 600;
    options.gzip = true;
    for (uint64_t n = 1; n <= 60; n++) {
        rig_free(&rig);
        rig_new(&rig, n);
        d = rig_start(&rig, &sink);
        rig_add(&rig, 40);
        qn_mem_fail_at(n, false);
        rig_pass(&rig, d, 60000);
        qn_mem_fail_at(0, false);
        rig_pass(&rig, d, 60000);
        assert_true(rig_stop(&rig));
        assert_lines(40, n);
    }
}

/* ---- the position ----------------------------------------------------------------------------*/

static void test_position(void **state)
{
    static const char *const bad[] = {
        "",
        "{}",
        "7",
        "{\"quern_position\":2,\"log\":\"a\",\"sink\":\"b\",\"next\":1,\"bytes\":2,\"first\":0,"
        "\"begun_us\":0}",
        "{\"quern_position\":1,\"log\":\"a\",\"sink\":\"b\",\"next\":-1,\"bytes\":2,\"first\":0,"
        "\"begun_us\":0}",
        "{\"quern_position\":1,\"log\":\"a\",\"sink\":\"b\",\"next\":1,\"bytes\":2.5,\"first\":0,"
        "\"begun_us\":0}",
        "{\"quern_position\":1,\"log\":\"a\",\"sink\":\"b\",\"next\":1,\"bytes\":2,\"first\":0,"
        "\"begun_us\":0,\"finished\":\"\"}"};
    struct qn_file_position p;
    struct qn_str log, name;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(qn_file_position_parse(qn_str_of(bad[i]), &arena, &p, &log, &name));
    assert_true(qn_file_position_parse(
        qn_str_of("{\"quern_position\":1,\"log\":\"a\",\"sink\":\"b\",\"next\":9,\"bytes\":2,"
                  "\"first\":3,\"begun_us\":4,\"finished\":\"x\\\\y\"}"),
        &arena, &p, &log, &name));
    assert_int_equal(p.next, 9);
    assert_int_equal(p.bytes, 2);
    assert_int_equal(p.first, 3);
    assert_int_equal(p.begun_us, 4);
    assert_true(p.is_finishing);
    assert_string_equal(p.finished, "x\\y");
}

static void test_broken_position(void **state)
{
    struct qn_delivery *d;
    struct qn_delivery_stats s;
    int fd = disk_open(rig.disk, "alerts.ndjson.position", QN_OPEN_CREATE);

    disk_write(rig.disk, fd, "{", 1);
    disk_close(rig.disk, fd);
    d = rig_start(&rig, &sink);
    rig_add(&rig, 1);
    rig_pass(&rig, d, 1500);
    qn_delivery_stats(d, &s);
    assert_int_equal(s.lag, 1);
    assert_non_null(strstr(s.last_error, "is no position of a file sink"));
}

static void test_options(void **state)
{
    static const char *const columns[] = {"a", ""};
    struct qn_err err = {0};
    struct qn_file_options o = options;

    assert_int_equal(qn_sink_file.check(&o, &err), QN_OK);
    o.gzip = true;
    assert_int_equal(qn_sink_file.check(&o, &err), QN_INVALID);
    o.rotate_age_us = 1000000;
    assert_int_equal(qn_sink_file.check(&o, &err), QN_OK);
    o.columns = (struct qn_option_list){(const char **)columns, 1};
    assert_int_equal(qn_sink_file.check(&o, &err), QN_INVALID);
    o.path = "a.csv";
    assert_int_equal(qn_sink_file.check(&o, &err), QN_OK);
    o.columns.count = 2;
    assert_int_equal(qn_sink_file.check(&o, &err), QN_INVALID);
    o.columns.count = 0;
    assert_int_equal(qn_sink_file.check(&o, &err), QN_INVALID);
    o.format = QN_FILE_NDJSON;
    assert_int_equal(qn_sink_file.check(&o, &err), QN_OK);
    o.path = "folder/";
    assert_int_equal(qn_sink_file.check(&o, &err), QN_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_lines, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_rotates_by_size, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_rotates_by_age, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_packs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_continues_what_was_there, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cuts_what_is_not_certain, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_position_of_another_log, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_two_sinks_one_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_csv, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_power_loss, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_power_loss_packed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_killed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_one_failure, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_full_disk, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_memory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_position, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_broken_position, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_options, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, last_tear_down);
}
