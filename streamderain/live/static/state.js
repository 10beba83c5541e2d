// How the camera is, from what was drawn last and what the server says; right within a second.

import { ago } from "./words.js";

const PATIENCE_MS = 1000;
const MOST_PATIENCE_MS = 5000;
const OLD_MS = 3000; // a picture that comes so late is no live one, whatever it says
const TROUBLE = new Set(["lost", "refused", "unreachable", "absent", "ended"]); // kinds of events about the camera

export const PILLS = { live: "live", lost: "camera lost", waiting: "waiting", offline: "no connection" };

/** Remembers when pictures came. */
export class Watch {
  constructor() {
    this.liveAt = this.standInAt = -Infinity; // performance.now()
    this.seen = false;
    this.pts = null;
  }

  /** A picture was drawn. */
  saw(header, now) {
    this.seen = true;
    const isNew = header.pts !== this.pts; // a line that opens brings the newest picture there is, however old
    this.pts = header.pts;
    if (!header.live) this.standInAt = now;
    else if (isNew && header.age_ms < OLD_MS) this.liveAt = now;
  }

  /** "live", "lost", "waiting" or "offline".
   *
   * feed: is it open, and was it ever; status: the newest from the server, null before; now: performance.now().
   */
  state(feed, status, now) {
    if (!feed.open) return feed.triesAt === null && !feed.everOpen ? "waiting" : "offline";
    const rate = status?.session?.rate || status?.fps_out || 25;
    const patience = Math.min(MOST_PATIENCE_MS, Math.max(PATIENCE_MS, 3000 / rate));
    if (this.standInAt > this.liveAt) return "lost";
    if (now - this.liveAt < patience) return "live";
    return status && !status.connected && status.connections > 0 ? "lost" : "waiting";
  }
}

/** What stands in the picture: { head, text, why }, or null while it is live.
 *
 * answers: whether the server answers at all; refused: whether it wants the token again; statusAge: in seconds.
 */
export function notice(state, { feed, status, statusAge, answers, refused, seen, now }) {
  if (state === "live") return null;
  if (state === "offline") return offline({ feed, answers, refused, now });
  const why = trouble(status);
  if (state === "lost") {
    const lost = status?.events.findLast((event) => event.kind === "lost");
    const since = lost ? `The last picture came ${ago(lost.ago_s + statusAge)}. ` : "";
    return { head: "Camera lost", text: `${since}streamderain keeps trying.`, why };
  }
  if (seen) return { head: "No new picture", text: "The camera is connected and says nothing.", why: "" };
  return { head: "Waiting for the camera", text: "Its first picture has not come yet.", why };
}

function offline({ feed, answers, refused, now }) {
  if (refused) return { head: "The token is needed again", text: "", why: "", link: true };
  const seconds = feed.triesAt === null ? 0 : Math.ceil((feed.triesAt - now) / 1000);
  const next = seconds > 0 ? `The page tries again in ${seconds} s.` : "The page tries again now.";
  if (answers) return { head: "No picture", text: `Perhaps too many people are watching. ${next}`, why: "" };
  return { head: "No connection to streamderain", text: next, why: "" };
}

/** The newest event that says what is wrong with the camera. */
function trouble(status) {
  if (!status || status.connected) return "";
  return status.events.findLast((event) => TROUBLE.has(event.kind))?.text ?? "";
}
