/** One run: why it is where it is, what was said, and what happened. */

import { html } from "./html.js";
import { api, useRead } from "./link.js";
import { Facts, Read, RunId, Status, ThreadId, When } from "./parts.js";

export default function Run({ route }) {
  const run_id = route.place[1];
  const mine = { concerns: (hint) => !hint.run_id || hint.run_id === run_id };
  const run = useRead(api`/v1/runs/${run_id}`, mine);
  return html`<h1>Run</h1>
    <${Read} of=${run}>
      ${(run) => html`<${Facts} of=${{ Run: html`<${RunId} id=${run.run_id} short=${false} />`, Phase: html`<${Status} of=${run.phase} />`, Thread: html`<${ThreadId} id=${run.thread_id} />`, Made: html`<${When} at=${run.created_at} />` }} />`}
    <//>`;
}
