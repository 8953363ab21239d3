/** A box that really runs an agent, and shows its answer as it comes. */

import { html, useEffect, useRef, useState } from "./html.js";
import { client } from "./link.js";
import { Problem, RunId, Status } from "./parts.js";
import { Markdown } from "./text.js";

/** `agents`: the names to choose from. */
export function TryIt({ agents }) {
  const [run, begin] = useState(null);
  const [shown, show] = useState({ texts: new Map(), ended: null });
  const [problem, fail] = useState(null);
  const [busy, turn] = useState(false);
  const watch = useRef(null);
  const form = useRef(null);
  useEffect(() => () => watch.current?.close(), []);

  const take = ({ kind, payload }) =>
    show(({ texts, ended }) => {
      const next = new Map(texts);
      if (kind === "TextDeltaObserved") next.set(payload.message_id, (next.get(payload.message_id) ?? "") + payload.delta);
      if (kind === "StreamReset") payload.message_id ? next.delete(payload.message_id) : next.clear();
      if (kind === "MessageCommitted" && payload.role === "assistant") next.set(payload.message_id, payload.content_blocks.map(({ text = "" }) => text).join(""));
      if (kind === "stream.end") turn(false);
      return { texts: next, ended: kind === "stream.end" ? payload.reason : kind.startsWith("Run") && payload.termination ? payload.termination.type : ended };
    });

  const submit = async (event) => {
    event.preventDefault();
    watch.current?.close();
    const said = new FormData(form.current);
    turn(true);
    fail(null);
    show({ texts: new Map(), ended: null });
    try {
      const begun = await client.submit(said.get("input"), { agent_id: said.get("agent_id") });
      begin(begun);
      watch.current = client.watch({ run_id: begun.run_id }, take);
      watch.current.done.catch(() => turn(false));
    } catch (error) {
      turn(false);
      fail(error);
    }
  };

  return html`<form ref=${form} class="try" onSubmit=${submit}>
    ${agents.length > 1
      ? html`<label>Agent <select name="agent_id">${agents.map((each) => html`<option key=${each}>${each}</option>`)}</select></label>`
      : html`<input type="hidden" name="agent_id" value=${agents[0]} />`}
    <label class="grows">Say <input name="input" required maxlength="20000" defaultValue="What can you do?" autocomplete="off" /></label>
    <button class="primary" disabled=${busy}>Run it</button>
    ${problem && html`<${Problem} of=${problem} />`}
    ${run && html`<div class="answer" aria-live="polite">
      ${[...shown.texts].map(([id, text]) => html`<${Markdown} key=${id} text=${text} />`)}
      <p class="quiet">${shown.ended ? html`<${Status} of=${shown.ended === "natural_end" || shown.ended === "done" ? "completed" : shown.ended} />` : html`<${Status} of="running" />`} run <${RunId} id=${run.run_id} /></p>
    </div>`}
  </form>`;
}
