/* SPDX-License-Identifier: Apache-2.0
 * panels.js - streams, models, outputs, sinks and sources, the engine's stages, log, snapshot, state, process. */
import { byId, children, el, figure, rows, setAttribute, setHidden, setText, word } from "./dom.js";
import * as f from "./format.js";
import { SINK_STATES, list, now, page } from "./status.js";

const counted = (get) =>
    figure(
        (x) => f.count(get(x)),
        (x) => f.exact(get(x)),
    );

export function paintStreams(s) {
    rows(byId("streams"), list(s.streams), (x) => x.name, [
        word(
            (x) => f.text(x.name),
            (x) => (x.main ? `${x.name}: the stream that is scored` : f.text(x.name)),
        ),
        figure((x) => f.rate(x.rate)),
        counted((x) => x.read),
        counted((x) => x.scored),
        counted((x) => x.late),
        counted((x) => x.dead),
        counted((x) => x.shed),
        counted((x) => x.backlog),
    ]);
    setText(byId("newest"), f.time(s.newest_event, now()));
    setText(byId("watermark"), f.time(s.watermark, now()));
    setAttribute(byId("newest"), "title", s.newest_event ?? "");
    setAttribute(byId("watermark"), "title", s.watermark ?? "");
}

export function paintModels(s) {
    const models = list(s.models);
    setHidden(byId("models-empty"), models.length > 0);
    setText(byId("models-empty"), s.models ? "No model: this pipeline computes features." : f.DASH);
    children(
        byId("models"),
        models,
        (m) => `${m.name} ${m.version}`,
        () => el("li", {}, el("div", {}, el("b"), el("span", { class: "state" })), el("p")),
        (e, m) => {
            setText(e.querySelector("b"), f.text(m.name));
            fillState(e.querySelector(".state"), m.in_use ? "good" : "off", m.in_use ? "in service" : "loaded");
            setText(
                e.lastChild,
                [
                    m.format,
                    f.isNumber(m.trees) && m.trees > 0 ? `${f.exact(m.trees)} trees` : null,
                    m.kernel && `kernel ${m.kernel}`,
                    m.version && `version ${m.version.slice(0, 8)}`,
                ]
                    .filter(Boolean)
                    .join(" · "),
            );
            setAttribute(e, "title", m.version ? `version ${m.version}: hash of the model's file` : null);
        },
    );
}

/* A word with a mark whose shape says the same as its colour. */
function fillState(e, kind, text) {
    setAttribute(e, "data-kind", kind);
    if (!e.firstChild) e.append(el("span", { class: "mark", "aria-hidden": "true" }), el("span"));
    setText(e.lastChild, text);
}

const stated = (kind, text) => ({
    class: "state",
    fill(cell, x) {
        if (!cell.firstChild) cell.append(el("span", { class: "state" }), el("small"));
        fillState(cell.firstChild, kind(x), text(x));
        setText(cell.lastChild, x.detail ?? "");
        setHidden(cell.lastChild, !x.detail);
    },
});

export function paintSinks(s) {
    const sinks = list(s.sinks);
    rows(byId("outputs"), list(s.outputs), (o) => o.name, [
        word((o) => f.text(o.name)),
        word((o) => (o.when ? `when ${o.when}` : "every prediction")),
        figure((o) => f.rate(o.rate)),
        counted((o) => o.records),
    ]);
    setHidden(byId("sinks-empty"), sinks.length > 0);
    setText(byId("sinks-empty"), s.sinks ? "No sinks: outputs stay in the log." : f.DASH);
    setHidden(byId("sinks").closest(".wide"), sinks.length === 0);
    rows(byId("sinks"), sinks, (x) => x.name, [
        word(
            (x) => f.text(x.name),
            (x) => `${x.name}, ${f.text(x.kind)}`,
        ),
        stated(
            (x) => SINK_STATES[x.state]?.[0] ?? "off",
            (x) => SINK_STATES[x.state]?.[1] ?? f.text(x.state),
        ),
        counted((x) => x.lag),
        counted((x) => x.delivered),
        counted((x) => x.failed),
        counted((x) => x.dead),
    ]);
}

export function paintSources(s) {
    const sources = list(s.sources);
    const kinds = { reading: "good", running: "good", paused: "warn", full: "bad", failed: "bad", stopped: "bad" };
    setHidden(byId("sources-empty"), sources.length > 0);
    setText(byId("sources-empty"), s.sources ? "No sources: events come in over HTTP." : f.DASH);
    setHidden(byId("sources").closest(".wide"), sources.length === 0);
    rows(byId("sources"), sources, (x) => x.name, [
        word(
            (x) => f.text(x.name),
            (x) => `${x.name}, ${f.text(x.kind)}`,
        ),
        stated(
            (x) => kinds[x.state] ?? (x.state === "waiting" && x.detail ? "warn" : "off"),
            (x) => f.text(x.state),
        ),
        counted((x) => x.records),
    ]);
}

/* Nanoseconds per event and stage over the last ten seconds; over all time where nothing moved. */
export function paintStages() {
    const last = page.history.last();
    const before = page.history.before(10);
    const names = Object.keys(last.stages).filter((name) => f.isNumber(last.stages[name]));
    let ns = names.map((name) => last.stages[name] - (before.stages[name] ?? 0));
    let events = (last.read ?? 0) - (before.read ?? 0);
    const is_idle = !(events > 0) || ns.some((v) => v < 0);
    if (is_idle) {
        ns = names.map((name) => last.stages[name]);
        events = last.read ?? 0;
    }
    const total = ns.reduce((a, b) => a + b, 0);
    const top = Math.max(...ns, 1);
    setHidden(byId("stages-empty"), total > 0);
    setText(
        byId("stages-sum"),
        events > 0 && total > 0
            ? `${f.ms(total / events / 1e6)} an event, ${is_idle ? "since the start" : "last 10 s"}`
            : "",
    );
    children(
        byId("stages"),
        names.map((name, i) => ({ name, ns: ns[i] })),
        (x) => x.name,
        () =>
            el(
                "li",
                {},
                el("span", { class: "name" }),
                el("span", { class: "meter" }, el("i")),
                el("b"),
                el("span", { class: "share" }),
            ),
        (e, x) => {
            setText(e.children[0], x.name);
            e.children[1].firstChild.style.width = `${total > 0 ? (100 * x.ns) / top : 0}%`;
            setText(e.children[2], events > 0 ? f.ms(x.ns / events / 1e6) : f.DASH);
            setText(e.children[3], f.share(x.ns, total));
        },
    );
}

export function fillPairs(parent, pairs) {
    children(
        parent,
        pairs,
        ([name]) => name,
        () => el("div", {}, el("dt"), el("dd")),
        (e, [name, v, title]) => {
            setText(e.firstChild, name);
            setText(e.lastChild, v);
            setAttribute(e.lastChild, "title", title ?? null);
        },
    );
}

export function paintLog(s) {
    const log = s.log ?? {};
    const shot = s.snapshot ?? {};
    const used = f.isNumber(log.segments) ? ` in ${f.exact(log.segments)} segment${log.segments === 1 ? "" : "s"}` : "";
    fillPairs(byId("log"), [
        ["log on disk", `${f.bytes(log.bytes)}${used}`, f.isNumber(log.bytes) ? `${f.exact(log.bytes)} bytes` : null],
        ["accepting", log.full === true ? "no: disk full" : log.full === false ? "yes" : f.DASH],
        ["end", f.isNumber(log.end_lsn) ? `LSN ${f.exact(log.end_lsn)}` : f.DASH],
        ["sync p50, p99", `${f.ms(log.sync_ms?.p50)}, ${f.ms(log.sync_ms?.p99)}`],
        ["syncs", f.rate(log.syncs_per_s)],
        ["newest snapshot", f.isNumber(shot.age_s) ? `${f.duration(shot.age_s)} ago` : f.DASH],
        ["its size", f.bytes(shot.bytes)],
        ["took, paused for", `${f.ms(shot.duration_ms)}, ${f.ms(shot.pause_ms)}`],
        ["snapshots", f.count(shot.count)],
    ]);
}

export function paintProcess(s) {
    const p = s.process ?? {};
    const before = page.history.before(10);
    const took = page.history.last().t - before.t;
    const busy = took > 0 && f.isNumber(p.cpu_s) && f.isNumber(before.cpu) ? (p.cpu_s - before.cpu) / took : undefined;
    const { keys, bytes } = s.state ?? {};
    fillPairs(byId("process"), [
        ["memory", f.bytes(p.rss_bytes)],
        ["processors in use", f.isNumber(busy) ? busy.toFixed(2) : f.DASH, "over the last ten seconds"],
        ["processor time", f.duration(p.cpu_s), "user and system, since the start"],
        ["open files", f.count(p.fds)],
        ["keys", f.count(keys), f.exact(keys)],
        ["memory of the keys", f.bytes(bytes)],
        ["of one key", keys > 0 ? f.bytes(bytes / keys) : f.DASH, "on average"],
    ]);
    rows(byId("groups"), list(s.state?.groups), (g) => `${g.source} ${g.by}`, [
        word(
            (g) => f.text(g.by),
            (g) => `${g.by} of ${f.text(g.source)}`,
        ),
        counted((g) => g.keys),
        figure((g) => f.bytes(g.bytes)),
    ]);
}
