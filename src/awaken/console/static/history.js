/**
 * The history of a run: its events one by one, the important ones unless asked otherwise, each with its address.
 *
 * Holds: what is chosen and how it is narrowed stands in the address; the event that is named there is shown whatever the
 * filter says.
 */

import { html, useEffect, useMemo, useState } from "./html.js";
import { BASE, withQuery } from "./link.js";
import { DELTAS } from "./log.js";
import { awakenOf, Command, Copy, curlOf, Id, Json, Problem, Table, Typed, When } from "./parts.js";
import { refine, to } from "./route.js";
import { brief, lasting, seen } from "./text.js";

const ROWS = 100;
/** Those that are drawn at first, which is what a window shows; the rest follows when they are seen. */
const FIRST = 25;
const AFTER_MS = 50;
/** What says no more than its neighbours. */
const MINOR = new Set([
  ...DELTAS, "RunSubmitted", "StepStarted", "StepEnded", "ToolCallStarted", "MessageConsumed", "ActivityDeltaObserved",
  "StateSnapshotObserved",
]); // prettier-ignore
const FAILURES = new Set(["RunErrored", "RunDeadLettered", "ErrorRecorded", "MessageUndeliverable", "TicketExpired", "MailboxTimeout"]);
const FAILED_CALLS = new Set(["failed", "invalid_arguments", "timed_out", "unknown"]);
const CHANNELS = "lifecycle,mailbox,messages,tools,decisions,state,activity,usage,debug,other";
const LEVELS = { important: "important", all: "all but pieces", everything: "all, with pieces" };

/** What is read of the log: pieces of text only where somebody wants them. */
export function logQuery(query) {
  return query.show === "everything" ? { channels: CHANNELS } : { channels: CHANNELS, include_deltas: "false" };
}

function failed({ kind, payload }) {
  if (kind === "ToolCallDone") return FAILED_CALLS.has(payload.status);
  return FAILURES.has(kind) || (kind === "RunRescheduled" && Boolean(payload.error));
}

/** What an event is about, by which its place in the conversation is found: the id of a call or of a message. */
export function placeOf({ kind, payload }) {
  if (kind.startsWith("ToolCall")) return payload.id;
  return payload.tool_call_id ?? payload.message_id;
}

/** The payload on a line, without what names other things; instants as the first column has them. */
function gist({ payload }, start) {
  const { content_blocks, ...rest } = payload;
  const text = content_blocks?.map((block) => block.text ?? block.type).join(" ");
  const said = Object.entries(rest).filter(([name]) => !/_ids?$|^id$|_seq$|_index$|^index$|worker$/.test(name));
  const words = (name, value) => (/_at$|_until$|^until$/.test(name) ? afterwards(value, start) : typeof value === "string" ? value : name === "process" ? `${value.pid} on ${value.host}` : JSON.stringify(value));
  return [text, ...said.map(([name, value]) => `${name.replaceAll("_", " ")}: ${brief(words(name, value), 100)}`)]
    .filter(Boolean)
    .join(" · ");
}

function afterwards(instant, start) {
  const ms = new Date(instant).getTime() - start;
  return Number.isNaN(ms) ? String(instant) : `after ${lasting(Math.max(0, ms))}`;
}

/** The history that `log` has read. `path` is where it is read, `cli` what `awaken` does for it. */
export function History({ log, path, route, run_id, lead }) {
  const { query } = route;
  const { show = "important", kind, text, failed: only_failed, event: chosen } = query;
  const { events } = log;
  const found = useMemo(() => {
    const wanted = text?.toLowerCase();
    const fits = (event) =>
      (show !== "important" || !MINOR.has(event.kind)) &&
      (!kind || event.kind === kind) &&
      (!only_failed || failed(event)) &&
      (!wanted || JSON.stringify(event).toLowerCase().includes(wanted));
    return events.flatMap((event, at) => (event.cursor === chosen || fits(event) ? [at] : [])); // their places
  }, [events, show, kind, text, only_failed, chosen]);
  const pages = Math.max(1, Math.ceil(found.length / ROWS));
  const here = chosen ? found.findIndex((at) => events[at].cursor === chosen) : -1;
  const asked = query.page ? Number(query.page) - 1 : here >= 0 ? Math.floor(here / ROWS) : 0;
  const page = Math.min(Math.max(0, Number.isInteger(asked) ? asked : 0), pages - 1);
  const rows = found.slice(page * ROWS, (page + 1) * ROWS).map((at) => ({ ...events[at], at }));
  const [whole, draw] = useState(here >= 0);
  useEffect(() => {
    if (whole || !rows.length) return undefined;
    const timer = setTimeout(() => draw(true), AFTER_MS);
    return () => clearTimeout(timer);
  }, [rows.length > 0]);
  const kinds = useMemo(() => [...new Set(events.map((event) => event.kind))].sort(), [events]);
  const start = events.length ? Date.parse(events[0].created_at) : 0;
  useEffect(() => {
    if (here >= 0) document.getElementById(`event-${chosen}`)?.scrollIntoView({ block: "nearest" });
  }, []);
  const columns = [
    { title: "After", cell: (event) => html`<time id=${`event-${event.cursor}`} datetime=${event.created_at} title=${event.created_at}>${lasting(Math.max(0, Date.parse(event.created_at) - start))}</time>` },
    { title: "Kind", cell: (event) => html`<span class=${failed(event) ? "failed" : ""}>${seen(event.kind)}</span>` },
    { title: "What", wide: true, cell: (event) => html`<span class="quiet lines">${brief(gist(event, start), 300)}</span>${event.cursor === chosen && html`<${Detail} ...${{ event, events, path, query, run_id, lead }} />`}` },
  ];
  const turn = (number) => refine({ page: String(number + 1), event: undefined });
  return html`<section class="history" aria-label="History">
    <h2>History</h2>
    <${Narrow} ...${{ query, kinds, show }} />
    ${log.problem && html`<${Problem} of=${log.problem} reload=${log.reload} />`}
    ${rows.length
      ? html`<${Table} caption="Events" columns=${columns} rows=${whole || here >= 0 ? rows : rows.slice(0, FIRST)} id=${({ cursor }) => cursor} href=${({ cursor }) => to("runs", run_id, { ...query, page: undefined, event: cursor === chosen ? undefined : cursor })} />`
      : html`<p class="empty" role="status">${log.complete ? (events.length ? "No event fits." : "No event is kept of this run.") : "Loading …"}</p>`}
    <nav class="pages" aria-label="More events">
      ${page > 0 && html`<button type="button" onClick=${() => turn(0)}>First</button><button type="button" onClick=${() => turn(page - 1)}>Earlier</button>`}
      ${page < pages - 1 && html`<button type="button" onClick=${() => turn(page + 1)}>Later</button><button type="button" onClick=${() => turn(pages - 1)}>Last</button>`}
      ${rows.length > 0 && html`<span class="quiet">${page * ROWS + 1} to ${page * ROWS + rows.length} of ${found.length}${log.complete ? "" : " so far"}</span>`}
      ${log.bounded && html`<button type="button" onClick=${log.more}>Read on</button>`}
    </nav>
    ${chosen && here < 0 && log.complete && html`<p class="stale" role="status">The event ${seen(chosen)} is not among these; it may be a piece of a text: ${" "}
      <button type="button" onClick=${() => refine({ show: "everything" })}>show all, with pieces</button></p>`}
  </section>`;
}

function Narrow({ query, kinds, show }) {
  const change = (name) => ({ target: { value, type, checked } }) => refine({ [name]: (type === "checkbox" ? checked && "true" : value) || undefined, page: undefined });
  const known = query.kind && !kinds.includes(query.kind) ? [query.kind, ...kinds] : kinds;
  return html`<form class="filters" role="search" onSubmit=${(event) => event.preventDefault()}>
    <label>Show <select value=${show} onChange=${change("show")}>
      ${Object.entries(LEVELS).map(([value, words]) => html`<option key=${value} value=${value} selected=${value === show}>${words}</option>`)}
    </select></label>
    <label>Kind <select value=${query.kind ?? ""} onChange=${change("kind")}>
      <option value="">any</option>
      ${known.map((value) => html`<option key=${value} value=${value} selected=${value === query.kind}>${seen(value)}</option>`)}
    </select></label>
    <label>Text <${Typed} type="search" size="16" value=${query.text ?? ""} onChange=${change("text")} /></label>
    <label><input type="checkbox" checked=${Boolean(query.failed)} onChange=${change("failed")} /> Failed</label>
  </form>`;
}

/** All of an event, and how somebody else gets to it. */
function Detail({ event, events, path, query, run_id, lead }) {
  const { at, ...whole } = event;
  const before = events[at - 1]?.cursor;
  const request = { path: withQuery(path, { ...logQuery(query), cursor: before, limit: 1 }) };
  const link = new URL(`console${to("runs", run_id, { event: event.cursor })}`, BASE).href;
  const place = placeOf(event);
  return html`<div class="event">
    <p class="row">
      <span>Cursor <${Id} id=${event.cursor} short=${false} /></span>
      <span>Link <${Copy} text=${link} what="link" /></span>
      <${When} at=${event.created_at} />
      ${place && html`<button type="button" onClick=${() => lead("conversation", place)}>In the conversation</button>`}
      <button type="button" onClick=${() => lead("timeline", event.cursor)}>In the timeline</button>
    </p>
    <${Json} value=${whole.payload} />
    <${Command} text=${curlOf(request)} />
    <${Command} text=${awakenOf(`tail ${run_id} ${before ? `--after ${before} ` : ""}--kind ${event.kind} --json`)} />
  </div>`;
}

