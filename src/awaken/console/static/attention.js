import { html } from "./html.js";
export default function Attention() { return html`<h1>Attention</h1>`; }
