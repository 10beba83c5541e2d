// Small plots of the last two minutes, drawn as SVG; their colours come from the style sheet.

import { make, put } from "./words.js";

const SECONDS = 120;
const GAP_SECONDS = 3.5; // no line across a time that nobody looked at
const [HEIGHT, TOP, RIGHT, BOTTOM, LEFT] = [92, 8, 6, 18, 30];
const SVG = "http://www.w3.org/2000/svg";

/** One card: a title, the newest values in figures, and their lines or bars.
 *
 * series: [{ key, name, className, bars }], the most important first; the numbers come with `add`.
 */
export class Plot {
  constructor(parent, { title, least, series }) {
    Object.assign(this, { title, least, series });
    this.points = [];
    this.width = 0;
    const card = make("figure", series.length > 2 ? "plot wide" : "plot");
    const head = make("figcaption");
    head.append(make("span", "plot-title", title), this.values(make("span", "plot-values")));
    this.svg = svg("svg", { role: "img", height: HEIGHT, "aria-label": title });
    card.append(head, this.svg);
    parent.append(card);
    this.build();
    new ResizeObserver(() => this.draw()).observe(this.svg);
  }

  values(box) {
    this.shown = this.series.map((one) => {
      const item = make("span", `value ${one.className}`);
      const figure = make("b", "", "–");
      item.append(make("i", "swatch"), make("span", "", one.name), figure);
      box.append(item);
      return figure;
    });
    return box;
  }

  build() {
    this.grid = [0, 0.5, 1].map((share) => {
      const [line, label] = [svg("line", { class: "grid" }), svg("text", { class: "axis", "text-anchor": "end" })];
      this.svg.append(line, label);
      return { share, line, label };
    });
    const times = [[-SECONDS, "2 min ago", "start"], [-SECONDS / 2, "1 min ago", "middle"], [0, "now", "end"]];
    this.times = times.map(([at, text, anchor]) => {
      const label = svg("text", { class: "axis", "text-anchor": anchor });
      label.textContent = text;
      this.svg.append(label);
      return { at, label };
    });
    const kind = (one) => `${one.bars ? "bars" : "line"} ${one.className}`;
    this.paths = this.series.map((one) => svg("path", { class: kind(one) }));
    const stacked = this.series[0].bars; // short bars before tall ones, the first line before the second
    this.svg.append(...(stacked ? this.paths : [...this.paths].reverse()));
  }

  /** A moment's numbers: { key: number or null }; `texts` are the figures, in the order of the series. */
  add(seconds, numbers, texts) {
    this.points.push({ at: seconds, ...numbers });
    while (this.points.length && this.points[0].at < seconds - SECONDS - GAP_SECONDS) this.points.shift();
    this.shown.forEach((figure, index) => put(figure, texts[index]));
    const read = this.series.map((one, index) => `${one.name} ${texts[index]}`).join(", ");
    this.svg.setAttribute("aria-label", `${this.title}, now: ${read}`);
    this.draw();
  }

  draw() {
    const width = this.svg.clientWidth;
    if (!width) return;
    const now = this.points.at(-1)?.at ?? 0;
    const most = niceAbove(Math.max(this.least, ...this.known()));
    const x = (at) => LEFT + (1 + (at - now) / SECONDS) * (width - LEFT - RIGHT);
    const y = (value) => TOP + (1 - value / most) * (HEIGHT - TOP - BOTTOM);
    this.drawAxes(width, most, now, x, y);
    this.series.forEach((one, index) => {
      const d = one.bars ? bars(this.points, one.key, x, y, now) : line(this.points, one.key, x, y, now);
      this.paths[index].setAttribute("d", d);
    });
  }

  drawAxes(width, most, now, x, y) {
    for (const { share, line, label } of this.grid) {
      const at = Math.round(y(share * most)) + 0.5;
      set(line, { x1: LEFT, x2: width - RIGHT, y1: at, y2: at });
      set(label, { x: LEFT - 6, y: at + 3.5 });
      put(label, String(share * most));
    }
    for (const { at, label } of this.times) set(label, { x: x(now + at), y: HEIGHT - 3 });
  }

  known() {
    return this.points.flatMap((point) => this.series.map((one) => point[one.key])).filter(Number.isFinite);
  }
}

function line(points, key, x, y, now) {
  let [d, last] = ["", null];
  for (const point of points) {
    if (!Number.isFinite(point[key]) || point.at < now - SECONDS) {
      last = null;
      continue;
    }
    const joined = last !== null && point.at - last < GAP_SECONDS;
    d += `${joined ? "L" : "M"}${x(point.at).toFixed(1)} ${y(point[key]).toFixed(1)}${joined ? "" : "h0.01"}`;
    last = point.at;
  }
  return d;
}

function bars(points, key, x, y, now) {
  const floor = y(0).toFixed(1);
  return points
    .filter((point) => point[key] > 0 && point.at >= now - SECONDS)
    .map((point) => `M${x(point.at).toFixed(1)} ${floor}V${y(point[key]).toFixed(1)}`)
    .join("");
}

/** The next round number whose half is a whole one: 2, 4, 6, 8, 10, 20, 30, 40, ... */
function niceAbove(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 3, 4, 5, 6, 8, 10].map((step) => step * power).find((step) => step >= value && step % 2 === 0);
}

function svg(tag, attributes) {
  return set(document.createElementNS(SVG, tag), attributes);
}

function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  return element;
}
