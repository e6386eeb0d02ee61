// What is live: rows of events as they come, and figures that are read anew. All of it is made by the
// server, which turns whatever lines say into text; here it is only put in its place. Without this
// script the page shows what was when it was loaded.
"use strict";

(() => {
  const rows = document.querySelector("tbody[data-stream]");
  const lamp = document.querySelector(".live");
  const theme = document.getElementById("theme");

  if (theme) {
    theme.addEventListener("change", () => theme.form.requestSubmit());
  }

  // Figures: the page is asked for again, and the parts that say so are taken from it.
  const refreshed = [...document.querySelectorAll("[data-refresh]")];
  let due = 0;
  async function refresh() {
    due = 0;
    try {
      const got = await fetch(location.href, { headers: { "X-By-Itself": "1" }, redirect: "manual" });
      if (!got.ok) return;
      const page = new DOMParser().parseFromString(await got.text(), "text/html");
      for (const part of refreshed) {
        const next = page.getElementById(part.id);
        if (next && next.innerHTML !== part.innerHTML && !part.contains(document.activeElement)) {
          part.replaceChildren(...[...next.childNodes].map((n) => document.importNode(n, true)));
          part.className = next.className;
        }
      }
    } catch { /* the next event tries again */ }
  }
  function soon(after) {
    if (refreshed.length && !due) due = setTimeout(refresh, after);
  }
  if (refreshed.length) {
    setInterval(() => { if (document.visibilityState === "visible") soon(0); }, 15000);
  }
  if (!rows || !lamp) return;

  // Events: a stream says that there are some; rows are asked for, at most eight times a second.
  let source = null;
  let asking = false;
  let again = false;
  async function more() {
    if (asking) { again = true; return; }
    asking = true;
    try {
      const got = await fetch(rows.dataset.rows + "since=" + rows.dataset.last, { headers: { "X-By-Itself": "1" }, redirect: "manual" });
      if (got.ok) {
        const part = new DOMParser().parseFromString("<table><tbody>" + await got.text() + "</tbody></table>", "text/html");
        const came = [...part.querySelectorAll("tr[data-n]")];
        for (const row of came.reverse()) {
          if (Number(row.dataset.n) <= Number(rows.dataset.last)) continue;
          rows.dataset.last = row.dataset.n;
          const own = document.importNode(row, true);
          own.classList.add("new");
          rows.prepend(own);
        }
        while (rows.children.length > Number(rows.dataset.most)) rows.lastElementChild.remove();
        const none = rows.closest("section").querySelector(".none");
        if (came.length && none) none.remove();
        if (came.length) soon(1000);
      }
    } catch { again = false; }
    setTimeout(() => { asking = false; if (again) { again = false; more(); } }, 120);
  }
  function say(on, text) {
    lamp.classList.toggle("on", on);
    if (lamp.textContent !== text) lamp.textContent = text;
  }
  function open() {
    if (source) return;
    source = new EventSource(rows.dataset.stream + "since=" + rows.dataset.last);
    source.onopen = () => say(true, lamp.dataset.live);
    source.onmessage = more;
    source.onerror = () => {
      say(false, lamp.dataset.lost);
      if (source && source.readyState === EventSource.CLOSED) {
        source = null;
        setTimeout(() => { if (document.visibilityState === "visible") open(); }, 5000);
      }
    };
  }
  function close() {
    if (source) source.close();
    source = null;
    say(false, "");
  }
  // A browser has six connections to a server: a tab that nobody looks at keeps none.
  document.addEventListener("visibilitychange", () => (document.visibilityState === "visible" ? open() : close()));
  if (document.visibilityState === "visible") open();
})();
