/** The console: its frame, and which page an address leads to. */

import { html, render, useEffect, useRef, useState } from "./html.js";
import { keepKey, link, readKey, useLink, useNow, useRead } from "./link.js";
import { Problem, Status, useTitle } from "./parts.js";
import { go, to, useKeys, useRoute } from "./route.js";
import { lasting } from "./text.js";

/**
 * Each page is loaded when it is first opened, or soon after the first one, and may have `KEYS` of its own; `one` shows a single row of it. `key`: what
 * leads there after `g`.
 */
const PAGES = [
  { name: "attention", title: "Attention", key: "a", load: () => import("./attention.js") },
  { name: "approvals", title: "Approvals", key: "p", load: () => import("./approvals.js") },
  { name: "runs", title: "Runs", key: "r", load: () => import("./runs.js"), one: () => import("./run.js") },
  { name: "threads", title: "Threads", key: "t", load: () => import("./threads.js"), one: () => import("./thread.js") },
  { name: "queue", title: "Queue", key: "q", load: () => import("./queue.js") },
  { name: "dead", title: "Dead letters", key: "d", load: () => import("./dead.js") },
  { name: "schedules", title: "Schedules", key: "s", load: () => import("./schedules.js") },
  { name: "agents", title: "Agents", key: "e", load: () => import("./agents.js"), one: () => import("./agent.js") },
  { name: "workers", title: "Workers", key: "w", load: () => import("./workers.js") },
  { name: "system", title: "System", key: "y", load: () => import("./system.js") },
];
const HELP = [
  ["g", "then a letter: another page"],
  ["j, k", "down and up in a table"],
  ["x, Space", "pick what is focused, where several can be picked"],
  ["Enter", "open what is focused"],
  ["Ctrl Enter", "send what stands in a field of several lines"],
  ["?", "this list"],
];

function Frame() {
  const route = useRoute();
  const system = useRead("/v1/system", { concerns: () => false });
  const page = PAGES.find(({ name }) => name === (route.place[0] ?? "attention"));
  const help = useRef(null);
  const [, opened] = useState(0); // pages that have been loaded since have keys of their own
  const going = useRef(0);
  const wanted = (event) => {
    if (Date.now() - going.current > 1_500) return false;
    const found = PAGES.find(({ key }) => key === event.key);
    going.current = 0;
    return found ? go(found.name) : false;
  };
  useKeys({
    "?": () => {
      help.current.showModal();
      Promise.allSettled(allLoads().map(keep)).then(() => opened((count) => count + 1));
    },
    g: () => void (going.current = Date.now()),
    ...Object.fromEntries(PAGES.map(({ key }) => [key, wanted])),
  }, { before: true }); // prettier-ignore
  return html`
    <a class="skip" href="#main" onClick=${(event) => (event.preventDefault(), document.querySelector("main").focus())}>To the page</a>
    <header class="frame">
      <a class="brand" href="#/">awaken</a>
      <nav aria-label="Pages">
        ${PAGES.map(({ name, title }) => html`<a key=${name} href=${to(name)} aria-current=${page?.name === name ? "page" : undefined}>${title}</a>`)}
      </nav>
      <${State} system=${system.value} />
    </header>
    <main id="main" tabindex="-1">${page ? html`<${Page} key=${page.name} page=${page} route=${route} />` : html`<${Nowhere} />`}</main>
    <dialog ref=${help} aria-label="Keys">
      <h2>Keys</h2>
      <${Keys} of=${[...HELP, ...PAGES.map(({ key, title }) => [`g ${key}`, title])]} />
      ${keysOf(page && loadOf(page, route)).map(({ title, keys }) => html`<h3 key=${title}>On ${title}</h3><${Keys} of=${keys} />`)}
      <form method="dialog"><button class="primary">Close</button></form>
    </dialog>
  `;
}

/** Durability, store, version, a warning where anybody may use it, and the link with its age. */
function State({ system }) {
  const { state, heard_at } = useLink();
  const now = useNow();
  const words = { live: "live", connecting: "connecting", lost: "not reached", refused: readKey() ? "refuses the key" : "wants a key" }[state];
  const age = heard_at && state !== "live" ? `, last heard ${lasting(now - heard_at)} ago` : "";
  return html`<div class="state">
    ${system && html`<span title="What survives">${system.durability}</span> <span>${system.store}</span> <span>${system.version}</span>`}
    ${system?.guard === "nobody" && html`<a href=${to("system")} title="Whoever reaches this address may use it"><${Status} of="failed">no authentication<//></a>`}
    <span role="status"><${Status} of=${state}>${words}${age}<//></span>
    ${readKey() && html`<button type="button" class="link" onClick=${() => keepKey(null)}>Forget the key</button>`}
  </div>`;
}

const Keys = ({ of }) => html`<dl class="facts keys">${of.map(([keys, does]) => html`<div key=${keys}><dt><kbd>${keys}</kbd></dt><dd>${does}</dd></div>`)}</dl>`;

/** The pages that have keys of their own, as far as they are loaded; the one that is shown first. */
function keysOf(shown) {
  const all = PAGES.flatMap(({ title, load, one }) => [{ title, load }, { title, load: one }]);
  const with_keys = all.map(({ title, load }) => ({ title, load, keys: loaded.get(load)?.KEYS })).filter(({ keys }) => keys);
  return with_keys.toSorted((a, b) => (b.load === shown) - (a.load === shown));
}

const allLoads = () => PAGES.flatMap(({ load, one = load }) => [load, one]);
const loaded = new Map();
const keep = (load) => load().then((module) => void loaded.set(load, module));
const loadOf = (page, route) => (page.one && route.place[1] ? page.one : page.load);

function Page({ page, route }) {
  const [, turn] = useState(0);
  const [problem, fail] = useState(null);
  const id = page.one && route.place[1];
  const load = loadOf(page, route);
  useEffect(() => {
    if (!loaded.has(load)) {
      keep(load).then(
        () => turn((count) => count + 1),
        () => fail({ status: 0, code: "unreachable", message: "and this page was not opened before" }),
      );
    }
  }, [load]);
  useTitle([page.title, ...route.place.slice(1)].join(" · "));
  if (problem) return html`<${Problem} of=${problem} reload=${() => location.reload()} />`;
  const Shown = loaded.get(load)?.default;
  return Shown ? html`<${Shown} key=${id} route=${route} />` : null;
}

const Nowhere = () => html`<h1>There is no such page</h1><p><a href="#/">To what needs attention</a></p>`;

link.start();
// So that a page can be opened, and says how old it is, when the server is away.
addEventListener("load", () => setTimeout(() => Promise.allSettled(allLoads().map(keep)), 1_000));
render(html`<${Frame} />`, document.body);
