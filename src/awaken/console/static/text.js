/**
 * Text of agents, models and callers, made safe to look at.
 *
 * Holds: it never becomes markup, so nothing in it can act. Characters that turn the direction of writing or cannot be
 * seen are shown as their codes; what is very long is cut, with how much is missing; links lead to http and https alone,
 * and say where.
 */

import { html, useState } from "./html.js";

export const CLIP_CHARS = 4_000;
const MARKDOWN_CHARS = 40_000;
const UNSEEN = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\uffff]/g;

/** The text, with characters that would deceive as their codes. */
export function seen(text) {
  return String(text).replace(UNSEEN, (char) => `⟨${char.charCodeAt(0).toString(16).padStart(4, "0")}⟩`);
}

/** The text on one line, at most so long. */
export function brief(text, chars = 120) {
  const line = seen(String(text).slice(0, chars * 4)).replace(/\s+/g, " ").trim();
  return line.length > chars ? `${line.slice(0, chars - 1)}…` : line;
}

/** JSON in the form people read; a text as it is. */
export function pretty(value) {
  return typeof value === "string" ? value : JSON.stringify(value, null, 2);
}

/** JSON on one line of what can be seen: characters that cannot are written as JSON escapes them, so it means the same. */
export function exact(value) {
  return JSON.stringify(value).replace(UNSEEN, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** Whether a whole number in it may have been rounded when it was read. */
export function inexact(value) {
  if (typeof value === "number") return Number.isInteger(value) && !Number.isSafeInteger(value);
  return value !== null && typeof value === "object" && Object.values(value).some(inexact);
}

/** How long, in at most two units: `4 ms`, `3.2 s`, `5 min 20 s`, `2 d 3 h`. */
export function lasting(ms) {
  if (ms < 1_000) return `${Math.max(0, Math.round(ms))} ms`;
  const s = ms / 1_000;
  if (s < 10) return `${s.toFixed(1)} s`;
  const units = [["d", 86_400], ["h", 3_600], ["min", 60], ["s", 1]]; // prettier-ignore
  const from = units.findIndex(([, size]) => s >= size);
  const [name, size] = units[from];
  const whole = Math.floor(s / size);
  const next = units[from + 1];
  const rest = next ? Math.floor((s % size) / next[1]) : 0;
  return rest ? `${whole} ${name} ${rest} ${next[0]}` : `${whole} ${name}`;
}

/** A number of tokens or bytes: `940`, `12.4 k`, `3.1 M`. */
export function amount(number) {
  if (number === null || number === undefined) return "";
  if (Math.abs(number) < 1_000) return String(number);
  const [size, unit] = Math.abs(number) < 1_000_000 ? [1_000, "k"] : [1_000_000, "M"];
  return `${(number / size).toFixed(1)} ${unit}`;
}

/** Text as it is, cut when it is long; all of it on demand, a piece at a time. */
export function Text({ text, chars = CLIP_CHARS, block = false }) {
  const [shown, show] = useState(chars);
  const whole = String(text);
  const rest = whole.length - shown;
  const content = html`<bdi>${seen(whole.slice(0, shown))}</bdi>${rest > 0 &&
  html` <button type="button" class="link" onClick=${() => show(shown + 50_000)}>… ${amount(rest)} characters more</button>`}`;
  return block ? html`<pre class="text" tabindex="0">${content}</pre>` : html`<span class="text">${content}</span>`;
}

/** A link that a text contains. */
function Outside({ href, children }) {
  let url;
  try {
    url = new URL(href);
  } catch {
    return children;
  }
  if (!["http:", "https:"].includes(url.protocol)) return children;
  const host = seen(url.host);
  return html`<a href=${url.href} target="_blank" rel="noopener noreferrer nofollow">${children}</a
    ><span class="quiet"> (${host})</span>`;
}

const INLINE = /(`+)(.+?)\1|\*\*(.+?)\*\*|__(.+?)__|\*([^*\s][^*]*?)\*|\[([^\]]{1,500})\]\(([^()\s]{1,2000})\)|(https?:\/\/[^\s<>()"']{1,2000})/;

/** One line's emphasis, code and links. */
function inline(text) {
  const parts = [];
  let rest = text;
  for (let found; (found = INLINE.exec(rest)); ) {
    if (found.index) parts.push(seen(rest.slice(0, found.index)));
    const [all, , code, bold, strong, slanted, label, target, bare] = found;
    if (code !== undefined) parts.push(html`<code>${seen(code)}</code>`);
    else if (bold ?? strong) parts.push(html`<strong>${seen(bold ?? strong)}</strong>`);
    else if (slanted) parts.push(html`<em>${seen(slanted)}</em>`);
    else if (target) parts.push(html`<${Outside} href=${target}>${seen(label)}<//>`);
    else parts.push(html`<${Outside} href=${bare}>${seen(bare)}<//>`);
    rest = rest.slice(found.index + all.length);
  }
  if (rest) parts.push(seen(rest));
  return parts;
}

/** Markdown as a model writes it: paragraphs, headings, lists, quotes and code, made of nodes and not of HTML. */
export function Markdown({ text }) {
  if (text.length > MARKDOWN_CHARS) return html`<${Text} text=${text} block=${true} />`;
  const blocks = [];
  let lines = [], list = null; // prettier-ignore
  const end = () => {
    if (lines.length) blocks.push(html`<p>${lines.map((line, at) => [at > 0 && html`<br />`, inline(line)])}</p>`);
    if (list) blocks.push(list.ordered ? html`<ol>${list.items}</ol>` : html`<ul>${list.items}</ul>`);
    lines = [];
    list = null;
  };
  const all = text.split("\n");
  for (let at = 0; at < all.length; at += 1) {
    const line = all[at].length > 8_000 ? `${all[at].slice(0, 8_000)} …` : all[at];
    const fence = /^\s*(```+|~~~+)/.exec(line);
    const item = /^\s*(?:([-*+])|(\d{1,9})[.)])\s+(.*)$/.exec(line);
    const heading = /^(#{1,6})\s+(.*)$/.exec(line);
    if (fence) {
      end();
      const from = at + 1;
      do at += 1; while (at < all.length && !all[at].trimStart().startsWith(fence[1])); // prettier-ignore
      blocks.push(html`<${Text} text=${all.slice(from, at).join("\n")} block=${true} />`);
    } else if (heading) {
      end();
      blocks.push(html`<p class="heading"><strong>${inline(heading[2])}</strong></p>`);
    } else if (item) {
      if (lines.length || (list && list.ordered !== Boolean(item[2]))) end();
      list ??= { ordered: Boolean(item[2]), items: [] };
      list.items.push(html`<li>${inline(item[3])}</li>`);
    } else if (!line.trim()) {
      end();
    } else if (/^\s*>/.test(line)) {
      end();
      blocks.push(html`<blockquote>${inline(line.replace(/^\s*>\s?/, ""))}</blockquote>`);
    } else {
      if (list) end();
      lines.push(line);
    }
  }
  end();
  return html`<div class="markdown" dir="auto">${blocks}</div>`;
}
