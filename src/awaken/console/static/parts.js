/**
 * The parts that all pages are made of: a table with its page, facts, actions with the commands that do the same, and the
 * states in which a page can be.
 */

import { createContext, html, useContext, useEffect, useId, useLayoutEffect, useRef, useState } from "./html.js";
import { BASE, act, keepKey, readKey, useLink, useNow, useRead, withQuery } from "./link.js";
import { refine, to, useKeys } from "./route.js";
import { Text, exact, lasting, seen } from "./text.js";

// --- words and signs -------------------------------------------------------------------------------------------------

const TONES = {
  ok: ["completed", "acked", "decided", "ready", "ok", "live", "success"],
  live: ["running", "starting", "claimed", "executing"],
  ask: ["needs_decision", "needs_input", "open", "waiting", "retrying", "paused", "degraded", "drained", "suspect"],
  bad: ["failed", "dead_letter", "blocked", "unavailable", "lost", "expired", "refused", "error"],
};
const TONE_OF = Object.fromEntries(Object.entries(TONES).flatMap(([tone, words]) => words.map((word) => [word, tone])));

/** One word with a sign: told apart by its shape as well as by its colour. */
export function Status({ of, children }) {
  const tone = TONE_OF[of] ?? "quiet";
  return html`<span class=${`status ${tone}`}>${children ?? String(of).replaceAll("_", " ")}</span>`;
}

/** Of what could not be read again: when it was read. */
const AsOf = createContext(null);

/** Now; of what could not be read again the instant of which it tells, since nobody knows what has become of it. */
export function useShownNow() {
  const now = useNow();
  return useContext(AsOf) ?? now;
}

/** An instant as its age; the whole of it on hover. `until`: how long it is still ahead. */
export function When({ at, until = false }) {
  const now = useShownNow();
  if (!at) return html`<span class="quiet">–</span>`;
  const ms = Date.parse(at) - now;
  const words = until ? (ms > 0 ? `in ${lasting(ms)}` : `${lasting(-ms)} ago`) : ms > 999 ? `in ${lasting(ms)}` : `${lasting(-ms)} ago`;
  return html`<time datetime=${at} title=${at}>${words}</time>`;
}

/** An id, the middle of a long one left out. */
export function ShortId({ id, short = true }) {
  const shown = short && id.length > 22 ? `${id.slice(0, 10)}…${id.slice(-8)}` : id;
  return html`<bdi class="id" title=${id}>${seen(shown)}</bdi>`;
}

/** An id, whole for whoever copies it, and a link where something is shown of it. */
export function Id({ id, href, short = true }) {
  if (!id) return html`<span class="quiet">–</span>`;
  const name = html`<${ShortId} id=${id} short=${short} />`;
  return html`<span class="with-copy">${href ? html`<a href=${href}>${name}</a>` : name}<${Copy} text=${id} what="id" /></span>`;
}

export const RunId = ({ id, short }) => html`<${Id} id=${id} href=${id && to("runs", id)} short=${short} />`;
export const ThreadId = ({ id, short }) => html`<${Id} id=${id} href=${id && to("threads", id)} short=${short} />`;

/** How long something has gone on; while the server is not reached, how long it had when it was last heard. */
export function Lasting({ since }) {
  const now = useShownNow();
  const { state, heard_at } = useLink();
  const gone = useRef(false);
  gone.current = state === "lost" || (gone.current && state !== "live");
  const lost = gone.current && heard_at;
  const ms = Math.max(0, (lost ? heard_at : now) - (typeof since === "string" ? Date.parse(since) : since));
  return lost ? html`<span class="quiet" title="The server is not reached">${lasting(ms)} when last heard</span>` : html`<span>${lasting(ms)}</span>`;
}

export function Copy({ text, what = "text" }) {
  const [done, turn] = useState(false);
  const copy = async () => {
    await copied(text);
    turn(true);
    setTimeout(() => turn(false), 1_500);
  };
  return html`<button type="button" class="copy" aria-label=${`Copy ${what}`} title=${`Copy ${what}`} onClick=${copy}>
    <svg viewBox="0 0 16 16" width="12" height="12" aria-hidden="true">
      <path d=${done ? "M3 8.5l3.5 3.5L13 4.5" : "M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3"} fill="none" stroke="currentColor" stroke-width="1.6" />
    </svg>
  </button>`;
}

/** Also where a page is not served over TLS, and has no clipboard of its own. */
async function copied(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const field = Object.assign(document.createElement("textarea"), { value: text });
  document.body.append(field);
  field.select();
  document.execCommand("copy");
  return field.remove();
}

/** What a ticket calls its tool; null where an agent asks by itself, and has given that no name. */
export const toolName = ({ kind, tool_name, tool_call_id }) => (tool_name === { approval: "approve", input: "ask" }[kind] && !tool_call_id ? null : tool_name);

/** A value as JSON, cut when it is long. */
export const Json = ({ value }) => html`<${Text} text=${JSON.stringify(value, null, 2) ?? "null"} block=${true} />`;

/** Names and values; what there is not is left out. */
export function Facts({ of }) {
  const said = Object.entries(of).filter(([, value]) => value !== null && value !== undefined && value !== "" && value !== false);
  return html`<dl class="facts">${said.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}

// --- the commands that do the same -----------------------------------------------------------------------------------

const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);

const DEFAULT_URL = "http://127.0.0.1:8000/";
/** The address of this server, as commands take it. */
export const HERE = BASE.href.replace(/\/$/, "");
/** Commands that ask no server, or are told by themselves which. */
const WITHOUT_SERVER = ["init", "worker", "doctor"];

/** A command line of `awaken`, for this server. */
export function awakenOf(words) {
  if (WITHOUT_SERVER.includes(words.split(" ")[0])) return `awaken ${words}`;
  return `awaken ${words}${BASE.href === DEFAULT_URL ? "" : ` --url ${quoted(HERE)}`}${keyAs("--header")}`;
}

/** The key, where one was typed, as an option of a command; the key itself is shown nowhere. */
const keyAs = (option) => (readKey() ? ` ${option} "Authorization: Bearer $AWAKEN_KEY"` : "");

export function curlOf({ method = "GET", path, body, headers = {} }) {
  const said = { ...headers, ...(body ? { "Content-Type": "application/json" } : {}) };
  const parts = ["curl", ...(path.includes("stream") ? ["-N"] : []), ...(method === "GET" ? [] : ["-X", method]), quoted(new URL(path.replace(/^\//, ""), BASE).href)];
  for (const [name, value] of Object.entries(said)) parts.push("-H", quoted(`${name}: ${value}`));
  if (body) parts.push("-d", quoted(exact(body)));
  return parts.join(" ") + keyAs("-H");
}

/** What is asked for here, as commands: `[{ label, request, cli }]`, where `cli` is what follows `awaken`. */
export function Commands({ of }) {
  const rows = of.filter(Boolean);
  return html`<details class="commands">
    <summary>As commands</summary>
    <dl>
      ${rows.map(
        ({ label, request, cli }) => html`<div key=${label}>
          <dt>${label}</dt>
          <dd>
            ${request && html`<${Whole} text=${curlOf(request)} />`}
            ${cli && html`<${Whole} text=${awakenOf([].concat(cli).map(quoted).join(" "))} />`}
          </dd>
        </div>`,
      )}
    </dl>
  </details>`;
}

/** A command that a shell takes: one that is longer would have to be cut, and would then be another one. */
const Whole = ({ text }) => (text.length > SHELL_CHARS ? html`<p class="quiet">It is too long for a command line.</p>` : html`<${Command} text=${text} />`);
const SHELL_CHARS = 30_000;

export const Command = ({ text }) =>
  html`<div class="command"><code tabindex="0"><bdi>${seen(text)}</bdi></code><${Copy} text=${text} what="command" /></div>`;

// --- what can be done ------------------------------------------------------------------------------------------------

/**
 * A button that sends one request. `confirm` is asked first, in a dialog. `input` adds a field whose text becomes part of
 * the body, `fields` several: `{ name, label, type, options, value, required }`, where `type` is `area` (a text of several
 * lines, for `input` unless told otherwise), `text`, `number`, `choice` (one of `options`, each a value or `[value, words]`)
 * or `check`. A `request` that is a function is given what was filled in: the text of the `input`, or an object of the
 * `fields`. `title` says in the dialog what it is about, `cli` is what follows `awaken` for the same, or a function of what
 * was filled in that answers with it. A `quiet` one looks like a link.
 */
export function Action({
  label, request, confirm, input, fields = [], danger = false, quiet = false, disabled = false, done, cli, title,
}) { // prettier-ignore
  const [state, turn] = useState({ busy: false, problem: null, said: "" });
  const dialog = useRef(null);
  const form = useRef(null);
  const id = useId();
  const asked = input ? [{ type: "area", ...input }] : fields;
  const asks = Boolean(confirm || asked.length);
  const [typed, type] = useState(() => toBegin(asked)); // for the commands that do the same
  // What was shown when the dialog was opened is what is answered: what has changed since is refused, not changed unseen.
  const opened = useRef(request);
  const send = async () => {
    const request = opened.current;
    turn({ busy: true, problem: null, said: "" });
    try {
      const answer = await act(requestOf(request, asks ? filled(form.current, asked) : {}, input));
      dialog.current?.close();
      turn({ busy: false, problem: null, said: "done" });
      done?.(answer);
    } catch (problem) {
      turn({ busy: false, problem, said: "" });
    }
  };
  const keys = (event) => event.key === "Enter" && (event.ctrlKey || event.metaKey) && (event.preventDefault(), state.busy || form.current.requestSubmit());
  const press = () => {
    opened.current = request;
    if (!asks) return send();
    form.current.reset();
    type(toBegin(asked));
    turn({ busy: false, problem: null, said: "" });
    return dialog.current.showModal();
  };
  return html`<span class="action">
    <button type="button" class=${quiet ? "link" : danger ? "danger" : ""} disabled=${disabled || state.busy} aria-busy=${state.busy} onClick=${press}>
      ${label}
    </button>
    ${!asks && state.problem && html`<${Problem} of=${state.problem} />`}
    ${asks &&
    html`<dialog ref=${dialog} aria-labelledby=${id}>
      <form ref=${form} method="dialog" onKeyDown=${keys} onInput=${() => type({ ...toBegin(asked), ...filled(form.current, asked) })} onSubmit=${(event) => (event.preventDefault(), send())}>
        <h2 id=${id}>${label}${title && html` <${Text} text=${title} chars=${120} />`}</h2>
        ${confirm && html`<p>${confirm}</p>`}
        ${asked.map((each) => html`<${Field} key=${each.name} of=${each} />`)}
        ${state.problem && html`<${Problem} of=${state.problem} />`}
        <div class="buttons">
          <button type="button" onClick=${() => dialog.current.close()}>Leave it</button>
          <button type="submit" class=${danger ? "danger" : "primary"} disabled=${state.busy}>${label}</button>
        </div>
        <${Commands} of=${[{ label, request: requestOf(opened.current, typed, input), cli: typeof cli === "function" ? cli(typed) : cli }]} />
      </form>
    </dialog>`}
  </span>`;
}

function requestOf(request, given, input) {
  if (typeof request === "function") return request(input ? (given[input.name] ?? "") : given);
  return Object.keys(given).length ? { ...request, body: { ...request.body, ...given } } : request;
}

/** What fields hold at first; what has to be filled in is `…`. */
function toBegin(fields) {
  const values = fields.map(({ name, type, options, value, required }) => [name, type === "choice" ? (value ?? valueOf(options[0])) : (value ?? (required ? "…" : undefined))]);
  return Object.fromEntries(values.filter(([, value]) => value !== undefined));
}

const valueOf = (option) => (Array.isArray(option) ? option[0] : option);

/** What was filled in, by name; what was left empty is left out. */
function filled(form, fields) {
  const said = new FormData(form);
  const values = fields.map(({ name, type }) => [name, type === "check" ? said.has(name) : said.get(name)]);
  const typed = values.map(([name, value], at) => [name, fields[at].type === "number" && value ? Number(value) : value]);
  return Object.fromEntries(typed.filter(([, value]) => value !== "" && value !== null));
}

function Field({ of: { name, label, type, options, value, required } }) {
  if (type === "check") return html`<label><input type="checkbox" name=${name} defaultChecked=${value} /> ${label}</label>`;
  if (type === "choice") {
    return html`<label>${label} <select name=${name}>${options.map((each) => html`<option key=${valueOf(each)} value=${valueOf(each)} selected=${valueOf(each) === value}>${Array.isArray(each) ? each[1] : each}</option>`)}</select></label>`;
  }
  if (type === "area") return html`<label>${label}<textarea name=${name} rows="3" required=${required} defaultValue=${value ?? ""}></textarea></label>`;
  return html`<label>${label} <input type=${type} name=${name} defaultValue=${value ?? ""} required=${required} /></label>`;
}

// --- the states of a page --------------------------------------------------------------------------------------------

/** The code of what is wrong, with the id under which the server's log has it. */
function Source({ of: { status, code, problem } }) {
  const request_id = problem?.request_id;
  return html`<span class="quiet"> ${status ? `${status} ` : ""}${code}${request_id ? html` · request <${Id} id=${request_id} short=${false} />` : ""}</span>`;
}

/** What is wrong and what to do. */
export function Problem({ of, reload }) {
  const { status, message } = of;
  return html`<div class="problem" role="alert">
    <strong>${status === 403 ? "You may not see or do this" : status === 0 ? "The server was not reached" : seen(message)}</strong>
    ${(status === 403 || status === 0) && html`<span> ${seen(message)}</span>`}
    <${Source} of=${of} />
    ${reload && html` <button type="button" onClick=${reload}>Try again</button>`}
  </div>`;
}

/** Nothing to show, and what would change that: a `command` after `awaken`, in which AGENT is the first one here. */
export function Empty({ children, command }) {
  const agents = useRead(command?.includes("AGENT") ? "/v1/agents" : null, { live: false });
  const agent = agents.value?.items[0]?.agent_id ?? "AGENT";
  return html`<div class="empty"><p>${children}</p>${command && html`<${Command} text=${awakenOf(command.replace("AGENT", quoted(agent)))} />`}</div>`;
}

export const Loading = () => html`<p class="loading" role="status">Loading …</p>`;

/**
 * What was read, in whatever state it is: loading, refused, failed, or shown, and then with its age where it could not be
 * read again.
 */
export function Read({ of, children }) {
  const { value, problem, read_at, reload } = of;
  const around = useContext(AsOf);
  if (value === undefined) {
    if (problem?.status === 401) return html`<${KeyForm} problem=${problem} reload=${reload} />`;
    return problem ? html`<${Problem} of=${problem} reload=${reload} />` : html`<${Loading} />`;
  }
  return html`${problem && html`<${Stale} problem=${problem} read_at=${read_at} reload=${reload} />`}<${AsOf.Provider} value=${problem ? read_at : around}>${children(value)}<//>`;
}

/** Since when nobody knows, and why. Parts of a page that do not reach the server say it once. */
function Stale({ problem, read_at, reload }) {
  const now = useNow();
  const [node, first] = useFirst(problem.status ? null : "stale");
  const at = new Date(read_at);
  return html`<div ref=${node} class="stale" role="status" hidden=${!first}>
    As of <time datetime=${at.toISOString()}>${at.toLocaleTimeString()}</time>, ${lasting(now - read_at)} old: ${problem.status ? html`${seen(problem.message)}<${Source} of=${problem} />` : "the server is not reached"}.
    ${" "}<button type="button" onClick=${reload}>Try again</button>
  </div>`;
}

/** Of parts of a page that say the same, of a `kind`, the first says it: `[its ref, whether this is it]`. */
function useFirst(kind) {
  const node = useRef(null);
  const [first, turn] = useState(false);
  useLayoutEffect(() => {
    if (kind === null) return turn(true);
    const [here, alike] = [node.current, ALIKE[kind]];
    const settle = () => {
      const [one] = [...alike.keys()].sort((a, b) => (a.compareDocumentPosition(b) & Node.DOCUMENT_POSITION_FOLLOWING ? -1 : 1));
      for (const [each, tell] of alike) tell(each === one);
    };
    alike.set(here, turn);
    settle();
    return () => (alike.delete(here), settle());
  }, [kind]);
  return [node, first];
}

const ALIKE = { key: new Map(), stale: new Map() };

/** The server wants to know who asks. */
export function KeyForm({ problem, reload }) {
  const field = useRef(null);
  const [node, first] = useFirst("key");
  useEffect(() => void (first && field.current.focus()), [first]);
  const keep = (event) => {
    event.preventDefault();
    keepKey(field.current.value.trim());
    reload?.();
  };
  return html`<form ref=${node} class="key" hidden=${!first} onSubmit=${keep}>
    <h2>This server wants a key</h2>
    <p>It is sent as <code>Authorization: Bearer …</code>, and kept until this tab is closed.</p>
    ${readKey() && html`<p role="alert">${seen(problem.message)}</p>`}
    <label>Key <input ref=${field} type="password" autocomplete="off" required /></label>
    <button class="primary">Use it</button>
  </form>`;
}

const LIMIT = 50;

// --- tables ----------------------------------------------------------------------------------------------------------

/**
 * Rows with columns `{ title, cell: (row) => node, wide }`; a `wide` one takes what room there is. The first column leads
 * where `href` says. With `picked` (a Set of ids) rows can be picked, those that are `pickable`. With `onCurrent` one row,
 * `current`, is that of which more is shown beside the table: `j` and `k` go on from it, and it is told where they lead.
 */
export function Table({ caption, columns, rows, id, href, picked, onPick, pickable = () => true, current, onCurrent }) {
  const body = useRef(null);
  const move = (by) => () => {
    const among = onCurrent ? body.current : document.querySelector("main"); // through all tables of a page
    const links = [...(among?.querySelectorAll("[data-row]") ?? [])];
    if (!links.length) return false;
    const here = onCurrent ? rows.findIndex((row) => id(row) === current) : links.findIndex((link) => link.closest("tr").contains(document.activeElement));
    const at = Math.min(Math.max(here + by, 0), links.length - 1);
    links[at].focus();
    onCurrent?.(id(rows[at]));
    return undefined;
  };
  const pickFocused = () => {
    const row = picked && !onCurrent && !document.activeElement.closest("button, select") && rows[[...(body.current?.children ?? [])].findIndex((line) => line.contains(document.activeElement))];
    return row && pickable(row) ? pick([id(row)], !picked.has(id(row))) : false;
  };
  useKeys({ j: move(1), k: move(-1), x: pickFocused, " ": pickFocused });
  useLayoutEffect(() => {
    const here = document.activeElement;
    if (!onCurrent || !current || (here && here !== document.body && !body.current.contains(here))) return;
    body.current.querySelector(".current [data-row]")?.focus();
  }, [current]);
  const can = picked ? rows.filter(pickable) : [];
  const all = can.length > 0 && can.every((row) => picked.has(id(row)));
  const pick = (ids, on) => onPick(new Set(on ? [...picked, ...ids] : [...picked].filter((each) => !ids.includes(each))));
  const by_link = Boolean(href);
  return html`<table>
    <caption class="hidden">${caption}</caption>
    <thead>
      <tr>
        ${picked && html`<th class="pick"><input type="checkbox" aria-label="Pick all" checked=${all} onChange=${(event) => pick(can.map(id), event.target.checked)} /></th>`}
        ${columns.map(({ title, wide }) => html`<th key=${title} scope="col" class=${wide ? "wide" : ""}>${title}</th>`)}
      </tr>
    </thead>
    <tbody ref=${body}>
      ${rows.map(
        (row) => html`<tr key=${id(row)} class=${onCurrent && id(row) === current ? "current" : undefined}>
          ${picked &&
          html`<td class="pick">${
            pickable(row) &&
            html`<input type="checkbox" data-row=${by_link ? undefined : ""} aria-label=${`Pick ${id(row)}`} checked=${picked.has(id(row))} onChange=${(event) => pick([id(row)], event.target.checked)} />`
          }</td>`}
          ${columns.map(
            ({ title, cell, wide }, at) => html`<td key=${title} data-title=${title} class=${wide ? "wide" : ""}>
              ${at === 0 && href
                ? html`<a href=${href(row)} data-row=${by_link ? "" : undefined} aria-current=${onCurrent && id(row) === current ? "true" : undefined}>${cell(row)}</a>`
                : cell(row)}
            </td>`,
          )}
        </tr>`,
      )}
    </tbody>
  </table>`;
}

/**
 * A page with a list of the API: filters in its address, a table, and the way to older rows. It never counts.
 *
 * `filters`: `[{ name, label, options, none, instant, flag }]`, `options` a list of values, or none for a text; `none` what it
 * is called that none is chosen; `instant` for a point in time; `flag` how the command `cli` says the same, if it can.
 * `query` is always asked for.
 * `actions({ rows, picked, reload })` stands above the table; `commands` are those beside the reading itself. A list that the
 * API answers as a `whole` has no pages.
 */
export function List({
  title, intro, path, query = {}, filters = [], columns, id, href, empty, cli, commands = [], actions, concerns, route,
  pickable = false, whole = false,
}) { // prettier-ignore
  const [picked, onPick] = useState(() => new Set());
  const chosen = Object.fromEntries(filters.filter(({ name }) => route.query[name]).map(({ name }) => [name, route.query[name]]));
  const asked = { ...query, ...chosen, limit: whole ? undefined : LIMIT, cursor: route.query.cursor };
  const full = withQuery(path, asked);
  const read = useRead(full, { concerns });
  const narrowed = Object.values(chosen).some(Boolean);
  return html`<section class="list">
    <header>
      <h1>${title}</h1>
      ${intro && html`<p class="quiet">${intro}</p>`}
      <${Filters} of=${filters} chosen=${chosen} />
    </header>
    <${Read} of=${read}>
      ${({ items, has_more, next_cursor, unreadable = [] }) => {
        const kept = pickable ? new Set([...picked].filter((each) => items.some((row) => id(row) === each))) : undefined;
        return html`
          ${actions?.({ rows: items, picked: kept, reload: read.reload })}
          ${unreadable.length > 0 && html`<p class="problem">Damaged, and left out: ${unreadable.join(", ")}</p>`}
          ${items.length
            ? html`<${Table} caption=${title} ...${{ columns, rows: items, id, href, picked: kept, onPick }} />`
            : narrowed || route.query.cursor
              ? html`<${Empty}>Nothing on this page fits.<//>`
              : html`<${Empty} command=${empty?.command}>${empty?.text ?? "There is nothing here."}<//>`}
          <nav class="pages" aria-label="More rows">
            ${route.query.cursor && html`<button type="button" onClick=${() => refine({ cursor: undefined })}>First page</button>`}
            ${has_more && html`<button type="button" onClick=${() => (location.hash = nextOf(route, next_cursor))}>Next page</button>`}
          </nav>
        `;
      }}
    <//>
    <${Commands} of=${[{ label: "This page", request: { path: full }, cli: narrowedCli(cli, filters, chosen) }, ...commands]} />
  </section>`;
}

/** The command with the flags of what is chosen; none where it has no flag for some of it. */
export function narrowedCli(cli, filters, chosen) {
  const said = filters.filter(({ name }) => chosen[name]);
  if (!said.every(({ flag }) => flag !== undefined)) return undefined;
  const flags = said.filter(({ flag }) => flag).flatMap(({ name, flag }) => (chosen[name] === "true" ? [flag] : [flag, chosen[name]]));
  return [].concat(cli, flags);
}

const nextOf = (route, cursor) => to(...route.place, { ...route.query, cursor });

/** Fields for what a list is narrowed to, kept in the address: `[{ name, label, options, none, instant }]`, see `List`. */
export function Filters({ of, chosen }) {
  if (!of.length) return null;
  const change = (name, as = (value) => value) => ({ target: { value } }) =>
    refine({ [name]: value ? as(value) : undefined, cursor: undefined });
  return html`<form class="filters" role="search" onSubmit=${(event) => event.preventDefault()}>
    ${of.map(
      ({ name, label, options, none = "any", instant }) => html`<label key=${name}>
        ${label}
        ${options
          ? html`<select value=${chosen[name] ?? ""} onChange=${change(name)}>
              <option value="">${none}</option>
              ${options.map((value) => html`<option key=${value} value=${value} selected=${value === chosen[name]}>${value.replaceAll("_", " ")}</option>`)}
            </select>`
          : instant
            ? html`<${Typed} type="datetime-local" value=${localOf(chosen[name])} onChange=${change(name, (local) => new Date(local).toISOString())} />`
            : html`<${Typed} type="search" size="12" value=${chosen[name] ?? ""} onChange=${change(name)} />`}
      </label>`,
    )}
  </form>`;
}

/** A field that keeps what is being typed, however often the page around it is drawn, and shows a value that has changed. */
export function Typed({ value, ...rest }) {
  const [typed, type] = useState(value);
  useLayoutEffect(() => type(value), [value]);
  return html`<input ...${rest} value=${typed} onInput=${(event) => type(event.target.value)} />`;
}

/** An instant as a field for local time wants it. */
function localOf(instant) {
  if (!instant || Number.isNaN(Date.parse(instant))) return "";
  const at = new Date(instant);
  return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

/** The title of the tab. */
export function useTitle(title) {
  useEffect(() => {
    document.title = `${title} · awaken`;
  }, [title]);
}
