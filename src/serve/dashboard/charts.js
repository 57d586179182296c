/* SPDX-License-Identifier: Apache-2.0
 * charts.js - the last ten minutes, kept and drawn.
 *
 * History is bounded: one sample a second of server time, SAMPLES_MAX of them. The x axis is time before now, so that
 * its marks stand still while the lines move; it begins with a minute and grows with the history. uPlot draws; lines
 * differ by their dashes as well as by their colour. */
import { DASH, isNumber } from "./format.js";

const uPlot = window.uPlot;
const SAMPLES_MAX = 605;
const SPANS_S = [60, 120, 300, 600];
const MARKS_S = { 60: 15, 120: 30, 300: 60, 600: 120 }; /* of the x axis, by span */
const GAP_S = 5; /* silence longer than this is a gap in the line */

export class History {
    constructor() {
        this.samples = []; /* {t, …}, oldest first */
    }

    /* A sample replaces one of the same second; a clock that went back starts anew. */
    add(sample) {
        const last = this.last();
        if (last && sample.t < last.t - 1) this.samples = [];
        else if (last && sample.t - last.t < 0.5) this.samples.pop();
        this.samples.push(sample);
        while (this.samples.length > SAMPLES_MAX || sample.t - this.samples[0].t > SPANS_S.at(-1) + 2)
            this.samples.shift();
    }

    last() {
        return this.samples.at(-1);
    }

    /* The newest sample that is at least `s` seconds old; else the oldest there is. */
    before(s) {
        const limit = (this.last()?.t ?? 0) - s;
        return this.samples.findLast((sample) => sample.t <= limit) ?? this.samples[0];
    }

    span() {
        const seen = this.samples.length > 0 ? this.last().t - this.samples[0].t : 0;
        return SPANS_S.find((s) => seen <= s + 1) ?? SPANS_S.at(-1);
    }

    /* Columns for uPlot: seconds before now, then get(sample, i) per line. */
    columns(gets) {
        const out = [[], ...gets.map(() => [])];
        const now = this.last()?.t ?? 0;
        let previous = null;
        for (const sample of this.samples) {
            if (previous !== null && sample.t - previous > GAP_S) {
                out[0].push(previous + 1 - now);
                gets.forEach((_, i) => out[i + 1].push(null));
            }
            out[0].push(sample.t - now);
            gets.forEach((get, i) => {
                const v = get(sample);
                out[i + 1].push(isNumber(v) ? v : null);
            });
            previous = sample.t;
        }
        return out;
    }
}

/* --- scales --- */

/* 0 … the smallest of 1, 2, 4, 5, 8 · 10^k that holds v. */
function niceTop(v) {
    if (!(v > 0)) return 10;
    const power = 10 ** Math.floor(Math.log10(v));
    return [1, 2, 4, 5, 8, 10].find((m) => m * power >= v * 0.9999) * power;
}

function linearMarks(top) {
    const lead = Math.round(top / 10 ** Math.floor(Math.log10(top) + 1e-9));
    const parts = { 1: 5, 2: 4, 4: 4, 5: 5, 8: 4 }[lead] ?? 5;
    return Array.from({ length: parts + 1 }, (_, i) => (top * i) / parts);
}

const steps125 = Array.from({ length: 39 }, (_, i) => [1, 2, 5][i % 3] * 10 ** (Math.floor(i / 3) - 4));

function logRange(low, high) {
    const from = steps125.findLast((s) => s <= low * 0.95) ?? steps125[0];
    const least = Math.max(high * 1.05, from * 10);
    return [from, steps125.find((s) => s >= least * 0.9999) ?? steps125.at(-1)];
}

function logMarks(from, to) {
    const all = steps125.filter((s) => s >= from * 0.9999 && s <= to * 1.0001);
    return all.length <= 7 ? all : all.filter((s) => Math.abs(Math.log10(s) - Math.round(Math.log10(s))) < 1e-6);
}

function ago(s) {
    return s === 0 ? "now" : -s % 60 === 0 ? `${s / 60} min`.replace("-", "−") : `${s} s`.replace("-", "−");
}

function timeMarks(span) {
    const step = MARKS_S[span] ?? span / 5;
    return Array.from({ length: Math.floor(span / step) + 1 }, (_, k) => k * step - span);
}

/* "0.50 ms" as a mark: "0.5 ms". */
const rounded = (text) => text.replace(/(\.\d*?)0+(?=\D|$)/, "$1").replace(/\.(?=\D|$)/, "");

/* --- colours of the page --- */

/* What a custom property is in the theme of the moment. */
function colour(name) {
    const probe = colour.probe ?? (colour.probe = document.body.appendChild(document.createElement("i")));
    probe.hidden = true;
    probe.style.color = `var(${name})`;
    return getComputedStyle(probe).color;
}

/* "rgb(1, 2, 3)" with an opacity. */
const faint = (c, opacity) => c.replace(/^rgb\(/, "rgba(").replace(/\)$/, `, ${opacity})`);

const DASHES = [[], [7, 4], [2, 3], [9, 3, 2, 3], [4, 4]];

/* --- a chart over time --- */

/* box: the element to draw in. spec: {name, isLog, format(v), lines: [{name, get(sample), colour: "--s1", width}],
 * bands: [{series: [upper, lower], colour, opacity}]}. legend: where the lines' names and values stand.
 * Returns {draw(history), restyle(), free()}. */
export function timeChart(box, legend, spec) {
    let history = null;
    let plot = null;
    let range = [0, 1];
    const values = [];

    legend.replaceChildren(
        ...spec.lines.map((line, i) => {
            const item = document.createElement("span");
            const mark = document.createElementNS("http://www.w3.org/2000/svg", "svg");
            const stroke = document.createElementNS("http://www.w3.org/2000/svg", "path");
            mark.setAttribute("viewBox", "0 0 24 6");
            mark.setAttribute("aria-hidden", "true");
            stroke.setAttribute("d", "M1 3h22");
            stroke.style.stroke = `var(${line.colour})`;
            stroke.style.strokeWidth = (line.width ?? 1.5) + 0.5;
            stroke.setAttribute("stroke-dasharray", (line.dash ?? DASHES[i]).join(" "));
            mark.append(stroke);
            values[i] = document.createElement("b");
            values[i].textContent = DASH;
            item.append(mark, line.name, " ", values[i]);
            return item;
        }),
    );

    function build() {
        const soft = colour("--soft");
        const grid = { stroke: colour("--grid"), width: 1 };
        const font = `11px ${getComputedStyle(document.body).fontFamily}`;
        const axis = { stroke: soft, grid, ticks: { show: false }, font };
        plot = new uPlot(
            {
                width: Math.max(box.clientWidth, 120),
                height: Math.max(box.clientHeight, 80),
                padding: [10, 14, 0, 0],
                legend: { show: false },
                cursor: {
                    y: false,
                    drag: { x: false, y: false },
                    sync: { key: "time" },
                    points: { size: 6 },
                },
                scales: {
                    x: { time: false, range: () => [-(history?.span() ?? 60), 0] },
                    y: { distr: spec.isLog ? 3 : 1, log: 10, range: () => range },
                },
                axes: [
                    {
                        ...axis,
                        size: 30,
                        gap: 10,
                        splits: (u, i, from) => timeMarks(-from),
                        filter: (u, marks) => marks,
                        values: (u, marks) => marks.map(ago),
                        grid: { show: false },
                    },
                    {
                        ...axis,
                        size: 58,
                        gap: 6,
                        splits: () => (spec.isLog ? logMarks(...range) : linearMarks(range[1])),
                        filter: (u, marks) => marks,
                        values: (u, marks) => marks.map((v) => rounded(spec.format(v))),
                    },
                ],
                series: [
                    {},
                    ...spec.lines.map((line, i) => ({
                        label: line.name,
                        stroke: colour(line.colour),
                        width: line.width ?? 1.5,
                        dash: line.dash ?? DASHES[i],
                        fill: line.fill ? faint(colour(line.colour), line.fill) : undefined,
                        points: { show: false },
                        spanGaps: false,
                    })),
                ],
                bands: (spec.bands ?? []).map((b) => ({ series: b.series, fill: faint(colour(b.colour), b.opacity) })),
                hooks: { setCursor: [readOut] },
            },
            history ? history.columns(spec.lines.map((line) => line.get)) : [[], ...spec.lines.map(() => [])],
            box,
        );
    }

    /* The values under the cursor, or the newest. */
    function readOut(u) {
        const at = u.cursor.idx ?? u.data[0].length - 1;
        spec.lines.forEach((line, i) => {
            const v = u.data[i + 1][at];
            values[i].textContent = v === null || v === undefined ? DASH : spec.format(v);
        });
        if (spec.onTime) spec.onTime(u.cursor.idx === null || u.cursor.idx === undefined ? null : u.data[0][at]);
    }

    const resized = new ResizeObserver(() => {
        if (plot && box.clientWidth > 0) plot.setSize({ width: box.clientWidth, height: box.clientHeight });
    });
    resized.observe(box);

    return {
        draw(h) {
            history = h;
            if (!plot) build();
            const columns = h.columns(spec.lines.map((line) => line.get));
            let low = Infinity;
            let high = -Infinity;
            for (const column of columns.slice(1))
                for (const v of column)
                    if (v !== null) {
                        low = Math.min(low, v);
                        high = Math.max(high, v);
                    }
            range = spec.isLog ? (high > 0 ? logRange(low, high) : [0.1, 10]) : [0, niceTop(high * 1.05)];
            plot.setData(columns);
            readOut(plot);
        },
        restyle() {
            if (plot) plot.destroy();
            plot = null;
            if (history) this.draw(history);
        },
        free() {
            resized.disconnect();
            if (plot) plot.destroy();
        },
    };
}
