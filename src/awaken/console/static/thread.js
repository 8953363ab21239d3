/** One thread: its conversation, what waits to be taken, and its runs. */

import { html } from "./html.js";
import { api, useRead } from "./link.js";
import { Facts, Read, Status, ThreadId } from "./parts.js";

export default function Thread({ route }) {
  const thread_id = route.place[1];
  const thread = useRead(api`/v1/threads/${thread_id}`, { concerns: (hint) => !hint.thread_id || hint.thread_id === thread_id });
  return html`<h1>Thread</h1>
    <${Read} of=${thread}>
      ${(thread) => html`<${Facts} of=${{ Thread: html`<${ThreadId} id=${thread.thread_id} short=${false} />`, Status: html`<${Status} of=${thread.status} />`, Title: thread.title }} />`}
    <//>`;
}
