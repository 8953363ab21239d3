/** Schedules: what begins by itself, when next, and how to make one. */

import { html } from "./html.js";
import { api } from "./link.js";
import { Action, List, RunId, Status, When } from "./parts.js";
import { to } from "./route.js";
import { Text, brief, lasting } from "./text.js";

/** `every 5 min`, or the fields of cron with their zone. */
const rhythm = ({ cron, every_s, zone }) => (cron ? `${cron} (${zone})` : `every ${lasting(every_s * 1_000)}`);

const said = ({ messages }) => messages.flatMap(({ content }) => (typeof content === "string" ? [content] : content.map(({ text = "" }) => text))).join(" ");

export default function Schedules({ route }) {
  const columns = [
    { title: "Name", cell: (schedule) => html`<b>${schedule.name}</b>` },
    { title: "State", cell: (schedule) => html`<${Status} of=${schedule.paused ? "paused" : "ok"}>${schedule.paused ? `paused (${schedule.paused_by})` : "on"}<//>` },
    { title: "When", cell: rhythm },
    { title: "Agent", cell: (schedule) => schedule.agent_id },
    { title: "What", wide: true, cell: (schedule) => html`<span class="quiet lines">${brief(said(schedule), 200)}</span>${schedule.last_error && html` <${Text} text=${schedule.last_error} chars=${200} />`}` },
    { title: "Next", cell: (schedule) => html`<${When} at=${schedule.next_at} until=${true} />` },
    { title: "Last run", cell: (schedule) => html`<${RunId} id=${schedule.last_run_id} />` },
    { title: "Passed over", cell: (schedule) => schedule.skipped || "" },
    { title: "Act", cell: (schedule) => html`<${Acts} schedule=${schedule} />` },
  ];
  return html`<${List}
    title="Schedules"
    route=${route}
    path="/v1/schedules"
    columns=${columns}
    id=${(schedule) => schedule.name}
    href=${(schedule) => to("threads", schedule.thread_id)}
    actions=${({ reload }) => html`<div class="acts"><${Make} done=${reload} /></div>`}
    cli="schedules"
    empty=${{ text: "Nothing begins by itself yet. This makes it:", command: 'schedules add hello "What is new?" --agent AGENT --every 3600' }}
  />`;
}

function Make({ done }) {
  const fields = [
    { name: "name", label: "Name", type: "text", required: true },
    { name: "agent_id", label: "Agent", type: "text" },
    { name: "input", label: "What the agent is told each time", type: "area", required: true },
    { name: "every_s", label: "Every so many seconds", type: "number" },
    { name: "cron", label: "or cron: minute hour day month weekday", type: "text" },
    { name: "zone", label: "Time zone of cron", type: "text", value: "UTC" },
    { name: "overlap", label: "While an earlier run goes on", type: "choice", options: ["skip", "queue"] },
    { name: "missed", label: "After nobody was there", type: "choice", options: ["one", "all", "none"] },
  ];
  // The server says what of it is missing, or said twice.
  const request = ({ zone, ...given }) => ({ method: "POST", path: "/v1/schedules", body: { ...given, ...(given.cron ? { zone } : {}) } });
  const cli = ({ name, input, agent_id, every_s, cron, zone, overlap, missed }) => {
    const when = cron ? ["--cron", cron, ...(zone ? ["--zone", zone] : [])] : every_s ? ["--every", `${every_s}`] : [];
    return ["schedules", "add", name, input, ...when, ...(agent_id ? ["--agent", agent_id] : []), "--overlap", overlap, "--missed", missed];
  };
  return html`<${Action} label="New schedule" fields=${fields} request=${request} done=${done} cli=${cli} />`;
}

function Acts({ schedule }) {
  const { name, paused, declared } = schedule;
  const path = api`/v1/schedules/${name}`;
  return html`<span class="acts">
    ${paused
      ? html`<${Action} label="Resume" title=${name} confirm="It goes on with its next instant." request=${{ method: "POST", path: `${path}/resume` }} cli=${["schedules", "resume", name]} />`
      : html`<${Action} label="Pause" title=${name} confirm="It begins nothing until it is resumed." request=${{ method: "POST", path: `${path}/pause` }} cli=${["schedules", "pause", name]} />`}
    ${declared
      ? html`<span class="quiet">by the program</span>`
      : html`<${Action} label="Delete" title=${name} danger=${true} confirm="The runs that it has begun go on." request=${{ method: "DELETE", path }} cli=${["schedules", "delete", name]} />`}
  </span>`;
}
