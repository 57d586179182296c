/* SPDX-License-Identifier: Apache-2.0
 * test_source_file.c - complete and growing files: line by line, over restarts, rotated, cut,
 * replaced, gone; the positions are all that a restart knows. */
#include "event/schema.h"
#include "source/source.h"

#include <ctype.h>
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include <sys/stat.h>

#include <cmocka.h>

enum { MAX = 64 };

static char folder[64];
static int64_t now_ns;

static int64_t fake_mono(void *st)
{
    return now_ns;
}

static int64_t fake_wall(void *st)
{
    return now_ns / 1000;
}

static const struct qn_clock fake = {fake_wall, fake_mono, NULL};

static bool never(void *arg)
{
    return false;
}

/* A source without its intake. */
struct rig {
    const struct qn_source_ops *ops;
    struct qn_source_boot boot;
    struct qn_arena arena;
    void *options, *st;
    bool is_open;
    struct qn_buf position, next;
    struct qn_buf got;  /* events read, a line each */
    struct qn_buf note; /* what was said            */
    uint32_t max;
    size_t bytes_max, longest;
};

static const struct qn_source_ops *find(const char *name)
{
    for (const struct qn_source_ops *const *ops = qn_sources; *ops != NULL; ops++)
        if (strcmp((*ops)->name, name) == 0)
            return *ops;
    fail_msg("no source '%s'", name);
    return NULL;
}

static void *field(const struct rig *r, const char *name)
{
    for (const struct qn_option *o = r->ops->options; o->name != NULL; o++)
        if (strcmp(o->name, name) == 0)
            return (char *)r->options + o->offset;
    fail_msg("no option '%s'", name);
    return NULL;
}

static void rig_init(struct rig *r, const char *kind)
{
    *r = (struct rig){.ops = find(kind), .max = MAX, .bytes_max = 1 << 20};
    r->boot =
        (struct qn_source_boot){.files = &qn_files_system, .clock = &fake, .must_stop = never};
    r->options = qn_arena_zalloc(&r->arena, 1, r->ops->options_bytes);
    assert_int_equal(qn_options_defaults(r->ops->options, r->options, &r->arena, NULL), QN_OK);
    r->st = qn_mem_zalloc(1, r->ops->state_bytes);
}

static void rig_file(struct rig *r, const char *name, bool is_followed)
{
    char path[256];

    rig_init(r, "file");
    snprintf(path, sizeof path, "%s/%s", folder, name);
    *(const char **)field(r, "path") = qn_arena_strdup(&r->arena, path, strlen(path));
    *(bool *)field(r, "follow") = is_followed;
    assert_int_equal(r->ops->check(r->options, NULL), QN_OK);
}

static qn_status rig_open(struct rig *r, struct qn_err *err)
{
    qn_status rc;

    memset(r->st, 0, r->ops->state_bytes);
    rc = r->ops->open(r->st, &r->boot, r->options,
                      (struct qn_str){r->position.data, (uint32_t)r->position.len}, err);
    r->is_open = rc == QN_OK;
    if (rc != QN_OK)
        r->ops->close(r->st);
    return rc;
}

static void rig_close(struct rig *r)
{
    if (r->is_open)
        r->ops->close(r->st);
    r->is_open = false;
}

static void rig_fini(struct rig *r)
{
    rig_close(r);
    qn_buf_fini(&r->position);
    qn_buf_fini(&r->next);
    qn_buf_fini(&r->got);
    qn_buf_fini(&r->note);
    qn_arena_fini(&r->arena);
    qn_mem_free(r->st);
}

/* One batch, which counts as durable at once. */
static qn_status rig_read(struct rig *r, enum qn_flow *flow, struct qn_err *err)
{
    struct qn_str events[MAX];
    struct qn_source_batch b = {
        .events = events, .max = r->max, .bytes_max = r->bytes_max, .position = &r->next};
    struct qn_buf before = r->position;
    qn_status rc;

    if (!r->is_open && (rc = rig_open(r, err)) != QN_OK)
        return rc;
    qn_buf_clear(&r->next);
    rc = r->ops->read(r->st, &b, flow, err);
    if (rc != QN_OK) {
        rig_close(r);
        return rc;
    }
    qn_buf_text(&r->note, b.note);
    for (uint32_t i = 0; i < b.count; i++) {
        assert_in_range(b.events[i].len, 1, QN_EVENT_BYTES_MAX + 1);
        r->longest = b.events[i].len > r->longest ? b.events[i].len : r->longest;
        qn_buf_add(&r->got, b.events[i].p, b.events[i].len < 40 ? b.events[i].len : 40);
        qn_buf_byte(&r->got, '\n');
    }
    assert_true(b.count == 0 || r->next.len > 0);
    if (r->next.len > 0) {
        r->position = r->next;
        r->next = before;
    }
    return rc;
}

static bool noted(const struct rig *r, const char *text)
{
    return memmem(r->note.data, r->note.len, text, strlen(text)) != NULL;
}

/* Reads while something comes; what was read is `want`. Returns the flow at the end. */
static enum qn_flow expect(struct rig *r, const char *want)
{
    enum qn_flow flow = QN_MORE;
    struct qn_err err = {0};

    qn_buf_clear(&r->got);
    for (int i = 0; flow == QN_MORE; i++) {
        assert_true(i < 10000);
        if (rig_read(r, &flow, &err) != QN_OK)
            fail_msg("%s", err.text);
    }
    qn_buf_byte(&r->got, '\0');
    assert_string_equal(r->got.data, want);
    return flow;
}

static void restart(struct rig *r)
{
    rig_close(r);
}

static const char *in_folder(const char *name)
{
    static char path[2][256];
    static int turn;

    turn = !turn;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

static void append(const char *name, const char *text)
{
    FILE *f = fopen(in_folder(name), "a");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    fclose(f);
}

static void replace(const char *name, const char *text)
{
    FILE *f = fopen(in_folder(name), "w"); /* the same inode */

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    fclose(f);
}

static void compress_into(const char *name, const char *text)
{
    gzFile f = gzopen(in_folder(name), "wb");

    assert_non_null(f);
    assert_int_equal(gzwrite(f, text, (unsigned)strlen(text)), strlen(text));
    gzclose(f);
}

static int set_up(void **state)
{
    now_ns = INT64_C(1000000000);
    snprintf(folder, sizeof folder, "qn_test_source_XXXXXX");
    return mkdtemp(folder) == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
    DIR *d = opendir(folder);
    const struct dirent *e;

    while (d != NULL && (e = readdir(d)) != NULL)
        if (e->d_name[0] != '.' || isalpha((unsigned char)e->d_name[1]))
            remove(in_folder(e->d_name));
    if (d != NULL)
        closedir(d);
    return rmdir(folder);
}

/* ---- complete files --------------------------------------------------------------------------*/

static void test_complete(void **state)
{
    struct rig r;

    replace("a.ndjson", "{1}\n\n{2}\r\n{3}");
    rig_file(&r, "a.ndjson", false);
    assert_int_equal(expect(&r, "{1}\n{2}\n{3}\n"), QN_END);
    restart(&r);
    assert_int_equal(expect(&r, ""), QN_END);
    rig_fini(&r);
}

/* Closed after every batch, with batches of one: the position is all that is left. */
static void test_complete_restarts(void **state)
{
    struct qn_buf all = {0};
    enum qn_flow flow;
    struct rig r;
    int rounds = 0;

    replace("b.ndjson", "{4}\n{5}\n");
    replace("a.ndjson", "{1}\n\n{2}\n{3}\n");
    replace(".c.ndjson", "hidden\n");
    compress_into("c.ndjson", "{6}\n{7}\n{8}\n");
    assert_int_equal(mkdir(in_folder("d.ndjson"), 0755), 0);
    assert_int_equal(rmdir(in_folder("d.ndjson")), 0);
    replace("e.ndjson", "{9}");
    rig_file(&r, "*.ndjson", false);
    r.max = 1;
    do {
        struct qn_err err = {0};

        qn_buf_clear(&r.got);
        if (rig_read(&r, &flow, &err) != QN_OK)
            fail_msg("%s", err.text);
        qn_buf_add(&all, r.got.data, r.got.len);
        restart(&r);
        assert_true(rounds++ < 100);
    } while (flow != QN_END);
    qn_buf_byte(&all, '\0');
    assert_string_equal(all.data, "{1}\n{2}\n{3}\n{4}\n{5}\n{6}\n{7}\n{8}\n{9}\n");
    append("e.ndjson", "9\n"); /* what was half a line is a line of its own now */
    replace("f.ndjson", "{10}\n");
    r.max = MAX;
    assert_int_equal(expect(&r, "9\n{10}\n"), QN_END);
    qn_buf_fini(&all);
    rig_fini(&r);
}

static void test_complete_replaced(void **state)
{
    struct rig r;

    replace("a.ndjson", "{1}\n{2}\n");
    compress_into("b.ndjson", "{3}\n{4}\n");
    rig_file(&r, "?.ndjson", false);
    expect(&r, "{1}\n{2}\n{3}\n{4}\n");
    restart(&r);
    compress_into("b.ndjson", "{5}\n{6}\n{7}\n");
    expect(&r, "{5}\n{6}\n{7}\n");
    rig_fini(&r);
    rig_file(&r, "a.ndjson", false);
    expect(&r, "{1}\n{2}\n");
    restart(&r);
    replace("a.ndjson", "{8}\n{9}\n{10}\n");
    expect(&r, "{8}\n{9}\n{10}\n");
    assert_true(noted(&r, "holds something else now"));
    rig_fini(&r);
}

static void test_complete_missing(void **state)
{
    struct qn_err err = {0};
    enum qn_flow flow;
    struct rig r;

    rig_file(&r, "x*.ndjson", false);
    assert_int_equal(rig_read(&r, &flow, &err), QN_NOT_FOUND);
    assert_false(err.fatal);
    assert_non_null(strstr(err.text, "x*.ndjson"));
    replace("x1.ndjson", "{1}\n");
    expect(&r, "{1}\n");
    rig_fini(&r);
}

static void test_complete_damaged(void **state)
{
    struct qn_err err = {0};
    enum qn_flow flow = QN_MORE;
    struct rig r;
    char text[4096];

    for (int i = 0; i < 500; i++)
        snprintf(text + 8 * i, 9, "{%05d}\n", i);
    compress_into("a.gz", text);
    assert_int_equal(truncate(in_folder("a.gz"), 600), 0);
    rig_file(&r, "a.gz", false);
    while (rig_read(&r, &flow, &err) == QN_OK)
        assert_int_equal(flow, QN_MORE);
    assert_int_equal(err.code, QN_CORRUPT);
    assert_true(err.fatal);
    assert_true(r.got.len > 800); /* what lay before the damage was given */
    rig_fini(&r);
}

static void test_long_lines(void **state)
{
    size_t n = QN_EVENT_BYTES_MAX;
    char *text = qn_mem_zalloc(1, 4 * n);

    for (int is_followed = 0; is_followed < 2; is_followed++) {
        struct rig r;

        append("long", "{1}\n");
        for (size_t len = n; len <= n + 2; len++) {
            memset(text, 'x', len);
            memcpy(text + len, "\r\n", 3);
            append("long", text);
        }
        memset(text, 'y', 3 * n);
        memcpy(text + 3 * n, "\n{2}\n", 6);
        append("long", text);
        rig_file(&r, "long", is_followed);
        r.max = 1;
        for (int i = 0; i < 6; i++) {
            static const size_t want[] = {3, 0, 1, 1, 1, 3};
            enum qn_flow flow;

            r.longest = 0;
            do
                assert_int_equal(rig_read(&r, &flow, NULL), QN_OK);
            while (r.longest == 0 && flow == QN_MORE);
            assert_int_equal(r.longest, i == 0 || i == 5 ? want[i] : n + want[i]);
            restart(&r); /* also inside of the line that is skipped */
        }
        expect(&r, "");
        rig_fini(&r);
        unlink(in_folder("long"));
    }
    qn_mem_free(text);
}

/* ---- growing files ---------------------------------------------------------------------------*/

static void test_follow(void **state)
{
    struct rig r;

    rig_file(&r, "a", true);
    assert_int_equal(expect(&r, ""), QN_IDLE);
    assert_true(noted(&r, "waiting for"));
    append("a", "{1}\n{2");
    assert_int_equal(expect(&r, "{1}\n"), QN_IDLE);
    expect(&r, "");
    append("a", "}");
    expect(&r, "");
    append("a", "\n");
    expect(&r, "{2}\n");
    restart(&r);
    expect(&r, "");
    append("a", "{3}\n{4");
    restart(&r);
    expect(&r, "{3}\n");
    restart(&r);
    append("a", "}\n");
    expect(&r, "{4}\n");
    rig_fini(&r);
}

static void test_rotation(void **state)
{
    struct rig r;

    append("a", "{1}\n");
    rig_file(&r, "a", true);
    expect(&r, "{1}\n");
    append("a", "{2}\n");
    assert_int_equal(rename(in_folder("a"), in_folder("a.1")), 0);
    append("a", "{4}\n");
    append("a.1", "{3}\n"); /* the writer had it open */
    expect(&r, "{2}\n{3}\n{4}\n");
    append("a.1", "{5}\n");
    append("a", "{6}\n");
    expect(&r, "{5}\n{6}\n");
    append("a.1", "{7}"); /* never ended */
    expect(&r, "");
    now_ns += INT64_C(61000000000);
    append("a", "{8}\n");
    expect(&r, "{7}\n{8}\n");
    append("a.1", "{9}\n"); /* too late: it is forgotten */
    expect(&r, "");
    rig_fini(&r);
}

static void test_rotation_while_away(void **state)
{
    struct rig r;

    append("a", "{1}\n");
    append("other", "no\n");
    rig_file(&r, "a", true);
    expect(&r, "{1}\n");
    rig_close(&r);
    append("a", "{2}\n");
    assert_int_equal(rename(in_folder("a"), in_folder("a.1")), 0);
    append("a", "{3}\n");
    expect(&r, "{2}\n{3}\n");
    rig_close(&r);
    append("a", "{4}\n");
    assert_int_equal(rename(in_folder("a.1"), in_folder("a.2")), 0);
    assert_int_equal(rename(in_folder("a"), in_folder("a.1")), 0);
    expect(&r, "{4}\n"); /* and no file of that name */
    append("a", "{5}\n");
    expect(&r, "{5}\n");
    rig_close(&r);
    append("a", "{6}\n");
    assert_int_equal(unlink(in_folder("a")), 0);
    qn_buf_clear(&r.note);
    expect(&r, "");
    qn_buf_byte(&r.note, '\0');
    assert_true(noted(&r, "is gone"));
    rig_fini(&r);
}

/* Several times: what came in between is read, the oldest first; what cannot be read is named. */
static void test_rotations_while_away(void **state)
{
    struct rig r;
    char name[16], next[16];

    append("a", "{1}\n");
    append("a.x", "no\n");
    rig_file(&r, "a", true);
    expect(&r, "{1}\n");
    rig_close(&r);
    for (int i = 2; i <= 12; i++) {
        char line[16];

        snprintf(line, sizeof line, "{%d}\n", i);
        append("a", line);
        for (int k = i - 2; k >= 0; k--) { /* a.9 becomes a.10 */
            snprintf(name, sizeof name, k > 0 ? "a.%d" : "a", k);
            snprintf(next, sizeof next, "a.%d", k + 1);
            assert_int_equal(rename(in_folder(name), in_folder(next)), 0);
        }
    }
    append("a", "{13}\n");
    r.max = 2;
    expect(&r, "{2}\n{3}\n{4}\n{5}\n{6}\n{7}\n{8}\n{9}\n{10}\n{11}\n{12}\n{13}\n");
    restart(&r);
    append("a.3", "{14}\n"); /* the writer had it open */
    append("a", "{15}\n");
    expect(&r, "{14}\n{15}\n");
    rig_close(&r);
    append("a", "{16}\n");
    assert_int_equal(unlink(in_folder("a.1")), 0);
    assert_int_equal(rename(in_folder("a"), in_folder("a.2")), 0);
    append("a", "{170}\n"); /* longer than what had its inode, perhaps */
    qn_buf_clear(&r.note);
    expect(&r, "{16}\n{170}\n");
    qn_buf_byte(&r.note, '\0');
    assert_true(noted(&r, "a.1' was written while nothing ran, and is not read: it is gone"));
    rig_fini(&r);
}

static void test_cut(void **state)
{
    struct rig r;

    append("a", "{1}\n{2}\n");
    rig_file(&r, "a", true);
    expect(&r, "{1}\n{2}\n");
    replace("a", "{3}\n"); /* copytruncate */
    expect(&r, "{3}\n");
    assert_true(noted(&r, "was cut"));
    replace("a", "{4}\n{5}\n{6}\n"); /* and longer than before, at once */
    expect(&r, "{4}\n{5}\n{6}\n");
    rig_close(&r);
    replace("a", "{7}\n{8}\n{9}\n{0}\n");
    expect(&r, "{7}\n{8}\n{9}\n{0}\n");
    replace("a", "");
    expect(&r, "");
    append("a", "{7}\n");
    expect(&r, "{7}\n");
    rig_fini(&r);
}

/* A head that grows beyond its limit, and a cut that is seen by its last bytes. */
static void test_long_head(void **state)
{
    char line[128], text[4096] = "";
    struct rig r;

    rig_file(&r, "a", true);
    for (int i = 0; i < 30; i++) {
        snprintf(line, sizeof line, "{%035d}\n", i);
        append("a", line);
        expect(&r, line);
        strncat(text, line, sizeof text - strlen(text) - 1);
        if (i % 7 == 3)
            restart(&r);
    }
    text[1000] = '!';
    snprintf(line, sizeof line, "{new}\n");
    strncat(text, line, sizeof text - strlen(text) - 1);
    replace("a", text);
    qn_buf_clear(&r.note);
    expect(&r, text);
    qn_buf_byte(&r.note, '\0');
    assert_true(noted(&r, "holds something else now"));
    rig_fini(&r);
}

static void test_follow_many(void **state)
{
    struct rig r;
    char name[16];

    append("a-1", "{1}\n");
    append("a-2", "{2}\n");
    compress_into("a-0.gz", "{0}\n");
    rig_file(&r, "a-*", true);
    expect(&r, "{1}\n{2}\n");
    assert_true(noted(&r, "only plain files are followed"));
    append("a-1", "{3}\n");
    append("a-3", "{4}\n");
    expect(&r, "{3}\n");
    now_ns += INT64_C(1000000000); /* a folder is listed once a second */
    expect(&r, "{4}\n");
    assert_int_equal(rename(in_folder("a-1"), in_folder("a-4")), 0); /* still asked for */
    now_ns += INT64_C(100000000000);
    expect(&r, "");
    append("a-4", "{5}\n");
    expect(&r, "{5}\n");
    restart(&r);
    append("a-2", "{6}\n");
    expect(&r, "{6}\n");
    for (int i = 0; i < 64; i++) {
        snprintf(name, sizeof name, "a-n%d", i);
        append(name, "");
    }
    rig_close(&r);
    {
        struct qn_err err = {0};
        enum qn_flow flow;

        assert_int_equal(rig_read(&r, &flow, &err), QN_LIMIT);
    }
    rig_fini(&r);
}

static void test_damaged_position(void **state)
{
    static const char *const bad[] = {
        "",
        "x",
        "{}",
        "[]",
        "{\"files\":[{}]}",
        "{\"files\":[{\"path\":\"a\",\"offset\":\"x\"}]}",
        "{\"files\":[{\"path\":\"a\",\"offset\":\"7\",\"head_bytes\":\"0\"}]}",
        "{\"files\":[{\"path\":\"a\",\"offset\":\"7\",\"head_bytes\":\"2000\"}]}",
        "{\"files\":[{\"path\":\"a\",\"offset\":\"7\",\"head_bytes\":\"2\",\"path\":\"b\"}]",
    };

    append("a", "{1}\n");
    for (size_t i = 1; i < sizeof bad / sizeof bad[0]; i++) {
        struct qn_err err = {0};
        enum qn_flow flow;
        struct rig r;

        rig_file(&r, "a", i % 2 == 0);
        qn_buf_text(&r.position, bad[i]);
        assert_int_equal(rig_read(&r, &flow, &err), QN_CORRUPT);
        assert_true(err.fatal);
        rig_fini(&r);
    }
}

static void test_checks(void **state)
{
    static const char *const bad[] = {"",      "/tmp/",    "-",        "/a*/b.ndjson",
                                      "x.csv", "x.csv.gz", "x.csv.zst"};
    struct qn_err err = {0};
    struct rig r;

    rig_init(&r, "file");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        *(const char **)field(&r, "path") = bad[i];
        assert_int_equal(r.ops->check(r.options, &err), QN_INVALID);
    }
    *(const char **)field(&r, "path") = "x";
    assert_int_equal(r.ops->check(r.options, &err), QN_OK);
    *(int *)field(&r, "format") = 1;
    assert_int_equal(r.ops->check(r.options, &err), QN_INVALID);
    assert_non_null(strstr(err.text, "quern pipe"));
    rig_fini(&r);
}

static void test_no_pipe(void **state)
{
    struct qn_err err = {0};
    enum qn_flow flow;
    struct rig r;

    rig_init(&r, "file");
    *(const char **)field(&r, "path") = "/dev/null";
    assert_int_equal(rig_read(&r, &flow, &err), QN_INVALID);
    assert_non_null(strstr(err.text, "is no file"));
    rig_fini(&r);
}

/* ---- generated events ------------------------------------------------------------------------*/

static void test_generate(void **state)
{
    struct qn_buf once = {0};
    enum qn_flow flow = QN_MORE;
    struct rig r;

    for (int is_restarted = 0; is_restarted < 2; is_restarted++) {
        rig_init(&r, "generate");
        *(int64_t *)field(&r, "events") = 200;
        *(int64_t *)field(&r, "customers") = 50;
        assert_int_equal(r.ops->check(r.options, NULL), QN_OK);
        for (flow = QN_MORE; flow != QN_END;) {
            assert_int_equal(rig_read(&r, &flow, NULL), QN_OK);
            if (is_restarted)
                restart(&r);
        }
        if (is_restarted) {
            assert_int_equal(r.got.len, once.len);
            assert_memory_equal(r.got.data, once.data, once.len);
        } else {
            qn_buf_add(&once, r.got.data, r.got.len);
        }
        rig_fini(&r);
    }
    assert_true(once.len > 200 * 30);
    qn_buf_fini(&once);
    rig_init(&r, "generate");
    *(const char **)field(&r, "start") = "soon";
    assert_int_equal(r.ops->check(r.options, NULL), QN_INVALID);
    rig_fini(&r);
}

static void test_generate_rate(void **state)
{
    struct rig r;
    uint32_t lines = 0;
    enum qn_flow flow;

    rig_init(&r, "generate");
    *(int64_t *)field(&r, "rate") = 100;
    *(int64_t *)field(&r, "customers") = 50;
    for (int i = 0; i < 500; i++) { /* 10 s in steps of 20 ms */
        do
            assert_int_equal(rig_read(&r, &flow, NULL), QN_OK);
        while (flow == QN_MORE);
        now_ns += 20000000;
    }
    for (size_t i = 0; i < r.got.len; i++)
        lines += r.got.data[i] == '\n';
    assert_in_range(lines, 990, 1010);
    now_ns += INT64_C(3600) * 1000000000; /* asleep: what was missed stays missed */
    qn_buf_clear(&r.got);
    lines = 0;
    do
        assert_int_equal(rig_read(&r, &flow, NULL), QN_OK);
    while (flow == QN_MORE);
    for (size_t i = 0; i < r.got.len; i++)
        lines += r.got.data[i] == '\n';
    assert_in_range(lines, 1, 20);
    rig_fini(&r);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(test_complete),
        CASE(test_complete_restarts),
        CASE(test_complete_replaced),
        CASE(test_complete_missing),
        CASE(test_complete_damaged),
        CASE(test_long_lines),
        CASE(test_follow),
        CASE(test_rotation),
        CASE(test_rotation_while_away),
        CASE(test_rotations_while_away),
        CASE(test_cut),
        CASE(test_long_head),
        CASE(test_follow_many),
        CASE(test_damaged_position),
        CASE(test_checks),
        CASE(test_no_pipe),
        CASE(test_generate),
        CASE(test_generate_rate),
    };
#undef CASE

    return cmocka_run_group_tests(tests, NULL, NULL);
}
