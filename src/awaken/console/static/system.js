/** The system: its health, its settings with their sources, what can be done with it at once, and rows that contradict. */

import { html, useState } from "./html.js";
import { act, useRead } from "./link.js";
import { Action, Commands, Facts, HERE, Problem, Read, Status, Table, ThreadId } from "./parts.js";
import { Text, lasting, pretty } from "./text.js";

export default function System() {
  return html`
    <h1>System</h1>
    <${About} />
    <${Health} />
    <${Maintenance} />
    <${Audit} />
    <${Settings} />
    <${Commands} of=${[
      { label: "What it is", request: { path: "/v1/system" }, cli: "system" },
      { label: "Health", request: { path: "/health" } },
      { label: "Settings", request: { path: "/v1/system/settings" }, cli: ["system", "settings"] },
      { label: "Metrics", request: { path: "/metrics" } },
    ]} />
  `;
}

function About() {
  const read = useRead("/v1/system", { concerns: () => false });
  return html`<${Read} of=${read}>${(system) => html`<${Facts} of=${{
    Version: system.version,
    Role: system.role,
    Store: `${system.store}, durability ${system.durability}${system.exclusive ? ", of this process alone" : ""}`,
    Up: lasting(system.uptime_s * 1_000),
    Protocols: system.adapters.join(", ") || "none besides its own",
    Guard: GUARDS[system.guard] ?? GUARDS.null,
  }} />`}<//>`;
}

/** What keeps strangers from it. */
const GUARDS = {
  authorize: "each request is asked who sends it",
  loopback: "none of its own: only the machine on which it runs reaches it",
  nobody: html`<${Status} of="failed">no authentication<//> Whoever reaches this address may use it: give the app an <code>authorize</code>, or have it listen on 127.0.0.1 behind a proxy.`,
  null: "none of its own: the program that serves it decides who reaches it",
};

function Health() {
  const read = useRead("/health/ready", { concerns: () => false });
  return html`<section>
    <h2>Health</h2>
    <${Read} of=${read}>${(health) => html`
      <p><${Status} of=${health.status} /> ${health.executing} executing, ${health.free_slots} free, ${health.streams} streams</p>
      <${Facts} of=${Object.fromEntries(
        Object.entries(health.components).map(([name, { state, detail }]) => [name, html`<${Status} of=${state} /> ${detail && html`<${Text} text=${detail} />`}`]),
      )} />
    `}<//>
  </section>`;
}

/** What the server does from time to time by itself, at once. */
function Maintenance() {
  const [said, say] = useState("");
  const read = useRead("/v1/attention?limit=1", { concerns: () => false });
  const told = (answer) => (read.reload(), say(Object.entries(answer ?? {}).map(([name, value]) => `${name.replaceAll("_", " ")}: ${value}`).join(", ")));
  const post = (name) => ({ method: "POST", path: `/v1/system/${name}` });
  const drained = read.value?.drained;
  return html`<section>
    <h2>Do at once</h2>
    ${read.value && html`<p><${Status} of=${drained ? "drained" : "ok"}>${drained ? "drained: this process begins no run" : "this process begins runs"}<//></p>`}
    <div class="acts">
      <${Action} label="Drain" disabled=${drained === true} request=${post("drain")} confirm="This process begins no run until it is undrained; what executes goes on." cli="drain" done=${told} />
      <${Action} label="Undrain" disabled=${drained === false} request=${post("undrain")} confirm="This process begins runs again." cli="undrain" done=${told} />
      <${Action} label="Sweep" request=${post("sweep")} confirm="What falls due is looked for: leases that have ended, tickets, schedules." cli=${["system", "sweep"]} done=${told} />
      <${Action} label="Purge" danger=${true} request=${post("purge")} confirm="What retention no longer keeps is removed for good." cli=${["system", "purge"]} done=${told} />
    </div>
    <p role="status">${said}</p>
  </section>`;
}

/** Look through the stored rows, a part at a time, and mend what can be mended. */
function Audit() {
  const [found, keep] = useState(null);
  const [problem, fail] = useState(null);
  const [busy, turn] = useState(false);
  const look = (method) => async () => {
    turn(true);
    fail(null);
    const items = [];
    try {
      let cursor = "";
      let parts = 0;
      do {
        const page = await act({ method, path: `/v1/system/audit${cursor && `?cursor=${encodeURIComponent(cursor)}`}` });
        items.push(...page.items);
        cursor = page.has_more ? page.next_cursor : "";
        parts += 1;
        keep({ items: [...items], parts, over: !cursor });
      } while (cursor && items.length < 500);
    } catch (error) {
      fail(error);
    }
    turn(false);
  };
  const columns = [
    { title: "What", cell: (each) => each.subject },
    { title: "Result", cell: (each) => html`<${Status} of=${each.result === "mended" || each.result === "healthy" ? "ok" : each.result === "refused" ? "failed" : "open"}>${each.result}<//>` },
    { title: "Should hold", wide: true, cell: (each) => html`${each.sentence} <span class="quiet">${each.note}</span>` },
    { title: "Thread", cell: (each) => html`<${ThreadId} id=${each.thread_id} />` },
  ];
  return html`<section>
    <h2>Rows that contradict each other</h2>
    <div class="acts">
      <button type="button" disabled=${busy} onClick=${look("GET")}>Look through all rows</button>
      ${found?.items.length > 0 && html`<button type="button" disabled=${busy} onClick=${look("POST")}>Mend what can be mended</button>`}
    </div>
    ${problem && html`<${Problem} of=${problem} />`}
    ${found && html`<p role="status">${found.over ? "All rows were looked through" : `Looking, part ${found.parts}`}: ${found.items.length || "nothing"} found.</p>`}
    ${found?.items.length > 0 && html`<${Table} caption="Findings" columns=${columns} rows=${found.items} id=${(each) => `${each.invariant} ${each.thread_id} ${each.subject}`} />`}
    <${Commands} of=${[{ label: "Look", request: { path: "/v1/system/audit" }, cli: ["doctor", HERE] }, { label: "Mend", request: { method: "POST", path: "/v1/system/audit" }, cli: ["doctor", HERE, "--repair"] }]} />
  </section>`;
}

function Settings() {
  const [all, turn] = useState(false);
  const read = useRead("/v1/system/settings", { concerns: () => false });
  const columns = [
    { title: "Setting", cell: (each) => html`<code>${each.name}</code>` },
    { title: "Value", wide: true, cell: (each) => html`<${Text} text=${pretty(each.value) ?? ""} chars=${400} />` },
    { title: "From", cell: (each) => each.source },
  ];
  return html`<section>
    <h2>Settings</h2>
    <label><input type="checkbox" checked=${all} onChange=${(event) => turn(event.target.checked)} /> Defaults, too</label>
    <${Read} of=${read}>${({ items }) => {
      const rows = all ? items : items.filter(({ source }) => source !== "default");
      return rows.length ? html`<${Table} caption="Settings" columns=${columns} rows=${rows} id=${(each) => each.name} />` : html`<p class="quiet">Every setting is its default.</p>`;
    }}<//>
  </section>`;
}
