/* SPDX-License-Identifier: Apache-2.0
 * theme.js - the theme that was chosen, set before the page is painted. Loaded by index.html in its head. */
try {
    const chosen = localStorage.getItem("quern-theme");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
    /* no storage: the system's theme holds */
}
