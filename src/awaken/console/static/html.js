/** What pages are written with: `html` makes nodes out of templates; text in them is text, never markup. */

import { createContext, h, render, Fragment } from "./vendor/preact.js";
import htm from "./vendor/htm.js";

export { useCallback, useContext, useEffect, useId, useLayoutEffect, useMemo, useRef, useState } from "./vendor/hooks.js";
export { createContext, render, Fragment };
export const html = htm.bind(h);
