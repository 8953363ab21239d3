// A chat of the AI SDK whose conversation and queue are the server's. The SDK is handed in: `import * as ai from "ai"`.
// What is plain here is plain on purpose: with React, Vue or Svelte, `useChat` has the state, and the rest stays as it is.

const copy = (value) => JSON.parse(JSON.stringify(value));

// What a chat keeps, for a page that draws itself anew whenever something changes.
class PlainState {
  constructor(messages, changed) {
    this.changed = changed;
    this.kept = { messages, status: "ready", error: undefined };
  }
  get messages() { return this.kept.messages; }
  set messages(messages) { this.keep({ messages }); }
  get status() { return this.kept.status; }
  set status(status) { this.keep({ status }); }
  get error() { return this.kept.error; }
  set error(error) { this.keep({ error }); }
  keep(some) {
    this.kept = { ...this.kept, ...some };
    this.changed();
  }
  pushMessage = (message) => (this.messages = [...this.messages, copy(message)]);
  popMessage = () => (this.messages = this.messages.slice(0, -1));
  replaceMessage = (place, message) => (this.messages = this.messages.map((each, at) => (at === place ? copy(message) : each)));
  snapshot = (value) => structuredClone(value);
}

// Text that an attempt said and that was taken back is no part of the answer.
export const isVoid = (part) => part.providerMetadata?.awaken?.void === true;

// The server has the files of all messages but the last: sent again and again they would be too much for a request.
const withoutKnownFiles = (message, place, all) =>
  place === all.length - 1 ? message : { ...message, parts: message.parts.filter(({ type }) => type !== "file") };

export async function openChat(ai, { url = "", agent, id, changed = () => {} }) {
  const api = `${url}/v1/ai-sdk/agents/${agent}/chat`;
  const thread = `${url}/v1/threads/${encodeURIComponent(id)}`;
  class Chat extends ai.AbstractChat {}
  const state = new PlainState((await read(messagesOf(api, id))) || [], changed);
  const chat = new Chat({
    id,
    state,
    // What another page of the thread is doing goes on: what is said here comes behind it, and not in its place.
    transport: new ai.DefaultChatTransport({
      api,
      body: { multitaskStrategy: "enqueue" },
      prepareSendMessagesRequest: ({ id, messages, trigger, messageId, body }) => ({
        body: { ...body, id, trigger, messageId, messages: messages.map(withoutKnownFiles) },
      }),
    }),
    sendAutomaticallyWhen: (asked) =>
      ai.lastAssistantMessageIsCompleteWithApprovalResponses(asked) ||
      ai.lastAssistantMessageIsCompleteWithToolCalls(asked),
    onFinish: () => setTimeout(follow),
  });

  // Whatever goes on in the thread by now is shown: an answer to a queued message, or one that another page asked for.
  async function follow() {
    await refreshQueue();
    const messages = await read(messagesOf(api, id));
    if (chat.status !== "ready" || messages === AWAY) return;
    state.messages = messages ?? [];
    await chat.resumeStream();
  }

  // --- the queue: messages that nobody has taken yet, kept by the server ---
  let queue = { items: [], revision: "" };
  async function refreshQueue() {
    const known = await read(`${thread}/pending`);
    if (known === AWAY) return;
    queue = known ?? { items: [], revision: "" };
    changed();
  }
  async function change(path, method, revision, body) {
    const headers = { "content-type": "application/json", "if-match": `"${revision}"` };
    const answer = await fetch(`${thread}/pending/${path}`, { method, headers, body: body && JSON.stringify(body) });
    await refreshQueue(); // also where somebody was faster: then this is what there is now
    return answer.ok;
  }
  const queued = (messageId) => queue.items.find((each) => each.message_id === messageId);

  await refreshQueue();
  return {
    chat,
    follow,
    queue: () => queue.items.map((each) => ({ id: each.message_id, text: each.content.map((block) => block.text ?? "").join("") })),
    // While the agent answers, what is said waits, and is answered one by one; otherwise it is sent.
    async say(text) {
      if (chat.status === "ready" || chat.status === "error") return chat.sendMessage({ text });
      const body = { mode: "follow_up", granularity: "one", messages: [{ id: chat.generateId(), content: text }] };
      await fetch(`${thread}/messages`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
      });
      await refreshQueue();
    },
    edit: (messageId, text) => change(messageId, "PATCH", queued(messageId)?.revision, { message: { content: text } }),
    remove: (messageId) => change(messageId, "DELETE", queued(messageId)?.revision),
    order: (messageIds) => change("order", "PUT", queue.revision, { message_ids: messageIds }),
    refreshQueue,
    // The run stops, on the server; closing the page does not stop it.
    stop: () => fetch(`${api}/${encodeURIComponent(id)}/stop`, { method: "POST" }),
  };
}

const messagesOf = (api, id) => `${api}/${encodeURIComponent(id)}/messages`;

// What the server has there: null where there is nothing yet, AWAY where it cannot be asked now. What is shown stays then.
const AWAY = false;
async function read(address) {
  try {
    const answer = await fetch(address);
    return answer.ok ? await answer.json() : null;
  } catch {
    return AWAY;
  }
}
