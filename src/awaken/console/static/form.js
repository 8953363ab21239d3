/**
 * A form made from a JSON schema, for what a run is answered with and for arguments that somebody edits.
 *
 * Holds: texts, numbers, yes or no, choices, and lists and objects of these have fields; whatever else a schema says is a
 * field for JSON, and all of it can be written as JSON. What can be known to be refused is said at its field before it is
 * sent, and what the server refuses stands there as well. A field that nobody touched sends what it was given.
 *
 * `shapeOf` says what a value is asked for as, `draftOf` what its fields hold, `valueOf` what that comes to.
 */

import { html, useId, useLayoutEffect, useRef, useState } from "./html.js";
import { brief, inexact, pretty, seen } from "./text.js";

const DEEP = 8;
const WIDE = 200;

// --- what is asked for -----------------------------------------------------------------------------------------------

/** The fields of a schema, and of a value that they begin with; one that does not fit is written as JSON. */
export function shapeOf(schema, value, root = schema, depth = 0) {
  const { said, nullable } = resolved(schema, root, depth);
  const json = { kind: "json", title: said.title, about: said.description };
  if (depth > DEEP || typeof said !== "object") return json;
  const base = { title: said.title, about: said.description, nullable, preset: said.default, rules: said };
  const inner = (each, of) => shapeOf(each, of, root, depth + 1);
  const shape = { ...base, ...kindOf(said, value ?? said.default, inner) };
  return shape.kind === "json" || value === undefined || (value === null && nullable) || fits(shape, value) ? shape : json;
}

function kindOf(said, value, inner) {
  if (Array.isArray(said.enum) && said.enum.length > WIDE) return { kind: "json" };
  if (Array.isArray(said.enum) || "const" in said) return { kind: "choice", options: said.enum ?? [said.const] };
  if (said.anyOf || said.oneOf || said.allOf || said.not || said.if) return { kind: "json" };
  switch (said.type) {
    case "string":
      return { kind: "text" };
    case "integer":
    case "number":
      return { kind: "number" };
    case "boolean":
      return { kind: "choice", options: [true, false], yes_no: true };
    case "array": {
      if (!said.items || said.prefixItems) return { kind: "json" };
      const [one, given] = [skeleton(inner(said.items)), Array.isArray(value) ? value : []];
      if (given.length > WIDE || given.some((each) => !same(skeleton(inner(said.items, each)), one))) return { kind: "json" };
      return { kind: "list", make: () => inner(said.items) };
    }
    case "object": {
      const names = Object.keys(said.properties ?? {});
      const has = typeof value === "object" && value !== null && !Array.isArray(value) ? value : {};
      if (!names.length || names.length > WIDE || Object.keys(has).some((name) => !names.includes(name))) return { kind: "json" };
      const required = new Set(said.required ?? []);
      return { kind: "object", parts: names.map((name) => ({ name, required: required.has(name), shape: inner(said.properties[name], own(has, name)) })) };
    }
    default:
      return { kind: "json" };
  }
}

/** The schema behind references within it, and whether it may be null as well. */
function resolved(schema, root, depth) {
  let said = schema;
  let nullable = false;
  for (let step = 0; step < DEEP && said && typeof said === "object"; step += 1) {
    const { $ref, ...beside } = said;
    const choices = said.anyOf ?? said.oneOf;
    if (typeof $ref === "string" && $ref.startsWith("#/")) {
      const names = $ref.slice(2).split("/").map((name) => decodeURIComponent(name).replaceAll("~1", "/").replaceAll("~0", "~"));
      said = { ...names.reduce(own, root), ...beside };
    } else if (Array.isArray(said.type) && said.type.length === 2 && said.type.includes("null")) {
      said = { ...said, type: said.type.find((type) => type !== "null") };
      nullable = true;
    } else if (choices?.length === 2 && choices.some((each) => each?.type === "null")) {
      const { anyOf, oneOf, ...rest } = said;
      said = { ...choices.find((each) => each?.type !== "null"), ...rest };
      nullable = true;
    } else break;
  }
  return { said: said ?? {}, nullable, depth };
}

function fits(shape, value) {
  if (shape.kind === "text") return typeof value === "string";
  if (shape.kind === "number") return typeof value === "number";
  if (shape.kind === "choice") return shape.options.some((option) => same(option, value));
  if (shape.kind === "list") return Array.isArray(value);
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A schema for arguments whose own nobody knows: what they are now says what they may be. */
export function schemaLike(value) {
  if (typeof value === "string") return { type: "string" };
  if (typeof value === "number") return { type: "number" };
  if (typeof value === "boolean") return { type: "boolean" };
  if (Array.isArray(value)) {
    const items = value.map(schemaLike);
    return items.length && items.every((each) => each.type !== "object" && same(each, items[0])) ? { type: "array", items: items[0] } : {};
  }
  if (value === null || typeof value !== "object") return {};
  return { type: "object", required: Object.keys(value), properties: Object.fromEntries(Object.entries(value).map(([name, part]) => [name, schemaLike(part)])) };
}

/** What a value itself has under that name, and not by inheritance. */
function own(value, name) {
  return value !== null && typeof value === "object" && Object.hasOwn(value, name) ? value[name] : undefined;
}

export const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

// --- what its fields hold --------------------------------------------------------------------------------------------

/** What fields hold at first. `undefined`: nothing was said, and nothing is sent. */
export function draftOf(shape, value = shape.preset) {
  if (shape.kind === "object") {
    return Object.fromEntries(shape.parts.map(({ name, shape: part }) => [name, draftOf(part, own(value, name))]));
  }
  if (shape.kind === "list") return (value ?? []).map((each) => draftOf(shape.make(), each));
  if (value === undefined || (value === null && shape.nullable)) return undefined;
  if (shape.kind === "text") return value;
  return shape.kind === "json" ? pretty2(value) : JSON.stringify(value);
}

const pretty2 = (value) => JSON.stringify(value, null, 2);

/** What the fields come to; what is wrong with them is added to `faults`, by the path of its field. */
export function valueOf(shape, draft, faults, path = [], required = true) {
  const wrong = (says) => void (faults.has(path.join("/")) || faults.set(path.join("/"), says));
  if (shape.kind === "object") return objectOf(shape, draft, faults, path, required);
  if (shape.kind === "list") {
    if (!draft.length && !required) return undefined;
    const { minItems = 0, maxItems = Infinity } = shape.rules;
    if (draft.length < minItems) wrong(`At least ${minItems} of these.`);
    if (draft.length > maxItems) wrong(`At most ${maxItems} of these.`);
    return draft.map((each, at) => valueOf(shape.make(), each, faults, [...path, at]));
  }
  if (draft === undefined || (draft === "" && shape.kind !== "text")) {
    if (required && shape.nullable) return null;
    if (required) wrong(shape.kind === "choice" ? "Choose one of these." : shape.kind === "number" ? "A number is wanted here." : "Say something here.");
    return undefined;
  }
  if (shape.kind === "text") return checkedText(shape, draft, wrong);
  if (shape.kind === "number") return checkedNumber(shape, draft, wrong);
  try {
    const said = JSON.parse(draft);
    if (keysIn(draft) !== keysOf(said)) return wrong("A key appears twice in one object; leave one of them out.");
    return inexact(said) ? wrong(ROUNDED) : said;
  } catch (error) {
    return wrong(`This is not JSON: ${error.message}`);
  }
}

/** How many keys a text of JSON has: its strings behind which there is a colon. */
const keysIn = (text) => (text.match(/"(?:[^"\\]|\\.)*"\s*:?/g) ?? []).filter((each) => each.endsWith(":")).length;
const keysOf = (value) =>
  value === null || typeof value !== "object" ? 0 : Object.values(value).reduce((count, each) => count + keysOf(each), Array.isArray(value) ? 0 : Object.keys(value).length);

const ROUNDED = "A browser would round so large a number; send it with one of the commands below.";
/** As JSON has it: a comma means thousands to some, and other bases are a surprise. */
const NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?(e[+-]?\d+)?$/i;

function objectOf(shape, draft, faults, path, required) {
  const untouched = shape.parts.every(({ shape: part, name }) => same(draft[name], draftOf(part, undefined)));
  if (untouched && !required) return undefined;
  const said = {};
  for (const { name, required: needed, shape: part } of shape.parts) {
    const value = valueOf(part, draft[name], faults, [...path, name], needed);
    if (value !== undefined) Object.defineProperty(said, name, { value, enumerable: true, configurable: true, writable: true });
  }
  return said;
}

function checkedText({ rules = {} }, text, wrong) {
  const { minLength = 0, maxLength = Infinity } = rules; // a `pattern` of somebody else could hang this page: the server says
  const long = [...text].length;
  if (long < minLength) wrong(`At least ${minLength} characters.`);
  if (long > maxLength) wrong(`At most ${maxLength} characters; this has ${long}.`);
  return text;
}

function checkedNumber({ rules = {} }, text, wrong) {
  const number = NUMBER.test(text.trim()) ? Number(text) : NaN;
  const { minimum = -Infinity, maximum = Infinity, exclusiveMinimum = -Infinity, exclusiveMaximum = Infinity } = rules;
  if (!Number.isFinite(number)) wrong("A number, such as 12 or 0.5.");
  else if (inexact(number)) wrong(ROUNDED);
  else if (rules.type === "integer" && !Number.isInteger(number)) wrong("A whole number.");
  else if (number < minimum) wrong(`At least ${minimum}.`);
  else if (number > maximum) wrong(`At most ${maximum}.`);
  else if (number <= exclusiveMinimum) wrong(`More than ${exclusiveMinimum}.`);
  else if (number >= exclusiveMaximum) wrong(`Less than ${exclusiveMaximum}.`);
  return number;
}

/** Where what the server says of a part of the value is shown: at its field, or the one that it is in. */
function fieldAt(shape, path) {
  const place = [];
  let at = shape;
  for (const name of path) {
    if (at.kind === "object") at = at.parts.find((part) => part.name === name)?.shape;
    else if (at.kind === "list" && Number.isInteger(name)) at = at.make();
    else break;
    if (!at) break;
    place.push(name);
  }
  return place.join("/");
}

// --- the form --------------------------------------------------------------------------------------------------------

/**
 * @param {object} props
 * @param {object} props.schema
 * @param {any} [props.value] What the fields begin with.
 * @param {string} props.label What the button says.
 * @param {string} [props.name] What the value is called, where it is a single field.
 * @param {(value: any) => Promise<void>} props.onSend May throw what the server says; it is shown at its field.
 * @param {string} [props.within] Where in the body the value is sent, as the server calls it.
 * @param {() => void} [props.onLeave]
 */
export function Form({ schema, value, label, name = "Answer", onSend, onLeave, within = "result", focus = false, children }) {
  const [as_json, turn] = useState(false);
  const [shape] = useState(() => shapeOf(schema ?? {}, value));
  const shown = as_json ? JSON_ONLY : shape;
  const [draft, draw] = useState(() => draftOf(shape, value));
  const [faults, find] = useState(() => new Map());
  const [problem, fail] = useState(null);
  const [busy, work] = useState(false);
  const form = useRef(null);
  const id = useId();
  useLayoutEffect(() => {
    if (focus) first(form.current)?.focus();
  }, [focus]);
  const send = async () => {
    const found = new Map();
    const said = valueOf(shown, draft, found);
    find(found);
    fail(null);
    if (found.size) return toFault(form);
    work(true);
    try {
      await onSend(said);
    } catch (refused) {
      const placed = new Map();
      for (const { loc = [], msg } of refused.problem?.errors ?? []) {
        const at = loc.indexOf(within);
        if (at >= 0) placed.set(fieldAt(shown, loc.slice(at + 1)), msg);
      }
      find(placed);
      if (placed.size) toFault(form);
      else fail(refused);
    }
    return work(false);
  };
  const swap = () => {
    const found = new Map();
    const said = valueOf(shown, draft, found);
    if (as_json) {
      if (found.size) return find(found);
      const fitting = shapeOf(schema ?? {}, said);
      if (JSON.stringify(skeleton(fitting)) !== JSON.stringify(skeleton(shape))) return find(new Map([["", "The fields cannot show this; it can be sent as it is."]]));
      draw(draftOf(shape, said));
    } else draw(said === undefined ? "" : pretty2(said));
    find(new Map());
    return turn(!as_json);
  };
  const keys = (event) => {
    if (event.key === "Escape" && onLeave) (event.preventDefault(), onLeave());
    const one_line = event.target.dataset?.kind === "text" && !event.shiftKey && !event.isComposing;
    if (event.key === "Enter" && (one_line || (event.ctrlKey && event.target.tagName === "TEXTAREA"))) (event.preventDefault(), send());
  };
  return html`<form ref=${form} class="form" novalidate onKeyDown=${keys} onSubmit=${(event) => (event.preventDefault(), busy || send())}>
    <${Field} shape=${shown} draft=${draft} set=${draw} faults=${faults} path=${[]} id=${id} name=${name} required />
    ${children}
    ${problem && html`<p class="fault" role="alert">${seen(problem.message)} <span class="quiet">${problem.code}</span></p>`}
    <div class="row">
      <button class="primary" disabled=${busy}>${label} <kbd>Enter</kbd></button>
      ${onLeave && html`<button type="button" onClick=${onLeave}>Leave it <kbd>Esc</kbd></button>`}
      ${shape.kind !== "json" && html`<button type="button" class="link" onClick=${swap}>${as_json ? "As fields" : "As JSON"}</button>`}
    </div>
  </form>`;
}

const JSON_ONLY = { kind: "json" };
const skeleton = (shape) => [shape.kind, shape.parts?.map(({ name, shape: part }) => [name, skeleton(part)])];
const first = (form) => form?.querySelector("textarea, input, select");
const toFault = (form) => setTimeout(() => form.current?.querySelector("[aria-invalid=true]")?.focus());

function Field({ shape, draft, set, faults, path, id, name, required }) {
  const place = path.join("/");
  const field_id = `${id}-${encodeURIComponent(place)}`;
  const fault = faults.get(place);
  const title = brief(shape.title && !path.length ? shape.title : name, 80);
  const about = shape.about && html`<span class="quiet about" id=${`${field_id}-about`}>${brief(shape.about, 400)}</span>`;
  const says = fault && html`<span class="fault" role="alert" id=${`${field_id}-fault`}>${brief(fault, 400)}</span>`;
  const inside = { faults, id };
  if (shape.kind === "object") {
    return html`<fieldset class=${path.length ? "" : "bare"} aria-invalid=${fault ? "true" : undefined} tabindex=${fault ? -1 : undefined}>
      <legend class=${path.length ? "" : "hidden"}>${title}</legend>
      ${about}
      ${shape.parts.map(
        ({ name: part, required: needed, shape: of }) =>
          html`<${Field} key=${part} shape=${of} draft=${draft[part]} set=${(value) => set({ ...draft, [part]: value })} path=${[...path, part]} name=${part} required=${needed} ...${inside} />`,
      )}
      ${says}
    </fieldset>`;
  }
  if (shape.kind === "list") {
    const one = shape.make();
    return html`<fieldset aria-invalid=${fault ? "true" : undefined} tabindex=${fault ? -1 : undefined}>
      <legend>${title}</legend>
      ${about}
      ${draft.map(
        (each, at) => html`<div class="row top" key=${at}>
          <${Field} shape=${one} draft=${each} set=${(value) => set(draft.map((old, index) => (index === at ? value : old)))} path=${[...path, at]} name=${`${name} ${at + 1}`} required ...${inside} />
          <button type="button" aria-label=${`Take out ${brief(name, 40)} ${at + 1}`} onClick=${() => set(draft.filter((_, index) => index !== at))}>Take out</button>
        </div>`,
      )}
      <div class="row"><button type="button" onClick=${() => set([...draft, draftOf(one)])}>Add one</button></div>
      ${says}
    </fieldset>`;
  }
  const hidden = shape.kind === "text" && draft !== undefined && draft.length < 100_000 && seen(draft) !== draft;
  const common = {
    id: field_id,
    "aria-invalid": fault ? "true" : undefined,
    "aria-required": required ? "true" : undefined,
    "aria-describedby": [about && `${field_id}-about`, says && `${field_id}-fault`].filter(Boolean).join(" ") || undefined,
  };
  return html`<div class="field">
    <label for=${field_id}>${title}${EMPTY[emptyOf(shape, required)] && html` <span class="quiet">${EMPTY[emptyOf(shape, required)]}</span>`}</label>
    <${Control} shape=${shape} draft=${draft} set=${set} required=${required} common=${common} />
    ${hidden && html`<span class="quiet">With what cannot be seen: <bdi>${brief(draft, 200)}</bdi></span>`}
    ${about} ${says}
  </div>`;
}

/** What it comes to where nothing is filled in. */
const emptyOf = (shape, required) => (!required ? "left out" : shape.nullable ? "null" : "wrong");
const EMPTY = { "left out": "may be left out", null: "empty means none" };
const NONE_OF = { "left out": "left out", null: "none", wrong: "choose one" };

function Control({ shape, draft, set, required, common }) {
  const typed = ({ target: { value } }) => set(value === "" ? undefined : value);
  if (shape.kind === "choice") {
    return html`<select ...${common} onChange=${typed}>
      ${(draft === undefined || emptyOf(shape, required) !== "wrong") && html`<option value="" selected=${draft === undefined}>${NONE_OF[emptyOf(shape, required)]}</option>`}
      ${shape.options.map((option) => {
        const value = JSON.stringify(option);
        const words = shape.yes_no ? (option ? "yes" : "no") : brief(pretty(option), 80);
        return html`<option key=${value} value=${value} selected=${value === draft}>${words}</option>`;
      })}
    </select>`;
  }
  if (shape.kind === "number") {
    return html`<input ...${common} type="text" inputmode="decimal" autocomplete="off" size="12" value=${draft ?? ""} onInput=${typed} />`;
  }
  const rows = Math.min(shape.kind === "json" ? 12 : 8, Math.max(shape.kind === "json" ? 3 : 1, (draft ?? "").slice(0, 10_000).split("\n").length));
  return html`<textarea ...${common} data-kind=${shape.kind} rows=${rows} spellcheck=${shape.kind === "text"} dir="auto" value=${draft ?? ""} onInput=${typed} />`;
}
