/* SPDX-License-Identifier: Apache-2.0
 * format.js - numbers, times and sizes as people read them.
 *
 * Whatever is not there, or is no number, is a dash: never NaN, never undefined. */
export const DASH = "–";

const grouped = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

export const isNumber = (v) => typeof v === "number" && Number.isFinite(v);

/* Three digits that matter: 4.13, 41.3, 413. */
function three(v) {
    const size = Math.abs(v);
    return v.toFixed(size < 9.995 ? 2 : size < 99.95 ? 1 : 0);
}

const scaled = (v, steps) => {
    for (const [limit, unit] of steps)
        if (Math.abs(v) >= limit) return limit > 0 ? `${three(v / limit)} ${unit}` : `${grouped.format(v)} ${unit}`;
    return grouped.format(v);
};

/* 123,456 and then 1.23 M. */
export function count(v) {
    return isNumber(v)
        ? scaled(v, [
              [1e12, "T"],
              [1e9, "G"],
              [1e6, "M"],
          ])
        : DASH;
}

/* All digits. */
export const exact = (v) => (isNumber(v) ? grouped.format(v) : DASH);

export function rate(v) {
    if (!isNumber(v)) return DASH;
    if (v === 0 || v >= 99.95)
        return `${
            v >= 1e5
                ? scaled(v, [
                      [1e9, "G"],
                      [1e6, "M"],
                      [1e3, "k"],
                  ])
                : grouped.format(v)
        }/s`;
    return `${v.toFixed(v >= 9.95 ? 1 : v >= 0.0995 ? 2 : 3)}/s`;
}

export function bytes(v) {
    return isNumber(v)
        ? scaled(v, [
              [1e12, "TB"],
              [1e9, "GB"],
              [1e6, "MB"],
              [1e3, "kB"],
              [-Infinity, "B"],
          ])
        : DASH;
}

/* From 0.3 µs to days. */
export function ms(v) {
    if (!isNumber(v)) return DASH;
    const size = Math.abs(v);
    if (size === 0) return "0 ms";
    return size < 0.0995 ? `${three(v * 1000)} µs` : size < 999.5 ? `${three(v)} ms` : duration(v / 1000);
}

export function duration(s) {
    if (!isNumber(s)) return DASH;
    const whole = Math.max(0, Math.floor(s));
    if (s < 9.95) return `${Math.max(0, s).toFixed(1)} s`;
    if (whole < 60) return `${whole} s`;
    if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
    if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
    return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

/* "0.01 %", "12.3 %"; what is more than nothing does not become 0. */
export function share(part, whole) {
    if (!isNumber(part) || !isNumber(whole) || whole <= 0) return DASH;
    const v = (100 * part) / whole;
    return v === 0 ? "0 %" : v < 0.01 ? "< 0.01 %" : `${v.toFixed(v < 1 ? 2 : v < 99.95 ? 1 : 0)} %`;
}

export const score = (v) => (isNumber(v) ? v.toFixed(3) : DASH);

/* RFC 3339 to seconds since 1970; NaN where there is none. */
export const seconds = (text) => (typeof text === "string" ? Date.parse(text) / 1000 : NaN);

/* "10:31:22", with the date in front when it is another day than that of `now`; UTC. */
export function time(text, now) {
    const t = seconds(text);
    if (!isNumber(t)) return DASH;
    const iso = new Date(t * 1000).toISOString();
    const day = iso.slice(0, 10);
    const clock = iso.slice(11, 19);
    return !isNumber(now) || new Date(now * 1000).toISOString().startsWith(day) ? clock : `${day} ${clock}`;
}

/* A value of a feature or field. */
export function value(v) {
    if (v === null || v === undefined) return DASH;
    if (typeof v === "number" && !Number.isInteger(v)) return String(Number(v.toPrecision(9)));
    return typeof v === "object" ? JSON.stringify(v) : String(v);
}

export const text = (v) => (v === null || v === undefined || v === "" ? DASH : String(v));
