/* SPDX-License-Identifier: Apache-2.0
 * bind_stream.c - the streams of a spec as schemas: id, time, key, lateness, and which stream is
 * the main one.
 *
 * Part of binding (bind.c); fields are read by bind_field.c. A stream whose fields cannot be relied
 * on is marked, so that nothing is said about sentences that use it. Thread: one. Memory: boot
 * arena. */
#include "base/hash.h"
#include "event/envelope.h"
#include "spec/spec_int.h"

#define LATENESS_DEFAULT_US INT64_C(10000000)

struct stream {
    struct qn_builder *b;
    struct qn_schema *s;
    struct qn_stream_notes *notes;
    struct qn_slot slots[STREAM_LAST + 1];
};

/* Index of the field that slot names, or -1 (reported, or not there). */
static int32_t field_of(struct stream *st, int slot)
{
    const struct qn_schema *s = st->s;
    const struct qn_yaml_node *n = st->slots[slot].value;
    struct qn_str known[QN_FIELDS_MAX];
    int found;

    if (!st->slots[slot].is_set || st->notes->is_broken)
        return -1;
    found = qn_schema_find(s, n->text);
    if (found >= 0)
        return found;
    for (uint32_t i = 0; i < s->field_count; i++)
        known[i] = s->fields[i].name;
    qn_diag_unknown(st->b->bind.diags, n->at, "field", qn_shown(n), known, s->field_count);
    return -1;
}

static void read_time(struct stream *st)
{
    const struct qn_yaml_node *n = st->slots[STREAM_TIME].value;
    struct qn_binder *b = &st->b->bind;
    const struct qn_field *f;
    char kind[24], shown[QN_SHOW_BYTES];

    st->s->time = field_of(st, STREAM_TIME);
    if (st->s->time < 0 || st->notes->field_broken[st->s->time])
        return;
    f = &st->s->fields[st->s->time];
    if (f->kind.type != QN_TIMESTAMP)
        QN_REPORT(b, TYPE, n,
                  f->kind.type == QN_STRING ? "RFC 3339 text is read by the type timestamp"
                                            : "epoch numbers: {type: timestamp, unit: ms}",
                  "'time' needs a field of type timestamp, and %s is %s", qn_show(n, shown),
                  qn_kind_print(f->kind, kind));
    else if (f->is_optional || f->has_default)
        QN_REPORT(b, TYPE, n, "every event happens at some time",
                  f->is_optional ? "the time field %s must not be optional"
                                 : "the time field %s must not have a default",
                  qn_show(n, shown));
}

static void read_id_and_key(struct stream *st)
{
    struct qn_binder *b = &st->b->bind;
    char kind[24], shown[QN_SHOW_BYTES];

    st->s->id = field_of(st, STREAM_ID);
    if (st->s->id >= 0 && !st->notes->field_broken[st->s->id]) {
        const struct qn_field *f = &st->s->fields[st->s->id];

        if (f->kind.type != QN_STRING && f->kind.type != QN_INT64)
            QN_REPORT(b, TYPE, st->slots[STREAM_ID].value, NULL,
                      "'id' needs a field of type string or int64, and %s is %s",
                      qn_show(st->slots[STREAM_ID].value, shown), qn_kind_print(f->kind, kind));
    }
    st->s->key = field_of(st, STREAM_KEY);
    if (st->s->key >= 0 && !st->notes->field_broken[st->s->key]) {
        const struct qn_field *f = &st->s->fields[st->s->key];

        if (f->kind.type == QN_DOUBLE || f->kind.type == QN_LIST)
            QN_REPORT(b, TYPE, st->slots[STREAM_KEY].value,
                      "keys are compared exactly: string, int64, decimal, bool, timestamp",
                      "a %s cannot be a key, and %s is one", qn_kind_print(f->kind, kind),
                      qn_show(st->slots[STREAM_KEY].value, shown));
    }
}

static void read_dedup(struct stream *st)
{
    const struct qn_slot *slot = &st->slots[STREAM_DEDUP], *id = &st->slots[STREAM_ID];

    if (!slot->is_set)
        return;
    st->s->dedup_us = slot->i64;
    if (!id->is_set && !id->is_broken)
        QN_REPORT(&st->b->bind, MISSING, slot->key, "such as: id: order_id (one of the fields)",
                  "'dedup' needs 'id', the field that names an event");
}

/* The next word of s from *at on. */
static struct qn_str next_word(struct qn_str s, uint32_t *at)
{
    uint32_t begin;

    while (*at < s.len && s.p[*at] == ' ')
        (*at)++;
    begin = *at;
    while (*at < s.len && s.p[*at] != ' ')
        (*at)++;
    return (struct qn_str){s.p + begin, *at - begin};
}

/* score | fold | drop | dead-letter, and for the first two: within DURATION. */
static void read_late(struct stream *st)
{
    static const struct qn_key_synonym others[] = {
        {"ignore", "drop"},
        {"discard", "drop"},
        {"dlq", "dead-letter"},
        {"dead_letter", "dead-letter"},
        {"deadletter", "dead-letter"},
        {"update", "fold"},
        {"accept", "score"},
        {"allow", "score"},
        {NULL, NULL},
    };
    static const char *const policies[] = {"score", "fold", "drop", "dead-letter"};
    const struct qn_yaml_node *n = st->slots[STREAM_LATE].value;
    struct qn_binder *b = &st->b->bind;
    uint32_t at = 0, within_at;
    struct qn_str known[4], policy, within, duration;
    bool is_known = false;

    st->s->late = QN_LATE_SCORE;
    st->s->within_us = st->s->lateness_us;
    if (!st->slots[STREAM_LATE].is_set)
        return;
    policy = next_word(n->text, &at);
    for (int i = 0; i < 4; i++) {
        known[i] = qn_str_of(policies[i]);
        if (qn_str_eq(policy, known[i])) {
            st->s->late = (enum qn_late)i;
            is_known = true;
        }
    }
    if (!is_known) {
        for (const struct qn_key_synonym *o = others; o->theirs != NULL && !n->is_secret; o++) {
            if (!qn_str_is(policy, o->theirs))
                continue;
            QN_REPORT(b, UNKNOWN_NAME, n, "known: score, fold, drop, dead-letter",
                      "unknown late policy '%s' (did you mean '%s'?)", o->theirs, o->ours);
            return;
        }
        qn_diag_unknown(b->diags, n->at, "late policy", n->is_secret ? n->written : policy, known,
                        4);
        return;
    }
    within = next_word(n->text, &at);
    within_at = at;
    if (within.len == 0)
        return;
    duration = next_word(n->text, &at);
    if (!qn_str_is(within, "within") || next_word(n->text, &at).len > 0 ||
        !qn_duration_parse(duration, &st->s->within_us)) {
        QN_REPORT(b, SYNTAX, n, "such as: late: score within 1h",
                  "expected 'within' and a duration after '%s'", policies[st->s->late]);
    } else if (st->s->late != QN_LATE_SCORE && st->s->late != QN_LATE_FOLD) {
        QN_REPORT(b, RANGE, n, "only score and fold reach back", "'%s' takes no 'within'",
                  policies[st->s->late]);
    } else if (st->s->within_us > qn_keys_stream.keys[STREAM_LATENESS].max ||
               st->s->within_us == 0) {
        qn_diag_error(b->diags, QN_DIAG_RANGE,
                      qn_yaml_place(n, b->source, within_at + 1, duration.len), NULL,
                      "'within' lies between 1us and 30d, found %.*s",
                      QN_STR_ARG(n->is_secret ? n->written : duration));
    }
}

/* Which registry the schemas come from stands elsewhere: bind_registry.c. */
static void read_wire(struct stream *st)
{
    const struct qn_slot *format = &st->slots[STREAM_FORMAT],
                         *envelope = &st->slots[STREAM_ENVELOPE],
                         *deletes = &st->slots[STREAM_DELETES];
    struct qn_transcode_options *w = &st->b->plan->wire[st->s - st->b->plan->schemas];

    if (format->is_set) {
        w->format = (enum qn_wire_format)format->i64;
        st->notes->format = format->value;
    }
    if (envelope->is_set) {
        st->s->envelope = (enum qn_envelope)(envelope->i64 + 1);
        st->notes->envelope = envelope->value;
    }
    if (deletes->is_set)
        st->s->deletes = (enum qn_deletes)deletes->i64;
    if (deletes->is_set && st->s->envelope != QN_ENVELOPE_DEBEZIUM && !envelope->is_broken)
        QN_REPORT(&st->b->bind, MISSING, deletes->key, "leave it out, or write envelope: debezium",
                  "'deletes' is about rows, and comes with 'envelope: debezium'");
}

/* Paths that can lead nowhere: an attribute has one name of small letters and digits. */
static void check_attributes(struct stream *st)
{
    for (uint32_t i = 0; i < st->s->field_count; i++) {
        const struct qn_field *f = &st->s->fields[i];

        if (st->s->envelope != QN_ENVELOPE_CLOUDEVENTS || st->notes->field_broken[i] ||
            !qn_str_is(f->path[0], "ce") ||
            (f->path_count == 2 && qn_cloudevent_is_name(f->path[1])))
            continue;
        QN_REPORT(&st->b->bind, TYPE, st->notes->field_keys[i],
                  "such as ce.id, ce.time, ce.source, ce.type, ce.subject; a member 'ce' of the "
                  "data is data.ce",
                  "'%.*s' reads '%.*s', and an attribute of a CloudEvent is called ce. and a name "
                  "of small letters and digits",
                  QN_STR_ARG(f->name), QN_STR_ARG(f->from));
    }
}

static qn_status build_stream(struct qn_builder *b, const struct qn_yaml_item *item,
                              struct qn_schema *s, struct qn_stream_notes *notes)
{
    struct stream st = {.b = b, .s = s, .notes = notes};

    s->name = item->key->text;
    s->id = s->time = s->key = -1;
    notes->key = item->key;
    qn_check_name(&b->bind, item->key, "a stream", false,
                  "such as: %s (it stands behind 'of' in features)");
    if (item->value->is_broken ||
        !qn_bind(&b->bind, item->key, item->value, &qn_keys_stream, st.slots)) {
        notes->is_broken = true;
        return QN_OK;
    }
    s->lateness_us =
        st.slots[STREAM_LATENESS].is_set ? st.slots[STREAM_LATENESS].i64 : LATENESS_DEFAULT_US;
    read_late(&st);
    read_dedup(&st);
    read_wire(&st);
    if (st.slots[STREAM_SOURCE].is_set)
        qn_build_source(b, &st.slots[STREAM_SOURCE], (uint32_t)(s - b->plan->schemas));
    if (!st.slots[STREAM_FIELDS].is_set) {
        notes->is_broken = true;
        return QN_OK;
    }
    QN_TRY(
        qn_build_fields(b, st.slots[STREAM_FIELDS].key, st.slots[STREAM_FIELDS].value, s, notes));
    check_attributes(&st);
    read_time(&st);
    read_id_and_key(&st);
    return QN_OK;
}

static void choose_main(struct qn_builder *b)
{
    const struct qn_slot *slot = &b->top[KEY_MAIN];
    struct qn_str known[QN_STREAMS_MAX];

    b->main_broken = b->plan->schema_count == 0 || slot->is_broken;
    if (!slot->is_set)
        return;
    for (uint32_t i = 0; i < b->plan->schema_count; i++) {
        known[i] = b->plan->schemas[i].name;
        if (qn_str_eq(known[i], slot->value->text)) {
            b->plan->main_stream = i;
            return;
        }
    }
    b->main_broken = true;
    if (b->plan->schema_count > 0)
        qn_diag_unknown(b->bind.diags, slot->value->at, "stream", qn_shown(slot->value), known,
                        b->plan->schema_count);
}

qn_status qn_build_streams(struct qn_builder *b)
{
    const struct qn_slot *slot = &b->top[KEY_STREAMS];
    uint32_t count = slot->is_set ? slot->value->count : 0;
    const bool **hidden;

    if (count > QN_STREAMS_MAX) {
        QN_REPORT(&b->bind, RANGE, slot->key, NULL, "a spec has at most %d streams, found %u",
                  QN_STREAMS_MAX, count);
        count = QN_STREAMS_MAX;
    }
    b->plan->schemas = QN_NEW_N(b->bind.arena, struct qn_schema, count);
    b->streams = QN_NEW_N(b->bind.arena, struct qn_stream_notes, count);
    hidden = QN_NEW_N(b->bind.arena, const bool *, count);
    b->plan->wire = QN_NEW_N(b->bind.arena, struct qn_transcode_options, count);
    b->plan->sources = QN_NEW_N(b->bind.arena, struct qn_source, count);
    if (b->plan->schemas == NULL || b->streams == NULL || hidden == NULL ||
        b->plan->sources == NULL || b->plan->wire == NULL)
        return qn_no_memory(b->err);
    b->plan->field_hidden = hidden;
    b->plan->schema_count = count;
    for (uint32_t i = 0; i < count; i++) {
        QN_TRY(build_stream(b, &slot->value->items[i], &b->plan->schemas[i], &b->streams[i]));
        hidden[i] = b->streams[i].field_hidden;
    }
    choose_main(b);
    return QN_OK;
}
