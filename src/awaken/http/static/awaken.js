// @ts-check
/**
 * awaken in a browser: submit, watch, decide, stop. One module without dependencies, served at `/awaken.js`.
 *
 *     import { Awaken } from "/awaken.js";
 *     const awaken = new Awaken();
 *     const watch = awaken.watch({ thread_id: "order-4711" }, (item) => console.log(item.kind, item.payload));
 *     const run = await awaken.submit("Where is it?", { agent_id: "support", thread_id: "order-4711" });
 *     await awaken.stop(run.run_id);
 *
 * Holds: whatever happens to connections and servers, what is watched comes once and in order, and a submit is one run.
 * Only `stream.end` ends a stream (or a 204 in its place); a connection that closes without it was cut, and is taken up
 * after the last event seen, by the rules and with the pauses of `awaken.client`.
 *
 * Source: docs/howto/in-a-browser.md; docs/concepts/events.md (cursors, streams).
 *
 * @typedef {Record<string, any>} Json
 * @typedef {Json & { run_id: string, thread_id: string, agent_id: string, phase: string, cursor: string }} Run
 * @typedef {Json & { thread_id: string, active_run_id: string | null, cursor: string }} Thread
 * @typedef {object} Item What a watch hands out: an event of the log, or news of the stream (`stream.…`, without cursor).
 * @property {string} kind
 * @property {Json} payload
 * @property {string | null} [cursor] Its place in the log; null for a message that was there before.
 * @property {string | null} [thread_id]
 * @property {string | null} [run_id]
 * @property {string} [created_at]
 */

const RETRYABLE = new Set([0, 429, 502, 503, 504]);
const SOON_S = 0.15, // before the first try after a stream that had given something; doubled until the server's own
  BASE_S = 0.25, // the pause of a server that asked for none with `retry:`
  MAX_S = 10,
  JITTER = 0.25,
  SILENCE_S = 45, // three keep-alives
  GIVE_UP_S = 300, // without a frame
  REQUEST_S = 30; // for how long anything else is tried again
/** Parts of one message, and the message: void once it has been handed out. */
const OF_A_MESSAGE = new Set([
  "TextDeltaObserved", "ReasoningDeltaObserved", "ReasoningEncryptedValueObserved", "ToolCallStarted",
  "ToolCallDeltaObserved", "MessageCommitted",
]); // prettier-ignore

/** What the server refused; with status 0: it was not reached. `problem` is its document. */
export class AwakenError extends Error {
  /** @param {number} status @param {Json} problem @param {number} [retry_after_s] */
  constructor(status, problem, retry_after_s = 0) {
    super(problem.detail ?? problem.message ?? `the server answered ${status}`);
    this.name = "AwakenError";
    this.status = status;
    this.code = /** @type {string} */ (problem.code ?? (status ? "unknown" : "unreachable"));
    this.problem = problem;
    this.retry_after_s = retry_after_s;
  }
}

export class Awaken {
  #url;
  #headers;
  #credentials;

  /**
   * @param {object} [options]
   * @param {string | URL} [options.url] Of the server; where this module came from when absent.
   * @param {Record<string, string> | (() => Record<string, string> | Promise<Record<string, string>>)} [options.headers]
   *   For every request, or what makes them.
   * @param {RequestCredentials} [options.credentials] `include` sends cookies to another origin.
   */
  constructor({ url = new URL(".", import.meta.url), headers = {}, credentials = "same-origin" } = {}) {
    this.#url = String(url).replace(/\/*$/, "/");
    this.#headers = headers;
    this.#credentials = credentials;
  }

  /** Make a thread, or find the one that has this id. @param {string} thread_id @returns {Promise<Thread>} */
  createThread(thread_id) {
    return this.request("POST", "v1/threads", { thread_id, if_exists: "do_nothing" });
  }

  /**
   * Have a run accepted; it is durable when this resolves. Tried again under one id, so it is one run however often it is
   * sent. A thread that is named and missing is made.
   *
   * @param {string | Json[]} input A text, or messages.
   * @param {{ agent_id?: string, thread_id?: string, run_id?: string } & Json} [options] And all that `POST /v1/runs` takes.
   * @returns {Promise<Run>}
   */
  submit(input, options = {}) {
    const what = typeof input === "string" ? { input } : { messages: input };
    const where = options.thread_id === undefined ? {} : { if_not_exists: "create" };
    return this.request("POST", "v1/runs", { run_id: newId(), ...where, ...what, ...options });
  }

  /**
   * Decide a ticket: `approve`, `deny`, `edit` with `arguments`, `answer` with a `result`, or `fail`. It is durable when
   * this resolves, and may be sent again: the first decision stands. Another one is refused as a `decision_conflict`.
   *
   * @param {string} ticket_id
   * @param {"approve" | "deny" | "edit" | "answer" | "fail"} action
   * @param {{ reason?: string, arguments?: Json, result?: any, decision_id?: string }} [said]
   * @returns {Promise<{ ticket: Json, run: Run, duplicate: boolean }>}
   */
  async decide(ticket_id, action, said = {}) {
    return this.request("POST", `v1/tickets/${part(ticket_id)}/decision`, { ...said, action });
  }

  /** Ask a run to stop. @param {string} run_id @returns {Promise<{ state: string, run: Run }>} */
  async stop(run_id) {
    return this.request("POST", `v1/runs/${part(run_id)}/cancel`);
  }

  /**
   * Follow a run from its start to its end, or a thread: its conversation so far and everything that happens from then on.
   * `callback` gets every item, one after another. `stream.state` comes before a conversation, also when it has to be
   * shown anew: drop what you show. `stream.cut` is only news; the watch comes back by itself.
   *
   * With a `cursor` it begins right after that place, without what was before.
   *
   * With `hints` instead: that something happens anywhere, as a `stream.hint` with `thread_id`, `run_id` and `kind`. Hints
   * are not kept; after a `stream.open` read again what you show.
   *
   * @param {{ run_id: string, cursor?: string } | { thread_id: string, cursor?: string } | { hints: true }} what
   * @param {(item: Item) => unknown} callback
   */
  watch(what, callback) {
    return new Watch(this, what, callback);
  }

  /**
   * One request of the API, tried again while the server is away: for what may be sent twice.
   *
   * @param {string} method @param {string} path Such as `/v1/agents`. @param {Json} [body] @param {AbortSignal} [signal]
   * @returns {Promise<any>}
   */
  async request(method, path, body, signal) {
    const pause = new Pause(REQUEST_S);
    for (;;) {
      try {
        const answer = await this.send(method, path, { body, signal });
        return await answer.json().catch(() => unreachable("the answer was cut off"));
      } catch (error) {
        await sleep(pause.after(error, signal), signal);
      }
    }
  }

  /**
   * One request, sent once. Throws an AwakenError for an answer that is a refusal.
   *
   * @param {string} method @param {string} path
   * @param {{ body?: Json, headers?: Record<string, string>, signal?: AbortSignal }} options
   */
  async send(method, path, { body, headers = {}, signal }) {
    const own = typeof this.#headers === "function" ? await this.#headers() : this.#headers;
    if (body) headers = { ...headers, "Content-Type": "application/json" };
    const answer = await fetch(this.#url + path.replace(/^\/+/, ""), {
      method, signal, credentials: this.#credentials, cache: "no-store", headers: { ...own, ...headers },
      body: body && JSON.stringify(body, sayable),
    }).catch((error) => unreachable(error.message)); // prettier-ignore
    if (answer.ok) return answer;
    const problem = await answer.json().catch(() => ({}));
    throw new AwakenError(answer.status, problem, Number(answer.headers.get("Retry-After")) || 0);
  }
}

/** A run or a thread being followed. */
class Watch {
  #closing = new AbortController();
  #client;
  #what;
  #callback;
  /** Of what is watched; none where that is everything. @type {string | undefined} */
  #path;
  /** @type {string | undefined} */
  #last;
  /** Messages that were handed out. @type {Set<string>} */
  #shown = new Set();
  #pause = new Pause(GIVE_UP_S);

  /**
   * @param {Awaken} client
   * @param {{ run_id?: string, thread_id?: string, cursor?: string, hints?: true }} what
   * @param {(item: Item) => unknown} callback
   */
  constructor(client, what, callback) {
    const [folder, id] = what.run_id === undefined ? ["threads", what.thread_id] : ["runs", what.run_id];
    if (id === undefined && !what.hints) throw new TypeError("watch takes { run_id }, { thread_id } or { hints }");
    if (typeof callback !== "function") throw new TypeError("watch takes a function, which is given every item");
    this.#client = client;
    this.#what = what;
    this.#callback = callback;
    this.#last = what.cursor;
    if (id !== undefined) this.#path = `v1/${folder}/${part(id)}`;
    /** Why it ended: `done`, `waiting` or `closed`. Rejected when it failed for good. @type {Promise<string>} */
    this.done = this.#follow();
    this.done.catch(() => {}); // the callback was given it
  }

  /** End it from this side; the run goes on. */
  close() {
    this.#closing.abort();
  }

  async #follow() {
    const signal = this.#closing.signal;
    try {
      if (this.#what.run_id === undefined && this.#path && !this.#last) await this.#join({ thread: await this.#get(this.#path) });
      for (;;) {
        try {
          const reason = await this.#connection();
          if (reason) return reason;
        } catch (error) {
          const delay_s = this.#pause.after(error, signal);
          await this.#give("stream.cut", { error, delay_s });
          await sleep(delay_s, signal);
        }
      }
    } catch (error) {
      if (signal.aborted) return "closed";
      await this.#give("stream.failed", { error });
      throw error;
    }
  }

  /** One connection: why the stream ended, or nothing when it goes on elsewhere. @returns {Promise<string | undefined>} */
  async #connection() {
    /** @type {Record<string, string>} */
    const headers = { Accept: "text/event-stream" };
    if (this.#last) headers["Last-Event-ID"] = this.#last;
    const signal = this.#closing.signal;
    const path = this.#path ? `${this.#path}/stream` : "v1/watch?hints=true";
    const answer = await this.#client.send("GET", path, { headers, signal });
    if (answer.status === 204) return await this.#end({ reason: "done" });
    const type = answer.headers.get("Content-Type") ?? "";
    if (!type.startsWith("text/event-stream")) throw new AwakenError(200, { detail: `no event stream, but ${type}` });
    for await (const { event, data, id } of frames(answer, this.#pause)) {
      if (signal.aborted) break; // the page that closed it wants no more, also of what has come already
      const content = JSON.parse(data);
      if (event === "stream.end") return await this.#end(content);
      if (event === "stream.error") throw new AwakenError(content.status, content);
      if (event === "stream.resync") return void (await this.#join(content));
      if (event === "stream.open" || event === "stream.hint") {
        this.#last ??= content.cursor;
        await this.#give(event, content);
      } else if (!event.startsWith("stream.")) {
        this.#last = id ?? this.#last;
        this.#pause.cheer();
        await this.#event(content);
      }
    }
    unreachable("the stream was closed before its end");
  }

  /**
   * Hand out where things stand and the conversation, and begin the stream where that leaves off: at the first event of
   * the run that goes on, because the text it has streamed so far is in no message yet. What comes twice by that is known
   * by its message.
   *
   * @param {{ thread?: Thread, run?: Run }} state
   */
  async #join(state) {
    const at = /** @type {Thread | Run} */ (state.thread ?? state.run);
    this.#shown.clear();
    this.#last = at.cursor;
    await this.#give("stream.state", state);
    const filter = state.run ? `&run_id=${encodeURIComponent(state.run.run_id)}` : "";
    const path = `v1/threads/${encodeURIComponent(at.thread_id)}/messages?limit=200${filter}`;
    let page = { has_more: true, next_cursor: "", items: /** @type {Json[]} */ ([]) };
    while (page.has_more) {
      page = await this.#get(page.next_cursor ? `${path}&cursor=${page.next_cursor}` : path);
      for (const { message_id, seq, content, run_id, thread_id, created_at, ...rest } of page.items) {
        const payload = { message_id, message_seq: seq, content_blocks: content, run_id, ...rest };
        await this.#event({ kind: "MessageCommitted", cursor: null, thread_id, run_id, created_at, payload });
      }
    }
    if (!state.thread?.active_run_id) return;
    const begun = await this.#get(`v1/runs/${encodeURIComponent(state.thread.active_run_id)}/events?limit=1`);
    for (const first of begun.items) {
      this.#last = first.cursor;
      await this.#event(first);
    }
  }

  /** @param {Item} item */
  async #event(item) {
    const message_id = OF_A_MESSAGE.has(item.kind) ? item.payload.message_id : undefined;
    if (this.#shown.has(message_id)) return;
    if (item.kind === "MessageCommitted") this.#shown.add(message_id);
    if (!this.#closing.signal.aborted) await this.#callback(item);
  }

  /** @param {{ reason: string }} content */
  async #end(content) {
    await this.#give("stream.end", content);
    return content.reason;
  }

  /** @param {string} kind @param {Json} payload */
  async #give(kind, payload) {
    if (!this.#closing.signal.aborted) await this.#callback({ kind, payload });
  }

  /** @param {string} path */
  #get(path) {
    return this.#client.request("GET", path, undefined, this.#closing.signal);
  }
}

/** How long to wait before the next try. Short at first for what was well before, then growing from what the server asks. */
class Pause {
  base_s = BASE_S;
  #soon_s = Infinity;
  #failures = 0;
  /** @type {number | undefined} */
  #since;

  /** @param {number} give_up_s */
  constructor(give_up_s) {
    this.give_up_s = give_up_s;
  }

  /** Something came. */
  reset() {
    this.#failures = 0;
    this.#since = undefined;
  }

  /** Something came that was waited for: a cut is probably soon over. */
  cheer() {
    this.#soon_s = SOON_S;
  }

  /** After this failure; throws it when trying again would not help. @param {any} error @param {AbortSignal} [signal] */
  after(error, signal) {
    this.#since ??= performance.now();
    const over = performance.now() - this.#since >= this.give_up_s * 1000;
    if (signal?.aborted || over || !(error instanceof AwakenError) || !RETRYABLE.has(error.status)) throw error;
    if (error.status) this.#soon_s = Infinity; // a server that refuses says itself when to come back
    if (this.#soon_s < this.base_s) {
      const soon_s = this.#soon_s;
      this.#soon_s *= 2;
      return Math.max(soon_s * (0.5 + Math.random()), error.retry_after_s);
    }
    const delay_s = Math.min(this.base_s * 2 ** this.#failures, Math.max(MAX_S, this.base_s));
    this.#failures = Math.min(this.#failures + 1, 32);
    return Math.max(delay_s * (1 + JITTER * Math.random()), error.retry_after_s);
  }
}

/** The frames of an event stream, those with data, each when it is complete. @param {Response} answer @param {Pause} pause */
async function* frames(answer, pause) {
  const reader = /** @type {ReadableStream<Uint8Array>} */ (answer.body).getReader();
  const decoder = new TextDecoder();
  let text = "";
  /** @type {{ event: string, data: string[], id: string | undefined }} */
  let frame = { event: "message", data: [], id: undefined };
  try {
    for (;;) {
      const { done, value } = await within(SILENCE_S, reader.read());
      if (done) return;
      text += decoder.decode(value, { stream: true });
      const lines = text.split(/\r\n|\n|\r(?!$)/); // a CR at the end may be half of a line's end
      text = lines.pop() ?? "";
      for (const line of lines) {
        const [, name, content] = /** @type {string[]} */ (/^([^:]*):? ?(.*)$/s.exec(line));
        if (name === "data") frame.data.push(content);
        else if (name === "event") frame.event = content;
        else if (name === "id") frame.id = content;
        else if (name === "retry" && /^\d+$/.test(content)) pause.base_s = Number(content) / 1000;
        if (line) continue;
        if (frame.data.length) {
          pause.reset();
          yield { ...frame, data: frame.data.join("\n") };
        }
        frame = { event: "message", data: [], id: undefined };
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** @template T @param {number} limit_s @param {Promise<T>} work @returns {Promise<T>} */
async function within(limit_s, work) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error("silence")), limit_s * 1000)));
  try {
    return /** @type {T} */ (await Promise.race([work, late]));
  } catch (error) {
    return unreachable(/** @type {Error} */ (error).message);
  } finally {
    clearTimeout(timer);
  }
}

/** Throws when the signal is given first. @param {number} delay_s @param {AbortSignal} [signal] @returns {Promise<void>} */
function sleep(delay_s, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => (clearTimeout(timer), reject(signal?.reason));
    const timer = setTimeout(() => (signal?.removeEventListener("abort", stop), resolve()), delay_s * 1000);
    signal?.addEventListener("abort", stop, { once: true });
    if (signal?.aborted) stop();
  });
}

/** An id as part of an address, which it cannot change. @param {string} id */
function part(id) {
  if (typeof id !== "string" || !id || id === "." || id === "..") throw new TypeError(`${id === "" ? '""' : id} is not a valid id`);
  return encodeURIComponent(id);
}

/** What JSON has no number for would become null. @param {string} key @param {any} value */
function sayable(key, value) {
  if (typeof value === "number" && !Number.isFinite(value)) throw new TypeError(`${key} is ${value}, which is no number`);
  return value;
}

/** @param {string} reason @returns {never} */
function unreachable(reason) {
  throw new AwakenError(0, { detail: `the server was not reached: ${reason}` });
}

/** Also where a page is not served over TLS, and `crypto.randomUUID` is missing. */
function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
