/* SPDX-License-Identifier: Apache-2.0
 * status.js - what the page knows: the newest status, the ten minutes before it, the connection. */
import { History } from "./charts.js";
import * as f from "./format.js";

export const page = {
    /* one sample a second, bounded */
    history: new History(),
    /* the newest status, null before the first */
    status: null,
    link: { state: "connecting", text: "", retry_at: 0 },
    /* tries to connect at once; shows the dialog for a token: both set by dashboard.js */
    retry: null,
    askToken: null,
    /* the output whose records are listed, null for the first that fits */
    output: null,
};

/* The objects of a list that may not be there. */
export const list = (v) => (Array.isArray(v) ? v.filter((x) => x !== null && typeof x === "object") : []);

/* Of what there is; undefined where there is nothing. */
export const sum = (items, get) => {
    const found = items.map(get).filter(f.isNumber);
    return found.length > 0 ? found.reduce((a, b) => a + b, 0) : undefined;
};

/* state of a sink or its breaker: [mark, word] */
export const SINK_STATES = {
    closed: ["good", "delivering"],
    running: ["good", "delivering"],
    "half-open": ["warn", "trying again"],
    half_open: ["warn", "trying again"],
    waiting: ["warn", "trying again"],
    open: ["bad", "down"],
    stopped: ["bad", "stopped"],
};

/* The outputs that take some events only. */
export const conditional = (s) => list(s.outputs).filter((o) => o.when);

/* Seconds since 1970 at the server. */
export const now = () => f.seconds(page.status?.now);

/* How much a counter of the history grew in its last minute. */
export function grown(name) {
    const last = page.history.last()[name];
    const before = page.history.before(60)[name];
    return f.isNumber(last) && f.isNumber(before) ? Math.max(0, last - before) : undefined;
}
