/* SPDX-License-Identifier: Apache-2.0
 * phase.js - the head of the page and the banner below it: how the pipeline is, and whether we hear from it. */
import { byId, setAttribute, setHidden, setText } from "./dom.js";
import * as f from "./format.js";
import { list, page, sum } from "./status.js";

/* phase: its mark, its word, and where the banner speaks of it, what it says */
const PHASES = {
    starting: ["wait", "starting", "Starting.", "Events are refused until the log is replayed."],
    running: ["good", "running"],
    full: [
        "bad",
        "disk full",
        "The disk is full: no events are accepted.",
        "Reads go on. When there is space again, it resumes by itself.",
    ],
    draining: ["wait", "stopping", "Stopping: what is in the log is finished, nothing new is accepted."],
    stopped: ["off", "stopped", "Stopped."],
    failed: ["bad", "failed", "The pipeline failed and must be started again."],
};

export function paintPhase(s) {
    const { state } = page.link;
    const phase = PHASES[s?.phase] ?? ["off", f.text(s?.phase)];
    const [kind, text] =
        state === "live"
            ? phase
            : state === "connecting"
              ? ["wait", "connecting"]
              : state === "token"
                ? ["off", "token needed"]
                : ["bad", "connection lost"];
    setAttribute(byId("phase"), "data-kind", kind);
    setText(byId("phase-text"), text);
    setAttribute(document.body, "data-stale", s !== null && state !== "live" ? "yes" : null);
    const rate = s === null ? "" : ` ${f.rate(sum(list(s.streams), (stream) => stream.rate))}`;
    const title = s === null ? "Quern" : `${f.text(s.pipeline)}${kind === "good" ? rate : `: ${text}`}`;
    if (document.title !== title) document.title = title;
}

/* What stands in the banner, null where nothing is to be said. */
function bannerWords(s) {
    const { state, text, retry_at } = page.link;
    if (state === "lost") {
        const wait_s = Math.max(0, Math.ceil((retry_at - performance.now()) / 1000));
        return {
            kind: "bad",
            title: "Connection lost:",
            text: `${text}.${s === null ? "" : ` What you see is from ${f.time(s.now)} UTC.`}`,
            far: `Next try ${wait_s > 0 ? `in ${wait_s} s` : "now"}`,
            button: "Try now",
            press: page.retry,
        };
    }
    if (state === "token")
        return {
            kind: "off",
            title: "A token is needed",
            text: "to see this pipeline.",
            button: "Enter it",
            press: page.askToken,
        };
    if (s === null || !PHASES[s.phase]?.[2]) return null;
    const [kind, , title, more] = PHASES[s.phase];
    const words = { kind, title, text: [s.detail, more].filter(Boolean).join(". ").replaceAll("..", ".") };
    const { done, total } = s.progress ?? {};
    if (s.phase === "starting" && f.isNumber(done) && total > 0) {
        const before = page.history.before(10);
        const took = page.history.last().t - before.t;
        const speed = took > 0 ? (done - (before.done ?? done)) / took : 0;
        words.progress = [done, total];
        const left = speed > 0 && done < total ? `, about ${f.duration((total - done) / speed)} left` : "";
        words.far = `${f.count(done)} of ${f.count(total)}${left}`;
    }
    return words;
}

export function paintBanner(s) {
    const words = bannerWords(s);
    const banner = byId("banner");
    setHidden(banner, words === null);
    if (words === null) return;
    setAttribute(banner, "data-kind", words.kind);
    setText(byId("banner-title"), words.title);
    setText(byId("banner-text"), words.text);
    const bar = byId("banner-progress");
    setHidden(bar, !words.progress);
    if (words.progress) {
        bar.max = words.progress[1];
        bar.value = words.progress[0];
    }
    setHidden(byId("banner-progress-text"), !words.far);
    setText(byId("banner-progress-text"), words.far ?? "");
    const button = byId("banner-button");
    setHidden(button, !words.button);
    setText(button, words.button ?? "");
    button.onclick = words.press ?? null;
}

export function paintHead(s) {
    setText(byId("pipeline"), f.text(s.pipeline));
    setText(byId("uptime"), f.duration(s.uptime_s));
    setAttribute(byId("uptime"), "title", s.started ? `since ${s.started}` : null);
    setText(byId("spec"), f.text(s.spec).slice(0, 8));
    setAttribute(byId("spec"), "title", s.spec ? `hash of the resolved spec: ${s.spec}` : null);
    setText(byId("version"), f.text(s.version));
    setText(byId("clock"), f.time(s.now));
}
