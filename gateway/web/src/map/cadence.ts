/** How long one frame may take, callback to callback, for motion to be shown: 20 frames a second. */
export const SLOWEST_MS = 50;
const SAMPLES = 6;
const FIRST_RETRY_MS = 15_000;
const LAST_RETRY_MS = 600_000;

/**
 * Whether frames are cheap enough here to show motion between updates. A graphics card that is emulated in software draws a handful a
 * second and takes the processor for it: there the picture changes with the updates alone. Tried again now and then, ever more
 * seldom, because a busy moment is not a slow machine.
 */
export class Cadence {
  /** Motion may be shown, as far as frames go. */
  cheap = true;

  #sum = 0;
  #n = 0;
  #retryAt = 0;
  #retryMs = FIRST_RETRY_MS;

  /** The time from drawing a frame until the browser asked for the next, ms. */
  frame(took: number, now: number): void {
    if (took > 1000) return; // the tab slept
    this.#sum += took;
    if (++this.#n < SAMPLES) return;
    const mean = this.#sum / this.#n;
    this.#sum = this.#n = 0;
    if (mean <= SLOWEST_MS) {
      this.#retryMs = FIRST_RETRY_MS;
      return;
    }
    if (!this.cheap) return;
    this.cheap = false;
    this.#retryAt = now + this.#retryMs;
    this.#retryMs = Math.min(LAST_RETRY_MS, 2 * this.#retryMs);
  }

  /** Whether to show motion now; begins a new try where it is time for one. */
  allows(now: number): boolean {
    if (!this.cheap && now >= this.#retryAt) {
      this.cheap = true;
      this.#sum = this.#n = 0;
    }
    return this.cheap;
  }
}

/** The time between frames of a motion, ms: as long as nothing moves by half a pixel there is nothing to see. */
export function frameEveryMs(scale: number, fastestMps: number): number {
  return Math.min(250, 500 / Math.max(1e-3, scale * fastestMps));
}
