/* SPDX-License-Identifier: Apache-2.0
 * dashboard.js - what fills the page. Read this first.
 *
 * A status comes once a second (live.js) and is kept (status.js); the page is painted at most once a frame, from the
 * newest one, by one function per panel (phase.js, overview.js, records.js, features.js, panels.js). Every member of a
 * status may be missing: then its place shows a dash. */
import { byId, setText } from "./dom.js";
import { paintFeaturesForm } from "./features.js";
import * as f from "./format.js";
import { setToken, watch } from "./live.js";
import { paintCharts, paintScores, paintTiles, restyleCharts } from "./overview.js";
import { paintLog, paintModels, paintProcess, paintSinks, paintSources, paintStages, paintStreams } from "./panels.js";
import { paintBanner, paintHead, paintPhase } from "./phase.js";
import { feeds, paintAlertsHead, paintReasons } from "./records.js";
import { conditional, list, page, sum } from "./status.js";

let is_painting = false;

/* ---- a status comes -----------------------------------------------------------------------------------------------*/

function onStatus(s) {
    if (s === null || typeof s !== "object") return;
    const t = f.seconds(s.now);
    page.status = s;
    page.history.add({
        t: f.isNumber(t) ? t : Date.now() / 1000,
        rates: new Map(list(s.streams).map((stream) => [stream.name, stream.rate])),
        age: s.age_ms ?? {},
        dead: sum(list(s.streams), (stream) => stream.dead),
        alerts: sum(conditional(s), (o) => o.records),
        stages: s.stages_ns ?? {},
        read: sum(list(s.streams), (stream) => stream.read),
        cpu: s.process?.cpu_s,
        done: s.progress?.done,
    });
    paintSoon();
}

function onLink(state, how) {
    page.link = {
        state,
        text: how.text ?? "",
        retry_at: performance.now() + (how.retry_ms ?? 0),
        is_refused: how.is_refused,
    };
    if (state === "token") askToken();
    paintSoon();
}

function paintSoon() {
    if (is_painting) return;
    is_painting = true;
    requestAnimationFrame(() => {
        is_painting = false;
        paint();
    });
}

function paint() {
    const s = page.status;
    paintPhase(s);
    paintBanner(s);
    if (s === null) return;
    paintHead(s);
    paintTiles(s);
    paintCharts(s);
    paintScores(s);
    paintAlertsHead(s);
    paintReasons(s);
    paintFeaturesForm(s);
    paintStreams(s);
    paintModels(s);
    paintSinks(s);
    paintSources(s);
    paintStages();
    paintLog(s);
    paintProcess(s);
    for (const feed of feeds) feed.look(s);
}

/* ---- theme and token ----------------------------------------------------------------------------------------------*/

const THEMES = ["system", "light", "dark"];

function paintTheme() {
    setText(byId("theme-name"), document.documentElement.dataset.theme ?? "system");
    restyleCharts();
}

function nextTheme() {
    const root = document.documentElement;
    const next = THEMES[(THEMES.indexOf(root.dataset.theme ?? "system") + 1) % THEMES.length];
    if (next === "system") delete root.dataset.theme;
    else root.dataset.theme = next;
    try {
        localStorage.setItem("quern-theme", next);
    } catch {
        /* no storage: it holds until the page is loaded again */
    }
    paintTheme();
}

function askToken() {
    const ask = byId("ask");
    if (page.link.is_refused) setText(byId("ask-text"), "The server refuses this token. Another one?");
    if (!ask.open) ask.showModal();
    byId("ask-token").focus();
}

byId("ask-form").addEventListener("submit", (event) => {
    event.preventDefault();
    setToken(byId("ask-token").value.trim());
    byId("ask-token").value = "";
    byId("ask").close();
    page.retry();
});
byId("ask-cancel").addEventListener("click", () => byId("ask").close());
byId("theme").addEventListener("click", nextTheme);
byId("alerts-output").addEventListener("change", (event) => {
    page.output = event.target.value;
    byId("alerts").replaceChildren();
    paintSoon();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paintTheme);
document.addEventListener("visibilitychange", paintSoon);
setInterval(() => {
    if (page.link.state !== "live") paintSoon(); /* the countdown */
}, 1000);
setText(byId("address"), location.host ? `${location.protocol}//${location.host}` : "URL");
paintTheme();
page.askToken = askToken;
page.retry = watch("v1/live", onStatus, onLink).retry;
