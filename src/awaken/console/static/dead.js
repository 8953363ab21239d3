/** Dead letters: runs that were given up, by what went wrong, and what can be done about many of them at once. */

import { html, useState } from "./html.js";
import { act, api, useRead, withQuery } from "./link.js";
import { Action, Commands, List, Problem, Read, ShortId, Table, ThreadId, When } from "./parts.js";
import { refine, to } from "./route.js";
import { Text, brief } from "./text.js";

const FILTERS = { agent_id: "agent", error_class: "error", since: "since", thread_id: "thread" };

const flagsOf = (filter) => Object.entries(filter).flatMap(([name, value]) => [`--${FILTERS[name]}`, value]);

export default function DeadLetters({ route }) {
  const filter = Object.fromEntries(Object.keys(FILTERS).filter((name) => route.query[name]).map((name) => [name, route.query[name]]));
  const narrowed = Object.keys(filter).length > 0;
  const columns = [
    { title: "Run", cell: (letter) => html`<${ShortId} id=${letter.run_id} />` },
    { title: "Agent", cell: (letter) => letter.agent_id },
    { title: "Error", wide: true, cell: (letter) => html`<b>${letter.error_class}</b> <span class="quiet lines">${brief(letter.last_error ?? "", 240)}</span>` },
    { title: "Thread", cell: (letter) => html`<${ThreadId} id=${letter.thread_id} />` },
    { title: "Tries", cell: (letter) => letter.attempts },
    { title: "Given up", cell: (letter) => html`<${When} at=${letter.last_failed_at} />` },
    { title: "Act", cell: (letter) => html`<${One} letter=${letter} />` },
  ];
  return html`
    <${List}
      title="Dead letters"
      route=${route}
      path="/v1/dead-letters"
      columns=${columns}
      id=${(letter) => letter.dispatch_id}
      href=${(letter) => to("runs", letter.run_id)}
      filters=${[
        { name: "agent_id", label: "Agent", flag: "--agent" },
        { name: "error_class", label: "Error", flag: "--error" },
        { name: "thread_id", label: "Thread", flag: "--thread" },
        { name: "since", label: "Since", instant: true, flag: "--since" },
      ]}
      actions=${({ rows }) => html`<${Groups} chosen=${filter} />${narrowed && html`<${Many} filter=${filter} />`}${rows.length > 0 && html`<h2>One by one</h2>`}`}
      cli="dead"
      empty=${{ text: "No run has been given up." }}
    />
  `;
}

/** How many there are by agent and error; each leads to its own. */
function Groups({ chosen }) {
  const path = withQuery("/v1/dead-letters/summary", chosen);
  const read = useRead(path);
  const columns = [
    { title: "Error", cell: (group) => group.error_class },
    { title: "Agent", cell: (group) => group.agent_id },
    { title: "How many", cell: (group) => group.count },
    { title: "The last of them", wide: true, cell: (group) => html`<span class="quiet lines">${brief(group.latest.last_error ?? "", 240)}</span>` },
    { title: "First", cell: (group) => html`<${When} at=${group.first_at} />` },
    { title: "Last", cell: (group) => html`<${When} at=${group.last_at} />` },
  ];
  return html`<section>
    <h2>By error</h2>
    <${Read} of=${read}>
      ${({ items }) =>
        items.length > 0 &&
        html`<${Table}
          caption="Dead letters by error"
          columns=${columns}
          rows=${items}
          id=${(group) => `${group.agent_id} ${group.error_class}`}
          href=${(group) => to("dead", { agent_id: group.agent_id, error_class: group.error_class })}
        />`}
    <//>
    <${Commands} of=${[{ label: "By error", request: { path }, cli: ["dead", "--group", ...flagsOf(chosen)] }]} />
  </section>`;
}

/** Retry or discard all that the filter finds: first looked at, then done. */
function Many({ filter }) {
  const [seen, show] = useState(null);
  const [problem, fail] = useState(null);
  const flags = flagsOf(filter);
  const retry = (dry_run) => ({ method: "POST", path: "/v1/dead-letters/retry", body: { filter, limit: 1_000, dry_run } });
  const look = async () => {
    try {
      show({ ...(await act(retry(true))), dry: true });
      fail(null);
    } catch (error) {
      fail(error);
    }
  };
  return html`<section class="many" aria-label="All of these">
    <h2>All of these</h2>
    <p class="quiet">${Object.entries(filter).map(([name, value]) => `${FILTERS[name]} ${value}`).join(", ")}</p>
    <div class="acts">
      <button type="button" onClick=${look}>Try what a retry would do</button>
      ${seen?.dry && seen.matched > 0 &&
      html`<${Action} label=${`Retry ${seen.matched}`} request=${retry(false)} confirm="Each is done again as a new run; what it has done already is not undone." cli=${["dead", "retry", ...flags]} done=${show} />`}
      <${Action}
        label="Discard them"
        danger=${true}
        input=${{ name: "reason", label: "Why", required: true }}
        request=${(reason) => ({ method: "POST", path: "/v1/dead-letters/discard", body: { filter, limit: 1_000, reason } })}
        cli=${({ reason }) => ["dead", "discard", ...flags, "--reason", reason]}
        done=${show}
      />
      <button type="button" class="link" onClick=${() => refine(Object.fromEntries([...Object.keys(FILTERS), "cursor"].map((name) => [name, undefined])))}>Show all</button>
    </div>
    ${problem && html`<${Problem} of=${problem} />`}
    ${seen &&
    html`<p role="status">
        ${seen.dry ? `${seen.matched} would be done again` : `${seen.retried || seen.discarded} of ${seen.matched} are done`}${seen.more ? ", and there are more behind them" : ""}.
        ${seen.skipped.length > 0 && ` Left as they are: ${seen.skipped.length}.`}
      </p>
      <ul>${seen.skipped.slice(0, 50).map((each) => html`<li key=${each.dispatch_id}><${ShortId} id=${each.dispatch_id} /> <${Text} text=${each.reason} /></li>`)}</ul>`}
  </section>`;
}

function One({ letter }) {
  const path = api`/v1/dead-letters/${letter.dispatch_id}`;
  return html`<span class="acts">
    <${Action}
      label="Retry"
      title=${`run ${letter.run_id}`}
      confirm="It is done again as a new run; what it has done already is not undone."
      request=${{ method: "POST", path: `${path}/retry` }}
      cli=${["dead", "retry", letter.dispatch_id]}
    />
    <${Action}
      label="Discard"
      title=${`run ${letter.run_id}`}
      danger=${true}
      input=${{ name: "reason", label: "Why", required: true }}
      request=${(reason) => ({ method: "POST", path: `${path}/discard`, body: { reason } })}
      cli=${({ reason }) => ["dead", "discard", letter.dispatch_id, "--reason", reason]}
    />
  </span>`;
}
