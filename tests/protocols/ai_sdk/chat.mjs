// Chats of the AI SDK as it comes, 6 and 7: its chat class with plain state and its own transport. Nothing of a chat
// is put right here, so that what passes is what a page gets.
import * as ai6 from "ai6";
import * as ai7 from "ai7";

const SDKS = { 6: ai6, 7: ai7 };
const chats = new Map();

const copy = (value) => JSON.parse(JSON.stringify(value));

function state(messages) {
  return {
    status: "ready",
    error: undefined,
    messages,
    pushMessage(message) {
      this.messages = [...this.messages, copy(message)];
    },
    popMessage() {
      this.messages = this.messages.slice(0, -1);
    },
    replaceMessage(index, message) {
      this.messages = this.messages.map((each, place) => (place === index ? copy(message) : each));
    },
    snapshot: (value) => structuredClone(value),
  };
}

// `options`: id, messages, agent, body, headers, auto ("approvals", "tools", "both"), client (name of a tool that the
// page carries out, with its output), asks (7 or 6, sent as the dialect), queue.
export function open(name, version, url, options = {}) {
  const ai = SDKS[version];
  const seen = { requests: [], statuses: [], chunks: [], data: [], errors: [], finishes: [] };
  const api = options.agent ? `${url}/v1/ai-sdk/agents/${options.agent}/chat` : `${url}/v1/ai-sdk/chat`;
  const transport = new ai.DefaultChatTransport({
    api,
    body: { ...(options.asks ? { dialect: options.asks } : {}), ...(options.body ?? {}) },
    headers: options.asks ? { "x-ai-sdk-dialect": String(options.asks) } : {},
    fetch: async (target, init) => {
      seen.requests.push(`${init.method} ${new URL(target).pathname}`);
      const answer = await fetch(target, init);
      seen.statuses.push(answer.status);
      if (!answer.body) return answer;
      const [mine, theirs] = answer.body.tee();
      const read = collect(mine, seen.chunks);
      seen.reading = Promise.all([seen.reading, read.catch(() => {})]);
      return new Response(theirs, { status: answer.status, headers: answer.headers });
    },
  });
  const complete = {
    approvals: ai.lastAssistantMessageIsCompleteWithApprovalResponses,
    tools: ai.lastAssistantMessageIsCompleteWithToolCalls,
  };
  complete.both = (asked) => complete.approvals(asked) || complete.tools(asked);
  class Chat extends ai.AbstractChat {
    constructor(init) {
      super({ ...init, state: state(init.messages ?? []) });
    }
  }
  const chat = new Chat({
    id: options.id ?? name,
    messages: options.messages,
    transport,
    experimental_queue: options.queue,
    sendAutomaticallyWhen: complete[options.auto],
    onError: (error) => seen.errors.push(String(error?.message ?? error)),
    onData: (part) => seen.data.push(part),
    onFinish: ({ isAbort, isDisconnect, isError, finishReason }) =>
      seen.finishes.push({ isAbort, isDisconnect, isError, finishReason: finishReason ?? null }),
    onToolCall: ({ toolCall }) => {
      const tool = options.client;
      if (tool && toolCall.toolName === tool.name) {
        chat.addToolOutput({ tool: tool.name, toolCallId: toolCall.toolCallId, ...tool.answer });
      }
    },
  });
  chats.set(name, { ai, version, chat, seen, api, url });
}

// Stop on the server, as a stop button of a page does.
export async function halt(name) {
  const { api, chat } = chats.get(name);
  return (await fetch(`${api}/${chat.id}/stop`, { method: "POST" })).status;
}

export async function history(name) {
  const { url, chat, version } = chats.get(name);
  return await (await fetch(`${url}/v1/ai-sdk/threads/${chat.id}/messages?dialect=${version}`)).json();
}

async function collect(stream, chunks) {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const frames = (rest + text).split("\n\n");
    rest = frames.pop();
    for (const frame of frames) {
      const line = frame.split("\n").find((each) => each.startsWith("data: "));
      if (line) chunks.push(line === "data: [DONE]" ? line.slice(6) : JSON.parse(line.slice(6)));
    }
  }
}

const of = (name) => chats.get(name).chat;

function idle(chat) {
  return chat.status === "ready" || chat.status === "error";
}

// What a chat sends by itself begins a turn of the loop or two after the answer that led to it.
export const settle = (name) => settled(name);

async function settled(name) {
  const { chat } = chats.get(name);
  let quiet = 0;
  while (quiet < 5) {
    await new Promise((done) => setImmediate(done));
    quiet = idle(chat) && !chat.activeResponse ? quiet + 1 : 0;
  }
  return view(name);
}

export async function send(name, text, options = {}) {
  await of(name).sendMessage(typeof text === "string" ? { text } : text, options);
  return settled(name);
}

// Begins, and comes back as soon as so many characters of the answer are there.
export async function begin(name, text, chars = 1) {
  const { chat } = chats.get(name);
  const sending = chat.sendMessage({ text }).catch(() => {});
  chats.get(name).sending = sending;
  while (chars && (words(chat.messages.at(-1)).length < chars || chat.messages.at(-1).role !== "assistant")) {
    if (idle(chat) && chat.error) break;
    await new Promise((done) => setImmediate(done));
  }
  return view(name);
}

export async function over(name) {
  await chats.get(name).sending;
  return settled(name);
}

const words = (message) =>
  (message?.parts ?? [])
    .filter((part) => part.type === "text")
    .map((part) => part.text)
    .join("");

export async function approve(name, approved, reason) {
  const { chat } = chats.get(name);
  for (const part of chat.messages.at(-1).parts) {
    if (part.state === "approval-requested") {
      await chat.addToolApprovalResponse({ id: part.approval.id, approved, reason });
    }
  }
  return settled(name);
}

export async function answer(name, tool, output, errorText) {
  const { chat } = chats.get(name);
  const part = chat.messages.at(-1).parts.find((each) => each.type === `tool-${tool}`);
  await chat.addToolOutput(
    errorText === undefined || errorText === null
      ? { tool, toolCallId: part.toolCallId, output }
      : { tool, toolCallId: part.toolCallId, state: "output-error", errorText },
  );
  return settled(name);
}

export async function edit(name, messageId, text) {
  await of(name).sendMessage({ text, messageId });
  return settled(name);
}

export async function resend(name) {
  await of(name).sendMessage();
  return settled(name);
}

export async function regenerate(name, messageId) {
  await of(name).regenerate(messageId ? { messageId } : {});
  return settled(name);
}

export async function resume(name) {
  await of(name).resumeStream();
  return settled(name);
}

// Comes back, and is there as soon as the server has answered.
export async function rejoin(name) {
  const { chat, seen } = chats.get(name);
  const before = seen.statuses.length;
  chats.get(name).sending = chat.resumeStream();
  while (seen.statuses.length === before) await new Promise((done) => setImmediate(done));
  return view(name);
}

export async function stop(name) {
  await of(name).stop();
  return settled(name);
}

export function view(name) {
  const { chat, seen } = chats.get(name);
  return {
    status: chat.status,
    messages: copy(chat.messages),
    requests: seen.requests,
    statuses: seen.statuses,
    errors: seen.errors,
    finishes: seen.finishes,
    data: seen.data.map((part) => part.type),
  };
}

// Everything that came over the wire, in the judgement of the client's own schema.
export async function chunks(name, version) {
  const { seen } = chats.get(name);
  await seen.reading;
  const schema = await SDKS[version ?? chats.get(name).version].uiMessageChunkSchema();
  const bad = [];
  for (const chunk of seen.chunks) {
    if (chunk === "[DONE]") continue;
    const result = await schema.validate(chunk);
    if (!result.success) bad.push({ chunk, error: String(result.error) });
  }
  return { chunks: seen.chunks, bad };
}

export async function validate(version, messages) {
  const found = await SDKS[version].safeValidateUIMessages({ messages });
  return found.success ? "" : String(found.error);
}

// What the client's own reducer makes of the chunks of a run, turn by turn, and what its schema and validation say.
// `approved`: what the page of 6 has said between them, of which its stream has no word.
export async function reduced(version, turns, approved) {
  const ai = SDKS[version];
  const schema = await ai.uiMessageChunkSchema();
  const faults = [];
  let message;
  for (const chunks of turns) {
    for (const part of message?.parts ?? []) {
      if (version === 6 && part.state === "approval-requested") {
        Object.assign(part, { state: "approval-responded", approval: { ...part.approval, approved } });
      }
    }
    for (const chunk of chunks) {
      const result = await schema.validate(chunk);
      if (!result.success) faults.push(`${JSON.stringify(chunk)}: ${result.error}`);
    }
    const stream = new ReadableStream({
      start(controller) {
        for (const chunk of chunks) controller.enqueue(chunk);
        controller.close();
      },
    });
    const onError = (error) => faults.push(String(error));
    const ends = chunks.some((chunk) => chunk.type === "error") ? () => {} : onError;
    for await (const each of ai.readUIMessageStream({ message, stream, onError: ends })) message = copy(each);
  }
  const invalid = message?.parts.length ? await validate(version, [message]) : "";
  return { message: message ?? null, faults: invalid ? [...faults, invalid] : faults };
}
