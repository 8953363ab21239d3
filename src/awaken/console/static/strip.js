/**
 * The last hour as one strip: what was done, how long it had waited, and what failed, minute by minute.
 *
 * The bars are drawn by uPlot, which is loaded when the strip is first seen; the same numbers stand in a table.
 */

import { html, useEffect, useRef } from "./html.js";
import { useRead } from "./link.js";
import { Read } from "./parts.js";
import { lasting } from "./text.js";

const CURVES = [
  { title: "Done per minute", of: ({ completed, failed }) => completed + failed, words: (value) => `${value}`, ink: "--ok" },
  { title: "Waited in the queue", of: ({ wait_p99_s }) => wait_p99_s, words: (value) => lasting(value * 1_000), ink: "--accent" },
  { title: "Failed", of: ({ completed, failed }) => (completed + failed ? (100 * failed) / (completed + failed) : null), words: (value) => `${Math.round(value)} %`, ink: "--bad" },
];
const HEIGHT = 72;
const HOUR_S = 3_600;

export function Strip() {
  const read = useRead("/v1/stats", { concerns: () => false }); // every fifteen seconds are enough for minutes
  return html`<section aria-labelledby="strip">
    <h2 id="strip">The last hour of this process</h2>
    <${Read} of=${read}>
      ${({ minutes }) => html`
        <div class="strip">${CURVES.map((curve) => html`<${Curve} key=${curve.title} of=${curve} minutes=${minutes} />`)}</div>
        <details>
          <summary>As a table</summary>
          <${Minutes} of=${minutes} />
        </details>
      `}
    <//>
  </section>`;
}

function Minutes({ of }) {
  const busy = of.filter((minute) => minute.submitted || minute.started || minute.completed || minute.failed).toReversed();
  if (!busy.length) return html`<p class="quiet">Nothing was done.</p>`;
  return html`<table class="numbers">
    <caption class="hidden">The last hour, minutes in which something was done, newest first</caption>
    <thead><tr><th scope="col">Minute</th>${CURVES.map(({ title }) => html`<th key=${title} scope="col">${title}</th>`)}</tr></thead>
    <tbody>${busy.map(
      (minute) => html`<tr key=${minute.at}>
        <td data-title="Minute"><time datetime=${minute.at}>${clock(minute.at)}</time></td>
        ${CURVES.map(({ title, of: value, words }) => html`<td key=${title} data-title=${title}>${value(minute) === null ? "–" : words(value(minute))}</td>`)}
      </tr>`,
    )}</tbody>
  </table>`;
}

const clock = (at) => new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });

function Curve({ of: { title, of, words, ink }, minutes }) {
  const place = useRef(null);
  const plot = useRef(null);
  const values = minutes.map(of);
  const said = values.filter((value) => value !== null);
  const most = said.length ? Math.max(...said) : null;
  const latest = said.at(-1) ?? null;
  const times = minutes.map(({ at }) => Date.parse(at) / 1_000);
  const before = Array.from({ length: Math.max(0, 60 - times.length) }, (_, at) => times[0] - 60 * (at + 1)).reverse(); // counting has begun since
  const data = [[...before, ...times], [...before.map(() => null), ...values]];
  const newest = useRef(data);
  newest.current = data;
  useEffect(() => {
    let closed = false;
    let watching = null;
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const draw = (Plot) => {
      plot.current?.destroy();
      plot.current = new Plot(options(Plot, place.current, ink), newest.current, place.current);
    };
    loadPlot().then((Plot) => {
      if (closed || !place.current) return; // somebody has left the page meanwhile
      const again = () => draw(Plot);
      draw(Plot);
      dark.addEventListener("change", again);
      const observer = new ResizeObserver(([{ contentRect }]) => plot.current?.setSize({ width: Math.max(60, contentRect.width), height: HEIGHT }));
      observer.observe(place.current);
      watching = () => (observer.disconnect(), dark.removeEventListener("change", again));
    }, () => {}); // without the curves the numbers are there
    return () => {
      closed = true;
      watching?.();
      plot.current?.destroy();
      plot.current = null;
    };
  }, []);
  useEffect(() => plot.current?.setData(newest.current), [minutes]);
  return html`<figure class="curve">
    <figcaption>${title}: ${latest === null ? "nothing yet" : html`<strong>${words(latest)}</strong> now, <span class="quiet">${words(most)} at most</span>`}</figcaption>
    <div ref=${place} aria-hidden="true"></div>
  </figure>`;
}

let loading = null;

/** uPlot with its style sheet, once. */
function loadPlot() {
  loading ??= (async () => {
    const style = Object.assign(document.createElement("link"), { rel: "stylesheet", href: new URL("./vendor/uplot.css", import.meta.url).href });
    document.head.append(style);
    return (await import("./vendor/uplot.js")).default;
  })();
  return loading;
}

function options(Plot, place, ink) {
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "10px system-ui" };
  return {
    width: Math.max(60, place.clientWidth),
    height: HEIGHT,
    legend: { show: false },
    cursor: { show: false },
    scales: { x: { range: (_, __, last) => [last - HOUR_S, last + 120] }, y: { range: (_, __, most) => [0, Math.max(most ?? 0, 1) * 1.1] } },
    axes: [{ ...axis, size: 18, space: 80, grid: { show: false } }, { ...axis, size: 30, space: 30 }],
    series: [{}, { stroke: colour(ink), fill: colour(ink), width: 0, paths: Plot.paths.bars({ size: [0.8, 12, 2] }), points: { show: false } }],
  };
}
