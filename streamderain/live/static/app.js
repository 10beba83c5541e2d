// The page of one camera: the picture, its wipe, the figures and the controls, put together.

import { FullScreen, SettingsForm, Teller, download, keep } from "./controls.js";
import { Feed } from "./feed.js";
import { Figures } from "./figures.js";
import { Picture } from "./picture.js";
import { PILLS, Watch, notice } from "./state.js";
import { Wipe } from "./wipe.js";
import { put } from "./words.js";

const STATUS_MS = 1000;
const LOOK_MS = 250;
const ALT = {
  wipe: "Live picture, before on the left of the line and after on its right",
  after: "Live picture without rain",
  before: "Live picture as the camera sends it",
  rain: "The rain that is taken out of the live picture",
  side: "Live picture before and after, side by side",
};

const at = (id) => document.getElementById(id);
const views = at("views");
const teller = new Teller(at("said"));
const say = (text) => teller.say(text);
const watch = new Watch();
const figures = new Figures(document);
const settings = new SettingsForm({
  strength: at("strength"), value: at("strength-value"), profile: at("profile"), say,
});
const picture = new Picture({ stage: at("stage"), picture: at("picture"), canvas: at("canvas"), resized: ask });
const wipe = new Wipe({ picture: at("picture"), handle: at("wipe"), moved: (share) => picture.wipe(share) });
const feed = new Feed({ show, changed: look });
new FullScreen(at("stage"), at("full"));

let status = null; // the newest
let [statusAt, answeredAt, refused] = [-Infinity, -Infinity, false];
let turn = 0; // of looking: another one begins whenever the tab is hidden or shown
let shownWidth = picture.pixels();
let shape = NaN; // width / height of the camera
let session = null; // its number

function view() {
  return views.querySelector("input:checked").value;
}

/** Tell the feed what is looked at, in the pixels that are really there. */
function ask(width = shownWidth) {
  shownWidth = width;
  feed.want(view(), shownWidth);
}

/** A picture has come. */
function show(header, bitmaps) {
  if (header.width && header.height) picture.shape(header.width, header.height);
  picture.show(bitmaps);
  wipe.enable(bitmaps.length === 2 && header.live);
  if (bitmaps.length === 2) room(header.width, header.height);
  watch.saw(header, performance.now());
  look();
}

/** Make room for the camera's shape, where it is really another one. */
function room(width, height) {
  if (!width || !height || Math.abs(width / height / shape - 1) < 0.02) return;
  shape = width / height;
  picture.room(width, height);
}

/** Say how the camera is: on the pill, in the title and in the picture. */
function look() {
  const now = performance.now();
  const state = watch.state(feed, status, now);
  const pill = at("state");
  pill.dataset.state = state;
  put(pill, PILLS[state]);
  const name = status?.name || "streamderain";
  const title = state === "live" ? `${name}, live` : `${name}, ${PILLS[state]}`;
  if (document.title !== title) document.title = title;
  const told = notice(state, {
    feed, status, refused, now, seen: watch.seen,
    statusAge: (now - statusAt) / 1000,
    answers: answeredAt > feed.lostAt && now - answeredAt < 3 * STATUS_MS,
  });
  at("notice").hidden = told === null;
  at("notice").classList.toggle("over", watch.seen);
  document.body.dataset.state = state;
  if (told === null) return;
  put(at("notice-head"), told.head);
  put(at("notice-text"), told.text);
  put(at("notice-why"), told.why);
  at("notice-link").hidden = !told.link;
}

/** Ask for the figures, again and again as long as this turn of looking lasts. */
async function poll(mine) {
  const begun = performance.now();
  const version = settings.version;
  const newest = await askStatus();
  if (mine !== turn) return;
  if (newest) showStatus(newest, version);
  look();
  setTimeout(() => mine === turn && poll(mine), Math.max(100, STATUS_MS - (performance.now() - begun)));
}

/** The status, or null where the server does not give it. */
async function askStatus() {
  try {
    const answer = await fetch("api/status", { signal: AbortSignal.timeout(4000) });
    refused = answer.status === 401;
    return answer.ok ? await answer.json() : null;
  } catch {
    return null; // the server is away; the feed says so in the picture
  }
}

function showStatus(newest, version) {
  status = newest;
  statusAt = answeredAt = performance.now();
  put(at("name"), status.name || "streamderain");
  put(at("source"), status.source);
  at("source").title = status.source;
  if (status.session && status.session.number !== session) room(status.session.width, status.session.height);
  session = status.session?.number ?? session;
  at("keep").hidden = !status.outputs.some((output) => output.name.startsWith("snapshot"));
  settings.show(status, version);
  figures.show(status, statusAt / 1000);
}

/** Nothing is asked for while nobody looks. */
function begin() {
  turn += 1;
  if (document.hidden) return feed.stop();
  feed.start();
  return poll(turn);
}

function choose(name) {
  const wanted = views.querySelector(`input[value="${CSS.escape(name)}"]`);
  if (wanted) wanted.checked = true;
  at("canvas").setAttribute("aria-label", ALT[view()]);
  ask();
}

async function doing(work, done) {
  try {
    say(done(await work));
  } catch (error) {
    say(`That did not work: ${error.message}`);
  }
}

at("controls").addEventListener("submit", (event) => event.preventDefault());
views.addEventListener("change", () => {
  history.replaceState(null, "", `#${view()}`); // a reload, or a link that is sent, shows the same view
  choose(view());
});
at("snapshot").addEventListener("click", () => doing(download(view(), status?.name), (file) => `Saved ${file}`));
const kept = "A picture is kept where streamderain runs; see Events";
at("keep").addEventListener("click", () => doing(keep(), () => kept));
window.addEventListener("hashchange", () => choose(location.hash.slice(1)));
document.addEventListener("visibilitychange", begin);
window.addEventListener("online", () => feed.hurry());
window.addEventListener("pagehide", () => feed.stop());
window.addEventListener("pageshow", (event) => event.persisted && feed.start());

const among = location.pathname.match(/\/cameras\/[^/]+\/$/);
at("all").hidden = !among;
at("notice-link").href = among ? "../../" : "./";
setInterval(() => {
  feed.watch();
  look();
}, LOOK_MS);
choose(location.hash.slice(1) || "wipe");
begin();
