// The chat of the example, as its page uses it, with either version of the SDK.
import * as ai6 from "ai6";
import * as ai7 from "ai7";

const SDKS = { 6: ai6, 7: ai7 };
const pages = new Map();

export async function open(name, module, version, url, agent, id) {
  const { openChat } = await import(module);
  pages.set(name, await openChat(SDKS[version], { url, agent, id }));
  return view(name);
}

export function view(name) {
  const { chat, queue } = pages.get(name);
  const words = (message) => message.parts.map((part) => (part.type === "text" ? part.text : "")).join("");
  return { status: chat.status, messages: chat.messages.map((each) => [each.role, words(each)]), queue: queue() };
}

// Until the page shows so many messages, the last of them with this text.
export async function shows(name, count, text) {
  for (;;) {
    const seen = view(name);
    if (seen.messages.length === count && seen.messages.at(-1)[1] === text && seen.status === "ready") return seen;
    await new Promise((done) => setImmediate(done));
  }
}

export async function begin(name, text) {
  const { chat, say } = pages.get(name);
  say(text);
  while (chat.messages.at(-1)?.role !== "assistant" || !view(name).messages.at(-1)[1]) {
    await new Promise((done) => setImmediate(done));
  }
}

// Until the server has taken it, whenever it is answered.
export async function taken(name, text) {
  const { chat, say } = pages.get(name);
  say(text);
  while (chat.messages.at(-1)?.role !== "assistant") await new Promise((done) => setImmediate(done));
}

export async function act(name, method, ...args) {
  const answer = await pages.get(name)[method](...args);
  return { ok: answer === true, ...view(name) };
}
