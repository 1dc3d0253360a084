/** What a person does to the map; pixels are CSS pixels from the host's top left corner. */
export interface Gestures {
  pan(dx: number, dy: number): void;
  zoom(px: number, py: number, factor: number): void;
  click(px: number, py: number, e: { shift: boolean }): void;
  /** The pointer rests or moves over the map without a button; null = it left. At most once a frame. */
  hover(at: { px: number; py: number; clientX: number; clientY: number } | null): void;
  fit(): void;
  /** A drag began or ended. */
  dragging(on: boolean): void;
  /** The map is steered by keys, or no longer. */
  aiming(on: boolean): void;
}

/** A pointer that moved less is still a click, CSS pixels. */
const SLACK_PX = 4;
const PAN_PX = 80;
const ZOOM_STEP = 1.4;

interface Finger {
  x: number;
  y: number;
  downX: number;
  downY: number;
}

/** Listens to pointer, wheel and keys of the host; gives a function that stops it. */
export function listen(host: HTMLElement, to: Gestures): () => void {
  return new Listener(host, to).start();
}

class Listener {
  #host: HTMLElement;
  #to: Gestures;
  #fingers = new Map<number, Finger>();
  #dragged = false;
  #off = new AbortController();
  #frame = 0;
  #over: { clientX: number; clientY: number } | null = null;

  constructor(host: HTMLElement, to: Gestures) {
    this.#host = host;
    this.#to = to;
  }

  start(): () => void {
    const host = this.#host, o = { signal: this.#off.signal };
    host.addEventListener("pointerdown", this.#down, o);
    host.addEventListener("pointermove", this.#move, o);
    host.addEventListener("pointerup", this.#up, o);
    host.addEventListener("pointercancel", this.#cancel, o);
    host.addEventListener("pointerleave", this.#leave, o);
    host.addEventListener("dblclick", this.#double, o);
    host.addEventListener("keydown", this.#key, o);
    host.addEventListener("blur", this.#blur, o);
    host.addEventListener("wheel", this.#wheel, { ...o, passive: false });
    return () => {
      this.#off.abort();
      cancelAnimationFrame(this.#frame);
    };
  }

  #point(e: { clientX: number; clientY: number }): [number, number] {
    const r = this.#host.getBoundingClientRect();
    return [e.clientX - r.left, e.clientY - r.top];
  }

  #down = (e: PointerEvent): void => {
    if (e.pointerType === "mouse" && e.button > 1) return;
    if (this.#elsewhere(e)) return;
    this.#to.aiming(false);
    this.#fingers.set(e.pointerId, { x: e.clientX, y: e.clientY, downX: e.clientX, downY: e.clientY });
    if (this.#fingers.size === 1) this.#dragged = e.button === 1;
    else this.#dragged = true; // two fingers never click
    this.#host.setPointerCapture(e.pointerId);
  };

  #move = (e: PointerEvent): void => {
    const f = this.#fingers.get(e.pointerId);
    if (!f) {
      if (e.pointerType !== "touch") this.#hover(this.#elsewhere(e) ? null : e);
      return;
    }
    if (!this.#dragged) {
      if (Math.hypot(e.clientX - f.downX, e.clientY - f.downY) < SLACK_PX) return;
      this.#dragged = true;
      this.#to.dragging(true);
      this.#hover(null);
    }
    if (this.#fingers.size === 1) this.#to.pan(e.clientX - f.x, e.clientY - f.y);
    else if (this.#fingers.size === 2) this.#pinch(e, f);
    f.x = e.clientX;
    f.y = e.clientY;
  };

  // Of two fingers one moved: the map follows their middle and their distance.
  #pinch(e: PointerEvent, f: Finger): void {
    for (const [id, other] of this.#fingers) {
      if (id === e.pointerId) continue;
      const before = Math.hypot(f.x - other.x, f.y - other.y), after = Math.hypot(e.clientX - other.x, e.clientY - other.y);
      this.#to.pan((e.clientX - f.x) / 2, (e.clientY - f.y) / 2);
      const [px, py] = this.#point({ clientX: (e.clientX + other.x) / 2, clientY: (e.clientY + other.y) / 2 });
      if (before > 8 && after > 8) this.#to.zoom(px, py, after / before);
    }
  }

  #up = (e: PointerEvent): void => {
    if (!this.#fingers.delete(e.pointerId)) return;
    if (this.#fingers.size > 0) return;
    if (this.#dragged) this.#to.dragging(false);
    else this.#to.click(...this.#point(e), { shift: e.shiftKey });
  };

  #cancel = (e: PointerEvent): void => {
    if (this.#fingers.delete(e.pointerId) && this.#fingers.size === 0 && this.#dragged) this.#to.dragging(false);
  };

  #leave = (): void => {
    if (this.#fingers.size === 0) this.#hover(null);
  };

  #double = (e: MouseEvent): void => {
    if (this.#elsewhere(e)) return;
    this.#to.zoom(...this.#point(e), e.shiftKey ? 0.5 : 2);
  };

  // A wheel gives some 100 a notch, a trackpad a few pixels an event; a pinch comes as wheel with ctrl and small steps.
  #wheel = (e: WheelEvent): void => {
    if (this.#elsewhere(e)) return;
    e.preventDefault();
    const px = e.deltaY * (e.deltaMode === 1 ? 33 : e.deltaMode === 2 ? 300 : 1);
    const factor = Math.exp(-Math.min(240, Math.max(-240, px)) * (e.ctrlKey ? 0.01 : 0.0022));
    this.#to.zoom(...this.#point(e), factor);
  };

  #key = (e: KeyboardEvent): void => {
    if (e.target !== this.#host || e.ctrlKey || e.metaKey || e.altKey) return;
    const { clientWidth: w, clientHeight: h } = this.#host;
    const step = e.shiftKey ? 3 * PAN_PX : PAN_PX;
    switch (e.key) {
      case "ArrowLeft": this.#to.pan(step, 0); break;
      case "ArrowRight": this.#to.pan(-step, 0); break;
      case "ArrowUp": this.#to.pan(0, step); break;
      case "ArrowDown": this.#to.pan(0, -step); break;
      case "+": case "=": this.#to.zoom(w / 2, h / 2, ZOOM_STEP); break;
      case "-": case "_": this.#to.zoom(w / 2, h / 2, 1 / ZOOM_STEP); break;
      case "0": this.#to.fit(); break;
      case "Enter": this.#to.click(w / 2, h / 2, { shift: e.shiftKey }); break;
      default: return;
    }
    e.preventDefault();
    this.#to.aiming(true);
  };

  #blur = (): void => this.#to.aiming(false);

  #hover(e: { clientX: number; clientY: number } | null): void {
    this.#over = e && { clientX: e.clientX, clientY: e.clientY };
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      if (!this.#over) return this.#to.hover(null);
      const [px, py] = this.#point(this.#over);
      this.#to.hover({ px, py, ...this.#over });
    });
  }

  // The page may lay buttons over the map inside the host: those are not the map.
  #elsewhere(e: Event): boolean {
    return e.target !== this.#host && !(e.target instanceof HTMLCanvasElement && e.target.parentElement === this.#host);
  }
}
