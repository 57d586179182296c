/* SPDX-License-Identifier: Apache-2.0
 * test_feed_local.c - the feed of a delivery from the local log: what is read comes again until it
 * is committed, dead letters and cursor are one append, and one that failed goes first. */
#include "sink_rig.h"

static struct rig rig;
static struct qn_log_record records[64];

static void told(void *arg, bool is_problem, const char *text)
{
    rig_tell(arg, is_problem, "feed", text);
}

static struct qn_feed *feed_of(bool begins_newest)
{
    const struct qn_feed_local_options opt = {.log = rig.lg,
                                              .topic = rig.topic,
                                              .dead_topic = rig.dead,
                                              .cursor = qn_str_of("alerts.scripted"),
                                              .begins_newest = begins_newest,
                                              .tell = told,
                                              .arg = &rig};
    struct qn_feed *f;
    struct qn_err err = {0};

    if (qn_feed_local_new(&opt, &f, &err) != QN_OK)
        fail_msg("%s", err.text);
    return f;
}

static uint32_t read_some(struct qn_feed *f, uint32_t max)
{
    struct qn_err err = {0};
    uint32_t count;

    assert_int_equal(f->ops->read(f, records, max, &count, &err), QN_OK);
    return count;
}

static void commit(struct qn_feed *f)
{
    struct qn_err err = {0};

    assert_int_equal(f->ops->commit(f, &err), QN_OK);
}

static uint64_t dead_count(void)
{
    struct qn_log_topic_info info;

    qn_log_topic_info(rig.lg, rig.dead, &info);
    return info.next;
}

static void test_what_is_not_committed_comes_again(void **state)
{
    struct qn_feed *f = feed_of(false);
    struct qn_err err = {0};
    bool must_let_go = true;

    assert_int_equal(read_some(f, 64), 0);
    assert_true(f->ops->is_drained(f));
    rig_add(&rig, 10);
    assert_false(f->ops->is_drained(f));
    assert_int_equal(f->ops->lag(f, f->next), 10);
    assert_int_equal(read_some(f, 64), 10);
    f->ops->settle(f, &records[3]);
    assert_true(f->has_news);
    assert_int_equal(f->next, 4);
    assert_int_equal(rig_cursor(&rig, "alerts.scripted"), 0);
    assert_int_equal(f->ops->rewind(f, &err), QN_OK);
    assert_false(f->has_news);
    assert_int_equal(read_some(f, 3), 3);
    assert_int_equal(records[0].offset, 0);
    f->ops->settle(f, &records[2]);
    commit(f);
    assert_false(f->has_news);
    assert_int_equal(rig_cursor(&rig, "alerts.scripted"), 3);
    assert_int_equal(f->ops->rewind(f, &err), QN_OK);
    assert_int_equal(read_some(f, 64), 7);
    assert_int_equal(records[0].offset, 3);
    assert_int_equal(f->ops->serve(f, &must_let_go, &err), QN_OK);
    assert_false(must_let_go); /* a local log is nobody else's */
    f->ops->free(f);
}

static void test_begins_where_it_is_told(void **state)
{
    struct qn_feed *f;

    rig_add(&rig, 5);
    f = feed_of(true);
    assert_int_equal(rig_cursor(&rig, "alerts.scripted"), 5); /* at once: a crash would lose it */
    rig_add(&rig, 2);
    assert_int_equal(read_some(f, 64), 2);
    f->ops->free(f);
    f = feed_of(false);
    assert_int_equal(read_some(f, 64), 2);
    f->ops->free(f);
}

static void test_letters_and_cursor_are_one(void **state)
{
    struct qn_feed *f = feed_of(false);
    struct qn_dead_letter letter = {.text = qn_str_of("no"), .attempts = 2};
    struct qn_err err = {0};

    rig_add(&rig, 3);
    assert_int_equal(read_some(f, 64), 3);
    f->ops->settle(f, &records[0]);
    assert_int_equal(f->ops->dead(f, &records[1], &letter, &err), QN_OK);
    assert_true(qn_str_is(letter.topic, "alerts"));
    assert_int_equal(letter.offset, 1);
    assert_int_equal(f->dead, 1);
    assert_int_equal(f->next, 2);
    assert_int_equal(dead_count(), 0);
    assert_int_equal(f->ops->rewind(f, &err), QN_OK); /* the letter goes with it */
    commit(f);
    assert_int_equal(dead_count(), 0);
    assert_int_equal(read_some(f, 64), 3);
    assert_int_equal(f->ops->dead(f, &records[0], &letter, &err), QN_OK);
    commit(f);
    assert_int_equal(dead_count(), 1);
    assert_int_equal(f->dead, 0);
    assert_int_equal(rig_cursor(&rig, "alerts.scripted"), 1);
    f->ops->free(f);
}

/* An append takes so much; then the cursor has to move first. */
static void test_letters_fill_an_append(void **state)
{
    static char large[9000];
    struct qn_feed *f = feed_of(false);
    struct qn_dead_letter letter = {.text = qn_str_of("no")};
    struct qn_log_record r;
    struct qn_err err = {0};
    qn_status rc = QN_OK;
    uint32_t taken = 0;

    memset(large, 'x', sizeof large);
    rig_add(&rig, 50);
    assert_int_equal(read_some(f, 50), 50);
    for (; taken < 50 && rc == QN_OK; taken += rc == QN_OK) {
        r = records[taken];
        r.value = (struct qn_str){large, sizeof large};
        rc = f->ops->dead(f, &r, &letter, &err);
    }
    assert_int_equal(rc, QN_FULL);
    assert_in_range(taken, 2, 49);
    assert_int_equal(f->dead, taken);
    commit(f);
    assert_int_equal(dead_count(), taken);
    assert_int_equal(f->ops->dead(f, &r, &letter, &err), QN_OK);
    commit(f);
    assert_int_equal(rig_cursor(&rig, "alerts.scripted"), taken + 1);
    f->ops->free(f);
}

static int set_up(void **state)
{
    rig_new(&rig, 11);
    return 0;
}

static int tear_down(void **state)
{
    rig_free(&rig);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_is_not_committed_comes_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_begins_where_it_is_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_letters_and_cursor_are_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_letters_fill_an_append, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
