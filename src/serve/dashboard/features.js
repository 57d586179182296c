/* SPDX-License-Identifier: Apache-2.0
 * features.js - the features of a key, looked up. */
import { byId, el, figure, rows, setHidden, setText, word } from "./dom.js";
import * as f from "./format.js";
import { getJson } from "./live.js";
import { list, now } from "./status.js";

export function paintFeaturesForm(s) {
    const groups = [
        ...new Set(
            list(s.state?.groups)
                .map((g) => g.by)
                .filter(Boolean),
        ),
    ];
    const choice = byId("features-by");
    if ([...choice.options].map((o) => o.value).join("\n") === groups.join("\n")) return;
    choice.replaceChildren(...groups.map((by) => el("option", { value: by }, by)));
    setHidden(byId("features-group"), groups.length === 0);
    setHidden(byId("features-form"), groups.length === 0);
    setText(
        byId("features-note"),
        groups.length === 0
            ? "No feature of this pipeline has a key."
            : "The values the next event of that key would see, as of its newest event.",
    );
    makeKeyFields();
}

/* Shows the features found, or where there are none, which keys there are. */
function showFound(is) {
    setHidden(byId("features-found"), !is);
    setHidden(byId("groups-table"), is);
}

function makeKeyFields() {
    showFound(false);
    const names = byId("features-by")
        .value.split(",")
        .map((n) => n.trim())
        .filter(Boolean);
    byId("features-keys").replaceChildren(
        ...names.map((name) =>
            el("input", {
                type: "text",
                name,
                required: "",
                placeholder: name,
                "aria-label": name,
                spellcheck: "false",
            }),
        ),
    );
}

async function lookUp(event) {
    event.preventDefault();
    const by = byId("features-by").value;
    const keys = [...byId("features-keys").children].map((e) => `key=${encodeURIComponent(e.value)}`).join("&");
    const note = byId("features-note");
    try {
        const answer = await getJson(`v1/features/${encodeURIComponent(by)}?${keys}`);
        const found = Object.entries(answer.features ?? {}).map(([name, v]) => ({ name, v }));
        setText(byId("features-as-of"), `as of ${f.time(answer.as_of, now())} UTC`);
        setText(
            note,
            Object.entries(answer.key ?? {})
                .map(([name, v]) => `${name} ${f.value(v)}`)
                .join(", "),
        );
        rows(byId("features"), found, (x) => x.name, [
            word((x) => x.name),
            figure(
                (x) => (x.v === null ? "null" : f.value(x.v)),
                (x) => f.value(x.v),
            ),
        ]);
        showFound(true);
    } catch (e) {
        setText(byId("features-as-of"), "");
        setText(note, e.message);
        showFound(false);
    }
}

byId("features-by").addEventListener("change", makeKeyFields);
byId("features-form").addEventListener("submit", lookUp);
