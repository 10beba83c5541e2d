// The figures beside the picture: plots, facts, events and outputs, from the server's status.

import { Plot } from "./plots.js";
import { ago, cameraLine, count, duration, make, networkLine, number, put } from "./words.js";

const EVENTS = 12;
const WORDS = {
  connected: "Connected", lost: "Camera lost", refused: "Password refused", unreachable: "Not reached",
  absent: "Not there", ended: "Ended", profile: "Profile",
  snapshot: "Snapshot", discontinuity: "Jump in time", error: "Error", record: "Recording", push: "Push",
  virtual: "Virtual camera", size: "Size", encoder: "Encoder", worker: "Process",
};

export class Figures {
  constructor(document) {
    this.at = (id) => document.getElementById(id);
    const plots = this.at("plots");
    this.rate = new Plot(plots, {
      title: "Frames per second",
      least: 10,
      series: [
        { key: "out", name: "out", className: "first" },
        { key: "in", name: "in", className: "second" },
      ],
    });
    this.latency = new Plot(plots, {
      title: "Latency in ms",
      least: 20,
      series: [
        { key: "p50", name: "p50", className: "first" },
        { key: "p99", name: "p99", className: "second" },
      ],
    });
    this.drops = new Plot(plots, {
      title: "Dropped",
      least: 4,
      series: [
        { key: "newer", name: "newer", className: "first", bars: true },
        { key: "late", name: "late", className: "second", bars: true },
        { key: "corrupt", name: "corrupt", className: "third", bars: true },
      ],
    });
    this.before = null; // the status before, and when it came
  }

  /** Show a status that came at `seconds`. */
  show(status, seconds) {
    this.rate.add(seconds, { in: status.fps_in, out: status.fps_out }, [
      number(status.fps_out, 1),
      number(status.fps_in, 1),
    ]);
    const [p50, p99] = [status.latency_ms_p50, status.latency_ms_p99];
    this.latency.add(seconds, { p50, p99 }, [number(p50), number(p99)]);
    const { newer, late, corrupt } = status.dropped;
    this.drops.add(seconds, this.stacked(status, seconds), [count(newer), count(late), count(corrupt)]);
    put(this.at("camera"), cameraLine(status.session));
    put(this.at("network"), networkLine(status.network));
    put(this.at("speed"), Number.isFinite(status.network.ms) ? `${number(status.network.ms)} ms` : "–");
    put(this.at("shown"), count(status.frames_out));
    put(this.at("reconnects"), count(status.reconnects));
    put(this.at("uptime"), duration(status.uptime_s));
    put(this.at("version"), `streamderain ${status.version}`);
    this.showEvents(status.events);
    this.showOutputs(status.outputs);
  }

  /** Drops in each second since the last status, each kind on top of those drawn after it. */
  stacked(status, seconds) {
    const [before, now] = [this.before, { dropped: status.dropped, uptime: status.uptime_s, seconds }];
    this.before = now;
    if (!before || before.uptime > now.uptime || seconds - before.seconds > 3) return {};
    const span = Math.max(0.5, seconds - before.seconds);
    const perSecond = (kind) => Math.max(0, now.dropped[kind] - before.dropped[kind]) / span;
    const [newer, late, corrupt] = ["newer", "late", "corrupt"].map(perSecond);
    return { newer: newer + late + corrupt, late: late + corrupt, corrupt };
  }

  showEvents(events) {
    const newest = events.slice(-EVENTS).reverse();
    rows(this.at("events"), newest, "Nothing has happened yet.", (row, event) => {
      fill(row, event.kind, ago(event.ago_s), WORDS[event.kind] ?? "", event.text);
    });
  }

  showOutputs(outputs) {
    rows(this.at("outputs"), outputs, "Only this page.", (row, output) => {
      const written = `${count(output.taken)} written, ${count(output.dropped)} dropped`;
      const again = output.restarts ? `, begun again ${count(output.restarts)} times` : "";
      fill(row, output.state, output.state, output.name, output.detail, written + again);
    });
  }
}

/** As many rows as there are items, made once and filled anew, so that nothing flickers. */
function rows(list, items, nothing, write) {
  if (!items.length) {
    if (list.dataset.rows !== "0") list.replaceChildren(make("li", "nothing quiet", nothing));
    list.dataset.rows = "0";
    return;
  }
  if (list.dataset.rows === "0") list.replaceChildren();
  list.dataset.rows = String(items.length);
  while (list.children.length > items.length) list.lastChild.remove();
  while (list.children.length < items.length) list.append(make("li"));
  items.forEach((item, index) => write(list.children[index], item));
}

/** A row: a mark by its kind, a short word, and lines of text. */
function fill(row, kind, word, ...lines) {
  const wanted = lines.filter(Boolean);
  if (!row.children.length) row.append(make("span", "when"), make("div", "what"));
  row.dataset.kind = kind;
  const [when, what] = row.children;
  put(when, word);
  while (what.children.length > wanted.length) what.lastChild.remove();
  while (what.children.length < wanted.length) what.append(make("p", what.children.length ? "quiet" : ""));
  wanted.forEach((text, index) => put(what.children[index], text));
}
