/**
 * The first screen: what wants attention, the most urgent first, and not charts.
 *
 * In one answer of the API come what waits for somebody, what is stuck and why, with the one request that helps, what runs
 * now, what nobody serves, and what was given up. Where there is none of it, the page says how to begin.
 */

import { html, useRef } from "./html.js";
import { useRead } from "./link.js";
import { Action, awakenOf, Command, Commands, Read, RunId, ShortId, Status, Table, ThreadId, When, toolName, useShownNow } from "./parts.js";
import { to } from "./route.js";
import { Strip } from "./strip.js";
import { amount, brief, lasting, seen } from "./text.js";
import { TryIt } from "./try.js";

/** Few enough of each kind that the next kind is seen as well. */
const PATH = "/v1/attention?limit=10";
const SOON_MS = 10 * 60_000;
/** A run that is executed, and of which nothing was heard for so long, is marked. */
const SILENT_MS = 60_000;

export default function Attention() {
  const read = useRead(PATH);
  const began = useRef(false); // the box stays, with the answer that somebody waits for
  return html`<h1>Attention</h1>
    <${Read} of=${read}>
      ${({ tickets, stuck, running, unserved, dead_letters, drained }) => {
        const lists = [tickets, stuck, running, unserved, dead_letters];
        const idle = lists.every(({ items }) => items.length === 0);
        began.current ||= idle;
        return html`
          ${drained && html`<p class="stale">This process begins no run. <${Action} label="Have it begin runs again" request=${{ method: "POST", path: "/v1/system/undrain" }} done=${read.reload} /></p>`}
          ${began.current && html`<${Begin} idle=${idle} />`}
          <${Part} title="Waits for you" of=${tickets} more=${to("approvals")}><${Tickets} of=${tickets.items} /><//>
          <${Part} title="Stuck or suspect" of=${stuck} more=${to("runs", { phase: "retrying" })}><${Stuck} of=${stuck.items} reload=${read.reload} /><//>
          <${Part} title="Runs now" of=${running} more=${to("runs", { phase: "running" })}><${Running} of=${running.items} /><//>
          <${Part} title="Nobody serves" of=${unserved} more=${to("queue")}><${Unserved} of=${unserved.items} reload=${read.reload} /><//>
          <${Behind} />
          <${Part} title="Given up" of=${dead_letters} more=${to("dead")}><${GivenUp} of=${dead_letters.items} /><//>
          <${Strip} />
        `;
      }}
    <//>
    <${Commands} of=${[{ label: "This page", request: { path: PATH } }, { label: "What waits for somebody", cli: "tickets" }, { label: "Why a run is where it is", cli: ["why", "RUN"] }, { label: "What was given up", cli: ["dead", "--group"] }, { label: "The last hour", request: { path: "/v1/stats" }, cli: "stats" }]} />`;
}

function Part({ title, of: { items, has_more }, more, children }) {
  if (!items.length) return null;
  return html`<section class="part">
    <h2>${title}${has_more && html` <a class="also" href=${more}>more of these</a>`}</h2>
    ${children}
  </section>`;
}

/** Nothing wants attention: how to have something done. */
function Begin({ idle }) {
  const agents = useRead("/v1/agents", { concerns: () => false });
  return html`<section class="nothing">
    ${idle && html`<p><${Status} of="ok">Nothing waits, nothing is stuck, and nothing runs<//></p>`}
    <${Read} of=${agents}>
      ${({ items }) => {
        const able = items.filter(({ not_loadable, paused }) => !not_loadable && !paused).map(({ agent_id }) => agent_id);
        if (!able.length) return html`<p>This server has no agent. An app with one is served by</p><${Command} text="awaken serve module:app" />`;
        return html`<p>Have an agent run, here or from a terminal:</p>
          <${TryIt} agents=${able} />
          <${Command} text=${awakenOf(`run ${able[0]} "What can you do?"`)} />
          <${Command} text=${awakenOf("runs")} />`;
      }}
    <//>
  </section>`;
}

// --- the parts, each a table -----------------------------------------------------------------------------------------

function Tickets({ of }) {
  return html`<${Table} caption="What waits for you, oldest first" rows=${of} id=${({ ticket_id }) => ticket_id} href=${({ ticket_id }) => to("approvals", ticket_id)}
    columns=${[
      { title: "What", wide: true, cell: asked },
      { title: "Agent", cell: ({ agent_id }) => brief(agent_id, 40) },
      { title: "Waits", cell: ({ created_at }) => html`<${For} at=${created_at} />` },
      { title: "Expires", cell: ({ expires_at }) => html`<${Expires} at=${expires_at} />` },
      { title: "Thread", cell: ({ thread_id }) => html`<${ThreadId} id=${thread_id} />` },
    ]} />`;
}

function asked(ticket) {
  const { kind, message, tool_name } = ticket;
  const tool = kind !== "input" && toolName(ticket);
  return html`<${Status} of="open">${kind === "approval" ? "approve" : kind === "input" ? "answer" : "result"}<//> ${tool && html`<strong>${brief(tool, 60)}</strong> `}<span>${brief(message ?? (tool ? "" : tool_name ?? ""), 160)}</span>`;
}

function For({ at }) {
  const now = useShownNow();
  return html`<time datetime=${at} title=${at}>${lasting(Math.max(0, now - Date.parse(at)))}</time>`;
}

function Expires({ at }) {
  const now = useShownNow();
  if (!at) return html`<span class="quiet">never</span>`;
  const left = Date.parse(at) - now;
  return left < SOON_MS ? html`<${Status} of="expired">${left > 0 ? `in ${lasting(left)}` : "now"}<//>` : html`<${When} at=${at} />`;
}

function Stuck({ of, reload }) {
  return html`<${Table} caption="What is stuck or suspect, the worst first" rows=${of} id=${({ run_id }) => run_id} href=${({ run_id }) => to("runs", run_id)}
    columns=${[
      { title: "Run", cell: ({ run_id }) => html`<${ShortId} id=${run_id} />` },
      { title: "Phase", cell: ({ phase }) => html`<${Status} of=${phase} />` },
      { title: "Agent", cell: ({ agent_id }) => brief(agent_id, 40) },
      { title: "Why", wide: true, cell: ({ why, error }) => html`<span>${brief(why.summary, 300)}</span> <span class="quiet">Next: ${brief(why.next_action, 300)}${error && !why.summary.includes(error.message) && ` (${brief(error.message, 160)})`}</span>` },
      { title: "Next", cell: ({ why: { next_at } }) => (next_at ? html`<${When} at=${next_at} until />` : html`<span class="quiet">–</span>`) },
      {
        title: "Helps",
        cell: ({ why: { repair } }) =>
          repair ? html`<${Action} label=${repair.label} request=${{ method: repair.method, path: repair.path, body: repair.body ?? undefined }} done=${reload} />` : html`<span class="quiet">–</span>`,
      },
    ]} />`;
}

function Running({ of }) {
  return html`<${Table} caption="What runs now, oldest first" rows=${of} id=${({ run_id }) => run_id} href=${({ run_id }) => to("runs", run_id)}
    columns=${[
      { title: "Run", cell: ({ run_id }) => html`<${ShortId} id=${run_id} />` },
      { title: "Agent", cell: ({ agent_id }) => brief(agent_id, 40) },
      { title: "Last", wide: true, cell: ({ last_event }) => (last_event ? brief(last_event.summary, 200) : html`<span class="quiet">–</span>`) },
      { title: "Heard", cell: ({ last_sign_of_life }) => html`<${Heard} at=${last_sign_of_life} />` },
      { title: "Runs for", cell: ({ started_at }) => (started_at ? html`<${For} at=${started_at} />` : "") },
      { title: "Tokens", cell: ({ usage }) => amount((usage?.input_tokens ?? 0) + (usage?.output_tokens ?? 0) || null) || html`<span class="quiet">–</span>` },
    ]} />`;
}

/** The age of the last sign of life. */
function Heard({ at }) {
  const now = useShownNow();
  if (!at) return html`<span class="quiet">–</span>`;
  const age = now - Date.parse(at);
  return age > SILENT_MS ? html`<${Status} of="suspect">${lasting(age)} ago<//>` : html`<${When} at=${at} />`;
}

/** Runs that wait for another one of their thread: a run that does not end holds them up, and they are no fault of theirs. */
const QUEUED = "/v1/runs?phase=queued&order=asc&include=why&limit=50";

function Behind() {
  const read = useRead(QUEUED);
  const behind = (read.value?.items ?? []).filter(({ why }) => why?.code.startsWith("behind_"));
  return html`<${Part} title="Wait behind another run" of=${{ items: behind, has_more: read.value?.has_more }} more=${to("runs", { phase: "queued" })}>
    <${Table} caption="Runs that wait behind another of their thread, oldest first" rows=${behind.slice(0, 10)} id=${({ run_id }) => run_id} href=${({ run_id }) => to("runs", run_id)}
      columns=${[
        { title: "Run", cell: ({ run_id }) => html`<${ShortId} id=${run_id} />` },
        { title: "Agent", cell: ({ agent_id }) => brief(agent_id, 40) },
        { title: "Behind", cell: ({ why }) => html`<${RunId} id=${why.blocked_by[0]?.id} />` },
        { title: "Why", wide: true, cell: ({ why }) => brief(why.summary, 300) },
        { title: "Waits", cell: ({ created_at }) => html`<${For} at=${created_at} />` },
      ]} />
  <//>`;
}

const UNSERVED = { unserved: "no process has this agent", not_loadable: "its agent cannot be loaded", agent_paused: "its agent is paused" };

function Unserved({ of, reload }) {
  return html`<${Table} caption="Routes that nobody serves" rows=${of} id=${({ route }) => route} href=${({ agent_id }) => to("runs", { agent_id, phase: "queued" })}
    columns=${[
      { title: "Route", cell: ({ route }) => brief(route, 60) },
      { title: "Why", wide: true, cell: ({ code, detail }) => html`${UNSERVED[code] ?? code}${detail && html`<span class="quiet">: ${brief(detail, 300)}</span>`}` },
      { title: "Waiting", cell: ({ waiting }) => (waiting >= 10_000 ? "10 000 or more" : waiting) },
      { title: "Oldest", cell: ({ oldest_run_id, oldest_at }) => (oldest_run_id ? html`<${RunId} id=${oldest_run_id} /> <${When} at=${oldest_at} />` : "–") },
      { title: "Helps", cell: ({ code, route }) => (code === "agent_paused" ? html`<${Action} label="Resume it" request=${{ method: "POST", path: `/v1/agents/${encodeURIComponent(route)}/resume` }} done=${reload} />` : html`<span class="quiet">–</span>`) },
    ]} />`;
}

function GivenUp({ of }) {
  return html`<${Table} caption="Runs that were given up, by agent and error" rows=${of} id=${({ agent_id, error_class }) => `${agent_id} ${error_class}`} href=${({ agent_id, error_class }) => to("dead", { agent_id, error_class })}
    columns=${[
      { title: "Error", cell: ({ error_class }) => brief(error_class, 60) },
      { title: "Agent", cell: ({ agent_id }) => brief(agent_id, 40) },
      { title: "Latest", wide: true, cell: ({ latest }) => html`<span class="quiet lines">${brief(latest.last_error ?? "", 240)}</span>` },
      { title: "How many", cell: ({ count }) => count },
      { title: "Last", cell: ({ last_at }) => html`<${When} at=${last_at} />` },
    ]} />`;
}
