// The canvas: as many pixels as the screen really has there, before on the left of the line and after on its right.

const SETTLE_MS = 200; // a window that is being drawn to another size asks once

/** Draws what it is shown; `resized(width)` is told how many device pixels wide the picture stands on the screen. */
export class Picture {
  constructor({ stage, picture, canvas, resized }) {
    Object.assign(this, { stage, picture, canvas, resized });
    this.context = canvas.getContext("2d", { alpha: false });
    this.bitmaps = [];
    this.position = 0.5;
    this.timer = 0;
    new ResizeObserver((entries) => this.measure(entries[0])).observe(canvas);
  }

  /** The width and height in pixels of what is shown; the room for it changes only where the camera's shape does. */
  shape(width, height) {
    this.picture.style.setProperty("--ratio", String(width / height));
  }

  /** The camera's width and height: the stage is made for it, so that another view moves nothing on the page. */
  room(width, height) {
    this.stage.style.setProperty("--camera", String(Math.min(2.4, Math.max(0.6, width / height))));
  }

  /** How many device pixels wide the picture stands on the screen. */
  pixels() {
    return Math.round(this.canvas.clientWidth * (window.devicePixelRatio || 1));
  }

  show(bitmaps) {
    for (const bitmap of this.bitmaps) bitmap.close();
    this.bitmaps = bitmaps;
    this.draw();
  }

  /** Move the line: a share of the width. */
  wipe(position) {
    this.position = position;
    this.draw();
  }

  draw() {
    const { width, height } = this.canvas;
    const [first, second] = this.bitmaps;
    if (!first || !width || !height) return;
    this.context.imageSmoothingQuality = "high";
    this.context.drawImage(first, 0, 0, width, height);
    if (!second) return;
    const cut = Math.round(width * this.position);
    this.context.save();
    this.context.beginPath();
    this.context.rect(cut, 0, width - cut, height);
    this.context.clip();
    this.context.drawImage(second, 0, 0, width, height);
    this.context.restore();
  }

  measure(entry) {
    const scale = window.devicePixelRatio || 1;
    const width = Math.max(1, Math.round(entry.contentRect.width * scale));
    const height = Math.max(1, Math.round(entry.contentRect.height * scale));
    if (width === this.canvas.width && height === this.canvas.height) return;
    [this.canvas.width, this.canvas.height] = [width, height];
    this.draw();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.resized(width), SETTLE_MS);
  }
}
