// All cameras on one page: a small picture of each, renewed every few seconds, and how it is.

import { PILLS } from "./state.js";
import { cameraLine, make, number, put } from "./words.js";

const STATUS_MS = 1000;
const PICTURE_MS = 2000;

const WORDS = { live: "", lost: "Camera lost", waiting: "Waiting for the camera", offline: "Starting again" };

const cards = new Map(); // by the camera's name
const list = document.getElementById("cameras");
const sum = document.getElementById("sum");
let turn = 0; // of looking: another one begins whenever the tab is hidden or shown

/** One camera's card. */
class Card {
  constructor(name, path) {
    Object.assign(this, { name, path, state: "waiting", pictured: false });
    this.root = make("a", "card");
    this.root.href = path;
    this.canvas = make("canvas");
    this.canvas.setAttribute("aria-hidden", "true");
    this.words = make("p");
    this.pill = make("span", "pill");
    this.facts = make("p", "line-two");
    const small = make("div", "small");
    small.append(this.canvas, this.words);
    const row = make("div", "line-one");
    row.append(make("h2", "", name), this.pill);
    this.root.append(small, row, this.facts);
  }

  show(camera) {
    const { status, running } = camera;
    this.state = stateOf(status, running);
    this.pictured = Boolean(status.session); // else there is nothing to ask for
    this.root.dataset.state = this.pill.dataset.state = this.state;
    put(this.pill, this.state === "offline" ? "not running" : PILLS[this.state]);
    put(this.words, WORDS[this.state]);
    const speed = `${number(status.fps_out, 1)} fps, ${number(status.latency_ms_p50)} ms`;
    put(this.facts, this.state === "live" ? `${speed} · ${cameraLine(status.session)}` : status.source ?? "");
  }

  /** Nobody says how it is. */
  unknown() {
    this.root.dataset.state = this.pill.dataset.state = this.state = "offline";
    put(this.pill, PILLS.offline);
    put(this.words, "");
  }

  /** Bring a new picture, where there is one and somebody sees it. */
  async renew() {
    if (!this.pictured || this.state === "offline" || !onScreen(this.root)) return;
    const width = Math.round(this.canvas.clientWidth * (window.devicePixelRatio || 1));
    try {
      const path = `${this.path}snapshot.jpg?view=after&width=${width}`;
      const answer = await fetch(path, { signal: AbortSignal.timeout(5000) });
      if (!answer.ok) return;
      const bitmap = await createImageBitmap(await answer.blob());
      [this.canvas.width, this.canvas.height] = [bitmap.width, bitmap.height];
      this.canvas.getContext("2d", { alpha: false }).drawImage(bitmap, 0, 0);
      bitmap.close();
    } catch {
      // no picture this time: the card says how the camera is
    }
  }
}

function stateOf(status, running) {
  if (running === false) return "offline";
  if (status.connected && status.healthy) return "live";
  return (status.connections ?? 0) > 0 && !status.connected ? "lost" : "waiting";
}

async function look(mine) {
  const begun = performance.now();
  try {
    const answer = await fetch("api/cameras", { signal: AbortSignal.timeout(4000) });
    if (answer.status === 401) location.reload(); // the server leads to where the token is given
    if (answer.ok) show(await answer.json());
  } catch {
    put(sum, "No connection to streamderain. The page tries again.");
    for (const one of cards.values()) one.unknown();
  }
  const wait = Math.max(100, STATUS_MS - (performance.now() - begun));
  setTimeout(() => mine === turn && look(mine), wait);
}

function show(cameras) {
  const names = new Set(cameras.map((camera) => camera.name));
  for (const [name, card] of cards) {
    if (names.has(name)) continue;
    card.root.remove();
    cards.delete(name);
  }
  for (const camera of cameras) card(camera).show(camera);
  const live = [...cards.values()].filter((one) => one.state === "live").length;
  put(sum, live === cards.size ? `all ${live} live` : `${live} of ${cards.size} live`);
}

function card(camera) {
  if (!cards.has(camera.name)) {
    const made = new Card(camera.name, `cameras/${encodeURIComponent(camera.name)}/`);
    cards.set(camera.name, made);
    list.append(made.root);
  }
  return cards.get(camera.name);
}

/** Pictures one after the other: many cameras must not ask for all at once. */
async function renew(mine) {
  const begun = performance.now();
  for (const one of [...cards.values()]) if (mine === turn) await one.renew();
  const wait = cards.size ? Math.max(200, PICTURE_MS - (performance.now() - begun)) : 200;
  if (mine === turn) setTimeout(() => mine === turn && renew(mine), wait);
}

function onScreen(element) {
  const box = element.getBoundingClientRect();
  return box.bottom > 0 && box.top < window.innerHeight;
}

/** Nothing is asked for while nobody looks. */
function begin() {
  turn += 1;
  if (document.hidden) return;
  look(turn);
  renew(turn);
}

document.addEventListener("visibilitychange", begin);
begin();
