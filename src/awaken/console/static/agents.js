/** Agents: what is registered here, what each has done in the last hour, and a box to try one. */

import { html } from "./html.js";
import { api, useRead } from "./link.js";
import { Action, List, Read, Status } from "./parts.js";
import { to } from "./route.js";
import { amount, brief } from "./text.js";

/** Paused, not loadable, or ready. */
export function Standing({ agent }) {
  if (agent.not_loadable) return html`<${Status} of="failed">cannot be loaded<//>`;
  return html`<${Status} of=${agent.paused ? "paused" : "ready"}>${agent.paused ? "paused" : "served"}<//>`;
}

export function Pausing({ agent, done }) {
  const path = api`/v1/agents/${agent.agent_id}`;
  return agent.paused
    ? html`<${Action} label="Resume" title=${agent.agent_id} confirm="Its runs begin again." request=${{ method: "POST", path: `${path}/resume` }} cli=${["agents", "resume", agent.agent_id]} done=${done} />`
    : html`<${Action} label="Pause" title=${agent.agent_id} confirm="This process begins no run of it until it is resumed; what executes goes on." request=${{ method: "POST", path: `${path}/pause` }} cli=${["agents", "pause", agent.agent_id]} done=${done} />`;
}

export default function Agents({ route }) {
  const columns = [
    { title: "Agent", cell: (agent) => html`<b>${agent.agent_id}</b>` },
    { title: "State", cell: (agent) => html`<${Standing} agent=${agent} />` },
    { title: "Version", cell: (agent) => agent.version ?? "" },
    { title: "Kind", cell: (agent) => agent.kind.replaceAll("_", " ") },
    { title: "What it does", wide: true, cell: ({ not_loadable, description }) => (not_loadable || description) && html`<span class="quiet lines">${brief(not_loadable ?? description, 240)}</span>` },
    { title: "Last hour", cell: (agent) => html`<${LastHour} agent_id=${agent.agent_id} />` },
    { title: "Act", cell: (agent) => html`<span class="acts"><a href=${to("agents", agent.agent_id)}>Try it</a><${Pausing} agent=${agent} /></span>` },
  ];
  return html`<${List}
    title="Agents"
    route=${route}
    path="/v1/agents"
    whole=${true}
    columns=${columns}
    id=${(agent) => agent.agent_id}
    href=${(agent) => to("agents", agent.agent_id)}
    cli="agents"
    empty=${{ text: "No agent is registered here. This makes an app with one:", command: "init" }}
  />`;
}

/** What this process has done for an agent in the last hour, in few words. */
function LastHour({ agent_id }) {
  const read = useRead(api`/v1/agents/${agent_id}/stats`, { concerns: () => false });
  return html`<${Read} of=${read}>${({ completed, failed, input_tokens, output_tokens }) =>
    completed || failed ? html`${completed} done${failed ? html`, <b>${failed} failed</b>` : ""}, ${amount(input_tokens + output_tokens)} tokens` : html`<span class="quiet">nothing</span>`}<//>`;
}
