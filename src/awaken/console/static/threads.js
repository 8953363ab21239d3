/** Threads: the list, most recently active first. */

import { html } from "./html.js";
import { List, ShortId, Status, When } from "./parts.js";
import { to } from "./route.js";
import { brief } from "./text.js";

const COLUMNS = [
  { title: "Thread", cell: (thread) => html`<${ShortId} id=${thread.thread_id} />` },
  { title: "Status", cell: (thread) => html`<${Status} of=${thread.status} />` },
  { title: "Title", wide: true, cell: (thread) => brief(thread.title ?? "") },
  { title: "Messages", cell: (thread) => thread.message_count },
  { title: "Active", cell: (thread) => html`<${When} at=${thread.updated_at} />` },
];

export default function Threads({ route }) {
  return html`<${List}
    title="Threads"
    route=${route}
    path="/v1/threads"
    columns=${COLUMNS}
    id=${(thread) => thread.thread_id}
    href=${(thread) => to("threads", thread.thread_id)}
    empty=${{ text: "There is no thread yet. This makes one:", command: 'awaken run "What can you do?"' }}
  />`;
}
