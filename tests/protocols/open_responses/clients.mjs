// OpenAI's JavaScript client, as a program uses it.

import OpenAI from "openai";

const clientOf = (url) => new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });

export async function called(url, path, ...args) {
  const names = path.split(".");
  const method = names.pop();
  let group = clientOf(url);
  for (const name of names) group = group[name];
  try {
    const made = await group[method](...args);
    if (made?.[Symbol.asyncIterator] && made.object !== "list" && !made.data) {
      const seen = [];
      for await (const each of made) seen.push(each);
      return seen;
    }
    return made?.data && Array.isArray(made.data) ? made.data : (made ?? null);
  } catch (error) {
    return { refused: error.status ?? String(error), code: error.code ?? null };
  }
}

// The stream helper, and what it has in the end.
export async function helped(url, asked) {
  const stream = clientOf(url).responses.stream(asked);
  const numbers = [];
  let text = "";
  for await (const event of stream) {
    numbers.push(event.sequence_number);
    if (event.type === "response.output_text.delta") text += event.delta;
  }
  return { numbers, text, final: await stream.finalResponse() };
}

// Begins one in the background, loses the connection after so many events, and goes on.
export async function cut(url, asked, count) {
  const client = clientOf(url);
  const seen = [];
  for await (const event of await client.responses.create({ ...asked, background: true, stream: true })) {
    seen.push(event);
    if (seen.length === count) break;
  }
  const { id } = seen[0].response;
  const rest = await client.responses.retrieve(id, { stream: true, starting_after: seen.at(-1).sequence_number });
  for await (const event of rest) seen.push(event);
  return seen;
}

export async function chatted(url, asked) {
  const stream = clientOf(url).chat.completions.stream(asked);
  return { content: await stream.finalContent(), completion: await stream.finalChatCompletion() };
}
