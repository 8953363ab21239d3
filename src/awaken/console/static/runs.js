/** Runs: the list, newest first. */

import { html } from "./html.js";
import { List, ShortId, Status, ThreadId, When } from "./parts.js";
import { to } from "./route.js";
import { amount, brief, lasting } from "./text.js";

export const PHASES = [
  "queued", "starting", "running", "retrying", "needs_decision", "needs_input", "waiting", "completed", "stopped",
  "blocked", "cancelled", "superseded", "failed", "dead_letter",
]; // prettier-ignore

/** How long it has taken, or takes. */
export function took(run) {
  if (!run.started_at) return "";
  return lasting((run.finished_at ? Date.parse(run.finished_at) : Date.now()) - Date.parse(run.started_at));
}

export const COLUMNS = [
  { title: "Run", cell: (run) => html`<${ShortId} id=${run.run_id} />` },
  { title: "Phase", cell: (run) => html`<${Status} of=${run.phase} />` },
  { title: "Agent", cell: (run) => run.agent_id },
  { title: "Thread", cell: (run) => html`<${ThreadId} id=${run.thread_id} />` },
  { title: "What", wide: true, cell: (run) => html`<span class="quiet lines">${brief(run.error?.message ?? run.waiting?.message ?? run.final_output ?? "", 240)}</span>` },
  { title: "Took", cell: took },
  { title: "Tokens", cell: (run) => amount((run.usage?.input_tokens ?? 0) + (run.usage?.output_tokens ?? 0) || null) },
  { title: "Made", cell: (run) => html`<${When} at=${run.created_at} />` },
];

export default function Runs({ route }) {
  return html`<${List}
    title="Runs"
    route=${route}
    path="/v1/runs"
    columns=${COLUMNS}
    id=${(run) => run.run_id}
    href=${(run) => to("runs", run.run_id)}
    filters=${[
      { name: "phase", label: "Phase", options: PHASES },
      { name: "agent_id", label: "Agent" },
      { name: "id_prefix", label: "Id begins with" },
      { name: "created_after", label: "Made after", instant: true },
    ]}
    cli="runs"
    empty=${{ text: "No run has been made yet. This makes one:", command: 'awaken run "What can you do?"' }}
  />`;
}
