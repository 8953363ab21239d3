/** Runs: the list, newest first. */

import { html, useState } from "./html.js";
import { act, api } from "./link.js";
import { Action, Lasting, List, RunId, ShortId, Status, ThreadId, When } from "./parts.js";
import { to } from "./route.js";
import { amount, brief, lasting } from "./text.js";

export const PHASES = [
  "queued", "starting", "running", "retrying", "needs_decision", "needs_input", "waiting", "completed", "stopped",
  "blocked", "cancelled", "superseded", "failed", "dead_letter",
]; // prettier-ignore

/** How long it has taken, or takes. */
export function took(run) {
  if (!run.started_at) return "";
  if (!run.finished_at) return html`<${Lasting} since=${run.started_at} />`;
  return lasting(Date.parse(run.finished_at) - Date.parse(run.started_at));
}

export const COLUMNS = [
  { title: "Run", cell: (run) => html`<${ShortId} id=${run.run_id} />` },
  { title: "Phase", cell: (run) => html`<${Status} of=${run.phase} />` },
  { title: "Agent", cell: (run) => run.agent_id },
  { title: "Thread", cell: (run) => html`<${ThreadId} id=${run.thread_id} />` },
  { title: "What", wide: true, cell: (run) => html`<span class="quiet lines">${brief(run.error?.message ?? run.waiting?.message ?? run.final_output ?? run.last_event?.summary ?? "", 240)}</span>` },
  { title: "Took", cell: took },
  { title: "Tokens", cell: (run) => amount((run.usage?.input_tokens ?? 0) + (run.usage?.output_tokens ?? 0) || null) },
  { title: "Made", cell: (run) => html`<${When} at=${run.created_at} />` },
];

export default function Runs({ route }) {
  return html`<${List}
    title="Runs"
    route=${route}
    path="/v1/runs"
    query=${{ include: "last_event" }}
    columns=${COLUMNS}
    id=${(run) => run.run_id}
    href=${(run) => to("runs", run.run_id)}
    filters=${[
      { name: "phase", label: "Phase", options: PHASES, flag: "--phase" },
      { name: "failed", label: "Failed", options: ["true"], flag: "--failed" },
      { name: "agent_id", label: "Agent", flag: "--agent" },
      { name: "thread_id", label: "Thread", flag: "--thread" },
      { name: "id_prefix", label: "Id begins with" },
      { name: "created_after", label: "Made after", instant: true },
      { name: "created_before", label: "before", instant: true },
    ]}
    pickable=${true}
    actions=${({ rows, picked, reload }) => html`<${Many} runs=${rows.filter((run) => picked.has(run.run_id))} done=${reload} />`}
    cli="runs"
    empty=${{ text: "No run has been made yet. This makes one:", command: 'run AGENT "What can you do?"' }}
  />`;
}

/** Stop those that are picked, or do them again, each by itself: what one refuses is said, and hurts no other. */
function Many({ runs, done }) {
  const [said, say] = useState([]);
  const isOpen = (run) => run.status !== "done";
  const open = runs.filter(isOpen), over = runs.filter((run) => !isOpen(run)); // prettier-ignore
  const again = async () => {
    const results = [];
    for (const { run_id } of over) {
      try {
        const made = await act({ method: "POST", path: api`/v1/runs/${run_id}/retry`, body: {} });
        results.push({ run_id, words: html`is done again as <${RunId} id=${made.run_id} />` });
      } catch (problem) {
        results.push({ run_id, words: problem.message });
      }
    }
    say(results);
    done();
  };
  const stopped = ({ items }) => {
    say(items.map(({ run_id, state }) => ({ run_id, words: state === "stopped" ? "has stopped" : "is being stopped" })));
    done();
  };
  if (!runs.length && !said.length) return null;
  return html`<div class="acts" role="group" aria-label="What is picked">
    ${open.length > 0 &&
    html`<${Action}
      label=${`Stop ${open.length}`}
      danger=${true}
      confirm="They are stopped; what they have done stays."
      request=${{ method: "POST", path: "/v1/runs/cancel", body: { run_ids: open.map(({ run_id }) => run_id) } }}
      cli=${["cancel", open[0].run_id]}
      done=${stopped}
    />`}
    ${over.length > 0 && html`<button type="button" onClick=${again}>Do ${over.length} again</button>`}
    ${said.length > 0 && html`<ul role="status">${said.map(({ run_id, words }) => html`<li key=${run_id}><${ShortId} id=${run_id} /> ${words}</li>`)}</ul>`}
  </div>`;
}
