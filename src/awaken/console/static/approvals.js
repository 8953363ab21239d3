/**
 * Approvals: what runs wait for, oldest first, and beside the list all that somebody needs who decides.
 *
 * Holds: a key acts on the ticket that is shown, once it has been shown long enough to be seen: a key pressed twice, or
 * held down, acts once. What was decided stays in the list,
 * with who decided what, until one leaves; what somebody else decided meanwhile is read again and shown as that. Decisions
 * about several at once are about one tool of one agent.
 */

import { Form, same, schemaLike } from "./form.js";
import { html, useEffect, useLayoutEffect, useRef, useState } from "./html.js";
import { act, api, client, useRead, withQuery } from "./link.js";
import { Commands, Empty, Facts, Filters, Id, Json, Problem, Read, RunId, Status, Table, ThreadId, When, narrowedCli, toolName, useShownNow } from "./parts.js";
import { refine, to, useKeys } from "./route.js";
import { brief, exact, inexact, lasting, seen, Text } from "./text.js";

export const KEYS = [
  ["a", "approve what is shown, or all that are picked"],
  ["d", "deny it, with a reason"],
  ["e", "approve it with other arguments"],
  ["Enter", "answer it, or send what a form holds"],
  ["Shift Enter", "another line of a text in a form"],
  ["f", "say that there will be no answer"],
  ["x", "pick it; X all of its tool"],
  ["Esc", "leave a form"],
];
const PAGE = 100;
const SOON_MS = 10 * 60_000;
/** How long a ticket must have been on the screen before it is decided: a second press is meant for the one before. */
const SEEN_MS = 400;
const LOOKED_UP = 20;
const FILTERS = [
  { name: "state", label: "State", none: "open", options: ["decided", "expired", "withdrawn", "any"] },
  { name: "kind", label: "Kind", options: ["approval", "input", "client_tool", "external"], flag: "--kind" },
  { name: "tool_name", label: "Tool" },
  { name: "agent_id", label: "Agent", flag: "--agent" },
];
const CAME_TO = { approve: "approved", deny: "denied", edit: "approved, edited", answer: "answered", fail: "failed" };
const AT_EXPIRY = {
  deny: "then it counts as a no",
  fail: "then the run fails",
  cancel: "then the run is cancelled",
  answer: "then the default is the answer",
};

export default function Approvals({ route }) {
  const { state = "open", kind, agent_id, tool_name, thread_id, cursor } = route.query;
  const is_open = state === "open";
  const filters = { kind, agent_id, tool_name, thread_id };
  const path = withQuery("/v1/tickets", { state: state === "any" ? "" : state, ...filters, order: is_open ? "asc" : "desc", limit: PAGE, cursor });
  const { read, rows, keep } = useTickets(path, is_open);
  const [current, turn] = useState(route.place[1]);
  const [mode, ask] = useState(null);
  const [picked, pick] = useState(() => new Set());
  const [work, note] = useState({ busy: new Set(), faults: new Map(), news: "" });
  const [beside, put] = useState(null);
  const led = useRef({ path, ticket_id: route.place[1] }); // where the address has led
  const row = rows.find(({ ticket_id }) => ticket_id === current) ?? (beside?.ticket_id === current ? beside : undefined);

  const [seen_id, see] = useState(null); // the ticket that has been shown long enough
  const is_seen = row !== undefined && seen_id === current;
  useEffect(() => {
    if (!row || is_seen) return;
    const timer = setTimeout(see, SEEN_MS, current); // begun when it has been painted
    return () => clearTimeout(timer);
  }, [current, is_seen, !row]);

  useLayoutEffect(() => {
    const ticket_id = route.place[1];
    if (ticket_id && ticket_id !== led.current.ticket_id) show(ticket_id);
    else if (path !== led.current.path) lead(undefined); // another list begins at its first
    led.current = { path, ticket_id: route.place[1] };
  }, [route, path]);
  useLayoutEffect(() => {
    if (!current && rows.length) turn(rows[0].ticket_id); // and no other one takes its place
  }, [current, rows.length]);
  useEffect(() => {
    const { has_more, next_cursor } = read.value ?? {};
    if (has_more && !rows.length) refine({ cursor: next_cursor }); // a page of nothing but ends of children
  }, [read.value]);

  /** Newer than what is shown of them, also of the one that is in no list. */
  function know(...tickets) {
    keep(...tickets);
    put((before) => tickets.find(({ ticket_id }) => ticket_id === current) ?? before);
  }
  function show(ticket_id) {
    turn(ticket_id);
    ask(null);
  }
  function lead(ticket_id) {
    show(ticket_id);
    led.current.ticket_id = ticket_id;
    history.replaceState(null, "", ticket_id ? to("approvals", ticket_id, route.query) : to("approvals", route.query));
  }
  const waits = ({ ticket_id, state: is }) => is === "open" && !work.busy.has(ticket_id);
  const onwards = (done = new Set()) => {
    const at = rows.findIndex(({ ticket_id }) => ticket_id === current);
    const next = [...rows.slice(at + 1), ...rows.slice(0, Math.max(at, 0))].find((each) => waits(each) && !done.has(each.ticket_id));
    if (next) lead(next.ticket_id);
    else ask(null);
  };
  const decide = async (ticket, body) => {
    const { ticket_id } = ticket;
    note(({ busy, faults, news }) => ({ busy: new Set([...busy, ticket_id]), faults: without(faults, ticket_id), news }));
    let fault = null;
    try {
      know((await act({ method: "POST", path: api`/v1/tickets/${ticket_id}/decision`, body })).ticket);
    } catch (problem) {
      fault = problem;
      client.request("GET", api`/v1/tickets/${ticket_id}`).then(know, () => {});
    }
    note(({ busy, faults }) => ({
      busy: new Set([...busy].filter((each) => each !== ticket_id)),
      faults: fault && fault.status !== 422 ? new Map([...faults, [ticket_id, fault]]) : faults, // a form shows that itself
      news: `${named(ticket)}: ${fault ? `refused, ${fault.message}` : CAME_TO[body.action]}`,
    }));
    if (fault) throw fault;
  };
  const at_once = (action, said = {}) => {
    if (!is_seen || !waits(row)) return;
    decide(row, { action, ...said }).catch(() => {});
    onwards();
  };
  const from_form = async (action, said) => {
    if (!is_seen) return;
    await decide(row, { action, ...said });
    onwards();
  };
  const tool = toolOf(rows.find(({ ticket_id }) => picked.has(ticket_id)));
  const can_pick = (each) => each.kind === "approval" && waits(each) && (!tool || tool === toolOf(each));
  const still = new Set(rows.filter((each) => picked.has(each.ticket_id) && waits(each)).map(({ ticket_id }) => ticket_id));
  const choose = (ids) => {
    const wanted = rows.filter((each) => ids.has(each.ticket_id));
    const of = tool ?? toolOf(wanted.find((each) => each === row) ?? wanted[0]);
    pick(new Set(wanted.filter((each) => toolOf(each) === of).map(({ ticket_id }) => ticket_id)));
  };
  const toggle = () => {
    if (!row || !(still.has(current) || can_pick(row))) return false;
    return choose(new Set(still.has(current) ? [...still].filter((each) => each !== current) : [...still, current]));
  };
  const all_of_it = () => {
    if (row?.kind !== "approval") return false;
    return pick(new Set(rows.filter((each) => each.kind === "approval" && waits(each) && toolOf(each) === toolOf(row)).map(({ ticket_id }) => ticket_id)));
  };
  const may = (action) => Boolean(!mode && is_seen && waits(row) && row.allowed_actions.includes(action));
  const open = (form) => (may(form) ? ask(form) : false);
  useKeys({
    a: () => (still.size && !mode ? ask("approve all") : may("approve") ? at_once("approve") : false),
    d: () => (still.size && !mode ? ask("deny all") : open("deny")),
    e: () => open("edit"),
    f: () => open("fail"),
    x: toggle,
    X: all_of_it,
    Enter: (event) => (event.target.closest("button, summary, input, a:not([data-row])") ? false : open("answer")),
    Escape: () => (still.size ? pick(new Set()) : ask(null)),
  });

  return html`<section class="list">
    <header>
      <h1>Approvals</h1>
      <${Filters} of=${FILTERS} chosen=${{ state: route.query.state, ...filters }} />
    </header>
    <p class="hidden" role="status">${brief(work.news, 300)}</p>
    <${Read} of=${read}>
      ${({ has_more, next_cursor, unreadable = [] }) => html`
        ${unreadable.length > 0 && html`<p class="problem">Damaged, and left out: ${unreadable.join(", ")}</p>`}
        <${Several} of=${rows.filter(({ ticket_id }) => still.has(ticket_id))} mode=${mode} ask=${ask} keep=${know} clear=${() => pick(new Set())} finish=${(done) => (done.has(current) ? onwards(done) : ask(null))} />
        ${rows.length || current
          ? html`<div class="sides">
              <div class="side">
                ${rows.length
                  ? html`<${Table} caption="What runs wait for" columns=${columns(work)} rows=${rows} id=${({ ticket_id }) => ticket_id}
                      href=${({ ticket_id }) => to("approvals", ticket_id, route.query)}
                      ...${{ picked: still, onPick: choose, pickable: (each) => still.has(each.ticket_id) || can_pick(each), current, onCurrent: lead }} />`
                  : html`<p class="quiet">Nothing else is in this list.</p>`}
                <nav class="pages" aria-label="More rows">
                  ${cursor && html`<button type="button" onClick=${() => refine({ cursor: undefined })}>First page</button>`}
                  ${has_more && html`<button type="button" onClick=${() => refine({ cursor: next_cursor })}>Next page</button>`}
                </nav>
              </div>
              ${current && html`<${Ticket} key=${current} ticket_id=${current} row=${row} ...${{ mode, ask, at_once, from_form, know, work, is_seen }} />`}
            </div>`
          : is_open && !Object.values(filters).some(Boolean)
            ? html`<${Empty} command=${'run concierge "book a table for two"'}>No run waits for anybody. With the demo agents, this makes one that does:<//>`
            : html`<${Empty}>Nothing here fits.<//>`}
      `}
    <//>
    <${Commands} of=${[{ label: "This list", request: { path }, cli: narrowedCli(["tickets", "--state", state === "any" ? "all" : state], [...FILTERS, { name: "thread_id", flag: "--thread" }], filters) }, ...(row ? commandsOf(row) : [])]} />
  </section>`;
}

const without = (map, key) => new Map([...map].filter(([each]) => each !== key));
const toolOf = (ticket) => ticket && JSON.stringify([ticket.agent_id, ticket.tool_name]);
/** The tool that asks; of a question, and where an agent asks by itself, what is asked. */
const named = (ticket) => {
  const { tool_name, message, kind } = ticket;
  return brief((kind === "input" ? (message ?? tool_name) : (toolName(ticket) ?? message)) ?? kind.replaceAll("_", " "), 80);
};

/** The tickets of a page, and beside them those that were on it and have been closed since. */
function useTickets(path, is_open) {
  const read = useRead(path);
  const known = useRef({ path: null, merged: null, of: new Map() });
  const [, turn] = useState(0);
  if (known.current.path !== path) known.current = { path, merged: null, of: new Map() };
  const store = known.current;
  const items = (read.value?.items ?? []).filter(({ kind }) => kind !== "child"); // the end of one decides that
  const put = (ticket) => {
    const had = store.of.get(ticket.ticket_id);
    if (!had || had.state === "open" || ticket.state !== "open") store.of.set(ticket.ticket_id, ticket);
  };
  if (read.value && store.merged !== read.value) {
    if (!is_open) store.of.clear();
    items.forEach(put);
    store.merged = read.value;
  }
  useEffect(() => {
    if (!is_open || !read.value) return;
    const there = new Set(items.map(({ ticket_id }) => ticket_id));
    const gone = [...store.of.values()].filter(({ ticket_id, state }) => state === "open" && !there.has(ticket_id));
    for (const { ticket_id } of gone.slice(0, LOOKED_UP)) client.request("GET", api`/v1/tickets/${ticket_id}`).then(keep, () => {});
  }, [read.value]);
  const keep = (...tickets) => {
    const has = tickets.filter(({ ticket_id, state }) => store.of.has(ticket_id) && !(state === "open" && store.of.get(ticket_id).state === "open"));
    has.forEach(put);
    if (has.length) turn((count) => count + 1);
  };
  return { read, rows: [...store.of.values()], keep };
}

// --- the list --------------------------------------------------------------------------------------------------------

const columns = ({ busy, faults }) => [
  {
    title: "What",
    wide: true,
    cell: (ticket) => html`<strong>${named(ticket)}</strong>${" "}<span class="quiet lines">${glance(ticket)}</span>`,
  },
  { title: "Agent", cell: ({ agent_id }) => brief(agent_id, 30) },
  {
    title: "State",
    cell: (ticket) =>
      busy.has(ticket.ticket_id)
        ? html`<${Status} of="running">deciding<//>`
        : html`${faults.has(ticket.ticket_id) && html`<${Status} of="refused">refused<//> `}<${State} of=${ticket} />`,
  },
];

/** What it is about, on one line. */
function glance(ticket) {
  const { kind, message, arguments: said } = ticket;
  const words = said === null || typeof said !== "object" ? [] : Object.entries(said).map(([name, value]) => `${name}: ${typeof value === "string" ? value : JSON.stringify(value)}`.slice(0, 200));
  return brief([kind !== "input" && toolName(ticket) && message, words.slice(0, 8).join(", ")].filter(Boolean).join(" · "), 160);
}

/** How long it has waited, or what it has come to. */
function State({ of: { state, decision, created_at, expires_at } }) {
  const now = useShownNow();
  if (state === "decided") return html`<${Status} of=${decision.action === "deny" || decision.action === "fail" ? "quiet" : "decided"}>${CAME_TO[decision.action]}<//>`;
  if (state !== "open") return html`<${Status} of=${state} />`;
  const left = expires_at && Date.parse(expires_at) - now;
  if (expires_at && left < SOON_MS) return html`<${Status} of="open">${left > 0 ? `expires in ${lasting(left)}` : "expires now"}<//>`;
  return html`<span class="quiet">for <time datetime=${created_at} title=${created_at}>${lasting(now - Date.parse(created_at))}</time></span>`;
}

// --- one of them -----------------------------------------------------------------------------------------------------

function Ticket({ ticket_id, row, mode, ask, at_once, from_form, know, work, is_seen }) {
  const read = useRead(api`/v1/tickets/${ticket_id}`, { concerns: ({ thread_id }) => !row || thread_id === row.thread_id });
  useEffect(() => void (read.value && know(read.value)), [read.value]);
  const fault = work.faults.get(ticket_id);
  return html`<article class="side detail" aria-label="What is to be decided">
    ${row ? html`<${Shown} ticket=${row} busy=${work.busy.has(ticket_id)} ...${{ mode, ask, at_once, from_form, fault, is_seen }} />` : html`<${Read} of=${read}>${() => null}<//>`}
  </article>`;
}

function Shown({ ticket, mode, ask, at_once, from_form, busy, fault, is_seen }) {
  const { ticket_id, thread_id, run_id, agent_id, kind, message, arguments: said, state, decision, created_at, expires_at, on_expiry, response_schema } = ticket;
  const is_open = state === "open";
  const may = (action) => is_open && ticket.allowed_actions.includes(action);
  const rough = inexact(said);
  const tool = toolName(ticket);
  return html`
    <h2 data-seen=${is_seen || undefined}>${kind === "approval" ? (tool ? "May it run: " : "It asks whether it may: ") : kind === "input" ? "A question: " : "A result is wanted: "}<bdi>${named(ticket)}</bdi></h2>
    ${message && ((kind !== "input" && tool) || message.length > 80) && html`<p class="message"><${Text} text=${message} chars=${2_000} /></p>`}
    ${expires_at && is_open && html`<p><${Expiry} at=${expires_at} then=${AT_EXPIRY[on_expiry]} /></p>`}
    ${!is_open && html`<${Outcome} of=${ticket} />`}
    ${fault && html`<${Problem} of=${fault} />`}
    ${said !== null && html`<${Arguments} ticket=${ticket} />`}
    ${rough && html`<p class="problem">A number here is larger than a browser can hold exactly. Read the ticket with curl, below, before you decide.</p>`}
    ${may("answer") &&
    html`<${Form} key=${`${ticket_id} answer`} schema=${response_schema ?? {}} label="Answer" name=${kind === "input" ? named(ticket) : "Result"} focus=${mode === "answer"}
      onSend=${(result) => from_form("answer", { result })} onLeave=${mode === "answer" ? () => (ask(null), document.activeElement.blur()) : undefined} />`}
    ${may("edit") && mode === "edit" &&
    html`<h3>Approve it with these arguments</h3>
      <p class="quiet">What ${tool ? "the tool" : "it"} takes is not known here. The fields are what it was asked with; others can be added as JSON.</p>
      <${Form} schema=${rough ? {} : schemaLike(said ?? {})} value=${said ?? {}} label="Approve these" name="Arguments" within="arguments" focus
        onSend=${(edited) => from_form(same(edited, said) ? "approve" : "edit", same(edited, said) ? {} : { arguments: edited })} onLeave=${() => ask(null)} />`}
    ${(mode === "deny" || mode === "fail") && may(mode) &&
    html`<${Why} label=${mode === "deny" ? "Deny it" : "There will be no answer"} onLeave=${() => ask(null)} onSend=${(reason) => at_once(mode, reason ? { reason } : {})} />`}
    ${is_open && !["deny", "edit", "fail"].includes(mode) &&
    html`<div class="row decide">
      ${may("approve") && html`<button type="button" class="primary" disabled=${busy} aria-disabled=${!is_seen} onClick=${() => at_once("approve")}>Approve <kbd>a</kbd></button>`}
      ${may("deny") && html`<button type="button" class="danger" aria-disabled=${!is_seen} onClick=${() => is_seen && ask("deny")}>Deny … <kbd>d</kbd></button>`}
      ${may("edit") && html`<button type="button" disabled=${rough} aria-disabled=${!is_seen} onClick=${() => is_seen && ask("edit")}>Edit … <kbd>e</kbd></button>`}
      ${may("fail") && html`<button type="button" class="danger" aria-disabled=${!is_seen} onClick=${() => is_seen && ask("fail")}>No answer … <kbd>f</kbd></button>`}
      ${may("answer") && mode !== "answer" && html`<span class="quiet"><kbd>Enter</kbd> leads to the answer</span>`}
    </div>`}
    <${Blocked} ticket=${ticket} />
    <${Lately} thread_id=${thread_id} />
    <${Facts} of=${{
      Ticket: html`<${Id} id=${ticket_id} href=${to("approvals", ticket_id)} />`,
      Agent: brief(agent_id, 80),
      Tool: tool && brief(tool, 200),
      Run: html`<${RunId} id=${run_id} />`,
      Thread: html`<${ThreadId} id=${thread_id} />`,
      Asked: html`<${When} at=${created_at} />`,
      Decision: decision?.decision_id && html`<${Id} id=${decision.decision_id} />`,
    }} />
  `;
}

function Expiry({ at, then }) {
  const now = useShownNow();
  const left = Date.parse(at) - now;
  return html`<${Status} of=${left < SOON_MS ? "open" : "quiet"}>${left > 0 ? `expires in ${lasting(left)}` : "expires now"}<//> <span class="quiet">${then}</span>`;
}

/** Over which protocol a decision came. */
const OVER = { internal: ", by a program that holds the app", http: " over the API", ai_sdk: " over AI SDK", ag_ui: " over AG-UI", langgraph: " over LangGraph", responses: " over Open Responses", acp: " over ACP", a2a: " over A2A", mcp: " over MCP" };

/** Who decided what, over what, and when. */
function Outcome({ of: { state, decision, closed_at, arguments: asked } }) {
  if (!decision) return html`<p><${Status} of=${state} /> <${When} at=${closed_at} /></p>`;
  const { action, decided_by, decided_at, adapter, reason, result, arguments: edited, path } = decision;
  const who = decided_by ? (decided_by === "expiry" ? "when its time was over" : `by ${brief(decided_by, 80)}`) : "by somebody without a name";
  return html`<div class="outcome">
    <p><${Status} of=${action === "deny" || action === "fail" ? "quiet" : "decided"}>${CAME_TO[action]}<//> ${who}${OVER[adapter] ?? ""}, <${When} at=${decided_at} />${path === "live" ? ", while the run was being executed" : ""}</p>
    ${reason && html`<p class="quiet">Reason: <${Text} text=${reason} chars=${1_000} /></p>`}
    ${action === "answer" && html`<${Json} value=${result} />`}
    ${action === "edit" && html`<${Compared} now=${edited} before=${asked} titles=${["Ran with", "Asked for"]} />`}
  </div>`;
}

function Why({ label, onSend, onLeave }) {
  const field = useRef(null);
  useLayoutEffect(() => field.current.select(), []); // before the next key, which is meant for it
  const send = (event) => {
    event.preventDefault();
    const reason = field.current.value.trim();
    if (reason) sessionStorage.setItem(LAST_REASON, reason);
    onSend(reason);
  };
  return html`<form class="form" onSubmit=${send} onKeyDown=${(event) => event.key === "Escape" && (event.preventDefault(), onLeave())}>
    <div class="field">
      <label for="why">Why <span class="quiet">for whoever asked; may be left out</span></label>
      <input id="why" ref=${field} type="text" autocomplete="off" defaultValue=${sessionStorage.getItem(LAST_REASON) ?? ""} />
    </div>
    <div class="row">
      <button class="danger">${label} <kbd>Enter</kbd></button>
      <button type="button" onClick=${onLeave}>Leave it <kbd>Esc</kbd></button>
    </div>
  </form>`;
}

/** The same thing is often denied for the same reason: the last one stands there, selected. */
const LAST_REASON = "awaken.reason";

// --- what will run ---------------------------------------------------------------------------------------------------

const LEAVES = 200;
const DEEP = 12;

/** The arguments, beside those of the last call of that tool that was approved. */
function Arguments({ ticket: { ticket_id, agent_id, tool_name, tool_call_id, kind, arguments: said, state } }) {
  const compares = kind === "approval" && tool_name && state === "open";
  const query = { tool_name, agent_id, kind, state: "decided", action: "approve", order: "desc", limit: 1 };
  const last = useRead(compares ? withQuery("/v1/tickets", query) : null);
  const before = last.value?.items.find((each) => each.ticket_id !== ticket_id);
  const title = toolName({ kind, tool_name, tool_call_id }) ? "Exactly this will run" : "What it is about";
  return html`<h3>${state === "open" ? title : "What was asked for"}</h3>
    ${before
      ? html`<${Compared} now=${said} before=${before.arguments} titles=${["Now", "Last approved"]} />
          <p class="quiet">Compared with <a href=${to("approvals", before.ticket_id)}>the last call of it that was approved</a>, <${When} at=${before.decision.decided_at} /></p>`
      : html`<${Compared} now=${said} titles=${["Value"]} />
          ${compares && last.value && html`<p class="quiet">No call of it has been approved before.</p>`}`}
    <details><summary>All of it as JSON</summary><${Json} value=${said} /></details>`;
}

function Compared({ now, before, titles }) {
  const [is, was] = [leaves(now), before === undefined ? null : leaves(before)];
  const names = [...new Set([...is.keys(), ...(was?.keys() ?? [])])];
  if (!names.length) return html`<p class="quiet">No arguments.</p>`;
  const rows = names.slice(0, LEAVES).map((name) => ({ name, is: is.get(name), was: was?.get(name), change: was && changeOf(is.get(name), was.get(name)) }));
  const differing = rows.filter(({ change }) => change).length;
  return html`<table class="compared">
      <caption class="hidden">Arguments</caption>
      <thead><tr><th scope="col">Argument</th>${titles.map((title) => html`<th key=${title} scope="col" class="wide">${title}</th>`)}</tr></thead>
      <tbody>${rows.map(
        ({ name, is: value, was: old, change }) => html`<tr key=${name} class=${change ? "differs" : was ? "same" : ""}>
          <td data-title="Argument"><bdi>${brief(name, 120)}</bdi>${change && html` <span class="change">${change}</span>`}</td>
          <td data-title=${titles[0]} class="wide"><${Leaf} value=${value} /></td>
          ${was && html`<td data-title=${titles[1]} class="wide"><${Leaf} value=${old} /></td>`}
        </tr>`,
      )}</tbody>
    </table>
    ${names.length > LEAVES && html`<p class="problem">${names.length - LEAVES} more are not in this table; see all of it as JSON.</p>`}
    ${was && !differing && names.length <= LEAVES && html`<p class="quiet">Nothing differs.</p>`}`;
}

const changeOf = (is, was) => (is === undefined ? "gone" : was === undefined ? "new" : same(is, was) ? "" : "changed");

/** A text is shown as it is, unless it looks like something else. */
function Leaf({ value }) {
  if (value === undefined) return html`<span class="quiet">–</span>`;
  const plain = typeof value === "string" && value.trim() !== "" && !/^(-?[\d.]|["{[]|true$|false$|null$)/.test(value);
  return html`<${Text} text=${plain ? value : JSON.stringify(value)} chars=${600} />`;
}

/** The parts of a value that have none, by where they are: `seats[0].row`. */
function leaves(value, place = "", into = new Map(), depth = 0) {
  const parts = Array.isArray(value) ? value.map((each, at) => [`${place}[${at}]`, each]) : value && typeof value === "object" ? Object.entries(value).map(([name, each]) => [`${place && `${place}.`}${plainly(name)}`, each]) : [];
  if (!parts.length || into.size > 2 * LEAVES || depth > DEEP) {
    if (place || !(value && typeof value === "object")) into.set(place || "value", value);
  } else for (const [name, each] of parts) leaves(each, name, into, depth + 1);
  return into;
}

/** So that no name looks like a place in something else. */
const plainly = (name) => (/^[\w-]+$/.test(name) ? name : JSON.stringify(name));

// --- what it is about ------------------------------------------------------------------------------------------------

/** What does not go on until it is decided: the run, whoever waits for that, and what was said to it. */
function Blocked({ ticket: { thread_id, run_id, ticket_id, state } }) {
  const mine = { concerns: (hint) => hint.thread_id === thread_id };
  const is_open = state === "open";
  const run = useRead(is_open ? api`/v1/runs/${run_id}` : null, mine);
  const pending = useRead(is_open ? api`/v1/threads/${thread_id}/pending` : null, mine);
  if (!run.value) return null;
  const { parent_run_id, waiting } = run.value;
  const others = (waiting?.tickets ?? []).filter((each) => each.ticket_id !== ticket_id && each.state === "open");
  const messages = (pending.value?.items ?? []).filter((each) => (each.target_run_id ?? each.run_id ?? run_id) === run_id);
  return html`<h3>Blocked until then</h3>
    <ul class="plain">
      <li>The run <${RunId} id=${run_id} /></li>
      ${parent_run_id && html`<li>The run that started it, <${RunId} id=${parent_run_id} /></li>`}
      ${messages.length > 0 && html`<li>${messages.length === 1 ? "A message" : `${messages.length} messages`} to it, ${messages.length === 1 ? "which has" : "which have"} to wait: <span class="quiet">${brief(messages.flatMap(({ content }) => content).map(({ text = "…" }) => text).join(" · "), 200)}</span></li>`}
      ${others.length > 0 && html`<li class="quiet">The run also waits for ${others.slice(0, 5).map((each, at) => html`${at > 0 && ", "}<a key=${each.ticket_id} href=${to("approvals", each.ticket_id)}>${named(each)}</a>`)}</li>`}
    </ul>`;
}

/** The end of the conversation, so that whoever decides knows what was asked for. */
function Lately({ thread_id }) {
  const read = useRead(withQuery(api`/v1/threads/${thread_id}/messages`, { order: "desc", limit: 3, visibility: "all" }), { concerns: (hint) => hint.thread_id === thread_id });
  if (!read.value) return null;
  const messages = read.value.items.toReversed();
  return html`<h3>Last said in the thread</h3>
    ${messages.length
      ? html`<ol class="lately">${messages.map(
          ({ message_id, role, content, tool_calls, tool_status }) => html`<li key=${message_id}>
            <span class="quiet">${role}${tool_status ? `, ${tool_status}` : ""}</span>
            <div>
              ${content.map((block, at) => html`<${Text} key=${at} text=${block.type === "text" ? block.text : brief(JSON.stringify(block), 200)} chars=${500} /> `)}
              ${tool_calls.map((call) => html`<span key=${call.id} class="quiet">calls <code>${brief(call.name, 60)}</code> ${brief(JSON.stringify(call.arguments), 160)} </span>`)}
            </div>
          </li>`,
        )}</ol>`
      : html`<p class="quiet">Nothing.</p>`}`;
}

// --- several at once -------------------------------------------------------------------------------------------------

/**
 * What is done with those that are picked, asked once more, and what came of it. What is asked stays what was picked when it
 * was asked: who has decided one of them meanwhile is in what came of it.
 */
function Several({ of: picked, mode, ask, keep, clear, finish }) {
  const [state, turn] = useState({ busy: false, problem: null, result: null });
  const dialog = useRef(null);
  const field = useRef(null);
  const action = { "approve all": "approve", "deny all": "deny" }[mode];
  const asked = useRef(picked);
  if (!action) asked.current = picked;
  const of = asked.current;
  useLayoutEffect(() => {
    if (action && !dialog.current.open) (turn({ busy: false, problem: null, result: null }), dialog.current.showModal(), field.current?.select());
    if (!action && dialog.current?.open) dialog.current.close();
  }, [action]);
  const send = async () => {
    const reason = field.current?.value.trim();
    if (reason) sessionStorage.setItem(LAST_REASON, reason);
    turn({ busy: true, problem: null, result: null });
    const decisions = of.map(({ ticket_id }) => ({ ticket_id, action, ...(reason ? { reason } : {}) }));
    try {
      const { decided, skipped } = await act({ method: "POST", path: "/v1/tickets/decide", body: { decisions } });
      const at = new Date().toISOString();
      const done = new Set(decided);
      // What nobody has read yet; the ticket itself says by whom.
      const assumed = { action, reason: reason ?? null, decided_at: at, decided_by: null, adapter: "http", result: null, arguments: null, path: "durable" };
      keep(...of.filter(({ ticket_id }) => done.has(ticket_id)).map((each) => ({ ...each, state: "decided", closed_at: at, decision: assumed })));
      turn({ busy: false, problem: null, result: { action, decided, skipped } });
      clear();
      dialog.current.close();
      finish(done);
    } catch (problem) {
      turn({ busy: false, problem, result: null });
    }
  };
  const first = of[0];
  const tool = first && toolName(first);
  const [one, several] = tool ? ["call", "calls"] : ["question", "questions"]; // each asks something of its own
  const words = first && `${of.length} ${of.length === 1 ? one : several}${tool ? ` of ${brief(tool, 80)}` : ""}`;
  return html`
    ${first &&
    html`<div class="row picked">
      <span>${words} by ${brief(first.agent_id, 40)} picked</span>
      <button type="button" onClick=${() => ask("approve all")}>Approve them … <kbd>a</kbd></button>
      <button type="button" class="danger" onClick=${() => ask("deny all")}>Deny them … <kbd>d</kbd></button>
      <button type="button" class="link" onClick=${clear}>Pick none</button>
    </div>`}
    ${state.result && html`<${Result} of=${state.result} leave=${() => turn({ busy: false, problem: null, result: null })} />`}
    <dialog ref=${dialog} aria-label="Decide several" onClose=${() => action && ask(null)}>
      ${action && first &&
      html`<form method="dialog" onSubmit=${(event) => (event.preventDefault(), state.busy || send())}>
        <h2>${action === "approve" ? "Approve" : "Deny"} ${words}</h2>
        <ul class="all" tabindex="0" aria-label="What it is about">${of.map((each) => html`<li key=${each.ticket_id} class="text"><bdi>${[!tool && named(each), glance(each)].filter(Boolean).join(" · ")}</bdi> <span class="quiet">thread ${brief(each.thread_id, 40)}</span></li>`)}</ul>
        ${action === "deny" && html`<label for="why-all">Why, for whoever asked</label><input id="why-all" ref=${field} type="text" autocomplete="off" defaultValue=${sessionStorage.getItem(LAST_REASON) ?? ""} />`}
        ${state.problem && html`<${Problem} of=${state.problem} />`}
        <div class="buttons">
          <button type="button" onClick=${() => ask(null)}>Leave it <kbd>Esc</kbd></button>
          <button type="submit" autofocus class=${action === "deny" ? "danger" : "primary"} disabled=${state.busy}>${action === "approve" ? "Approve" : "Deny"} them <kbd>Enter</kbd></button>
        </div>
      </form>`}
    </dialog>
  `;
}

function Result({ of: { action, decided, skipped }, leave }) {
  return html`<div class=${skipped.length ? "problem" : "said"} role="status">
    ${CAME_TO[action]}: ${decided.length}${skipped.length ? `; skipped: ${skipped.length}` : ""} <button type="button" class="link" onClick=${leave}>Close</button>
    ${skipped.length > 0 &&
    html`<ul class="plain">${skipped.map(({ ticket_id, code, why }) => html`<li key=${ticket_id}><${Id} id=${ticket_id} href=${to("approvals", ticket_id)} /> ${seen(why)} <span class="quiet">${code}</span></li>`)}</ul>`}
  </div>`;
}

// --- as commands -----------------------------------------------------------------------------------------------------

function commandsOf({ ticket_id, state, allowed_actions, arguments: said }) {
  const path = api`/v1/tickets/${ticket_id}`;
  const rows = [{ label: "This ticket", request: { path } }];
  if (state !== "open") return rows;
  const request = (body) => ({ method: "POST", path: `${path}/decision`, body });
  const ways = {
    approve: ["Approve it", { action: "approve" }, ["--approve"]],
    deny: ["Deny it", { action: "deny", reason: "…" }, ["--deny", "--reason", "…"]],
    edit: ["Approve it with other arguments", { action: "edit", arguments: said ?? {} }, ["--edit", exact(said ?? {})]],
    answer: ["Answer it", { action: "answer", result: "…" }, ["--answer", "…"]],
    fail: ["Say that there will be no answer", { action: "fail", reason: "…" }, ["--fail", "--reason", "…"]],
  };
  return [...rows, ...allowed_actions.filter((action) => action !== "edit" || !inexact(said)).map((action) => ({ label: ways[action][0], request: request(ways[action][1]), cli: ["decide", ticket_id, ...ways[action][2]] }))];
}
