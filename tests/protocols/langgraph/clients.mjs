// LangGraph's JavaScript client, as a page or a program uses it.

import { Client } from "@langchain/langgraph-sdk";

const GO = { messages: [{ type: "human", content: "Go on.", id: "m1" }] };

const clientOf = (url, options) => new Client({ apiUrl: url, apiKey: null, ...options });

async function collected(stream) {
  const seen = [];
  for await (const part of stream) seen.push({ event: part.event, data: part.data, id: part.id });
  return seen;
}

export async function makeThread(url) {
  return (await clientOf(url).threads.create()).thread_id;
}

export async function streamed(url, threadId, agent, payload) {
  return collected(clientOf(url).runs.stream(threadId, agent, { input: payload?.command ? undefined : GO, ...payload }));
}

export async function joined(url, threadId, runId, options) {
  return collected(clientOf(url).runs.joinStream(threadId, runId, options));
}

export async function called(url, group, method, ...args) {
  return (await clientOf(url)[group][method](...args)) ?? null;
}

export async function failed(url, group, method, ...args) {
  try {
    await clientOf(url, { callerOptions: { maxRetries: 0 } })[group][method](...args);
  } catch (error) {
    return error.status ?? String(error);
  }
  return null;
}

// What `useStream` makes of the pieces of messages.
export async function assembled(url, threadId, agent) {
  const { MessageTupleManager } = await import("@langchain/langgraph-sdk/ui");
  const manager = new MessageTupleManager();
  const texts = {};
  for await (const { event, data } of clientOf(url).runs.stream(threadId, agent, { input: GO, streamMode: "messages-tuple" })) {
    if (event !== "messages") continue;
    const id = manager.add(data[0], data[1]);
    const chunk = manager.get(id).chunk;
    texts[id] = { type: chunk.getType(), content: chunk.content, calls: chunk.tool_calls ?? [] };
  }
  return texts;
}

// The streaming protocol.
export async function followed(url, agent) {
  const client = clientOf(url);
  const thread = client.threads.stream({ assistantId: agent });
  const methods = [];
  thread.onEvent((event) => methods.push(event.method === "lifecycle" ? `lifecycle:${event.params.data.event}` : event.method));
  try {
    const messages = [];
    const reading = (async () => {
      for await (const message of thread.messages) messages.push(await message.text);
    })();
    await thread.run.start({ input: GO });
    const values = await thread.output;
    await reading;
    return { messages, texts: values.messages.map((message) => message.text), methods };
  } finally {
    await thread.close();
  }
}

export async function responded(url, agent, response) {
  const client = clientOf(url);
  const thread = client.threads.stream({ assistantId: agent });
  try {
    const ends = [];
    let more;
    thread.onEvent((event) => {
      if (event.method !== "lifecycle" || event.params.data.event === "running") return;
      ends.push(event.params.data.event);
      more?.();
    });
    const next = async (count) => {
      while (ends.length < count) await new Promise((resolve) => { more = resolve; });
    };
    await thread.run.start({ input: GO });
    await next(1);
    const [asked] = thread.interrupts;
    await thread.input.respond({ interrupt_id: asked.interruptId, namespace: asked.namespace, response });
    await next(2);
    return { asked: asked.payload, ends, values: (await client.threads.getState(thread.threadId)).values };
  } finally {
    await thread.close();
  }
}

// A stream that is begun in one call and read to its end in another.
let begun;

export async function begin(url, threadId, agent, until) {
  const seen = [];
  let reached;
  const there = new Promise((resolve) => { reached = resolve; });
  begun = (async () => {
    const stream = clientOf(url).runs.stream(threadId, agent, { input: GO, streamMode: ["messages-tuple", "values"] });
    for await (const part of stream) {
      seen.push({ event: part.event, data: part.data });
      if (part.event === "messages" && part.data[0].content === until) reached();
    }
    return seen;
  })();
  await Promise.race([there, begun]);
}

export async function finish() {
  return begun;
}
