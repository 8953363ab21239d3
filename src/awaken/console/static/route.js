/**
 * Where the console is: `#/runs/ID?kinds=…`, so that every view has its address, also where the console is mounted.
 */

import { useEffect, useLayoutEffect, useRef, useState } from "./html.js";

/** @returns {{ place: string[], query: Record<string, string> }} */
export function parsed(hash) {
  const [path, query = ""] = hash.replace(/^#?\/?/, "").split("?");
  const place = path.split("/").filter(Boolean).map(decoded);
  return { place, query: Object.fromEntries(new URLSearchParams(query)) };
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** The address of a view: `to("runs", run_id)`, with a query as an object at the end. */
export function to(...parts) {
  const query = typeof parts.at(-1) === "object" ? parts.pop() : {};
  const said = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return `#/${parts.map(encodeURIComponent).join("/")}${said.length ? `?${new URLSearchParams(said)}` : ""}`;
}

export function go(...parts) {
  location.hash = to(...parts);
}

/** The same view with another query; what is undefined is left out of it. Not a step that "back" would lead to. */
export function refine(changes) {
  const { place, query } = parsed(location.hash);
  location.replace(to(...place, { ...query, ...changes }));
}

export function useRoute() {
  const [route, turn] = useState(() => parsed(location.hash));
  useEffect(() => {
    const heard = () => turn(parsed(location.hash));
    addEventListener("hashchange", heard);
    return () => removeEventListener("hashchange", heard);
  }, []);
  return route;
}

/** How long what was left is waited for, while its view is read again. */
const RETURN_MS = 5_000;
/** What somebody does who has gone on meanwhile. */
const GOES_ON = ["keydown", "pointerdown", "hashchange"];

// The link by which a view is left is kept with its entry in the browser's history, where "back" finds it.
addEventListener("click", ({ target, ctrlKey, metaKey, shiftKey }) => {
  const link = target.closest?.("main a[href^='#/']");
  if (link && !ctrlKey && !metaKey && !shiftKey) history.replaceState({ left: link.getAttribute("href") }, "");
}, true); // prettier-ignore
addEventListener("hashchange", () => setTimeout(returned));

/** Focus what was left here, once it is drawn. */
function returned() {
  const left = history.state?.left;
  if (!left) return;
  const seek = () => {
    const link = document.querySelector(`main a[href="${CSS.escape(left)}"]`);
    link?.focus();
    if (link) end();
  };
  const drawn = new MutationObserver(seek);
  const end = () => {
    drawn.disconnect();
    clearTimeout(timer);
    GOES_ON.forEach((kind) => removeEventListener(kind, end, true));
  };
  const timer = setTimeout(end, RETURN_MS);
  GOES_ON.forEach((kind) => addEventListener(kind, end, true));
  drawn.observe(document.body, { subtree: true, childList: true });
  seek();
}

/**
 * What keys do while the component is shown: `{ j: next }`. Not while somebody types, nor with a modifier. One that is
 * held down acts once, unless it `repeats`. `before`: ahead of those of the page.
 */
export function useKeys(bindings, { before = false, repeats = ["j", "k"] } = {}) {
  const latest = useRef(bindings);
  latest.current = bindings; // the next key may come before effects have run, and is meant for what has been drawn
  useLayoutEffect(() => {
    const pressed = (event) => {
      const typing = event.target.closest?.("input:not([type=checkbox]), textarea, select, dialog[open]");
      if (typing || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
      const does = latest.current[event.key];
      if (!does || (event.repeat && !repeats.includes(event.key))) return;
      if (does(event) !== false) event.preventDefault();
    };
    addEventListener("keydown", pressed, before);
    return () => removeEventListener("keydown", pressed, before);
  }, []);
}
