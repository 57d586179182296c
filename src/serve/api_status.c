/* SPDX-License-Identifier: Apache-2.0
 * api_status.c - how the pipeline is: status, its live stream, features of a key, metrics, and the
 * three questions of Kubernetes.
 *
 * Thread: the exchange's. Memory: request. */
#include "serve/serve_int.h"

#define SECOND_NS INT64_C(1000000000)
enum { KEY_FIELDS_MAX = 8 };

void qn_api_status(struct qn_exchange *x)
{
    qn_service_status(x->sv->opt.service, &x->out);
    qn_exchange_answer(x, 200, "application/json");
}

static bool produce_status(struct qn_exchange *x)
{
    int64_t now = x->sv->opt.clock->mono_ns(x->sv->opt.clock->st);

    if (now < x->wake_ns)
        return true;
    qn_buf_text(&x->out, "data: ");
    qn_service_status(x->sv->opt.service, &x->out);
    qn_buf_text(&x->out, "\n\n");
    x->wake_ns = now + SECOND_NS;
    return true;
}

void qn_api_live(struct qn_exchange *x)
{
    qn_exchange_stream(x, "text/event-stream", produce_status);
}

void qn_api_features(struct qn_exchange *x)
{
    struct qn_str keys[KEY_FIELDS_MAX + 1];
    struct qn_err err = {0};
    uint32_t count = 0;
    qn_status rc;

    for (; count <= KEY_FIELDS_MAX; count++) {
        if (!qn_exchange_query(x, "key", count, &keys[count]))
            return;
        if (keys[count].p == NULL)
            break;
    }
    if (count == 0 || count > KEY_FIELDS_MAX) {
        qn_exchange_problem(x, 400, "bad_parameter",
                            "say which key: ?key=VALUE, once per field of '%.*s', at most %d",
                            QN_STR_ARG(qn_utf8_cut(x->args[0], 80)), KEY_FIELDS_MAX);
        return;
    }
    rc = qn_service_features(x->sv->opt.service, x->args[0], keys, count, &x->out, &err);
    if (rc == QN_OK)
        qn_exchange_answer(x, 200, "application/json");
    else
        qn_exchange_failed(x, &err);
}

void qn_api_metrics(struct qn_exchange *x)
{
    static const char *const offers[] = {"text/plain", "application/openmetrics-text"};
    static const char *const types[] = {
        "text/plain; version=0.0.4; charset=utf-8",
        "application/openmetrics-text; version=1.0.0; charset=utf-8"};
    uint32_t form = qn_exchange_accepts(x, offers, 2);

    qn_metrics_render(x->sv->opt.metrics, form == 1, &x->out);
    qn_exchange_answer(x, 200, types[form]);
}

static void answer_phase(struct qn_exchange *x, bool is_good)
{
    enum qn_phase phase = qn_service_phase(x->sv->opt.service);

    if (is_good) {
        qn_buf_printf(&x->out, "{\"phase\":\"%s\"}", qn_phase_name(phase));
        qn_exchange_answer(x, 200, "application/json");
        return;
    }
    qn_exchange_add(x, "retry-after", "1");
    qn_exchange_problem(x, 503, "not_ready", "the pipeline is %s", qn_phase_name(phase));
}

void qn_api_alive(struct qn_exchange *x)
{
    answer_phase(x, qn_service_phase(x->sv->opt.service) != QN_PHASE_FAILED);
}

void qn_api_ready(struct qn_exchange *x)
{
    answer_phase(x, qn_service_phase(x->sv->opt.service) == QN_PHASE_RUNNING &&
                        !atomic_load(&x->sv->is_leaving) && !atomic_load(&x->sv->is_stopping));
}

void qn_api_started(struct qn_exchange *x)
{
    enum qn_phase phase = qn_service_phase(x->sv->opt.service);

    answer_phase(x, phase != QN_PHASE_STARTING && phase != QN_PHASE_FAILED);
}
