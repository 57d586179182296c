/* SPDX-License-Identifier: Apache-2.0
 * test_top_view.c - what `quern top` reads and shows: whatever is missing is a dash, nothing wraps
 * or overflows on any size of screen, and no text from the server reaches the terminal as a
 * command.
 */
#include "cli/top_view.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static const char FULL[] =
    "{\"pipeline\":\"card-fraud\",\"spec\":\"9f2c41d07be85a63\",\"version\":\"0.2.0\","
    "\"phase\":\"running\",\"detail\":\"\",\"now\":\"2026-05-01T10:31:22.5Z\",\"uptime_s\":125.5,"
    "\"new\":{\"x\":[1,{\"y\":2}]},"
    "\"streams\":[{\"name\":\"transactions\",\"main\":true,\"read\":1000000,\"scored\":998000,"
    "\"late\":1500,\"dead\":500,\"shed\":0,\"backlog\":7,\"rate\":1234.4},"
    "{\"name\":\"logins\",\"read\":10,\"scored\":10,\"late\":0,\"dead\":0,\"shed\":0,"
    "\"backlog\":0,\"rate\":0.5}],"
    "\"reasons\":[{\"stream\":\"transactions\",\"reason\":\"bad_json\",\"text\":\"t\","
    "\"count\":500}],"
    "\"age_ms\":{\"p50\":1.2,\"p90\":2,\"p99\":4.13,\"count\":1000},"
    "\"scores\":{\"count\":1000,\"mean\":0.031,\"bins\":[900,50,20,0,0,0,0,0,0,30]},"
    "\"stages_ns\":{\"read\":10,\"decode\":100,\"features\":300,\"score\":590},"
    "\"models\":[{\"name\":\"fraud\",\"version\":\"c0ffee5a1d2b3c4e\",\"format\":\"xgboost\","
    "\"trees\":100,\"kernel\":\"avx2\",\"in_use\":true}],"
    "\"outputs\":[{\"name\":\"alerts\",\"when\":\"score > 0.9\",\"records\":4,\"rate\":0.1}],"
    "\"sinks\":[{\"name\":\"alerts.webhook\",\"kind\":\"webhook\",\"lag\":3,\"delivered\":1,"
    "\"failed\":9,\"dead\":0,\"state\":\"open\",\"detail\":\"connection refused\"}],"
    "\"sources\":[{\"name\":\"transactions.file\",\"kind\":\"file\",\"records\":5,"
    "\"state\":\"waiting\",\"detail\":\"\"}],"
    "\"log\":{\"bytes\":166000000,\"segments\":2,\"end_lsn\":99,\"full\":false,"
    "\"sync_ms\":{\"p50\":0.31,\"p99\":1.12},\"syncs_per_s\":118},"
    "\"snapshot\":{\"age_s\":3.2,\"bytes\":18400000,\"duration_ms\":112,\"pause_ms\":0.4,"
    "\"count\":3},"
    "\"state\":{\"keys\":14870,\"bytes\":92300000,\"groups\":[]},"
    "\"process\":{\"rss_bytes\":184000000,\"cpu_s\":125,\"fds\":31}}";

struct scene {
    struct qn_arena arena;
    struct qn_seen_status status;
    struct qn_top top;
    struct qn_buf out;
};

static void see(struct scene *sc, const char *json)
{
    memset(sc, 0, sizeof(*sc));
    assert_int_equal(qn_seen_status_read(qn_str_of(json), &sc->arena, &sc->status, NULL), QN_OK);
    sc->top.now = &sc->status;
    sc->top.stage_events = sc->status.streams[0].read;
    memcpy(sc->top.stage_ns, sc->status.stage_ns, sizeof(sc->top.stage_ns));
}

static void leave(struct scene *sc)
{
    qn_buf_fini(&sc->out);
    qn_arena_fini(&sc->arena);
}

static bool shows(const struct scene *sc, const char *text)
{
    return memmem(sc->out.data, sc->out.len, text, strlen(text)) != NULL;
}

static void what_is_there_is_shown(void **state)
{
    const struct qn_screen plain = {.columns = 100, .rows = 24};
    struct scene sc;

    (void)state;
    see(&sc, FULL);
    sc.top.rate[QN_TOP_HISTORY - 2] = 100;
    sc.top.rate[QN_TOP_HISTORY - 1] = 1000;
    sc.top.rates = 2;
    qn_top_draw(&sc.top, &plain, &sc.out);
    assert_true(shows(&sc, "card-fraud  running  up 2 min 5 s  spec 9f2c41d0  quern 0.2.0  "
                           "10:31:22 UTC\n"));
    assert_true(shows(&sc, "throughput    1,235/s     .#   backlog 7\n"));
    assert_true(shows(&sc, "p50 1.20 ms   p90 2.00 ms   p99 4.13 ms\n"));
    assert_true(shows(&sc, "1.00 M read = 998,010 scored + 1,500 late + 500 dead + 0 shed\n"));
    assert_true(shows(&sc, "0 #+=      + 1   1,000 in the last minute, mean 0.031\n"));
    assert_true(shows(&sc, "\nlogins                   0.50/s        10"));
    assert_true(shows(&sc, "\nalerts.webhook        down                   3          1        9"));
    assert_true(shows(&sc, "\n    connection refused\n"));
    assert_true(shows(&sc, "score > 0.9\n"));
    assert_true(shows(&sc, "bad_json 500\n"));
    assert_true(shows(&sc, "fraud: xgboost, 100 trees, avx2, c0ffee5a   in service\n"));
    assert_true(shows(&sc, "score 59 %, features 30 %, decode 10 %, read 1 %\n"));
    assert_true(shows(&sc, "166 MB in 2 segments   sync p50 0.31 ms, p99 1.12 ms   118/s\n"));
    assert_true(shows(&sc, "3.2 s ago   18.4 MB in 112 ms, paused 0.40 ms\n"));
    assert_true(shows(&sc, "14,870 keys in 92.3 MB\n"));
    assert_false(shows(&sc, "\033"));
    leave(&sc);
}

static void what_is_missing_is_a_dash(void **state)
{
    static const char *const documents[] = {
        "{}",
        "{\"pipeline\":7,\"phase\":null,\"streams\":{},\"age_ms\":[1],\"scores\":{\"bins\":7}}",
        "{\"streams\":[1,null,{}],\"sinks\":[{}],\"outputs\":[{}],\"models\":[{}],\"sources\":[{}],"
        "\"reasons\":[{}],\"log\":{},\"snapshot\":{\"age_s\":1}}",
        "{\"uptime_s\":1e999,\"streams\":[{\"read\":-1e999}]}",
    };

    (void)state;
    for (unsigned i = 0; i < sizeof(documents) / sizeof(documents[0]); i++) {
        const struct qn_screen plain = {.columns = 100, .rows = 24};
        struct scene sc;

        see(&sc, documents[i]);
        qn_top_draw(&sc.top, &plain, &sc.out);
        qn_top_line(&sc.top, &sc.out);
        assert_true(shows(&sc, "p99 -"));
        assert_false(shows(&sc, "nan"));
        assert_false(shows(&sc, "inf"));
        assert_false(shows(&sc, "null"));
        leave(&sc);
    }
}

static void what_is_no_status_is_refused(void **state)
{
    static const char *const documents[] = {"", "[]", "1", "{", "{}x", "{\"streams\":[", "\xff"};

    (void)state;
    for (unsigned i = 0; i < sizeof(documents) / sizeof(documents[0]); i++) {
        struct qn_seen_status s;
        struct qn_arena arena = {0};
        struct qn_err err = {0};

        assert_int_equal(qn_seen_status_read(qn_str_of(documents[i]), &arena, &s, &err),
                         QN_INVALID);
        assert_int_equal(s.stream_count, 0);
        assert_true(err.text[0] != '\0');
        qn_arena_fini(&arena);
    }
}

/* Columns of one line: code points, escape sequences not counted. */
static unsigned columns_of(const char *p, const char *end)
{
    unsigned n = 0;

    while (p < end) {
        if (*p == '\033') {
            while (p < end && !((*p >= 'A' && *p <= 'Z') || (*p >= 'a' && *p <= 'z')))
                p++;
            p++;
            continue;
        }
        n += ((unsigned char)*p & 0xC0) != 0x80;
        p++;
    }
    return n;
}

static void every_screen_holds_it(void **state)
{
    struct scene sc;

    (void)state;
    see(&sc, FULL);
    for (unsigned columns = 1; columns < 120; columns++)
        for (unsigned rows = 1; rows < 50; rows++) {
            const struct qn_screen screen = {columns, rows, (rows & 1) != 0, (rows & 2) != 0, true};
            unsigned lines, seen = 0;
            const char *p, *end;

            qn_buf_clear(&sc.out);
            sc.top.lost = rows % 5 == 0 ? "it is not there" : NULL;
            lines = qn_top_draw(&sc.top, &screen, &sc.out);
            assert_true(lines < rows || rows == 1);
            for (p = sc.out.data; p < sc.out.data + sc.out.len; p = end + 1, seen++) {
                end = memchr(p, '\n', (size_t)(sc.out.data + sc.out.len - p));
                assert_non_null(end);
                assert_true(columns_of(p, end) <= columns);
            }
            assert_int_equal(seen, lines);
        }
    leave(&sc);
}

static void a_server_commands_no_terminal(void **state)
{
    const struct qn_screen plain = {.columns = 100, .rows = 24};
    struct scene sc;

    (void)state;
    see(&sc, "{\"pipeline\":\"a\\u001b[2Jb\",\"detail\":\"\\u009b31m\\u0007x\\n\","
             "\"sinks\":[{\"name\":\"\\u001b]0;t\\u0007\",\"detail\":\"\\r\\b\\u007f\"}]}");
    qn_top_draw(&sc.top, &plain, &sc.out);
    qn_top_line(&sc.top, &sc.out);
    assert_true(shows(&sc, "a?[2Jb"));
    assert_true(shows(&sc, "?31m?x?\n"));
    for (size_t i = 0; i < sc.out.len; i++) {
        unsigned char ch = (unsigned char)sc.out.data[i];

        assert_true(ch == '\n' || (ch >= ' ' && ch != 0x7F && ch < 0x80));
    }
    leave(&sc);
}

static void phases_are_told(void **state)
{
    const struct qn_screen plain = {.columns = 100, .rows = 24};
    struct scene sc;

    (void)state;
    see(&sc, "{\"phase\":\"starting\",\"progress\":{\"done\":250,\"total\":1000}}");
    qn_top_draw(&sc.top, &plain, &sc.out);
    assert_true(shows(&sc, "starting"));
    assert_true(shows(&sc, "replaying the log ######                   250 of 1,000\n"));
    qn_buf_clear(&sc.out);
    sc.top.lost = "no answer";
    qn_top_draw(&sc.top, &plain, &sc.out);
    assert_true(shows(&sc, "connection lost"));
    assert_true(shows(&sc, "\nwhat was seen last; trying again: no answer\n"));
    leave(&sc);
    see(&sc, "{\"phase\":\"full\",\"detail\":\"no space left\",\"log\":{\"full\":true}}");
    qn_top_draw(&sc.top, &plain, &sc.out);
    assert_true(shows(&sc, "\nno space left\n"));
    assert_true(shows(&sc, "full   "));
    leave(&sc);
}

static void lists_end_somewhere(void **state)
{
    struct qn_buf json = {0};
    struct scene sc;

    (void)state;
    qn_buf_text(&json, "{\"scores\":{\"bins\":[");
    for (unsigned i = 0; i < 500; i++)
        qn_buf_printf(&json, "%s%u", i > 0 ? "," : "", i);
    qn_buf_text(&json, "]},\"sinks\":[");
    for (unsigned i = 0; i < 500; i++)
        qn_buf_printf(&json, "%s{\"name\":\"s%u\",\"lag\":%u}", i > 0 ? "," : "", i, i);
    qn_buf_text(&json, "]}");
    qn_buf_byte(&json, '\0');
    see(&sc, json.data);
    assert_int_equal(sc.status.sink_count, QN_SEEN_ITEMS);
    assert_int_equal(sc.status.bin_count, QN_SEEN_BINS);
    assert_true(qn_str_is(sc.status.sinks[QN_SEEN_ITEMS - 1].name, "s15"));
    leave(&sc);
    qn_buf_fini(&json);
}

static void a_line_for_a_pipe(void **state)
{
    struct scene sc;

    (void)state;
    see(&sc, FULL);
    qn_top_line(&sc.top, &sc.out);
    qn_buf_byte(&sc.out, '\0');
    assert_string_equal(sc.out.data,
                        "10:31:22  running     1,235/s  age p99 4.13 ms   998,010 scored  1,500 "
                        "late  500 dead  backlog 7\n");
    leave(&sc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_there_is_shown),
        cmocka_unit_test(what_is_missing_is_a_dash),
        cmocka_unit_test(what_is_no_status_is_refused),
        cmocka_unit_test(every_screen_holds_it),
        cmocka_unit_test(a_server_commands_no_terminal),
        cmocka_unit_test(phases_are_told),
        cmocka_unit_test(lists_end_somewhere),
        cmocka_unit_test(a_line_for_a_pipe),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
