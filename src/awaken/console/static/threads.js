/** Threads: the list, most recently active first. */

import { html } from "./html.js";
import { Action, List, ShortId, Status, When } from "./parts.js";
import { go, to } from "./route.js";
import { brief } from "./text.js";

const COLUMNS = [
  { title: "Thread", cell: (thread) => html`<${ShortId} id=${thread.thread_id} />` },
  { title: "Status", cell: (thread) => html`<${Status} of=${thread.status} />` },
  { title: "Title", wide: true, cell: (thread) => brief(thread.title ?? "") },
  { title: "Messages", cell: (thread) => thread.message_count },
  { title: "Active", cell: (thread) => html`<${When} at=${thread.updated_at} />` },
];

const STATUSES = ["idle", "queued", "busy", "waiting", "error"];

export default function Threads({ route }) {
  return html`<${List}
    title="Threads"
    route=${route}
    path="/v1/threads"
    columns=${COLUMNS}
    id=${(thread) => thread.thread_id}
    href=${(thread) => to("threads", thread.thread_id)}
    filters=${[
      { name: "status", label: "Status", options: STATUSES, flag: "--status" },
      { name: "q", label: "Title holds", flag: "--title" },
      { name: "id_prefix", label: "Id begins with" },
      { name: "resource_id", label: "Belongs to", flag: "--resource" },
      { name: "root", label: "Without parent", options: ["true"] },
    ]}
    actions=${() => html`<div class="acts"><${New} /></div>`}
    cli="threads"
    empty=${{ text: "There is no thread yet. This makes one:", command: 'run AGENT "What can you do?"' }}
  />`;
}

function New() {
  const fields = [
    { name: "thread_id", label: "Id, a new one where it is left out", type: "text" },
    { name: "title", label: "Title", type: "text" },
    { name: "resource_id", label: "Whom it belongs to", type: "text" },
  ];
  const request = (given) => ({ method: "POST", path: "/v1/threads", body: Object.fromEntries(Object.entries(given).filter(([, value]) => value)) });
  return html`<${Action} label="New thread" fields=${fields} request=${request} done=${({ thread_id }) => go("threads", thread_id)} />`;
}
