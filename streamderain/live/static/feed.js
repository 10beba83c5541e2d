// Pictures over the WebSocket: one under way at a time, so that a slow line or browser skips frames and never lags.

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 8000;
const SILENT_MS = 10000; // an open line on which nothing comes for so long is opened anew

/** Brings pictures until it is stopped.
 *
 * show(header, bitmaps) is called for every picture and owns the bitmaps;
 * changed() is called when the line opens or closes: see `open`, `everOpen`, `lostAt` and `triesAt`.
 */
export class Feed {
  constructor({ show, changed }) {
    this.show = show;
    this.changed = changed;
    this.view = "wipe";
    this.width = 0;
    this.open = false;
    this.everOpen = false;
    this.triesAt = null; // performance.now() of the next attempt
    this.lostAt = -Infinity; // when the line that was open broke
    this.waitMs = FIRST_WAIT_MS;
    this.socket = null;
    this.timer = 0;
    this.heardAt = 0;
  }

  /** Say what is wanted; holds for pictures from now on. */
  want(view, width) {
    if (view === this.view && width === this.width) return;
    [this.view, this.width] = [view, width];
    this.say({ view, width });
  }

  start() {
    if (this.socket || this.timer) return;
    this.connect();
  }

  stop() {
    clearTimeout(this.timer);
    [this.timer, this.triesAt] = [0, null];
    const socket = this.socket;
    this.socket = null;
    this.open = false;
    socket?.close();
  }

  /** Try at once instead of when the wait is over. */
  hurry() {
    if (!this.timer) return;
    this.stop();
    this.waitMs = FIRST_WAIT_MS;
    this.start();
  }

  /** To be called now and then: gives up a line that is open in name only. */
  watch() {
    if (this.socket && performance.now() - this.heardAt > SILENT_MS) this.lost(this.socket);
  }

  connect() {
    [this.timer, this.triesAt] = [0, null];
    const address = new URL(`live?view=${this.view}&width=${this.width}`, document.baseURI);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(address);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    this.heardAt = performance.now();
    socket.onopen = () => this.opened(socket);
    socket.onmessage = (message) => this.take(socket, message.data);
    socket.onclose = () => this.lost(socket);
  }

  opened(socket) {
    if (socket !== this.socket) return;
    [this.open, this.everOpen] = [true, true];
    this.say({ view: this.view, width: this.width }); // they may have changed on the way
    this.changed();
  }

  lost(socket) {
    if (socket !== this.socket) return;
    if (this.open || !this.everOpen) this.lostAt = performance.now();
    this.stop();
    const wait = this.waitMs * (0.75 + Math.random() / 2);
    this.waitMs = Math.min(2 * this.waitMs, LONGEST_WAIT_MS);
    this.triesAt = performance.now() + wait;
    this.timer = setTimeout(() => this.connect(), wait);
    this.changed();
  }

  async take(socket, data) {
    if (socket !== this.socket) return;
    this.heardAt = performance.now();
    if (typeof data === "string") return; // the line is good, and there is no picture
    this.waitMs = FIRST_WAIT_MS; // only a picture proves that the line is good
    try {
      const { header, jpegs } = unpack(data);
      const bitmaps = await Promise.all(jpegs.map((jpeg) => createImageBitmap(jpeg)));
      if (socket === this.socket) this.show(header, bitmaps);
      else for (const bitmap of bitmaps) bitmap.close();
    } catch (error) {
      if (!(error instanceof DOMException)) throw error; // a damaged picture: the next one may be whole
    } finally {
      this.say({ got: true }, socket);
    }
  }

  say(what, socket = this.socket) {
    if (socket && socket === this.socket && socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(what));
  }
}

/** A message's header, and its JPEGs as Blobs. */
function unpack(data) {
  const length = new DataView(data).getUint32(0);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
  let at = 4 + length;
  const jpegs = header.parts.map((size) => {
    at += size;
    return new Blob([new Uint8Array(data, at - size, size)], { type: "image/jpeg" });
  });
  return { header, jpegs };
}
