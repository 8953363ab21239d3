/** One thread: its conversation as it goes on, what waits to be taken beside it, its runs and its state. */

import { Conversation, Say, forkRequest, sayRequest, useMessages } from "./conversation.js";
import { html, useEffect, useState } from "./html.js";
import { act, api, useRead, withQuery } from "./link.js";
import { useSaying } from "./log.js";
import { Action, Commands, Empty, Facts, Id, Json, Problem, Read, RunId, ShortId, Status, Table, ThreadId, When } from "./parts.js";
import { go, to } from "./route.js";
import { took } from "./runs.js";
import { Text, brief, seen } from "./text.js";

const MODES = ["queue", "steer", "follow_up", "interrupt", "rollback", "reject", "resume"];
const BOUNDARIES = { next_step: "between two steps", on_natural_end: "where the run would end", resume_input: "when the run goes on" };

export default function Thread({ route }) {
  const thread_id = route.place[1];
  const path = api`/v1/threads/${thread_id}`;
  const mine = { concerns: (hint) => !hint.thread_id || hint.thread_id === thread_id };
  const thread = useRead(path, mine);
  return html`<div>
    <h1>Thread <span class="quiet"><${Id} id=${thread_id} short=${false} /></span></h1>
    <${Read} of=${thread}>${(value) => html`<${Shown} ...${{ thread: value, reload: thread.reload, path, mine }} />`}<//>
    ${thread.value === undefined && html`<${Commands} of=${[{ label: "This thread", request: { path }, cli: ["show", thread_id] }]} />`}
  </div>`;
}

function Shown({ thread, reload, path, mine }) {
  const { thread_id } = thread;
  const messages = useMessages(thread_id, mine);
  const from = useBeginning(thread);
  const saying = useSaying(from ? { thread_id } : null, from);
  const agents = useRead("/v1/agents", { concerns: () => false });
  const names = agents.value?.items.map(({ agent_id }) => agent_id) ?? [];
  const last = messages.messages.at(-1);
  const stop = { method: "POST", path: `${path}/cancel` };
  const interrupt = { method: "POST", path: `${path}/interrupt` };
  const runs = withQuery(`${path}/runs`, { limit: 20 });
  const busy = thread.active_run_id || thread.queued_count > 0 || thread.open_ticket_count > 0;
  return html`
    <div class="about"><${Facts}
      of=${{
        Status: html`<${Status} of=${thread.status} />`,
        Title: thread.title && html`<${Text} text=${thread.title} chars=${500} />`,
        "Belongs to": thread.resource_id && seen(thread.resource_id),
        "Part of": thread.parent_thread_id && html`<${ThreadId} id=${thread.parent_thread_id} />`,
        Executes: thread.active_run_id && html`<${RunId} id=${thread.active_run_id} />`,
        Messages: thread.message_count,
        Queued: thread.queued_count || null,
        "Open tickets": thread.open_ticket_count > 0 && html`<a href=${to("approvals", { thread_id })}>${thread.open_ticket_count}</a>`,
        Active: html`<${When} at=${thread.updated_at} />`,
        Made: html`<${When} at=${thread.created_at} />`,
        Metadata: Object.keys(thread.metadata).length > 0 && html`<${Text} text=${JSON.stringify(thread.metadata)} chars=${500} />`,
        Damaged: thread.unreadable.join(", "),
      }}
    /></div>
    <div class="row actions">
      ${thread.active_run_id && html`<${Action} label="Stop" danger=${true} confirm="The run that the thread executes ends here. What it has done and said stays, and what is queued behind it goes on." request=${stop} cli=${["cancel", thread_id]} done=${reload} />`}
      ${busy && html`<${Action} label="Interrupt" danger=${true} confirm="Stops what the thread executes, and clears its queue and what waits in it." request=${interrupt} done=${reload} />`}
      <${Delete} ...${{ path, thread_id }} />
    </div>
    <div class="beside">
      <section aria-label="Conversation">
        <h2>Conversation</h2>
        <${Conversation} ...${{ ...messages, saying }} />
        <${Say} path=${`${path}/messages`} modes=${MODES} agents=${names} />
      </section>
      <aside aria-label="Beside it">
        <${Pending} ...${{ thread_id, path, mine }} />
        <${Runs} ...${{ path: runs, mine }} />
        <${State} ...${{ path, mine }} />
      </aside>
    </div>
    <${Commands}
      of=${[
        { label: "This thread", request: { path }, cli: ["show", thread_id] },
        { label: "What was said", request: messages.request, cli: ["threads", "export", thread_id, "--messages-only"] },
        { label: "As it goes on", request: { path: `${path}/stream` }, cli: ["tail", thread_id, "--deltas"] },
        { label: "Its runs", request: { path: runs }, cli: ["runs", "--thread", thread_id] },
        { label: "What waits to be taken", request: { path: `${path}/pending` }, cli: ["pending", thread_id] },
        { label: "State", request: { path: `${path}/state` } },
        { label: "Say something", request: sayRequest(`${path}/messages`, "…", "queue"), cli: ["send", thread_id, "…", "--mode", "queue"] },
        thread.active_run_id && { label: "Stop", request: stop, cli: ["cancel", thread_id] },
        busy && { label: "Interrupt", request: interrupt, cli: ["interrupt", thread_id] },
        last && { label: "Fork", request: forkRequest(thread_id, last.message_id) },
        { label: "Delete", request: { method: "DELETE", path }, cli: ["threads", "delete", thread_id] },
      ]}
    />
  `;
}

/** Where to begin to follow it: at the first event of the run that goes on, whose text is in no message yet, else now. */
function useBeginning({ active_run_id, cursor }) {
  const [from, begin] = useState(null);
  useEffect(() => {
    let over = false;
    const first = active_run_id ? act({ method: "GET", path: withQuery(api`/v1/runs/${active_run_id}/events`, { limit: 1 }) }) : Promise.resolve({ items: [] });
    first.then(({ items }) => over || begin(items[0]?.cursor ?? cursor), () => over || begin(cursor));
    return () => (over = true);
  }, []);
  return from;
}

export const KEYS = [["Alt ↑, Alt ↓", "take a message that waits earlier, or later"]];

const Delete = ({ path, thread_id }) =>
  html`<${Action}
    label="Delete"
    danger=${true}
    confirm="Nobody reads the thread any more when this has been done, and nothing is accepted for it."
    fields=${[
      { name: "child_strategy", label: "If other threads name it as their parent", type: "choice", options: [["reject", "delete nothing"], ["detach", "keep those, without a parent"], ["cascade", "delete those as well"]], value: "reject" },
      { name: "force", label: "Stop what is not done in it first", type: "check" },
    ]}
    request=${({ child_strategy, force }) => ({ method: "DELETE", path: withQuery(path, { child_strategy, force: force ? "true" : undefined }) })}
    cli=${({ child_strategy, force }) => ["threads", "delete", thread_id, "--children", child_strategy, ...(force ? ["--force"] : [])]}
    done=${() => go("threads")}
  />`;

/** Runs of its queue whose messages are shown. */
const QUEUED = 10;

/** What waits for its runs, in the order in which it is taken, and what runs in its queue are to be given. */
function Pending({ thread_id, path, mine }) {
  const read = useRead(`${path}/pending`, mine);
  const queue = useRead(withQuery(`${path}/runs`, { phase: "queued", order: "asc", limit: QUEUED }), mine);
  const queued = queue.value?.items ?? [];
  const [problem, fail] = useState(null);
  const ordered = (message_ids, revision) => ({ method: "PUT", path: `${path}/pending/order`, body: { message_ids }, headers: { "If-Match": `"${revision}"` } });
  const order = async (items, revision, at, by) => {
    if (!items[at + by]) return;
    const message_ids = items.map(({ message_id }) => message_id);
    message_ids.splice(at + by, 0, ...message_ids.splice(at, 1));
    try {
      await act(ordered(message_ids, revision));
      fail(null);
    } catch (refused) {
      fail(refused);
    }
    read.reload();
  };
  return html`<section class="pending" aria-label="Waiting to be taken">
    <h2>Waiting to be taken</h2>
    ${problem && html`<${Problem} of=${problem} />`}
    <${Read} of=${read}>
      ${({ items, revision }) => {
        const own = items.filter(({ position }) => position !== null);
        return items.length
          ? html`<ol>${items.map((message) => html`<${Waiting} key=${message.message_id} ...${{ message, thread_id, path, reload: read.reload, own, order: (by) => order(own, revision, own.indexOf(message), by) }} />`)}</ol>
              ${own.length > 1 && html`<${Commands} of=${[{ label: "Their order", request: ordered(own.map(({ message_id }) => message_id), revision) }]} />`}`
          : queued.length === 0 && html`<${Empty} command=${`send ${thread_id} "…" --mode steer`}>No message waits for a run of it.<//>`;
      }}
    <//>
    ${queue.problem && html`<${Problem} of=${queue.problem} reload=${queue.reload} />`}
    ${queued.length > 0 && html`<h3>With runs that are queued</h3>
      <ol>${queued.map((run) => html`<${Queued} key=${run.run_id} run=${run} />`)}</ol>
      ${queue.value.has_more && html`<p><a href=${to("runs", { thread_id, phase: "queued" })}>All of them</a></p>`}`}
  </section>`;
}

/** A run of the queue, with what it is to be given; that is in no conversation yet. */
function Queued({ run: { run_id, agent_id, created_at } }) {
  const read = useRead(api`/v1/runs/${run_id}`, { concerns: (hint) => !hint.run_id || hint.run_id === run_id });
  const texts = (read.value?.input.messages ?? []).flatMap(({ content }) => content.map((block) => block.text ?? `[${block.type}]`));
  return html`<li>
    <p class="words"><${Text} text=${texts.join("\n")} chars=${500} /></p>
    <p class="quiet">run <${RunId} id=${run_id} /> of ${seen(agent_id)}${read.value?.queue_position && `, number ${read.value.queue_position} in the queue`} · <${When} at=${created_at} /></p>
  </li>`;
}

function Waiting({ message, path, thread_id, reload, own, order }) {
  const { message_id, revision, content, boundary, position, run_id, barrier, granularity, created_at } = message;
  const text = content.map((block) => block.text ?? `[${block.type}]`).join("\n");
  const at = own.indexOf(message);
  const place = api`/v1/threads/${thread_id}/pending/${message_id}`;
  const headers = { "If-Match": `"${revision}"` };
  const edited = (text) => ({ method: "PATCH", path: place, headers, body: { message: { role: "user", content: text } } });
  const retract = { method: "DELETE", path: place, headers };
  const moved = (event) => {
    const by = event.altKey && { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (by) event.preventDefault(), order(by);
  };
  return html`<li onKeyDown=${moved}>
    <p class="words"><${Text} text=${text} chars=${500} /></p>
    <p class="quiet">${BOUNDARIES[boundary] ?? "with its run"}${run_id && html`, for run <${RunId} id=${run_id} />`}${granularity === "one" && ", by itself"}${barrier && ", nothing behind it before it"} · <${When} at=${created_at} /></p>
    <p class="row">
      ${position !== null && own.length > 1 && html`<button type="button" aria-label=${`Up: ${brief(text, 40)}`} title="Up (Alt ↑)" disabled=${at === 0} onClick=${() => order(-1)}>↑</button>
      <button type="button" aria-label=${`Down: ${brief(text, 40)}`} title="Down (Alt ↓)" disabled=${at === own.length - 1} onClick=${() => order(1)}>↓</button>`}
      <${Action} label="Edit" input=${{ label: "What it says", name: "text", value: text, required: true }} request=${edited} done=${reload} />
      <${Action} label="Retract" danger=${true} request=${retract} done=${reload} />
    </p>
    <${Commands} of=${[
      { label: "Edit", request: edited("…"), cli: ["pending", "edit", thread_id, message_id, "…"] },
      { label: "Retract", request: retract, cli: ["pending", "retract", thread_id, message_id] },
    ]} />
  </li>`;
}

const COLUMNS = [
  { title: "Run", cell: (run) => html`<${ShortId} id=${run.run_id} /><br /><span class="quiet"><${When} at=${run.created_at} /></span>` },
  { title: "Phase", cell: (run) => html`<${Status} of=${run.phase} />${took(run) && html`<br /><span class="quiet">${took(run)}</span>`}` },
  { title: "Agent", wide: true, cell: (run) => seen(run.agent_id) },
];

function Runs({ path, mine }) {
  const read = useRead(path, mine);
  return html`<section aria-label="Runs">
    <h2>Runs</h2>
    <${Read} of=${read}>
      ${({ items, has_more }) => html`${items.length ? html`<${Table} caption="Runs" columns=${COLUMNS} rows=${items} id=${(run) => run.run_id} href=${(run) => to("runs", run.run_id)} />` : html`<p class="empty">It has had no run.</p>`}
        ${has_more && html`<p><a href=${to("runs", { thread_id: items[0].thread_id })}>All of them</a></p>`}`}
    <//>
  </section>`;
}

function State({ path, mine }) {
  const read = useRead(`${path}/state`, mine);
  return html`<section aria-label="State">
    <h2>State</h2>
    <${Read} of=${read}>
      ${({ values, version }) => (version ? html`<p class="quiet">Version ${version}</p><${Json} value=${values} />` : html`<p class="empty">It has none.</p>`)}
    <//>
  </section>`;
}
