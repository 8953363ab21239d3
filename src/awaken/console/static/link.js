/**
 * The console's link with its server: one client, one stream of hints, and what is read and done over it.
 *
 * Holds: what is shown is what the public API says. A page reads again when a hint concerns it, at most once in
 * `PAUSE_MS`, and not while nobody looks at it. What was read stays shown, with its age, while the server is away. The key
 * is in `sessionStorage`, which ends with the tab.
 */

import { Awaken, AwakenError } from "../awaken.js";
import { useCallback, useEffect, useRef, useState } from "./html.js";

const KEY = "awaken.key";
const PAUSE_MS = 1_000;
const AGAIN_MS = 5_000;
/** What nobody waits for may take so much longer, so that many who look at one thing share what is read for it. */
const PATIENT = { Prefer: "wait=2" };
/** Without a hint; ages, leases and what other processes do change without one. */
const IDLE_MS = 15_000;

export const BASE = new URL("..", import.meta.url);

export const client = new Awaken({
  headers: () => {
    const key = readKey();
    return key ? { Authorization: `Bearer ${key}` } : {};
  },
});

export function readKey() {
  return sessionStorage.getItem(KEY);
}

export function keepKey(key) {
  if (key) sessionStorage.setItem(KEY, key);
  else sessionStorage.removeItem(KEY);
  link.restart();
}

/** `path` with what of `query` says something. */
export function withQuery(path, query) {
  const said = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return said.length ? `${path}?${new URLSearchParams(said)}` : path;
}

/** A path of the API with ids in it: api`/v1/runs/${run_id}`. */
export function api(words, ...ids) {
  return words.reduce((path, word, at) => path + encodeURIComponent(ids[at - 1]) + word);
}

/** One request. What is asked for stands in the answer's JSON; null where it has none. Throws an AwakenError. */
export async function act({ method, path, body, headers }) {
  const answer = await client.send(method, path, { body, headers });
  const text = await answer.text();
  if (method !== "GET") link.hint({ is_own: true }); // not everything that changes is said by the stream, such as schedules
  return text ? JSON.parse(text) : null;
}

/** The stream of hints, as one for the whole console. */
class Link {
  /** `connecting`, `live` or `lost`; `refused` where the server wants a key. */
  state = "connecting";
  /** When anything last came from the server. */
  heard_at = null;
  #listeners = new Set();
  #watch = null;
  #retry = null;

  start() {
    if (this.#watch) return;
    this.#watch = client.watch({ hints: true }, (item) => this.#take(item));
    this.#watch.done.catch((error) => this.#failed(error));
  }

  restart() {
    this.#watch?.close();
    this.#watch = null;
    clearTimeout(this.#retry);
    this.#turn("connecting");
    this.start();
    this.#tell({ opened: true });
  }

  /** Hear `{ opened }`, `{ hint }` or `{ state }`. Answers with what ends that. */
  listen(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** What a page has heard by itself, for what it reads beside: a hint like those of the stream. */
  hint(hint) {
    this.#tell({ hint });
  }

  heard() {
    this.heard_at = Date.now();
    if (this.state === "lost") this.#turn("connecting");
  }

  #take({ kind, payload }) {
    if (kind === "stream.cut") return this.#turn(payload.error.status === 401 ? "refused" : "lost");
    if (kind === "stream.failed") return undefined;
    this.heard_at = Date.now();
    this.#turn("live");
    return this.#tell(kind === "stream.hint" ? { hint: payload } : { opened: true });
  }

  #failed(error) {
    this.#watch = null;
    this.#turn([401, 403].includes(error.status) ? "refused" : "lost");
    this.#retry = setTimeout(() => this.start(), AGAIN_MS);
  }

  #turn(state) {
    if (state === this.state) return;
    this.state = state;
    this.#tell({ state });
  }

  #tell(news) {
    for (const listener of [...this.#listeners]) listener(news);
  }
}

export const link = new Link();

const arrived = [];

/** Show what was read: answers that come together are drawn at once, and not one after the other. */
export function together(show) {
  if (arrived.push(show) === 1) setTimeout(() => arrived.splice(0).forEach((each) => each()));
}

/**
 * Read a path of the API, and again whenever it may have changed.
 *
 * @param {string | null} path Nothing is read without one.
 * @param {{ concerns?: (hint: { thread_id?: string, run_id?: string, kind?: string }) => boolean, live?: boolean }} [how]
 *   Which hints matter, all unless told otherwise; `live: false` reads once.
 * @returns {{ value: any, problem: AwakenError | null, read_at: number | null, reload: () => void }}
 *   `value` is the last that came, `problem` why the last try failed.
 */
export function useRead(path, { concerns = () => true, live = true } = {}) {
  const [shown, show] = useState({ path, value: undefined, problem: null, read_at: null });
  const matters = useRef(concerns);
  matters.current = concerns;
  const reload = useRef(() => {});
  useEffect(() => {
    if (path === null) return undefined;
    let asked = false, reading = null, timer = null, last = 0; // prettier-ignore
    const read = async (headers = {}) => {
      clearTimeout(timer);
      reading?.abort();
      const own = (reading = new AbortController());
      own.is_urgent = headers !== PATIENT;
      asked = false;
      last = Date.now();
      try {
        const answer = await client.send("GET", path, { headers, signal: own.signal });
        const value = await answer.json();
        link.heard();
        together(() => own.signal.aborted || show({ path, value, problem: null, read_at: Date.now() }));
      } catch (error) {
        if (own.signal.aborted) return;
        const problem = error instanceof AwakenError ? error : new AwakenError(0, { detail: String(error.message ?? error) });
        // What may be seen no more is shown no more.
        const keeps = (before) => before.path === path && ![401, 403].includes(problem.status);
        show((before) => ({ ...(keeps(before) ? before : { value: undefined, read_at: null }), path, problem }));
      }
      if (own.signal.aborted) return;
      reading = null;
      plan(asked ? PAUSE_MS : IDLE_MS);
    };
    const plan = (in_ms) => {
      clearTimeout(timer);
      if (live) timer = setTimeout(() => (document.hidden ? plan(IDLE_MS) : read(PATIENT)), in_ms);
    };
    const ask = () => {
      if (document.hidden || !live) return;
      if (!asked && !reading) plan(Math.max(0, PAUSE_MS - (Date.now() - last)));
      asked = true;
    };
    // Who has done something sees it at once, also where a read waits for others to share it.
    const now = () => (reading?.is_urgent ? (asked = true) : read());
    const seen = () => document.hidden || !live || now();
    reload.current = now;
    // Where the link is lost the next read fails, and the page says how old it is.
    const deaf = link.listen(({ opened, hint, state }) => {
      if (hint?.is_own && live) now();
      else if (opened || state === "lost" || (hint && matters.current(hint))) ask();
    });
    document.addEventListener("visibilitychange", seen);
    read();
    return () => {
      deaf();
      document.removeEventListener("visibilitychange", seen);
      clearTimeout(timer);
      reading?.abort();
    };
  }, [path, live]);
  const again = useCallback(() => reload.current(), []);
  const current = shown.path === path ? shown : { value: undefined, problem: null, read_at: null };
  return { value: current.value, problem: current.problem, read_at: current.read_at, reload: again };
}

/** The state of the link, as it changes. */
export function useLink() {
  const [, turn] = useState(0);
  useEffect(() => link.listen(({ state }) => state && turn((count) => count + 1)), []);
  return link;
}

const clocks = new Set();
setInterval(() => document.hidden || clocks.forEach((tick) => tick(Date.now())), 1_000);

/** Now, in milliseconds; one clock for the whole page. */
export function useNow() {
  const [now, tick] = useState(Date.now());
  useEffect(() => {
    clocks.add(tick);
    return () => clocks.delete(tick);
  }, []);
  return now;
}
