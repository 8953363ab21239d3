/**
 * The log of a run as far as it has been read, and what is being said at this moment.
 *
 * Holds: each event is read once; what comes later is read on from the last cursor. Pieces of text are followed only where
 * a run is executed, from the last of its steps on; everything else heard that way is a hint to what is read beside.
 */

import { useEffect, useMemo, useRef, useState } from "./html.js";
import { AwakenError } from "../awaken.js";
import { client, link, together, withQuery } from "./link.js";

/** What is read of a log by itself; more when somebody asks. */
const BOUND = 10_000;
const PAGE = 200;
const PAUSE_MS = 1_000;
const IDLE_MS = 15_000;
/** Between two looks at what more was read of a long log. */
const SHOWN_MS = 250;
/** Between two looks at what is being said. */
const FRAME_MS = 60;
/** Of messages that were followed. */
const KEPT = 200;
const STEP_BEGINS = new Set(["StepStarted", "RunStarted", "RunResumed"]);
export const DELTAS = new Set([
  "TextDeltaObserved", "ReasoningDeltaObserved", "ReasoningEncryptedValueObserved", "ToolCallDeltaObserved",
  "ToolCallStreamDeltaObserved",
]); // prettier-ignore

/**
 * Read the events of `path`, page after page, and on when something concerns them.
 *
 * @param {{ query?: Record<string, string>, concerns: (hint: object) => boolean }} how
 * @returns {{ events: any[], complete: boolean, bounded: boolean, problem: AwakenError | null, read_at: number | null,
 *   reload: () => void, more: () => void }} `complete`: all there was has been read; `bounded`: there is more than is read
 *   without being asked for, which is what `more` does.
 */
export function useLog(path, { query = {}, concerns }) {
  const asked = withQuery(path, { ...query, limit: PAGE });
  const nothing = { asked, events: [], complete: false, bounded: false, problem: null, read_at: null };
  const [shown, show] = useState(nothing);
  const matters = useRef(concerns);
  matters.current = concerns;
  const doing = useRef({ read: () => {}, more: () => {} });
  useEffect(() => {
    const closing = new AbortController();
    let cursor = null, count = 0, bound = BOUND, reading = false, again = false, timer = null; // prettier-ignore
    let held = [], shown_at = 0; // what was read, and is not shown yet
    const grown = () => {
      const more = held;
      [held, shown_at] = [[], Date.now()];
      return (before) => (before.asked === asked ? (more.length ? [...before.events, ...more] : before.events) : more);
    };
    const tell = (change) => together(() => closing.signal.aborted || show(change));
    const pages = async () => {
      for (;;) {
        const answer = await client.send("GET", cursor ? `${asked}&cursor=${encodeURIComponent(cursor)}` : asked, { signal: closing.signal });
        const { items, has_more, next_cursor } = await answer.json();
        link.heard();
        cursor = next_cursor;
        count += items.length;
        held.push(...items);
        const bounded = has_more && count >= bound;
        const now = { asked, complete: !has_more, bounded, problem: null, read_at: Date.now() };
        const over = !has_more || bounded;
        if (over || Date.now() - shown_at >= SHOWN_MS) {
          const events = grown();
          tell((before) => ({ ...now, events: events(before) }));
        }
        if (over) return;
        if (count === items.length) await drawn(); // the first ones are seen before more is asked for
      }
    };
    const read = async () => {
      if (reading) return void (again = true);
      reading = true;
      again = false;
      try {
        await pages();
      } catch (error) {
        if (closing.signal.aborted) return;
        const problem = error instanceof AwakenError ? error : new AwakenError(0, { detail: String(error.message ?? error) });
        const lost = [401, 403, 410].includes(problem.status);
        if (lost) [cursor, count] = [null, 0];
        const events = grown();
        tell((before) => ({ ...(before.asked === asked && !lost ? { ...before, events: events(before) } : nothing), problem }));
      }
      reading = false;
      plan(again ? PAUSE_MS : IDLE_MS);
    };
    const plan = (in_ms) => {
      clearTimeout(timer);
      if (!closing.signal.aborted) timer = setTimeout(() => (document.hidden ? plan(IDLE_MS) : read()), in_ms);
    };
    const ask = () => {
      if (!again && !reading) plan(PAUSE_MS);
      again = true;
    };
    doing.current = { read, more: () => ((bound += BOUND), read()) };
    const deaf = link.listen(({ opened, hint }) => (opened || (hint && matters.current(hint))) && ask());
    read();
    return () => {
      deaf();
      clearTimeout(timer);
      closing.abort();
    };
  }, [asked]);
  const current = shown.asked === asked ? shown : nothing;
  return useMemo(() => ({ ...current, reload: () => doing.current.read(), more: () => doing.current.more() }), [current]);
}

/** Once the browser has drawn what it was given, or is not looked at. */
const drawn = () =>
  new Promise((resolve) => {
    requestAnimationFrame(() => setTimeout(resolve));
    setTimeout(resolve, SHOWN_MS);
  });

/** After which event what is not yet a message begins. */
export function liveFrom(events) {
  for (let at = events.length - 1; at >= 0; at -= 1) if (STEP_BEGINS.has(events[at].kind)) return events[at].cursor;
  return undefined;
}

/**
 * What is being said: open messages and calls, in the order in which they began.
 *
 * Holds: of a message that has been committed nothing is kept but itself; what a `StreamReset` voids is gone.
 */
export class Saying {
  /** Messages by their ids: those that are open have `parts`, those that were committed `message`. */
  messages = new Map();
  /** What calls put out while they run, by the ids of the calls. */
  outputs = new Map();
  /** The open calls by their ids: name and arguments so far. */
  calls = new Map();
  /** Counts the changes. */
  version = 0;

  /** Take one item of a watch. Says whether it changes what is shown. */
  take({ kind, payload, created_at, thread_id }) {
    switch (kind) {
      case "TextDeltaObserved":
      case "ReasoningDeltaObserved": {
        const { message_id, part, delta } = payload;
        const open = this.#open(message_id, created_at);
        if (open.message) return false;
        const is = kind === "TextDeltaObserved" ? "text" : "thinking";
        open.parts[part] = { is, text: (open.parts[part]?.text ?? "") + delta };
        return true;
      }
      case "ToolCallStarted":
        if (this.messages.get(payload.message_id)?.message) return false;
        this.#open(payload.message_id, created_at).calls.add(payload.id);
        this.calls.set(payload.id, { id: payload.id, name: payload.name, raw: "" });
        return true;
      case "ToolCallDeltaObserved": {
        const call = this.calls.get(payload.id);
        if (call) call.raw += payload.args_delta;
        return Boolean(call);
      }
      case "ToolCallStreamDeltaObserved": {
        const before = this.outputs.get(payload.id) ?? "";
        this.outputs.set(payload.id, payload.text !== undefined ? before + payload.text : JSON.stringify(payload.value, null, 2));
        return true;
      }
      case "MessageCommitted": {
        const { message_seq, content_blocks, ...rest } = payload;
        const message = { tool_calls: [], ...rest, seq: message_seq, content: content_blocks, created_at, thread_id };
        this.messages.set(payload.message_id, { message, parts: [], calls: new Set() });
        this.#forget();
        for (const { id } of message.tool_calls) this.calls.delete(id);
        if (message.tool_call_id) this.outputs.delete(message.tool_call_id);
        return true;
      }
      case "StreamReset":
        for (const [id, { message, calls }] of [...this.messages]) {
          if (message || ![undefined, id].includes(payload.message_id)) continue;
          calls.forEach((call) => this.calls.delete(call));
          this.messages.delete(id);
        }
        return true;
      case "RunFinished":
      case "RunTerminated":
      case "RunCancelled":
      case "RunErrored":
        for (const [id, { message }] of [...this.messages]) if (!message) this.messages.delete(id);
        return true;
      default:
        return false;
    }
  }

  /** Those that were committed long ago are read from the conversation. */
  #forget() {
    for (const [id, { message }] of this.messages) {
      if (this.messages.size <= KEPT) return;
      if (message) this.messages.delete(id);
    }
  }

  #open(message_id, created_at) {
    if (!this.messages.has(message_id)) this.messages.set(message_id, { parts: [], calls: new Set(), created_at });
    return this.messages.get(message_id);
  }
}

/**
 * Follow a run, or a thread, from `cursor` on; nothing while `what` is null. A run that waited for somebody, and a server
 * that was away for long, are followed on when something happens there.
 *
 * @param {{ run_id: string } | { thread_id: string } | null} what
 * @param {string | undefined} cursor Where it begins, as it was when `what` was first given.
 */
export function useSaying(what, cursor) {
  const [, turn] = useState(0);
  const saying = useRef(new Saying());
  const id = what?.run_id ?? what?.thread_id;
  useEffect(() => {
    if (!what) return undefined;
    saying.current = new Saying();
    let timer = null, last = cursor, watch = null; // prettier-ignore
    const heard = (item) => {
      link.heard();
      last = item.cursor ?? last;
      if (saying.current.take(item) && ++saying.current.version) timer ??= setTimeout(() => ((timer = null), turn((count) => count + 1)), FRAME_MS);
      if (item.kind === "stream.state") link.hint({}); // the place was lost: all that is shown may have changed
      else if (!DELTAS.has(item.kind) && item.thread_id) link.hint({ thread_id: item.thread_id, run_id: item.run_id, kind: item.kind });
    };
    const follow = () => {
      const own = (watch = client.watch({ ...what, cursor: last }, heard));
      const over = (reason) => reason !== "done" && watch === own && (watch = null);
      own.done.then(over, over);
    };
    const deaf = link.listen(({ opened, hint }) => {
      if (watch === null && (opened || (hint && [hint.run_id, hint.thread_id].includes(id)))) follow();
    });
    follow();
    return () => {
      deaf();
      const left = watch;
      watch = undefined;
      left?.close();
      clearTimeout(timer);
    };
  }, [id]);
  return saying.current;
}
