/** One agent: what it is, its numbers of the last hour, and a box that really runs it. */

import { html } from "./html.js";
import { api, useRead } from "./link.js";
import { Commands, Facts, Json, Read } from "./parts.js";
import { Pausing, Standing } from "./agents.js";
import { to } from "./route.js";
import { Text, amount, brief, lasting } from "./text.js";
import { TryIt } from "./try.js";

const seconds = (value) => (value === null || value === undefined ? null : lasting(value * 1_000));

export default function Agent({ route }) {
  const agent_id = route.place[1];
  const path = api`/v1/agents/${agent_id}`;
  const read = useRead(path);
  const stats = useRead(`${path}/stats`, { concerns: ({ kind }) => kind === undefined });
  return html`
    <header class="title"><h1>${brief(agent_id, 200)}</h1>${read.value && html`<${Standing} agent=${read.value} />`}</header>
    <${Read} of=${read}>${(agent) => html`
    ${agent.description && html`<p><${Text} text=${agent.description} /></p>`}
    <div class="acts"><${Pausing} agent=${agent} done=${read.reload} /> <a href=${to("runs", { agent_id })}>Its runs</a></div>
    ${agent.not_loadable && html`<p class="problem"><${Text} text=${agent.not_loadable} /></p>`}
    <${TryIt} agents=${[agent_id]} />
    <h2>What it is</h2>
    <${Facts} of=${{
      Kind: agent.kind.replaceAll("_", " "),
      Version: agent.version,
      "All versions": agent.versions.map((each) => each.version ?? "none").join(", "),
      Can: Object.entries(agent.capabilities).filter(([, can]) => can === true).map(([name]) => name.replaceAll("_", " ")).join(", "),
      Attachments: agent.capabilities.attachments?.join(", "),
    }} />
    ${agent.input_schema && html`<h3>What it takes</h3><${Json} value=${agent.input_schema} />`}
    ${agent.output_schema && html`<h3>What it comes to</h3><${Json} value=${agent.output_schema} />`}
    <h2>The last hour, in this process</h2>
    <${Read} of=${stats}>${(found) => html`<${Facts} of=${{
      Submitted: found.submitted,
      Completed: found.completed,
      Failed: found.failed,
      "Tried again": found.retried,
      Cancelled: found.cancelled,
      "Waited, half of them less": seconds(found.wait_p50_s),
      "Waited, 99 of 100 less": seconds(found.wait_p99_s),
      "Took, half of them less": seconds(found.run_p50_s),
      "Took, 99 of 100 less": seconds(found.run_p99_s),
      "Model calls": found.model_calls,
      Tokens: `${amount(found.input_tokens)} in, ${amount(found.output_tokens)} out`,
    }} />`}<//>`}<//>
    <${Commands} of=${[
      { label: "This agent", request: { path }, cli: ["agents", "show", agent_id] },
      { label: "Its last hour", request: { path: `${path}/stats` }, cli: ["stats", "--agent", agent_id] },
      { label: "Run it", request: { method: "POST", path: "/v1/runs/stream", body: { agent_id, input: "What can you do?" } }, cli: ["run", agent_id, "What can you do?"] },
    ]} />
  `;
}
