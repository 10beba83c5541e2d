// The line between before and after: dragged by mouse or finger anywhere on the picture, moved by the arrow keys.

const SIDEWAYS_PX = 6; // a finger that goes so far sideways means the line and not the page
const STEPS = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10 };

/** Makes the handle move; `moved(share)` is told where the line stands, 0 at the left edge and 1 at the right one. */
export class Wipe {
  constructor({ picture, handle, moved }) {
    Object.assign(this, { picture, handle, moved });
    this.position = 0.5;
    this.pointer = null; // the one that drags
    this.start = null; // where a finger came down, as long as it may be about to scroll the page
    this.grip = 0; // px from the line to where it was taken
    this.enabled = false;
    picture.addEventListener("pointerdown", (event) => this.take(event));
    picture.addEventListener("pointermove", (event) => this.drag(event));
    picture.addEventListener("pointerup", (event) => this.drop(event));
    picture.addEventListener("pointercancel", () => this.release());
    picture.addEventListener("lostpointercapture", () => this.release());
    picture.addEventListener("dblclick", () => this.enabled && this.to(0.5));
    handle.addEventListener("keydown", (event) => this.key(event));
    this.to(0.5);
  }

  to(position) {
    this.position = Math.min(1, Math.max(0, position));
    const percent = Math.round(100 * this.position);
    this.handle.style.left = `${100 * this.position}%`;
    this.handle.setAttribute("aria-valuenow", String(percent));
    this.handle.setAttribute("aria-valuetext", `${percent} % before, ${100 - percent} % after`);
    this.moved(this.position);
  }

  /** Show the line where there are two pictures to compare. */
  enable(on) {
    if (on === this.enabled) return;
    this.enabled = on;
    this.picture.classList.toggle("wiping", on);
  }

  take(event) {
    if (!this.enabled || this.pointer !== null || event.button !== 0) return;
    const held = this.handle.contains(event.target);
    this.pointer = event.pointerId;
    this.picture.setPointerCapture(event.pointerId);
    this.picture.classList.add("dragging");
    this.grip = held ? event.clientX - this.lineX() : 0;
    this.start = held || event.pointerType === "mouse" ? null : [event.clientX, event.clientY];
    if (event.pointerType !== "mouse") return;
    event.preventDefault(); // no selection of text, no dragging of the picture
    this.handle.focus({ preventScroll: true, focusVisible: false });
    if (!held) this.follow(event);
  }

  drag(event) {
    if (event.pointerId !== this.pointer) return;
    if (this.start) {
      const [across, along] = [event.clientX - this.start[0], event.clientY - this.start[1]].map(Math.abs);
      if (across < SIDEWAYS_PX || across < along) return;
      this.start = null;
    }
    this.follow(event);
  }

  drop(event) {
    if (event.pointerId !== this.pointer) return;
    this.follow(event);
    this.release();
  }

  release() {
    this.pointer = this.start = null;
    this.picture.classList.remove("dragging");
  }

  follow(event) {
    const box = this.picture.getBoundingClientRect();
    this.to((event.clientX - this.grip - box.left) / box.width);
  }

  lineX() {
    const box = this.picture.getBoundingClientRect();
    return box.left + this.position * box.width;
  }

  key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const step = STEPS[event.key];
    if (step) this.to(Math.round(100 * this.position + step * (event.shiftKey ? 10 : 1)) / 100);
    else if (event.key === "Home") this.to(0);
    else if (event.key === "End") this.to(1);
    else return;
    event.preventDefault();
  }
}
