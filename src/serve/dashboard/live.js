/* SPDX-License-Identifier: Apache-2.0
 * live.js - the connection: the stream of statuses, the other requests, the bearer token.
 *
 * The stream is read with fetch, because EventSource cannot send the token. A stream that ends, or is silent for
 * SILENCE_MS, is lost and opened again after a wait that doubles up to WAIT_MAX_MS. The token lives as long as the
 * browser's tab. */
const SILENCE_MS = 6000;
const WAIT_MAX_MS = 10000;
const TOKEN = "quern-token";

let token = read_token();

function read_token() {
    try {
        return sessionStorage.getItem(TOKEN);
    } catch {
        return null;
    }
}

export function setToken(text) {
    token = text;
    try {
        sessionStorage.setItem(TOKEN, text);
    } catch {
        /* no storage: it holds until the page is loaded again */
    }
}

/* Why a request has no answer: `status` is that of HTTP, 0 where none came. */
export class Failure extends Error {
    constructor(status, text) {
        super(text);
        this.status = status;
    }
}

async function request(path, accept, signal) {
    const headers = { Accept: accept };
    if (token) headers.Authorization = `Bearer ${token}`;
    let answer;
    try {
        answer = await fetch(path, { headers, signal, cache: "no-store" });
    } catch (e) {
        throw new Failure(0, e.name === "AbortError" ? "no word from the server" : "the server cannot be reached");
    }
    if (answer.ok) return answer;
    let detail = "";
    try {
        const problem = await answer.json();
        detail = problem.detail || problem.title || "";
    } catch {
        /* no problem document: the status has to do */
    }
    throw new Failure(answer.status, detail || `the server answers ${answer.status} ${answer.statusText}`);
}

export async function getJson(path) {
    const answer = await request(path, "application/json");
    return answer.json();
}

/* Reads server-sent events and calls onData with the data of each. */
async function readEvents(body, onBytes, onData) {
    const reader = body.getReader();
    const decoder = new TextDecoder();
    let rest = "";
    let data = [];
    for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        onBytes();
        const lines = (rest + decoder.decode(value, { stream: true })).split(/\r\n|\n/);
        rest = lines.pop();
        for (const line of lines) {
            if (line.startsWith("data:")) data.push(line.slice(line[5] === " " ? 6 : 5));
            else if (line === "" && data.length > 0) {
                onData(data.join("\n"));
                data = [];
            }
        }
    }
}

/* Keeps a stream of statuses open for as long as the page is. Calls
 *   onStatus(status)                    for each,
 *   onState("live" | "lost" | "token", {text, retry_ms})   when that changes.
 * Returns {retry()}: tries at once, also after a new token. */
export function watch(path, onStatus, onState) {
    let wait_ms = 0;
    let wake = null;

    async function once() {
        const abort = new AbortController();
        let timer;
        const heard = () => {
            clearTimeout(timer);
            timer = setTimeout(() => abort.abort(), SILENCE_MS);
        };
        heard();
        try {
            const answer = await request(path, "text/event-stream", abort.signal);
            await readEvents(answer.body, heard, (data) => {
                const status = JSON.parse(data);
                wait_ms = 0;
                onState("live", {});
                onStatus(status);
            });
            throw new Failure(0, "the server closed the stream");
        } catch (e) {
            if (e instanceof Failure) throw e;
            if (e instanceof SyntaxError) throw new Failure(0, "the server sent something that is no status");
            throw new Failure(0, abort.signal.aborted ? "no word from the server" : "the connection broke");
        } finally {
            clearTimeout(timer);
            abort.abort();
        }
    }

    async function forever() {
        for (;;) {
            try {
                await once();
            } catch (e) {
                const asks = e.status === 401;
                wait_ms = Math.min(wait_ms === 0 ? 1000 : 2 * wait_ms, WAIT_MAX_MS);
                onState(asks ? "token" : "lost", {
                    text: e.message,
                    retry_ms: wait_ms,
                    is_refused: asks && token !== null,
                });
                await new Promise((resolve) => {
                    wake = resolve;
                    if (!asks) setTimeout(resolve, wait_ms);
                });
            }
        }
    }
    forever();
    return {
        retry() {
            wait_ms = 0;
            if (wake) wake();
        },
    };
}
