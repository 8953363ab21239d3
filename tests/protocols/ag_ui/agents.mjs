// Agents of @ag-ui/client as it comes: HttpAgent verifies every event by itself. Nothing is put right here.
import { AbstractAgent, HttpAgent, buildResumeArray, runHttpRequest, transformHttpEventStream } from "@ag-ui/client";
import { from } from "rxjs";

const agents = new Map();

// A connection that breaks rejects a promise of the client's that nobody can await, beside the one of `runAgent`. A
// browser writes that to its console; Node.js would end.
process.on("unhandledRejection", (error) => console.error(error));

function view(name) {
  const { agent, seen } = agents.get(name);
  return {
    messages: agent.messages,
    state: agent.state,
    interrupts: agent.pendingInterrupts,
    ...seen,
  };
}

// HttpAgent that joins a thread as its `connectAgent` wants it.
class Agent extends HttpAgent {
  connect(input) {
    const url = `${this.base}/v1/ag-ui/threads/${input.threadId}/stream`;
    return transformHttpEventStream(runHttpRequest(() => this.fetch(url, { headers: this.headers })));
  }
}

// `options`: agent, threadId, state, tools, headers.
export function open(name, url, options = {}) {
  const seen = { events: [], errors: [], finishes: [], pending: [], warnings: [], statuses: [] };
  const path = options.agent ? `/v1/ag-ui/agents/${options.agent}/run` : "/v1/ag-ui/run";
  const agent = new Agent({
    url: `${url}${path}`,
    threadId: options.threadId ?? name,
    initialState: options.state,
    fetch: async (target, init) => {
      const answer = await fetch(target, init);
      seen.statuses.push(answer.status);
      return answer;
    },
  });
  agent.base = url;
  agent.subscribe({
    onEvent: ({ event }) => void seen.events.push(event),
    onRunFinishedEvent: ({ outcome, pendingToolCallIds, result }) => {
      seen.finishes.push({ outcome, result: result ?? null });
      seen.pending = pendingToolCallIds ?? [];
    },
    onRunErrorEvent: ({ event }) => void seen.errors.push({ code: event.code ?? null, message: event.message }),
  });
  agents.set(name, { agent, seen, tools: options.tools ?? [] });
}

async function ran(name, parameters) {
  const { agent, seen, tools } = agents.get(name);
  seen.events.length = 0;
  const warn = console.warn;
  console.warn = (...told) => seen.warnings.push(told.join(" "));
  try {
    await agent.runAgent({ tools, ...parameters });
  } catch (error) {
    seen.errors.push({ code: "thrown", message: String(error?.message ?? error) });
  } finally {
    console.warn = warn;
  }
  return view(name);
}

export async function send(name, content, parameters = {}) {
  const { agent } = agents.get(name);
  agent.addMessage({ id: parameters.id ?? crypto.randomUUID(), role: "user", content });
  return await ran(name, parameters);
}

export const again = (name, parameters = {}) => ran(name, parameters);

// `answers`: {interrupt id: {status, payload}}; "all" answers every one in the same way.
export async function resume(name, answers, all = undefined) {
  const { agent } = agents.get(name);
  const given = all ? Object.fromEntries(agent.pendingInterrupts.map((each) => [each.id, all])) : answers;
  return await ran(name, { resume: buildResumeArray(agent.pendingInterrupts, given) });
}

// As a page that carries the tool out.
export async function answer(name, toolCallId, content) {
  agents.get(name).agent.addMessage({ id: crypto.randomUUID(), role: "tool", toolCallId, content });
  return await ran(name, {});
}

export async function connect(name) {
  const { agent, seen } = agents.get(name);
  seen.events.length = 0;
  try {
    await agent.connectAgent();
  } catch (error) {
    seen.errors.push({ code: "thrown", message: String(error?.message ?? error) });
  }
  return view(name);
}

// As a stop button of a page does: `abortRun` of the client leaves the stream, and stops nothing.
export async function stop(name) {
  const { agent } = agents.get(name);
  await agent.fetch(`${agent.base}/v1/ag-ui/threads/${agent.threadId}/stop`, { method: "POST" });
  return view(name);
}

export { view };

// Begin a run, or to join one, and come back when so many characters of text are there.
const running = new Map();

async function shown(name, chars, begin) {
  const { agent } = agents.get(name);
  const text = () => agent.messages.map((each) => (each.role === "assistant" ? (each.content ?? "") : "")).join("");
  const enough = new Promise((resolve) => {
    agent.subscribe({ onMessagesChanged: () => void (text().length >= chars && resolve()) });
  });
  running.set(name, begin());
  await Promise.race([enough, running.get(name)]);
  return view(name);
}

export const begin = (name, content, chars) => shown(name, chars, () => send(name, content));
export const beginConnect = (name, chars) => shown(name, chars, () => connect(name));
export const over = (name) => running.get(name);

// What the client makes of whole streams of events, each on a page of its own that shows nothing yet.
class Replayed extends AbstractAgent {
  constructor(events) {
    super({ threadId: "replayed" });
    this.events = events;
  }

  run() {
    return from(this.events);
  }
}

export async function replay(streams) {
  const found = [];
  for (const events of streams) {
    const agent = new Replayed(events);
    const troubles = [];
    const warn = console.warn;
    console.warn = (...told) => troubles.push(told.join(" "));
    try {
      await agent.runAgent({});
    } catch (error) {
      troubles.push(String(error?.message ?? error));
    } finally {
      console.warn = warn;
    }
    found.push({ messages: agent.messages, state: agent.state, interrupts: agent.pendingInterrupts, troubles });
  }
  return found;
}
