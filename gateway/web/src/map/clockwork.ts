import { Cadence, frameEveryMs } from "./cadence.js";

// Robots seldom drive faster; where they do, they move by a little more than half a pixel a frame.
const FASTEST_MPS = 2;

/**
 * Decides when a picture is drawn: when something changed, and in between as long as something moves and frames are cheap. Nothing is
 * drawn while the page is hidden, nor more often than the eye could see a difference.
 */
export class Clockwork {
  #draw: (now: number) => boolean;
  #cadence = new Cadence();
  #frame = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #asked = false;
  #drawnAt = 0;
  #measuring = false;
  #dueAt = 0;
  #calm = matchMedia("(prefers-reduced-motion: reduce)");
  #stopped = false;

  /** `draw` paints and says whether something goes on moving. */
  constructor(draw: (now: number) => boolean) {
    this.#draw = draw;
    document.addEventListener("visibilitychange", this.#seen);
    this.#calm.addEventListener("change", this.ask);
  }

  /** When the last picture was drawn, ms of performance.now(). */
  get drawnAt(): number {
    return this.#drawnAt;
  }

  /** Whether the person asked for little motion. */
  get calm(): boolean {
    return this.#calm.matches;
  }

  /** Whether motion between updates may be shown now. */
  smooth(now: number): boolean {
    return !document.hidden && !this.#calm.matches && this.#cadence.allows(now);
  }

  /** Something changed: a picture is drawn with the next frame. */
  ask = (): void => {
    this.#asked = true;
    if (document.hidden || this.#stopped) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#frame ||= requestAnimationFrame(this.#tick);
  };

  /** A motion begins or goes on: pictures are drawn until `draw` says that it ended. `scale` = CSS pixels a metre. */
  move(scale: number): void {
    this.#dueAt = this.#drawnAt + frameEveryMs(scale, FASTEST_MPS);
    this.#wait(performance.now());
  }

  stop(): void {
    this.#stopped = true;
    cancelAnimationFrame(this.#frame);
    clearTimeout(this.#timer);
    document.removeEventListener("visibilitychange", this.#seen);
    this.#calm.removeEventListener("change", this.ask);
  }

  #tick = (): void => {
    this.#frame = 0;
    const now = performance.now();
    // The browser asks for the next frame when it is done with the last: the time between is what a frame costs here, the card included.
    if (this.#measuring) this.#cadence.frame(now - this.#drawnAt, now);
    this.#measuring = false;
    if (!this.#asked && now < this.#dueAt - 4) return this.#wait(now);
    this.#asked = false;
    this.#drawnAt = now;
    this.#dueAt = Infinity;
    if (this.#draw(now)) {
      this.#measuring = true;
      this.#frame ||= requestAnimationFrame(this.#tick);
    }
  };

  #wait(now: number): void {
    if (this.#dueAt === Infinity || document.hidden || this.#stopped || this.#frame || this.#timer !== undefined) return;
    const left = this.#dueAt - now;
    if (left < 24) this.#frame = requestAnimationFrame(this.#tick);
    else {
      this.#timer = setTimeout(() => {
        this.#timer = undefined;
        this.#frame ||= requestAnimationFrame(this.#tick);
      }, left - 12);
    }
  }

  #seen = (): void => {
    this.#measuring = false;
    if (document.hidden) {
      cancelAnimationFrame(this.#frame);
      clearTimeout(this.#timer);
      this.#frame = 0;
      this.#timer = undefined;
    } else this.ask();
  };
}
