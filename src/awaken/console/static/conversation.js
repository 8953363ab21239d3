/**
 * A conversation as its client saw it: messages with their calls folded in, what is hidden struck, what came while a run
 * was under way marked, and what is being said at this moment.
 *
 * Holds: the newest messages are read, older ones on demand. Everything in them is text of models, tools and callers, and
 * passes through `text.js`.
 */

import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "./html.js";
import { act, api, useRead, withQuery } from "./link.js";
import { Action, Id, Json, Lasting, Problem, Read, RunId, Status, When } from "./parts.js";
import { go } from "./route.js";
import { Markdown, Text, brief, lasting, pretty, seen } from "./text.js";

const PAGE = 100;
/** Of an answer that is still being written: its end. */
const LIVE_CHARS = 8_000;

/**
 * The messages of a thread, or of one run in it, oldest first, each with `hidden` where it is read no more.
 *
 * @returns {{ read: object, messages: any[], earlier: (() => Promise<void>) | null, problem: object | null, request: object }}
 */
export function useMessages(thread_id, { run_id, concerns } = {}) {
  const path = thread_id === null ? null : api`/v1/threads/${thread_id}/messages`;
  const query = { order: "desc", limit: PAGE, visibility: "all", run_id };
  const all = path && withQuery(path, { ...query, view: "log" });
  const read = useRead(all, { concerns });
  const effective = useRead(path && withQuery(path, query), { concerns });
  const [, turn] = useState(0);
  const [problem, fail] = useState(null);
  const kept = useRef(null);
  if (kept.current?.of !== all) kept.current = { of: all, by_id: new Map(), more: false };
  const { by_id } = kept.current;
  const newest = marked(read.value?.items ?? [], effective.value?.items);
  // Where nothing of the newest page was there before, more was said than a page holds: what is between is not known.
  if (!newest.some(({ message_id }) => by_id.has(message_id))) {
    by_id.clear();
    kept.current.more = Boolean(read.value?.has_more);
  }
  for (const message of newest) by_id.set(message.message_id, message);
  const messages = useMemo(() => [...by_id.values()].sort((one, other) => one.seq - other.seq), [read.value, effective.value, by_id, by_id.size]);
  const earlier = async () => {
    try {
      const asked = { ...query, before: messages[0].seq };
      const [page, shown] = await Promise.all(["log", "effective"].map((view) => act({ method: "GET", path: withQuery(path, { ...asked, view }) })));
      for (const message of marked(page.items, shown.items)) by_id.set(message.message_id, message);
      kept.current.more = page.has_more;
      fail(null);
      turn((count) => count + 1);
    } catch (refused) {
      fail(refused);
    }
  };
  return { read, messages, earlier: kept.current.more ? earlier : null, problem, request: { path: all } };
}

/** In the order in which they were said; hidden is what the view does not have, where it is known. */
function marked(items, effective) {
  const read = effective && new Set(effective.map(({ message_id }) => message_id));
  return [...items].reverse().map((message) => ({ ...message, hidden: Boolean(read && !read.has(message.message_id)) }));
}

/**
 * What there is to show, as items in order: messages, each with its calls, whose answers are no items of their own.
 *
 * `about` says more, by the id: of calls `{ status, ms, since, ticket, child, error }`, of a message at which step it was `taken`.
 * One that came to a run which had said something already was taken under way, whether or not it is known at which step.
 */
export function itemsOf(messages, saying, about = new Map()) {
  const known = new Set(messages.map(({ message_id }) => message_id));
  const newest = messages.at(-1)?.seq ?? 0;
  const said = [...saying.messages].filter(([id, { message }]) => !known.has(id) && !(message?.seq < newest));
  const committed = [...messages, ...said.flatMap(([, { message }]) => (message ? [message] : []))];
  const answers = new Map(committed.filter((each) => each.tool_call_id).map((each) => [each.tool_call_id, each]));
  const [answered, under_way] = [new Set(), new Set()];
  const takenAt = ({ message_id, role, run_id }) => {
    if (role === "assistant") under_way.add(run_id);
    return about.get(message_id)?.taken ?? (role === "user" && run_id && under_way.has(run_id) ? "some" : undefined);
  };
  const items = committed.map((message) => ({
    message,
    taken: takenAt(message),
    calls: (message.tool_calls ?? []).map((call) => {
      const answer = answers.get(call.id);
      if (answer) answered.add(answer.message_id);
      return { ...call, answer, output: saying.outputs.get(call.id), ...about.get(call.id) };
    }),
  }));
  const open = said.filter(([, { message }]) => !message).map(([message_id, { parts, calls, created_at }]) => ({
    message: { message_id, role: "assistant", created_at, content: parts.filter(Boolean).map(({ is, text }) => ({ type: is, text })) },
    calls: [...calls].flatMap((id) => saying.calls.get(id) ?? []),
    live: true,
  })); // prettier-ignore
  return [...items.filter(({ message }) => !answered.has(message.message_id)), ...open];
}

const WHO = { user: "Caller", assistant: "Agent", tool: "Tool", system: "System" };

/** One message with its calls. `chosen` is the id of what is selected: of a message, or of a call in it. */
export function Message({ of: { message, calls, taken, live = false }, chosen, fork = true }) {
  const { message_id, role, content, state, hidden, visibility, seq, sender } = message;
  const said = content.filter((block) => block.type !== "text" || block.text !== "");
  return html`<article id=${`message-${message_id}`} tabindex="-1" class=${["turn", role, hidden && "struck", live && "live", chosen === message_id && "chosen"].filter(Boolean).join(" ")}>
    <header>
      <strong>${sender ? seen(sender.agent_id) : WHO[role]}</strong>
      ${taken !== undefined && html`<span class="mark" title="Sent while the run was under way, and taken here">${taken === "some" ? "taken under way" : `taken at step ${taken + 1}`}</span>`}
      ${state === "interrupted" && html`<span class="mark">cut short</span>`}
      ${hidden && html`<span class="mark">hidden: read no more</span>`}
      ${visibility === "internal" && html`<span class="mark">internal: clients do not see it</span>`}
      ${live ? html`<${Status} of="running">being said<//> <span class="quiet"><${Lasting} since=${message.created_at} /></span>` : html`<span class="quiet">${seq && `#${seq} · `}<${When} at=${message.created_at} /></span>`}
      ${fork && seq && !hidden && html`<${Fork} message=${message} />`}
    </header>
    ${said.map((block, at) => html`<${Block} key=${at} of=${block} role=${role} live=${live} />`)}
    ${calls.map((call) => html`<${Call} key=${call.id} of=${call} live=${live} chosen=${chosen === call.id} />`)}
  </article>`;
}

function Block({ of: block, role, live }) {
  switch (block.type) {
    case "text": {
      if (live) return html`<${Markdown} text=${block.text.length > LIVE_CHARS ? `… ${block.text.slice(-LIVE_CHARS)}` : block.text} />`;
      return role === "assistant" ? html`<${Markdown} text=${block.text} />` : html`<p class="words"><${Text} text=${block.text} /></p>`;
    }
    case "thinking":
      return html`<details class="thinking"><summary>Reasoning</summary><${Markdown} text=${live ? block.text.slice(-LIVE_CHARS) : block.text} /></details>`;
    case "json":
      return html`<${Json} value=${block.value} />`;
    case "opaque":
      return html`<${Json} value=${block} />`;
    default:
      return html`<p class="quiet">${block.type}${block.title ? ` “${brief(block.title)}”` : ""}: ${brief(placeOf(block.source), 200)}</p>`;
  }
}

const placeOf = (source) => source?.url ?? `${source?.media_type}, ${Math.round(((source?.data?.length ?? 0) * 3) / 4)} bytes`;

const CALL_STATES = { succeeded: "success", success: "success", failed: "failed", error: "failed" };

/** A call, folded: its name and what became of it; opened, what it was given and what it answered. */
function Call({ of: call, live, chosen }) {
  const { id, name, arguments: given, raw, answer, output, status, ms, since, ticket, child, error } = call;
  const ended = status ?? answer?.tool_status;
  const result = answer?.content.map((block) => (block.type === "text" ? block.text : pretty(block.value ?? block))).join("\n");
  const words = raw ?? (given === undefined ? "" : JSON.stringify(given));
  return html`<details id=${`call-${id}`} class=${`call ${chosen ? "chosen" : ""}`} open=${chosen || undefined}>
    <summary>
      <code>${brief(name, 80)}</code> ${ended ? html`<${Status} of=${CALL_STATES[ended] ?? ended}>${ended.replaceAll("_", " ")}<//>` : html`<${Status} of=${live ? "running" : "open"}>${live ? "being called" : "not answered"}<//>`}
      ${ms !== undefined && html`<span class="quiet"> ${lasting(ms)}</span>`}
      ${since && !ended && html`<span class="quiet"> <${Lasting} since=${since} /></span>`}
      ${" "}<span class="quiet gist">${brief(words, 160)}</span>
    </summary>
    <p class="label">Arguments</p>
    <${Text} text=${raw ?? pretty(given ?? null)} block=${true} />
    ${ticket && html`<p class="quiet">${ticket}</p>`}
    ${output !== undefined && html`<p class="label">Output so far</p><${Text} text=${output} block=${true} />`}
    ${answer && html`<p class="label">${answer.tool_status === "success" ? "Result" : "Answer"} <span class="quiet">#${answer.seq}</span></p><${Text} text=${result} block=${true} />`}
    ${error && error !== result && html`<p class="problem"><${Text} text=${error} /></p>`}
    ${child && html`<p>Run that it started: <${RunId} id=${child} /></p>`}
    <p class="quiet">Call <${Id} id=${id} /></p>
  </details>`;
}

const Fork = ({ message: { thread_id, message_id } }) =>
  html`<${Action}
    label="Fork from here"
    quiet=${true}
    confirm="A new thread with a copy of the conversation up to this message."
    request=${forkRequest(thread_id, message_id)}
    done=${(thread) => go("threads", thread.thread_id)}
  />`;

export const forkRequest = (thread_id, at_message_id) => ({ method: "POST", path: api`/v1/threads/${thread_id}/fork`, body: { at_message_id } });

/** The messages one below the other, at the newest unless somebody has gone back, and the way to older ones. */
export function Conversation({ messages, earlier, problem, read, saying }) {
  const items = itemsOf(messages, saying);
  const box = useRef(null);
  const at_end = useRef(true);
  useLayoutEffect(() => {
    if (at_end.current && box.current) box.current.scrollTop = box.current.scrollHeight;
  });
  const scrolled = ({ currentTarget: { scrollTop, scrollHeight, clientHeight } }) => (at_end.current = scrollHeight - scrollTop - clientHeight < 40);
  return html`<${Read} of=${read}>
    ${() => html`<div ref=${box} class="conversation" role="log" aria-label="Messages" tabindex="0" onScroll=${scrolled}>
      <${Earlier} ...${{ earlier, problem }} />
      ${items.length ? items.map((item) => html`<${Message} key=${item.message.message_id} of=${item} />`) : html`<p class="empty">Nothing has been said yet.</p>`}
    </div>`}
  <//>`;
}

export const Earlier = ({ earlier, problem }) =>
  html`${problem && html`<${Problem} of=${problem} />`}${earlier && html`<p><button type="button" onClick=${earlier}>Earlier messages</button></p>`}`;

const MODES = {
  queue: "queue: a run of its own, behind what is there",
  steer: "steer: taken between two steps",
  follow_up: "follow up: taken where the run would end",
  interrupt: "interrupt: stop what runs, clear the queue",
  rollback: "rollback: interrupt, and hide what it did",
  reject: "reject: only on an idle thread",
  resume: "resume: go on with it",
};

/**
 * Say something: to a thread, or to a run. A message that could not be sent stays in the field, and is the same message
 * when it is sent again.
 */
export function Say({ path, modes, agents, label = "Say something" }) {
  const form = useRef(null);
  const id = useRef(null);
  const [state, turn] = useState({ busy: false, problem: null, sent: null });
  const [mode, choose] = useState(modes[0]);
  useEffect(() => choose(modes[0]), [modes[0]]);
  const send = async (event) => {
    event.preventDefault();
    const text = form.current.elements.text.value;
    if (!text.trim() || state.busy) return;
    id.current ??= crypto.getRandomValues(new Uint32Array(4)).join("-");
    turn({ busy: true, problem: null, sent: null });
    try {
      const agent_id = form.current.elements.agent_id?.value || undefined;
      const sent = await act(sayRequest(path, text, mode, { agent_id, message_id: id.current }));
      id.current = null;
      form.current.reset();
      choose(mode);
      turn({ busy: false, problem: null, sent });
    } catch (problem) {
      if (problem.status) id.current = null;
      turn({ busy: false, problem, sent: null });
    }
  };
  const pressed = (event) => event.key === "Enter" && (event.ctrlKey || event.metaKey) && send(event);
  return html`<form ref=${form} class="say" onSubmit=${send}>
    <label class="wide">${label} <textarea name="text" rows="2" required onKeyDown=${pressed}></textarea></label>
    <div class="row">
      <label>How <select name="mode" value=${mode} onChange=${(event) => choose(event.target.value)}>
        ${modes.map((each) => html`<option key=${each} value=${each} selected=${each === mode}>${MODES[each]}</option>`)}
      </select></label>
      ${agents && html`<label>Agent <select name="agent_id"><option value="">as before</option>${agents.map((each) => html`<option key=${each} value=${each}>${each}</option>`)}</select></label>`}
      <button class="primary" disabled=${state.busy}>Send</button>
      <kbd>Ctrl Enter</kbd>
    </div>
    ${state.problem && html`<${Problem} of=${state.problem} />`}
    ${state.sent && html`<p role="status">Accepted (${state.sent.path.replaceAll("_", " ")}), for run <${RunId} id=${state.sent.run_id} />.</p>`}
  </form>`;
}

export const sayRequest = (path, text, mode, { agent_id, message_id } = {}) => ({
  method: "POST",
  path,
  body: { mode, ...(agent_id && { agent_id }), messages: [{ ...(message_id && { message_id }), role: "user", content: text }] },
});
