/** The queue: the entry that each run has now, and its place. */

import { html } from "./html.js";
import { api } from "./link.js";
import { Action, List, ShortId, Status, ThreadId, When } from "./parts.js";
import { to } from "./route.js";
import { brief, lasting } from "./text.js";

const STATUSES = ["claimed", "acked", "cancelled", "superseded", "dead_letter"];

/** Why an entry is where it is, as far as its row says it. */
function told(entry) {
  if (entry.stale) return html`<${Status} of="expired">its lease has ended<//>`;
  if (entry.status === "claimed") {
    const lease = entry.lease_remaining_s ? `, lease for ${lasting(entry.lease_remaining_s * 1_000)}` : "";
    return `executing${lease}${entry.suspect ? ", a suspect" : ""}`;
  }
  if (entry.status === "queued" && entry.lag_s > 0) return html`due for ${lasting(entry.lag_s * 1_000)}${entry.suspect ? ", a suspect" : ""}: <a href=${to("runs", entry.run_id)}>why</a>`;
  if (entry.status === "queued") return html`due <${When} at=${entry.available_at} until=${true} />`;
  return html`<${When} at=${entry.completed_at} />`;
}

/** What put an entry into the queue. */
const CAME = {
  start: "a submit", input: "input for it", decided: "a decision", children: "its children", retry: "a failure, to be tried again",
  takeover: "the death of its worker", handover: "a worker that stopped",
}; // prettier-ignore

const isOpen = (entry) => ["queued", "claimed"].includes(entry.status);

export default function Queue({ route }) {
  // Of everybody's, what waits is of interest; of one thread or worker, all of it.
  const narrowed = ["status", "stale", "thread_id", "claimed_by"].some((name) => route.query[name]);
  const columns = [
    { title: "Run", cell: (entry) => html`<${ShortId} id=${entry.run_id} />` },
    { title: "Status", cell: (entry) => html`<${Status} of=${entry.status} />` },
    { title: "Agent", cell: (entry) => entry.route },
    { title: "Thread", cell: (entry) => html`<${ThreadId} id=${entry.thread_id} />` },
    { title: "Now", cell: told },
    { title: "Queued by", wide: true, cell: (entry) => html`${CAME[entry.why] ?? entry.why}${entry.last_error && html`: <span class="quiet lines">${brief(entry.last_error, 200)}</span>`}` },
    { title: "Tries", cell: (entry) => `${entry.attempt_count} of ${entry.max_attempts}${entry.crash_count ? `, ${entry.crash_count} deaths` : ""}` },
    { title: "Priority", cell: (entry) => entry.priority },
    { title: "Act", cell: (entry) => isOpen(entry) && html`<span class="acts"><${Place} entry=${entry} /><${Cancel} entry=${entry} /></span>` },
  ];
  return html`<${List}
    title="Queue"
    route=${route}
    path="/v1/dispatches"
    query=${{ status: narrowed ? undefined : "queued" }}
    columns=${columns}
    id=${(entry) => entry.dispatch_id}
    href=${(entry) => to("runs", entry.run_id)}
    filters=${[
      { name: "status", label: "Status", options: narrowed ? ["queued", ...STATUSES] : STATUSES, none: narrowed ? "any" : "queued", flag: "" },
      { name: "stale", label: "Lease has ended", options: ["true"], flag: "--stale" },
      { name: "agent_id", label: "Agent", flag: "--agent" },
      { name: "thread_id", label: "Thread", flag: "--thread" },
      { name: "claimed_by", label: "Worker", flag: "--claimed-by" },
      { name: "older_than_s", label: "Older than seconds", flag: "--older-than" },
    ]}
    cli=${["queue", "--status", route.query.status ?? (narrowed ? "all" : "queued")]}
    empty=${{ text: "Nothing is queued. This queues a run:", command: 'run AGENT "What can you do?"' }}
  />`;
}

function Place({ entry }) {
  if (entry.status !== "queued") return null;
  const request = ({ priority, after_seconds }) => ({
    method: "PATCH",
    path: api`/v1/dispatches/${entry.dispatch_id}`,
    body: { priority: Number(priority), ...(after_seconds === undefined || after_seconds === "" ? {} : { after_seconds: Number(after_seconds) }) },
  });
  const fields = [
    { name: "priority", label: "Priority, 0 first and 255 last", type: "number", value: entry.priority, required: true },
    { name: "after_seconds", label: "Due in seconds, 0 for at once", type: "number" },
  ];
  return html`<${Action} label="Place" title=${`run ${entry.run_id}`} fields=${fields} request=${request} cli=${({ priority, after_seconds }) => ["queue", "place", entry.dispatch_id, "--priority", `${priority}`, ...(after_seconds === undefined ? [] : ["--after", `${after_seconds}`])]} />`;
}

function Cancel({ entry }) {
  return html`<${Action}
    label="Cancel"
    title=${`run ${entry.run_id}`}
    danger=${true}
    confirm="The run is stopped; what it has done stays."
    request=${{ method: "POST", path: api`/v1/dispatches/${entry.dispatch_id}/cancel` }}
    cli=${["queue", "cancel", entry.dispatch_id]}
  />`;
}
