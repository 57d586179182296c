/* SPDX-License-Identifier: Apache-2.0
 * records.js - the newest alerts and dead letters, and a look at one of them.
 *
 * Records are asked for when the status says that there are others than those shown. */
import { byId, children, el, figure, rows, setAttribute, setHidden, setText, word } from "./dom.js";
import * as f from "./format.js";
import { getJson } from "./live.js";
import { fillPairs } from "./panels.js";
import { conditional, list, now, page, sum } from "./status.js";

const ALERT_ROWS = 8;
const DEAD_ROWS = 7;
const FIELDS_SHOWN = 4;
const REASON_ROWS = 8;
const RECORDS_EVERY_MS = 1000;

/* Asks for records when `wanted(status)`, a text, is another one than last time; at most once a second. */
function makeFeed(wanted, path, fill) {
    let shown = null;
    let is_busy = false;
    return {
        async look(s) {
            const want = wanted(s);
            if (is_busy || want === null || want === shown || page.link.state !== "live") return;
            is_busy = true;
            try {
                fill(await getJson(path(s)), s);
                shown = want;
            } catch {
                /* asked again with the next status; the connection has its own banner */
            }
            setTimeout(() => {
                is_busy = false;
                if (page.status !== null) this.look(page.status);
            }, RECORDS_EVERY_MS);
        },
    };
}

/* The output whose records are listed: the chosen one, else the first with a condition, else the first. */
function listedOutput(s) {
    const outputs = list(s.outputs);
    return outputs.find((o) => o.name === page.output) ?? conditional(s)[0] ?? outputs[0] ?? null;
}

export function paintAlertsHead(s) {
    const output = listedOutput(s);
    const outputs = list(s.outputs);
    setText(byId("h-alerts"), output !== null && !output.when ? "Newest predictions" : "Newest alerts");
    setText(byId("alerts-when"), output?.when ? `${output.name} when ${output.when}` : (output?.name ?? ""));
    setHidden(byId("alerts-choice"), outputs.length < 2);
    const choice = byId("alerts-output");
    children(
        choice,
        outputs,
        (o) => o.name,
        () => el("option"),
        (e, o) => {
            setText(e, o.name);
            e.value = o.name;
        },
    );
    if (output !== null && choice.value !== output.name) choice.value = output.name;
}

const scoreOf = (record) => record.score ?? (Array.isArray(record.scores) ? record.scores[0] : undefined);

const open = (get, act) => ({
    fill(cell, item) {
        if (!cell.firstChild) cell.append(el("button", { type: "button", class: "link" }));
        setText(cell.firstChild, get(item));
        cell.firstChild.onclick = () => act(item);
    },
});

/* The first fields of the event, where the output includes it; else of the features. Without the id and the times. */
function whatItHolds(r) {
    const is_told = ([, v]) => String(v) !== String(r.event_id) && !/^\d{4}-\d\d-\d\dT/.test(String(v));
    return Object.entries(r.event ?? r.features ?? {})
        .filter(is_told)
        .slice(0, FIELDS_SHOWN)
        .map(([name, v]) => `${name} ${f.value(v)}`)
        .join(", ");
}

function fillAlerts(answer) {
    const found = list(answer.predictions).reverse();
    setHidden(byId("alerts-empty"), found.length > 0);
    /* a time with its date takes more room */
    const is_dated = found.some((r) => f.time(r.event_time, now()).length > 8);
    byId("alerts").parentElement.classList.toggle("dated", is_dated);
    rows(byId("alerts"), found, (r) => r.id, [
        word(
            (r) => f.time(r.event_time, now()),
            (r) => r.event_time ?? "",
        ),
        {
            fill(cell, r) {
                open((x) => f.text(x.event_id ?? x.id), lookAtRecord).fill(cell, r);
                if (r.late === true && cell.children.length === 1)
                    cell.append(" ", el("span", { class: "tag", title: "behind the watermark" }, "late"));
            },
        },
        {
            class: "what",
            fill(cell, r) {
                setText(cell, whatItHolds(r));
                setAttribute(cell, "title", whatItHolds(r));
            },
        },
        {
            class: "score",
            fill(cell, r) {
                const v = scoreOf(r);
                if (!cell.firstChild) cell.append(el("div", {}, el("span", { class: "meter" }, el("i")), el("b")));
                cell.querySelector("i").style.width = `${f.isNumber(v) ? Math.min(100, Math.max(0, v * 100)) : 0}%`;
                setText(cell.querySelector("b"), f.score(v));
            },
        },
    ]);
}

function fillDead(answer) {
    const found = list(answer.dead_letters).reverse();
    rows(byId("dead"), found, (d) => d.position, [
        open((d) => f.text(d.reason), lookAtDead),
        word(
            (d) => d.field ?? "whole event",
            (d) => (d.expected ? `expected: ${d.expected}` : ""),
        ),
        figure(
            (d) => (d.dead_at ? f.time(d.dead_at, now()) : f.exact(Number(f.text(d.position).split(":").at(-1)))),
            (d) => `position ${f.text(d.position)}`,
        ),
    ]);
}

export const feeds = [
    makeFeed(
        (s) => {
            const output = listedOutput(s);
            return output === null ? null : `${s.started} ${output.name} ${output.records}`;
        },
        (s) =>
            `v1/predictions?output=${encodeURIComponent(listedOutput(s).name)}&last=${ALERT_ROWS}&limit=${ALERT_ROWS}`,
        fillAlerts,
    ),
    makeFeed(
        (s) => (list(s.streams).length === 0 ? null : `${s.started} ${sum(list(s.streams), (x) => x.dead)}`),
        () => `v1/dlq?last=${DEAD_ROWS}&limit=${DEAD_ROWS}`,
        fillDead,
    ),
];

export function paintReasons(s) {
    const reasons = list(s.reasons)
        .filter((r) => r.count > 0)
        .toSorted((a, b) => b.count - a.count);
    const top = reasons[0]?.count ?? 1;
    const total = sum(reasons, (r) => r.count);
    const many = new Set(reasons.map((r) => r.stream)).size > 1;
    setHidden(byId("reasons-empty"), reasons.length > 0);
    setText(byId("reasons-empty"), s.reasons ? "None: every event kept its contract." : f.DASH);
    children(
        byId("reasons"),
        reasons.slice(0, REASON_ROWS),
        (r) => `${r.stream} ${r.reason}`,
        () => el("li", {}, el("span", { class: "name" }), el("b"), el("span", { class: "meter" }, el("i"))),
        (e, r) => {
            setText(e.children[0], many ? `${r.reason} in ${r.stream}` : r.reason);
            setAttribute(e, "title", `${r.text ?? r.reason} (${f.text(r.stream)})`);
            setText(e.children[1], f.count(r.count));
            e.children[2].firstChild.style.width = `${(100 * r.count) / top}%`;
            setAttribute(e.children[1], "title", f.share(r.count, total));
        },
    );
}

/* ---- a look at one ------------------------------------------------------------------------------------------------*/

function look(title, text, facts, bytes_title, bytes) {
    setText(byId("look-title"), title);
    setText(byId("look-text"), text);
    fillPairs(
        byId("look-facts"),
        facts.filter(([, v]) => v !== undefined && v !== null),
    );
    setText(byId("look-bytes-title"), bytes_title);
    byId("look-bytes").replaceChildren(...bytes);
    byId("look").showModal();
}

function lookAtRecord(r) {
    look(
        `${f.text(r.event_id ?? r.id)}`,
        `Score ${f.value(scoreOf(r))}`,
        [
            ["event time", r.event_time],
            ["id", r.id],
            ["model", r.model && `${r.model}, version ${f.text(r.model_version)}`],
            ["complete", r.complete === false ? "no: a feature is null" : r.complete === true ? "yes" : undefined],
            ["late", r.late === true ? "yes: behind the watermark" : undefined],
        ],
        "The record",
        [JSON.stringify(r, null, 2)],
    );
}

/* The bytes of an event that is no text: sixteen a line, as hexadecimal digits and as text. */
function hex(base64) {
    let bytes;
    try {
        bytes = atob(base64);
    } catch {
        return base64;
    }
    const lines = [];
    for (let at = 0; at < bytes.length; at += 16) {
        const part = [...bytes.slice(at, at + 16)];
        const digits = part.map((c) => c.charCodeAt(0).toString(16).padStart(2, "0")).join(" ");
        const text = part.map((c) => (c >= " " && c <= "~" ? c : ".")).join("");
        lines.push(`${at.toString(16).padStart(4, "0")}  ${digits.padEnd(47)}  ${text}`);
    }
    return lines.join("\n");
}

/* The text of the event with the field that broke the contract marked, where its name stands in it. */
function marked(text, field) {
    const name = field ? `"${field.split(".").at(-1)}"` : null;
    const at = name === null ? -1 : text.indexOf(name);
    if (at < 0) return [text];
    const end = /^\s*:\s*("(?:[^"\\]|\\.)*"|[^,}\]\s]*)/.exec(text.slice(at + name.length));
    const length = name.length + (end ? end[0].length : 0);
    return [text.slice(0, at), el("mark", {}, text.slice(at, at + length)), text.slice(at + length)];
}

function lookAtDead(d) {
    const is_text = typeof d.event === "string";
    look(
        `Dead letter: ${f.text(d.reason)}`,
        f.text(d.text),
        [
            ["field", d.field],
            ["expected", d.expected],
            ["set aside", d.dead_at],
            ["stage", d.stage],
            ["stream", d.stream],
            ["position", d.position],
            ["contract", d.contract],
        ],
        is_text ? "The event as it came" : "The event as it came (not UTF-8)",
        is_text ? marked(d.event, d.field) : [hex(d.event_base64 ?? "")],
    );
}

byId("look").addEventListener("click", (event) => {
    if (event.target === byId("look")) byId("look").close(); /* beside it */
});
