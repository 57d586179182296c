/* SPDX-License-Identifier: Apache-2.0
 * overview.js - the tiles, the two charts over time and the distribution of scores. */
import { timeChart } from "./charts.js";
import { byId, children, el, setAttribute, setHidden, setText } from "./dom.js";
import * as f from "./format.js";
import { SINK_STATES, conditional, grown, list, page, sum } from "./status.js";

const CHART_STREAMS = 4;
let rate_chart = null;
let rate_streams = ""; /* names of the streams drawn */
let age_chart = null;

function tile(id, big, sub, trouble = null) {
    const e = byId(id);
    setText(e.children[1], big);
    setText(e.children[2], sub);
    setAttribute(e, "data-kind", trouble);
}

export function paintTiles(s) {
    const streams = list(s.streams);
    const read = sum(streams, (x) => x.read);
    const age = s.age_ms ?? {};
    tile("tile-rate", f.rate(sum(streams, (x) => x.rate)), `${f.count(read)} events read`);
    tile("tile-age", f.ms(age.p99), `p50 ${f.ms(age.p50)}`);

    const when = conditional(s);
    tile(
        "tile-alerts",
        when.length > 0 ? f.count(sum(when, (o) => o.records)) : f.DASH,
        when.length > 0 ? `${f.count(grown("alerts"))} in the last minute` : "no output has a condition",
    );

    const dead = sum(streams, (x) => x.dead);
    const fresh = grown("dead");
    tile("tile-dead", f.count(dead), `${f.count(fresh)} last minute, ${f.share(dead, read)}`);

    const shed = sum(streams, (x) => x.shed);
    tile(
        "tile-backlog",
        f.count(sum(streams, (x) => x.backlog)),
        shed > 0 ? `${f.count(shed)} shed` : "events that wait",
        shed > 0 ? "warn" : null,
    );

    const sinks = list(s.sinks);
    const bad = sinks.filter((x) => x.state && SINK_STATES[x.state]?.[0] !== "good");
    const lag = sum(sinks, (x) => x.lag);
    if (sinks.length === 0) tile("tile-sinks", f.DASH, s.sinks ? "no sinks" : f.DASH);
    else if (bad.length === 0)
        tile(
            "tile-sinks",
            sinks.length === 1 ? "well" : "all well",
            `${sinks.length} sink${sinks.length === 1 ? "" : "s"}, lag ${f.count(lag)}`,
        );
    else
        tile(
            "tile-sinks",
            `${bad.length} down`,
            `of ${sinks.length} sink${sinks.length === 1 ? "" : "s"}, lag ${f.count(lag)}`,
            "bad",
        );
}

/* ---- charts -------------------------------------------------------------------------------------------------------*/

function makeRateChart(names) {
    rate_chart?.free();
    byId("chart-rate").replaceChildren();
    rate_chart = timeChart(byId("chart-rate"), byId("legend-rate"), {
        format: (v) => f.rate(v).replace("/s", ""),
        lines: names.map((name, i) => ({
            name,
            get: (sample) => sample.rates.get(name),
            colour: `--s${i + 1}`,
            width: i === 0 ? 2 : 1.5,
            fill: names.length === 1 ? 0.12 : 0,
        })),
    });
}

export function paintCharts(s) {
    if (document.hidden) return;
    const streams = list(s.streams).toSorted((a, b) => (b.main === true) - (a.main === true));
    const names = streams.slice(0, CHART_STREAMS).map((x) => f.text(x.name));
    if (names.join("\n") !== rate_streams || rate_chart === null) {
        rate_streams = names.join("\n");
        makeRateChart(names);
    }
    age_chart ??= timeChart(byId("chart-age"), byId("legend-age"), {
        isLog: true,
        format: f.ms,
        lines: [
            { name: "p99", get: (sample) => clamp(sample.age.p99), colour: "--s2", width: 1.2, dash: [2, 3] },
            { name: "p90", get: (sample) => clamp(sample.age.p90), colour: "--s2", width: 1.2, dash: [6, 3] },
            { name: "p50", get: (sample) => clamp(sample.age.p50), colour: "--s2", width: 2, dash: [] },
        ],
        bands: [
            { series: [1, 2], colour: "--s2", opacity: 0.1 },
            { series: [2, 3], colour: "--s2", opacity: 0.2 },
        ],
    });
    rate_chart.draw(page.history);
    age_chart.draw(page.history);
    const age = s.age_ms ?? {};
    const each = streams.map((x) => `${f.text(x.name)} ${f.rate(x.rate)}`);
    setAttribute(
        byId("chart-rate"),
        "aria-label",
        `Events per second over the last ten minutes; now ${each.join(", ")}`,
    );
    setAttribute(
        byId("chart-age"),
        "aria-label",
        `Event age over the last ten minutes, logarithmic; now p50 ${f.ms(age.p50)}, p90 ${f.ms(age.p90)}, ` +
            `p99 ${f.ms(age.p99)}`,
    );
}

/* A logarithmic axis has no place for 0. */
const clamp = (v) => (f.isNumber(v) ? Math.max(v, 0.001) : null);

/* The score from which an output takes an event, where its condition is that simple. */
function threshold(s) {
    for (const o of conditional(s)) {
        const m = /^\s*score\s*>=?\s*([0-9.]+)\s*$/.exec(o.when);
        if (m && Number(m[1]) < 1) return { name: o.name, at: Number(m[1]) };
    }
    return null;
}

export function paintScores(s) {
    const bins = Array.isArray(s.scores?.bins) ? s.scores.bins.map((n) => (f.isNumber(n) ? n : 0)) : [];
    const total = bins.reduce((a, b) => a + b, 0);
    const top = Math.log1p(Math.max(...bins, 1));
    const from = (i) => (i / bins.length).toFixed(2);
    const border = threshold(s);

    setHidden(byId("bars-empty"), total > 0);
    setText(byId("scores-count"), f.count(s.scores?.count));
    setText(byId("scores-mean"), f.score(s.scores?.mean));
    children(
        byId("bars"),
        bins.map((n, i) => ({ n, i })),
        (b) => b.i,
        () => el("span", {}, el("i")),
        (bar, b) => {
            const height = b.n > 0 ? Math.max(2, (100 * Math.log1p(b.n)) / top) : 0;
            bar.firstChild.style.height = `${height.toFixed(1)}%`;
            setAttribute(
                bar,
                "title",
                `${from(b.i)} to ${from(b.i + 1)}: ${f.exact(b.n)} events, ${f.share(b.n, total)}`,
            );
            setAttribute(bar, "class", border !== null && b.i / bins.length >= border.at - 1e-9 ? "beyond" : null);
        },
    );
    const note = border === null ? "" : ` Striped: ${border.name}, score from ${border.at}.`;
    setText(byId("scores-note"), note);
    const low = bins.slice(0, Math.ceil(bins.length / 2)).reduce((a, b) => a + b, 0);
    setAttribute(
        byId("bars"),
        "aria-label",
        total === 0
            ? "No scores in the last minute"
            : `Scores of the last minute: ${f.exact(total)} events, ${f.share(low, total)} below 0.5, ` +
                  `mean ${f.score(s.scores?.mean)}`,
    );
}

/* After a change of theme. */
export function restyleCharts() {
    rate_chart?.restyle();
    age_chart?.restyle();
}
