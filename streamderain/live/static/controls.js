// Strength, profile, snapshot and full screen: what a person changes, sent when the hand rests.

import { put } from "./words.js";

const REST_MS = 150;
const SAID_MS = 5000;

/** Ask the server to change something; throws an Error with its own line where it does not. */
async function post(path, body) {
  const answer = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(5000),
  });
  if (answer.ok) return;
  const text = await answer.text();
  let line = text.trim();
  try {
    line = JSON.parse(text).error ?? line;
  } catch {
    // not JSON: the line itself is the reason
  }
  throw new Error(line || `the server answered ${answer.status}`);
}

/** Says short things over the picture. */
export class Teller {
  constructor(element) {
    this.element = element;
    this.timer = 0;
  }

  say(text) {
    clearTimeout(this.timer);
    put(this.element, text);
    this.element.classList.add("speaks");
    this.timer = setTimeout(() => this.element.classList.remove("speaks"), SAID_MS);
  }
}

/** Strength and profile: what the server has is shown, unless somebody is just changing it here. */
export class SettingsForm {
  constructor({ strength, value, profile, say }) {
    Object.assign(this, { strength, value, profile, say });
    this.changes = {};
    this.timer = 0;
    this.busy = false; // a change is on its way
    this.held = false; // the slider is
    this.knownProfiles = "";
    this.version = 0; // rises with every change here, so that an answer asked for earlier is told from a later one
    strength.addEventListener("input", () => this.change({ strength: Number(strength.value) }));
    strength.addEventListener("pointerdown", () => (this.held = true));
    for (const end of ["pointerup", "pointercancel", "blur"]) strength.addEventListener(end, () => (this.held = false));
    profile.addEventListener("change", () => this.change({ profile: profile.value }));
    this.write();
  }

  /** What the server says; `version` as it was when it was asked. */
  show(status, version) {
    this.offer(status.profiles);
    if (this.held || this.busy || this.timer || version !== this.version) return;
    this.strength.value = String(status.settings.strength);
    this.profile.value = status.settings.profile;
    this.write();
  }

  offer(profiles) {
    const key = profiles.join("\n");
    if (key === this.knownProfiles) return;
    this.knownProfiles = key;
    this.profile.replaceChildren(...profiles.map((name) => new Option(name, name)));
  }

  change(change) {
    Object.assign(this.changes, change);
    this.version += 1;
    this.write();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.send(), REST_MS);
  }

  async send() {
    this.timer = 0;
    if (this.busy) return; // what came meanwhile goes when this is over
    this.busy = true;
    while (Object.keys(this.changes).length) {
      const changes = this.changes;
      this.changes = {};
      try {
        await post("api/settings", changes);
      } catch (error) {
        this.say(`Not changed: ${error.message}`);
      }
    }
    this.busy = false;
    this.version += 1;
  }

  write() {
    const value = Number(this.strength.value);
    put(this.value, value.toFixed(2));
    this.strength.style.setProperty("--share", String(value / 2));
    const words = value === 0 ? ", nothing is taken away" : value === 1 ? ", all the rain that is found" : "";
    this.strength.setAttribute("aria-valuetext", `${value.toFixed(2)}${words}`);
  }
}

/** Bring the picture of a view as a file. */
export async function download(view, name) {
  const what = view === "wipe" ? "after" : view; // a wipe is two pictures; the clean one is what people want to keep
  const answer = await fetch(`snapshot.jpg?view=${what}`, { signal: AbortSignal.timeout(10000) });
  if (!answer.ok) throw new Error((await answer.text()).trim());
  const link = document.createElement("a");
  const time = new Date().toISOString().slice(0, 19).replaceAll(":", "-");
  link.href = URL.createObjectURL(await answer.blob());
  link.download = `${name || "camera"}-${what}-${time}Z.jpg`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  return link.download;
}

/** Keep the picture where streamderain runs. */
export function keep() {
  return post("api/snapshot", {});
}

/** Full screen, or as much of the window as there is where the browser has no full screen for elements. */
export class FullScreen {
  constructor(stage, button) {
    Object.assign(this, { stage, button });
    button.addEventListener("click", () => this.toggle());
    document.addEventListener("fullscreenchange", () => this.write());
    document.addEventListener("keydown", (event) => event.key === "Escape" && this.fill(false));
  }

  get on() {
    return document.fullscreenElement === this.stage || this.stage.classList.contains("filled");
  }

  async toggle() {
    if (this.stage.classList.contains("filled")) return this.fill(false);
    if (document.fullscreenElement) return document.exitFullscreen();
    try {
      await this.stage.requestFullscreen();
    } catch {
      this.fill(true); // a telephone without it, or a page that may not
    }
  }

  fill(on) {
    this.stage.classList.toggle("filled", on);
    document.body.classList.toggle("covered", on);
    this.write();
  }

  write() {
    const label = this.on ? "Leave full screen" : "Full screen";
    this.button.setAttribute("aria-label", label);
    this.button.title = label;
  }
}
