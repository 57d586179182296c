/* SPDX-License-Identifier: Apache-2.0
 * dom.js - the few ways in which the page changes.
 *
 * What comes from outside becomes text, never markup. Nothing is touched that did not change, and a row keeps its
 * element as long as its key is there, so that focus, selection and the reader's eye stay where they are. */
export const byId = (id) => document.getElementById(id);

/* An element: el("td", {class: "number"}, "text", child, …). */
export function el(tag, attributes = {}, ...children) {
    const e = document.createElement(tag);
    for (const [name, v] of Object.entries(attributes))
        if (typeof v === "function") e.addEventListener(name, v);
        else if (v !== undefined) e.setAttribute(name, v);
    e.append(...children);
    return e;
}

export function setText(e, s) {
    const wanted = String(s);
    if (e.textContent !== wanted) e.textContent = wanted;
}

export function setAttribute(e, name, v) {
    if (v === null) {
        if (e.hasAttribute(name)) e.removeAttribute(name);
    } else if (e.getAttribute(name) !== String(v)) {
        e.setAttribute(name, v);
    }
}

export function setHidden(e, is) {
    if (e.hidden !== is) e.hidden = is;
}

/* Makes the children of `parent` those of `items`, in their order: make() for a new key, fill(child, item) for each.
 * Two items of one key are told apart by their order. */
export function children(parent, items, key, make, fill) {
    const there = new Map();
    for (const child of parent.children) there.set(child.dataset.key, child);
    const seen = new Map();
    let at = parent.firstElementChild;
    for (const item of items) {
        const name = String(key(item));
        const again = seen.get(name) ?? 0;
        seen.set(name, again + 1);
        const id = again === 0 ? name : `${name} ${again}`;
        let child = there.get(id);
        if (child === undefined) {
            child = make(item);
            child.dataset.key = id;
        } else {
            there.delete(id);
        }
        if (child === at) at = at.nextElementSibling;
        else parent.insertBefore(child, at);
        fill(child, item);
    }
    for (const child of there.values()) child.remove();
}

/* Rows of a table; each column is {class, fill(cell, item)}. The first is the row's head. Cells carry the name of
 * their column, which narrow screens show in front of the value. */
export function rows(body, items, key, columns) {
    const names = [...(body.parentElement.tHead?.rows[0].cells ?? [])].map((cell) => cell.textContent);
    const make = () => {
        const row = el("tr");
        columns.forEach((c, i) =>
            row.append(
                el(i === 0 ? "th" : "td", {
                    class: c.class,
                    scope: i === 0 ? "row" : undefined,
                    "data-label": names[i],
                }),
            ),
        );
        return row;
    };
    children(body, items, key, make, (row, item) => {
        columns.forEach((c, i) => c.fill(row.children[i], item));
    });
}

/* Columns for rows(). */
export const word = (get, title = get) => ({
    fill(cell, item) {
        setText(cell, get(item));
        setAttribute(cell, "title", title(item));
    },
});
export const figure = (get, title) => ({
    class: "n",
    fill(cell, item) {
        setText(cell, get(item));
        if (title) setAttribute(cell, "title", title(item));
    },
});
