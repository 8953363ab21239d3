/** One run: why it is where it is, what was said beside what was executed, and every event of it. */

import { Earlier, Message, Say, forkRequest, itemsOf, sayRequest, useMessages } from "./conversation.js";
import { History, logQuery, placeOf } from "./history.js";
import { html, useCallback, useEffect, useMemo, useRef, useState } from "./html.js";
import { act, api, useRead, withQuery } from "./link.js";
import { liveFrom, useLog, useSaying } from "./log.js";
import { Action, Commands, Facts, Id, Json, Problem, Read, RunId, Status, ThreadId, When, toolName } from "./parts.js";
import { go, refine, to } from "./route.js";
import { took } from "./runs.js";
import { Text, amount, seen } from "./text.js";
import { Lenses, aboutOf } from "./timeline.js";

export default function Run({ route }) {
  const run_id = route.place[1];
  const path = api`/v1/runs/${run_id}`;
  const mine = { concerns: (hint) => !hint.run_id || hint.run_id === run_id };
  const run = useRead(path, mine);
  return html`<div>
    <h1>Run <span class="quiet"><${Id} id=${run_id} short=${false} /></span></h1>
    <${Read} of=${run}>${(value) => html`<${Shown} ...${{ run: value, reload: run.reload, path, mine, route }} />`}<//>
    ${run.value === undefined && html`<${Commands} of=${[{ label: "This run", request: { path }, cli: ["show", run_id] }]} />`}
  </div>`;
}

function Shown({ run, reload, path, mine, route }) {
  const { run_id, thread_id } = run;
  const { query } = route;
  const done = run.status === "done";
  const given = run.input.messages ?? []; // while they are in no conversation yet
  const timeline = useRead(`${path}/timeline`, { ...mine, live: !done });
  const messages = useMessages(thread_id, { run_id, ...mine });
  const log = useLog(`${path}/events`, { query: logQuery(query), ...mine });
  const active = log.complete && ["created", "running"].includes(run.status);
  const from = useMemo(() => active && liveFrom(log.events), [active]);
  const saying = useSaying(active ? { run_id } : null, from || undefined);
  const spans = timeline.value?.spans ?? [];
  const about = useMemo(() => aboutOf(spans), [timeline.value]);
  const items = useMemo(() => itemsOf(messages.messages, saying, about), [messages.messages, saying, saying.version, about]);
  const chosen = query.event;
  const event = chosen && log.events.find(({ cursor }) => cursor === chosen);
  const span = chosen && spans.find(({ cursor }) => cursor === chosen);
  const shown = event ? placeOf(event) : span && (span.facts.tool_call_id ?? span.facts.message_id);
  useEffect(() => shown && byId("conversation", shown)?.scrollIntoView({ block: "nearest" }), [chosen, Boolean(shown)]);
  const latest = useRef(null);
  latest.current = { spans, event };
  const lead = useCallback((where, what) => {
    const { spans, event } = latest.current;
    if (where === "history") refine({ event: what, page: undefined, kind: undefined, text: undefined, failed: undefined });
    setTimeout(() => byId(where, where === "timeline" ? (spanOf(spans, what, event)?.id ?? "") : what)?.focus(), 50);
  }, []);
  // The two large parts are drawn when something of theirs has changed, and not with each answer that comes.
  const lenses = useMemo(() => html`<${Lenses} ...${{ timeline: timeline.value, items, chosen, shown, lead, query, run_id }} empty="Nothing has been said yet." />`, [timeline.value, items, chosen, shown, route]);
  const history = useMemo(() => html`<${History} ...${{ log, path: `${path}/events`, route, run_id, lead }} />`, [log, route]);
  const last = messages.messages.at(-1);
  const retry = { method: "POST", path: `${path}/retry` };
  const stop = { method: "POST", path: `${path}/cancel` };
  return html`
    <${Why} ...${{ run, path, mine }} />
    <${About} run=${run} children=${spans.filter(({ kind }) => kind === "child")} />
    <div class="row actions">
      ${!done && html`<${Action} label="Stop" danger=${true} confirm="The run ends here. What it has done and said stays; it does not go on, but it can be done again from the start, as a new run." request=${stop} cli=${["cancel", run_id]} done=${reload} />`}
      ${done && html`<${Action} label="Retry" request=${retry} done=${({ run_id }) => go("runs", run_id)} />`}
      <${Download} path=${`${path}/events`} name=${`run-${run_id}.jsonl`} />
    </div>
    <${Decide} run=${run} reload=${reload} />
    ${run.input.trigger_message_ids.length > 0 && messages.read.value && !given.length && !messages.messages.some(({ message_id }) => run.input.trigger_message_ids.includes(message_id)) && html`<p class="quiet">It was given messages that were in <a href=${to("threads", thread_id)}>the thread</a> already${run.input.from_seq && html`: #${run.input.from_seq} to #${run.input.to_seq}`}.</p>`}
    ${given.length > 0 && html`<section class="given" aria-label="What it is given">
      <h2>What it is given when it begins</h2>
      ${given.map((message) => html`<${Message} key=${message.message_id} of=${{ message: { ...message, seq: 0 }, calls: [] }} fork=${false} />`)}
    </section>`}
    <${Earlier} ...${messages} />
    ${[messages.read, timeline].map((read, at) => read.problem && html`<${Problem} key=${at} of=${read.problem} reload=${read.reload} />`)}
    ${lenses}
    ${!done && html`<${Say} path=${`${path}/messages`} modes=${run.status === "waiting" ? ["steer", "resume", "follow_up"] : ["steer", "follow_up"]} label="Say something to it" />`}
    ${run.output !== null && html`<details class="output"><summary>What it came to</summary>${typeof run.output === "string" ? html`<${Text} text=${run.output} block=${true} />` : html`<${Json} value=${run.output} />`}</details>`}
    ${history}
    <${Commands}
      of=${[
        { label: "This run", request: { path }, cli: ["show", run_id] },
        { label: "Why it is where it is", request: { path: `${path}/explain` }, cli: ["why", run_id] },
        { label: "Its timeline", request: { path: `${path}/timeline` } },
        { label: "Runs that it has started", request: { path: `${path}/children` } },
        { label: "What was said", request: messages.request, cli: ["watch", run_id] },
        { label: "Its events", request: { path: withQuery(`${path}/events`, logQuery(query)) }, cli: ["tail", run_id, "--json"] },
        !done && { label: "Stop", request: stop, cli: ["cancel", run_id] },
        !done && { label: "Steer", request: sayRequest(`${path}/messages`, "…", "steer"), cli: ["send", run_id, "…", "--mode", "steer"] },
        done && { label: "Retry", request: retry, cli: ["retry", run_id] },
        last && { label: "Fork", request: forkRequest(thread_id, last.message_id) },
      ]}
    />
  `;
}

/** Where something is shown: a message or a call, an event, a span. */
function byId(where, what) {
  if (where === "conversation") return opened(document.getElementById(`call-${what}`)) ?? document.getElementById(`message-${what}`);
  if (where === "history") return document.getElementById(`event-${what}`)?.closest("a");
  return document.getElementById(`span-${what}`)?.querySelector("a");
}

function opened(call) {
  if (call) call.open = true;
  return call?.querySelector("summary");
}

/** The span that an event belongs to: that which it shows first, else the last one that had begun. */
function spanOf(spans, cursor, event) {
  const at = event ? Date.parse(event.created_at) : Infinity;
  const place = event && placeOf(event);
  const found =
    spans.find((span) => span.cursor === cursor) ??
    spans.findLast(({ facts }) => place && (facts.tool_call_id === place || facts.message_id === place)) ??
    spans.findLast(({ started_at }) => Date.parse(started_at) <= at);
  return found && { id: `${found.cursor}-${found.id}` };
}

const BLOCKERS = { run: (id) => html`<${RunId} id=${id} />`, agent: (id) => seen(id), ticket: (id) => html`<${Id} id=${id} href=${to("approvals", id)} />` };

/** In words: why it is here, what comes next, and when. */
function Why({ run, path, mine }) {
  const why = useRead(`${path}/explain`, mine);
  return html`<section class="why" aria-label="Why it is here">
    <${Read} of=${why}>
      ${({ summary, next_action, next_at, blocked_by }) => html`
        <p class="summary"><${Status} of=${run.phase} /> <strong>${seen(summary)}</strong></p>
        ${next_action && html`<p>Next: ${seen(next_action)}${next_at && html`, <${When} at=${next_at} until=${true} />`}</p>`}
        ${blocked_by.length > 0 && html`<p>In the way: ${blocked_by.map(({ kind, id }, at) => html`<span key=${id}>${at > 0 && ", "}${kind} ${BLOCKERS[kind]?.(id) ?? seen(id)}</span>`)}</p>`}
      `}
    <//>
  </section>`;
}

/** The runs that it has started, as far as a line holds them. */
const CHILDREN = 20;
const CHILD = { open: "running", done: "completed", failed: "failed", cut: "left" };

/** Of a child that has not ended, its own phase: it may be the one that waits for somebody. */
function ChildStatus({ run_id, status }) {
  const read = useRead(status === "open" ? api`/v1/runs/${run_id}` : null, { concerns: (hint) => !hint.run_id || hint.run_id === run_id });
  return html`<${Status} of=${read.value?.phase ?? CHILD[status]} />`;
}

function About({ run, children }) {
  const { input_tokens = 0, output_tokens = 0, cache_read_tokens = 0, model_calls } = run.usage ?? {};
  const cached = input_tokens && cache_read_tokens ? ` (${Math.round((100 * cache_read_tokens) / input_tokens)} % cached)` : "";
  return html`<div class="about"><${Facts}
    of=${{
      Agent: `${run.agent_id}${run.agent_version ? `@${run.agent_version}` : ""}`,
      Thread: html`<${ThreadId} id=${run.thread_id} short=${false} />`,
      "Started by": run.parent_run_id && html`run <${RunId} id=${run.parent_run_id} />`,
      "Retry of": run.retry_of_run_id && html`<${RunId} id=${run.retry_of_run_id} />`,
      Started: children.length > 0 && html`${children.slice(-CHILDREN).map(({ id, status, facts }) => html`<span key=${id}><${RunId} id=${facts.run_id} /> ${seen(facts.agent_id)} <${ChildStatus} run_id=${facts.run_id} status=${status} /> </span>`)}${children.length > CHILDREN && `and ${children.length - CHILDREN} before`}`,
      Attempt: run.attempt && (run.phase === "retrying" && run.error?.code === "attempt_failed" ? `${run.attempt - 1} of ${run.max_attempts} failed` : `${run.attempt} of ${run.max_attempts}`),
      Took: run.started_at && html`${took(run)}, ${run.steps} ${run.steps === 1 ? "step" : "steps"}`,
      Tokens: input_tokens + output_tokens > 0 ? `${amount(input_tokens)} in${cached}, ${amount(output_tokens)} out${model_calls ? `, ${model_calls} model ${model_calls === 1 ? "call" : "calls"}` : ""}` : null,
      Made: html`<${When} at=${run.created_at} /> <span class="quiet">by ${run.origin} over ${run.adapter}</span>`,
      Ended: run.finished_at && html`<${When} at=${run.finished_at} /> <span class="quiet">${[run.termination?.type, run.termination?.code].filter(Boolean).join(", ").replaceAll("_", " ")}</span>`,
      Error: run.error && html`<${Text} text=${run.error.message} chars=${2_000} />`,
      Damaged: run.unreadable?.join(", "),
    }}
  /></div>`;
}

/** What it waits for, with a plain yes and no. */
function Decide({ run, reload }) {
  const open = (run.waiting?.tickets ?? []).filter(({ state }) => state === "open");
  if (!open.length) return null;
  return html`<section class="waits" aria-label="What it waits for">
    ${open.map((ticket) => {
      if (ticket.kind === "child") return html`<${ForChild} key=${ticket.ticket_id} ticket=${ticket} />`;
      const can = (action) => ticket.allowed_actions.includes(action);
      const ask = (action) => ({ method: "POST", path: api`/v1/tickets/${ticket.ticket_id}/decision`, body: { action } });
      return html`<div key=${ticket.ticket_id} class="asked">
        <p><strong>${seen(ticket.message ?? ticket.kind)}</strong>${toolName(ticket) && html` <code>${seen(toolName(ticket))}</code>`}${ticket.expires_at && html` <span class="quiet">expires <${When} at=${ticket.expires_at} until=${true} /></span>`}</p>
        ${ticket.arguments && html`<${Json} value=${ticket.arguments} />`}
        <div class="row">
          ${can("approve") && html`<${Action} label="Approve" request=${ask("approve")} done=${reload} />`}
          ${can("deny") && html`<${Action} label="Deny" danger=${true} request=${ask("deny")} input=${{ label: "Why", name: "reason" }} done=${reload} />`}
          <a href=${to("approvals", ticket.ticket_id)}>${can("answer") ? "Answer it" : "With other arguments, and more"}</a>
        </div>
        <${Commands} of=${["approve", "deny"].filter(can).map((action) => ({ label: action, request: ask(action), cli: ["decide", ticket.ticket_id, `--${action}`] }))} />
      </div>`;
    })}
  </section>`;
}

/** A run that it waits for: where that is, and what it asks in turn. */
function ForChild({ ticket: { arguments: said, agent_id } }) {
  const run_id = said?.run_id;
  const read = useRead(run_id ? api`/v1/runs/${run_id}` : null, { concerns: (hint) => !hint.run_id || hint.run_id === run_id });
  const asks = (read.value?.waiting?.tickets ?? []).filter(({ state, kind }) => state === "open" && kind !== "child");
  return html`<div class="asked">
    <p><strong>Waits for the run that it started</strong> <${RunId} id=${run_id} /> <span class="quiet">${seen(read.value?.agent_id ?? agent_id)}</span> ${read.value && html`<${Status} of=${read.value.phase} />`}</p>
    ${asks.map(({ ticket_id, message, kind }) => html`<p key=${ticket_id}>It asks: ${seen(message ?? kind)} <a href=${to("approvals", ticket_id)}>Decide it</a></p>`)}
  </div>`;
}

/** All events, a line each, as a file. */
function Download({ path, name }) {
  const [state, turn] = useState({ busy: false, count: 0, problem: null });
  const save = async () => {
    turn({ busy: true, count: 0, problem: null });
    try {
      const lines = [];
      let cursor, more = true; // prettier-ignore
      while (more) {
        const page = await act({ method: "GET", path: withQuery(path, { ...logQuery({ show: "everything" }), limit: 200, cursor }) });
        lines.push(...page.items.map((event) => `${JSON.stringify(event)}\n`));
        [cursor, more] = [page.next_cursor, page.has_more];
        turn({ busy: true, count: lines.length, problem: null });
      }
      const url = URL.createObjectURL(new Blob(lines, { type: "application/x-ndjson" }));
      Object.assign(document.createElement("a"), { href: url, download: name }).click();
      setTimeout(() => URL.revokeObjectURL(url), 60_000);
      turn({ busy: false, count: lines.length, problem: null });
    } catch (problem) {
      turn({ busy: false, count: 0, problem });
    }
  };
  return html`<button type="button" disabled=${state.busy} onClick=${save}>${state.busy ? `Downloading, ${state.count} events` : "Download as JSON lines"}</button>
    ${state.problem && html`<${Problem} of=${state.problem} />`}`;
}
