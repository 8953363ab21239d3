/** Workers: the processes that work on the store, and when each last said that it lives. */

import { html } from "./html.js";
import { List, ShortId, Status, When } from "./parts.js";
import { to } from "./route.js";

const COLUMNS = [
  { title: "Worker", cell: (worker) => html`<${ShortId} id=${worker.consumer_id} />` },
  { title: "State", cell: (worker) => html`<${Status} of=${worker.drained ? "drained" : "live"} />` },
  { title: "Role", cell: (worker) => worker.role },
  { title: "Host", cell: (worker) => `${worker.host}, process ${worker.pid}` },
  { title: "Executes", cell: ({ executing, stats: { slots } }) => (slots ? `${executing} of at most ${slots}` : executing) },
  { title: "Agents", wide: true, cell: (worker) => html`<span class="quiet">${worker.routes.join(", ")}</span>` },
  { title: "Version", cell: (worker) => worker.version },
  { title: "Began", cell: (worker) => html`<${When} at=${worker.started_at} />` },
  { title: "Seen", cell: (worker) => html`<${When} at=${worker.seen_at} />` },
];

export default function Workers({ route }) {
  return html`<${List}
    title="Workers"
    route=${route}
    path="/v1/workers"
    whole=${true}
    columns=${COLUMNS}
    id=${(worker) => worker.consumer_id}
    href=${(worker) => to("queue", { status: "claimed", claimed_by: worker.consumer_id })}
    cli=${["workers"]}
    empty=${{ text: "No process has said that it lives. On Postgres this starts some:", command: "worker module:app --processes 2" }}
  />`;
}
