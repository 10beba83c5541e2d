// Numbers and times as people read them.

const NOTHING = "–";
const grouped = new Intl.NumberFormat("en", { useGrouping: true });

/** A number with so many decimals, or a dash where nothing is known. */
export function number(value, decimals = 0) {
  return Number.isFinite(value) ? value.toFixed(decimals) : NOTHING;
}

/** A count with its thousands apart. */
export function count(value) {
  return Number.isFinite(value) ? grouped.format(value).replaceAll(",", "\u2009") : NOTHING;
}

/** Seconds as the two largest units that matter: "8 s", "3 min 20 s", "5 h 12 min", "9 d 4 h". */
export function duration(seconds) {
  if (!Number.isFinite(seconds)) return NOTHING;
  const s = Math.max(0, Math.floor(seconds));
  const [d, h, m] = [Math.floor(s / 86400), Math.floor(s / 3600) % 24, Math.floor(s / 60) % 60];
  if (d) return `${d} d ${h} h`;
  if (h) return `${h} h ${m} min`;
  return m ? `${m} min ${s % 60} s` : `${s} s`;
}

/** How long ago, in one unit: "12 s ago". */
export function ago(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 100) return `${s} s ago`;
  if (s < 6000) return `${Math.round(s / 60)} min ago`;
  return s < 172800 ? `${Math.round(s / 3600)} h ago` : `${Math.round(s / 86400)} d ago`;
}

/** What the camera sends: "640 × 360, 25 fps, h264". */
export function cameraLine(session) {
  if (!session) return NOTHING;
  const rate = session.rate ? `${Number(session.rate.toFixed(2))} fps` : "";
  return [`${session.width} × ${session.height}`, rate, session.codec].filter(Boolean).join(", ");
}

/** What takes the rain out: "tiny on cpu, bf16, eager". */
export function networkLine(network) {
  if (!network || !("profile" in network)) return NOTHING;
  if (!network.profile) return "none: frames pass with their rain";
  const scale = network.scale > 1 ? `at 1/${network.scale} size` : "";
  const where = network.device ? ` on ${network.device}` : "";
  return [`${network.profile}${where}`, scale, network.precision, network.backend].filter(Boolean).join(", ");
}

/** Put a text into an element, only where it changed: a screen reader reads every change of a live region. */
export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A new element with a class and a text. */
export function make(tag, className = "", text = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text) element.textContent = text;
  return element;
}
