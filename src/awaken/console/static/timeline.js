/**
 * A run beside itself: what was said on one side, and on the other what was executed for it, row by row.
 *
 * Holds: rows begin where something is begun (an attempt, a step) or nothing is executed (a wait, a pause before another
 * try, a process that died); what was said meanwhile stands in the same row.
 */

import { Message } from "./conversation.js";
import { html, useMemo, useState } from "./html.js";
import { Facts, Id, Lasting, RunId, Status, When } from "./parts.js";
import { to } from "./route.js";
import { Text, amount, brief, lasting, pretty, seen } from "./text.js";

const ROWS = new Set(["queued", "retry", "waiting", "takeover", "attempt", "step", "end"]);
/** What is drawn at once, from the end; older ones on demand. */
const MANY = 200;
const SIGNS = {
  queued: "·", retry: "↻", waiting: "‖", takeover: "✕", attempt: "▸", step: "—", model_call: "◇", tool: "⚙", ticket: "◆",
  child: "↳", message: "✎", stop: "■", error: "✕", end: "●",
}; // prettier-ignore
const WORDS = {
  queued: "queue", retry: "retry", waiting: "wait", takeover: "takeover", attempt: "attempt", step: "step",
  model_call: "model call", tool: "tool", ticket: "ticket", child: "child", message: "message", stop: "stop",
  error: "error", end: "end",
}; // prettier-ignore

/** What the timeline knows of calls and messages, by their ids. */
export function aboutOf(spans) {
  const about = new Map();
  const of = (id) => about.get(id) ?? about.set(id, {}).get(id);
  for (const { kind, facts, name, status, started_at } of spans) {
    if (kind === "message" && facts.step_index !== undefined) of(facts.message_id).taken = facts.step_index;
    const id = facts.tool_call_id;
    if (!id) continue;
    if (kind === "tool") Object.assign(of(id), { status: facts.status, ms: facts.ms, error: facts.error, since: status === "open" ? started_at : undefined });
    if (kind === "ticket") of(id).ticket = facts.outcome ? `${name}: ${facts.outcome}${facts.decided_by ? `, by ${facts.decided_by}` : ""}` : name;
    if (kind === "child") of(id).child = facts.run_id;
  }
  return about;
}

/** Rows of spans, in order, and which of them a message belongs to. */
export function rowsOf(spans) {
  const rows = [];
  const by_span = new Map();
  const by_message = new Map();
  for (const span of spans) {
    if (ROWS.has(span.kind) || !rows.length) rows.push({ head: span, spans: [], at: Date.parse(span.started_at), items: [] });
    const row = ROWS.has(span.kind) ? rows.at(-1) : (by_span.get(span.parent) ?? rows.at(-1));
    // What it began with stands in the conversation, in the same row.
    const told = span.kind === "message" && span.facts.step_index === undefined;
    if (span !== row.head && !told) row.spans.push(span);
    by_span.set(span.id, row);
    if (span.facts.message_id && span.kind !== "tool") by_message.set(span.facts.message_id, row);
  }
  return { rows, by_message };
}

/** Rows with what was said in them: `items` of the conversation stand where their message does, else by their time. */
function placed(spans, items) {
  const { rows, by_message } = rowsOf(spans);
  if (!rows.length) return [{ head: null, spans: [], items }];
  let at = 0;
  for (const item of items) {
    const exact = rows.indexOf(by_message.get(item.message.message_id));
    if (exact >= 0) at = Math.max(at, exact);
    else while (at + 1 < rows.length && rows[at + 1].at <= Date.parse(item.message.created_at)) at += 1;
    rows[at].items.push(item);
  }
  return rows;
}

/**
 * The two lenses. `chosen` is the cursor of the selected event, and `shown` the id of the message or call that it is about;
 * `lead` leads to a place: `lead("history", cursor)`, `lead("conversation", id)`.
 */
export function Lenses({ timeline, items, chosen, shown, lead, query, run_id, empty }) {
  const spans = timeline?.spans ?? [];
  const rows = useMemo(() => placed(spans, items), [spans, items]);
  const [many, show] = useState(MANY);
  const selected = rows.findIndex(({ head, spans }) => [head, ...spans].some((span) => span?.cursor === chosen));
  const left_out = Math.max(0, Math.min(rows.length - many, selected < 0 ? Infinity : selected));
  const from = spans.length ? Date.parse(spans[0].started_at) : 0;
  const until = spans.reduce((latest, { ended_at }) => Math.max(latest, ended_at ? Date.parse(ended_at) : Date.now()), from + 1);
  const one = (span) => html`<${Span} key=${span.id} ...${{ span, from, until, lead }} chosen=${span.cursor === chosen} href=${to("runs", run_id, { ...query, event: span.cursor })} />`;
  return html`<div class="lenses">
    <h2 class="left">Conversation</h2>
    <h2 class="right">Timeline</h2>
    ${left_out > 0 && html`<p><button type="button" onClick=${() => show(many + MANY)}>Earlier rows</button></p>`}
    ${rows.slice(left_out).map(
      (row, at) => html`<div key=${row.head?.id ?? "all"} class=${`row ${row.head?.kind ?? ""}`}>
        <div class="left">
          ${row.items.map((item) => html`<${Message} key=${item.message.message_id} of=${item} chosen=${shown} />`)}
          ${!items.length && at === 0 && html`<p class="empty">${empty}</p>`}
        </div>
        <div class="right">
          ${row.head && one(row.head)}
          ${row.spans.length > 0 && html`<div class="within">${row.spans.map(one)}</div>`}
          ${!spans.length && html`<p class="empty">Nothing has been executed yet.</p>`}
        </div>
      </div>`,
    )}
    ${timeline?.has_more && html`<p class="quiet">The run goes on; its timeline ends here.</p>`}
  </div>`;
}

/** One span: its sign, its name, how long it took and when; selected, all that is known of it. */
function Span({ span, from, until, chosen, href, lead }) {
  const { kind, name, status, started_at, ended_at, cursor, facts } = span;
  const begin = Date.parse(started_at);
  const end = ended_at ? Date.parse(ended_at) : until;
  const place = facts.tool_call_id ?? facts.message_id;
  const wide = until - from;
  const of = facts.usage && `${amount(facts.usage.input_tokens ?? 0)} in${facts.cached_share ? ` (${Math.round(facts.cached_share * 100)} % cached)` : ""}, ${amount(facts.usage.output_tokens ?? 0)} out`;
  const due = status === "open" && ["retry", "queued"].includes(kind) && Date.parse(facts.available_at) > begin;
  const cost = facts.cost && `${facts.cost}`;
  return html`<div class=${`span ${kind} ${status}${chosen ? " chosen" : ""}`} id=${`span-${cursor}-${span.id}`}>
    <a href=${href} aria-current=${chosen ? "true" : undefined}>
      <span class="sign" aria-hidden="true">${SIGNS[kind]}</span>
      <span class="what">${!seen(name).toLowerCase().startsWith(WORDS[kind]) && html`<span class="hidden">${WORDS[kind]}: </span>`}${seen(name)}${of && html` <span class="quiet">${of}${cost && `, ${cost}`}</span>`}${due && html` <span class="quiet">due <${When} at=${facts.available_at} until=${true} /></span>`}</span>
    </a>
    ${status === "failed" && html`<${Status} of="failed">${String(facts.status ?? "failed").replaceAll("_", " ")}<//>`}
    ${status === "cut" && html`<${Status} of="cut">cut off<//>`}
    ${status === "open" && html`<${Status} of=${["ticket", "waiting", "queued", "retry"].includes(kind) ? "open" : "running"}>${{ ticket: "open", waiting: "waits", queued: "queued", retry: "waits" }[kind] ?? "goes on"}<//>`}
    ${kind === "child" && facts.run_id && html`<${RunId} id=${facts.run_id} />`}
    ${facts.outcome && html`<span class="quiet">${seen(facts.outcome)}</span>`}
    <span class="took">${status === "open" ? html`<${Lasting} since=${begin} />` : end > begin && lasting(end - begin)}</span>
    <svg class="bar" viewBox="0 0 1000 4" preserveAspectRatio="none" aria-hidden="true"><rect x=${(1000 * (begin - from)) / wide} width=${Math.max(3, (1000 * (end - begin)) / wide)} height="4" /></svg>
    ${kind === "takeover" && html`<${Break} facts=${facts} lead=${lead} />`}
    ${chosen &&
    html`<div class="more">
      <${Facts} of=${{ Began: html`<${When} at=${started_at} />`, Ended: ended_at && html`<${When} at=${ended_at} />`, Cursor: html`<${Id} id=${cursor} short=${false} />`, ...(kind === "takeover" ? {} : said(facts)) }} />
      <p class="row">
        ${place && html`<button type="button" onClick=${() => lead("conversation", place)}>In the conversation</button>`}
        <button type="button" onClick=${() => lead("history", cursor)}>In the history</button>
      </p>
    </div>`}
  </div>`;
}

/** Who died, who took over, and what was not repeated. */
function Break({ facts: { previous_worker, previous_process, worker, process, finished_calls = [] }, lead }) {
  return html`<div class="break">
    <${Facts} of=${{ Died: worked(previous_process, previous_worker), "Took over": worked(process, worker) }} />
    ${worker && (finished_calls.length ? html`<p>Not repeated: ${finished_calls.map((id, at) => html`${at > 0 && ", "}<button type="button" class="link" onClick=${() => lead("conversation", id)}>${brief(id, 40)}</button>`)}</p>` : html`<p>Steps that it had finished are not repeated; no call was finished.</p>`)}
  </div>`;
}

/** A process as people find it; of one that never said, the id. */
function worked(process, id) {
  if (!process) return id && html`<${Id} id=${id} />`;
  return html`process ${process.pid} on ${seen(process.host)} <span class="quiet">${process.role === "all" ? "server and worker" : process.role}</span>`;
}

/** What is known of a span; a process instead of its id. */
function said(facts) {
  const known = Object.entries(facts).filter(([name]) => !((name === "worker" && facts.process) || (name === "previous_worker" && facts.previous_process)));
  const shown = known.map(([name, value]) => {
    if (name.endsWith("process")) return [name, worked(value)];
    if (/_(at|until)$|^until$/.test(name)) return [name, html`<${When} at=${value} />`];
    if (/^ms$|_ms$/.test(name)) return [name.replace(/_?ms$/, "") || "took", lasting(value)];
    if (name.endsWith("run_id")) return [name, html`<${RunId} id=${value} />`];
    if (typeof value === "object") return [name, html`<${Text} text=${pretty(value)} chars=${1_000} />`];
    return [name, html`<${Text} text=${value} chars=${1_000} />`];
  });
  return Object.fromEntries(shown.map(([name, value]) => [name.replaceAll("_", " "), value]));
}
